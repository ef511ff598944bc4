//! What clients are told.

use super::*;
use crate::limit::Why;

fn facts() -> Facts<'static> {
    Facts {
        request_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        tenant: None,
    }
}

async fn body(response: Response<Body>) -> Value {
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("a full body")
        .to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

#[tokio::test]
async fn a_rate_limited_request_says_which_limit_and_when_to_come_back() {
    let refusal = Refusal::RateLimited {
        tenant: Some(TenantId::from("acme")),
        limit: "tenant-hour".to_owned(),
        why: Why::Local,
        retry_after: Duration::from_millis(1200),
    };
    let response = respond(&refusal, &facts());
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let body = body(response).await;
    assert_eq!(body["type"], "urn:meridian:problem:rate-limited");
    assert_eq!(body["tenant"], "acme");
    assert_eq!(body["limit"], "tenant-hour");
    assert_eq!(body["retry_after"], 2);
    assert_eq!(
        body["detail"],
        "limit tenant-hour has too little left at this node"
    );
    assert_eq!(body["instance"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[test]
fn a_missing_token_is_challenged_without_an_error_and_a_bad_one_with_its_fault() {
    let missing = respond(&Refusal::Unauthenticated(TokenFault::Missing), &facts());
    assert_eq!(
        missing.headers()["www-authenticate"],
        "Bearer realm=\"meridian\""
    );
    let expired = respond(&Refusal::Unauthenticated(TokenFault::Expired), &facts());
    assert_eq!(
        expired.headers()["www-authenticate"],
        "Bearer error=\"invalid_token\", error_description=\"the token has expired\""
    );
    assert_eq!(
        Refusal::Unauthenticated(TokenFault::Expired).name(),
        "token-expired"
    );
}

#[test]
fn a_scope_that_is_missing_is_named_and_cannot_break_out_of_its_quotes() {
    let refusal = Refusal::Forbidden {
        tenant: None,
        detail: "scope missing".to_owned(),
        scopes: vec!["plants:read".to_owned(), "x\", realm=\"y".to_owned()],
    };
    assert_eq!(
        respond(&refusal, &facts()).headers()["www-authenticate"],
        "Bearer error=\"insufficient_scope\", scope=\"plants:read x, realm=y\""
    );
}

#[test]
fn an_ambiguous_request_ends_its_connection() {
    let response = respond(&Refusal::Malformed("two hosts".to_owned()), &facts());
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(
        response.headers()["proxy-status"],
        "meridian; error=http_request_error"
    );
}

#[tokio::test]
async fn an_answer_to_head_keeps_its_length_and_loses_its_body() {
    let response = without_body_for(&Method::HEAD, respond(&Refusal::NoRoute, &facts()));
    let length: usize = response.headers()["content-length"]
        .to_str()
        .expect("digits")
        .parse()
        .expect("digits");
    assert!(length > 0);
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("full")
        .to_bytes();
    assert!(bytes.is_empty());
}
