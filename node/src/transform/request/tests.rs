//! What goes upstream, field by field.

use http::Request;
use meridian_config::document::{Part, Template};
use tokio::time::Instant;

use super::*;
use crate::transform::trace::Ids;

fn context() -> Context {
    Context {
        request_id: "req-1".into(),
        trace: Ids::new([3; 32]).trace(&HeaderMap::new()),
        client_ip: "203.0.113.9".parse().expect("an address"),
        received: Instant::now(),
        scheme: "https",
        protocol: "HTTP/1.1",
        route: None,
        variables: vec![("rest".to_owned(), "a/b%20c".to_owned())],
        identity: None,
    }
}

fn sent(request: http::request::Builder, trusted: bool, rules: &Rules) -> Result<Parts, Refusal> {
    let (mut parts, ()) = request.body(()).expect("a request").into_parts();
    let context = context();
    let asked = parts.uri.path().to_owned();
    let inbound = Inbound {
        context: &context,
        peer: "203.0.113.9".parse().expect("an address"),
        trusted,
        host: "api.example.com",
        port: Some(8443),
        path: &asked,
        websocket: false,
        values: Values {
            variables: &context.variables,
            tenant: "acme",
            subject: "",
            region: "eu-west",
            request_id: &context.request_id,
            client_ip: context.client_ip,
        },
    };
    apply(&mut parts, &inbound, rules)?;
    Ok(parts)
}

#[test]
fn a_client_cannot_say_who_it_is_nor_where_it_comes_from() {
    let parts = sent(
        Request::get("/x")
            .header("x-forwarded-for", "6.6.6.6")
            .header("X-Forwarded-Proto", "http")
            .header("x_forwarded_for", "6.6.6.6")
            .header("forwarded", "for=6.6.6.6")
            .header("x-tenant", "globex")
            .header("x_tenant", "globex")
            .header("x-meridian-hop", "1")
            .header("x-request-id", "mine"),
        false,
        &Rules::default(),
    )
    .expect("good");
    let headers = parts.headers;
    assert_eq!(headers["x-forwarded-for"], "203.0.113.9");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-forwarded-host"], "api.example.com:8443");
    assert_eq!(headers["x-request-id"], "req-1");
    assert_eq!(headers["via"], "1.1 meridian");
    assert!(headers.contains_key("traceparent"));
    for name in [
        "forwarded",
        "x-tenant",
        "x_tenant",
        "x_forwarded_for",
        "x-meridian-hop",
    ] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[test]
fn a_trusted_proxys_word_stands_and_its_own_address_is_added() {
    let parts = sent(
        Request::get("/x")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-host", "www.example.com")
            .header("x-tenant", "globex"),
        true,
        &Rules::default(),
    )
    .expect("good");
    assert_eq!(parts.headers["x-forwarded-for"], "6.6.6.6, 203.0.113.9");
    assert_eq!(parts.headers["x-forwarded-proto"], "http");
    assert_eq!(parts.headers["x-forwarded-host"], "www.example.com");
    assert!(!parts.headers.contains_key("x-tenant"));
}

#[test]
fn the_target_goes_in_origin_form_with_its_query() {
    let parts = sent(
        Request::get("http://api.example.com/x?a=%2e"),
        false,
        &Rules::default(),
    );
    assert_eq!(parts.expect("good").uri, "/x?a=%2e");
}

#[test]
fn a_path_is_rewritten_and_no_rewrite_can_climb_out() {
    let rewrite = |parts: Vec<Part>| Rules {
        rewrite: Some(Template { parts }),
        ..Rules::default()
    };
    let rules = rewrite(vec![
        Part::Text("/plants/".into()),
        Part::PathVariable("rest".into()),
    ]);
    let parts = sent(Request::get("/v1/plants/a/b%20c?q=1"), false, &rules).expect("good");
    assert_eq!(parts.uri, "/plants/a/b%20c?q=1");
    let climbing = rewrite(vec![Part::Text("/plants/..".into())]);
    assert!(sent(Request::get("/x"), false, &climbing).is_err());
}
