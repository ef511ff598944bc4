//! Bad tokens, keys that rotate, a provider that is down: at a node as in production, over HTTPS.

use meridian_tests::{
    http::get,
    peer::Upstream,
    provider::{Signer, unix_now},
    site::Site,
    wait::LONG,
};
use serde_json::{Value, json};

use crate::restart::ready;

#[tokio::test(flavor = "multi_thread")]
async fn only_good_tokens_pass() {
    let mut site = Site::new("tokens", &[("one", "here")]).await;
    let place = site.nodes[0].clone();
    let upstream = Upstream::start(&site.path(""), "upstream").await;
    let mut node = site.start(&place).await;
    site.apply(&place, &site.document(&[("here", upstream.address)]))
        .await;
    let good = site.token("acme", "secrets:read");
    ready(place.http, &good).await;

    let now = unix_now();
    let with = |changes: Value| {
        let mut claims = site.provider.claims("acme", "");
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        site.signer.sign(&claims)
    };
    let (head, rest) = good.split_once('.').expect("three parts");
    let (body, signature) = rest.split_once('.').expect("three parts");
    let mut flipped = signature.to_owned().into_bytes();
    flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("ASCII");
    // {"alg":"none"}, {"alg":"HS256"}
    let (unsigned, symmetric) = ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9");
    let cases = [
        (
            "a changed signature",
            format!("{head}.{body}.{flipped}"),
            401,
            "unauthenticated",
        ),
        (
            "no signature",
            format!("{head}.{body}."),
            401,
            "unauthenticated",
        ),
        (
            "alg none",
            format!("{unsigned}.{body}."),
            401,
            "unauthenticated",
        ),
        (
            "an HMAC",
            format!("{symmetric}.{body}.{signature}"),
            401,
            "unauthenticated",
        ),
        ("no JWT", "not-a-token".to_owned(), 401, "unauthenticated"),
        ("a huge one", "a.".repeat(6000), 401, "unauthenticated"),
        (
            "expired",
            with(json!({ "exp": now - 60 })),
            401,
            "token-expired",
        ),
        (
            "not yet valid",
            with(json!({ "nbf": now + 600 })),
            401,
            "unauthenticated",
        ),
        (
            "another audience",
            with(json!({ "aud": "https://other.test" })),
            401,
            "unauthenticated",
        ),
        (
            "another issuer",
            with(json!({ "iss": "https://other.test" })),
            401,
            "unauthenticated",
        ),
        (
            "no tenant",
            with(json!({ "tenant": null })),
            401,
            "unauthenticated",
        ),
        (
            "an unknown tenant",
            with(json!({ "tenant": "hooli" })),
            403,
            "forbidden",
        ),
        (
            "another's key",
            Signer::new("first").sign(&site.provider.claims("acme", "")),
            401,
            "unauthenticated",
        ),
    ];
    for (what, token, status, name) in cases {
        let answer = get("/api/plants").token(&token).send(place.http).await;
        println!("{what}: {}", answer.status);
        answer.expect_problem(status, name);
        if status == 401 {
            assert!(
                answer
                    .header("www-authenticate")
                    .contains("error=\"invalid_token\""),
                "{what}: {answer:?}"
            );
        }
    }
    let twice = get("/api/plants")
        .token(&good)
        .token(&good)
        .send(place.http)
        .await;
    assert!(
        [400, 401].contains(&twice.status),
        "two authorization fields: {twice:?}"
    );
    let alias = with(json!({ "tenant": "org_acme" }));
    assert_eq!(
        get("/api/plants")
            .token(&alias)
            .send(place.http)
            .await
            .status,
        200
    );

    // Scopes and roles; nothing in a request can open a route.
    let secret = get("/secret/plants");
    secret
        .clone()
        .token(&good)
        .send(place.http)
        .await
        .expect_problem(403, "forbidden");
    let keeper = with(json!({ "scope": ["secrets:read"], "roles": ["keeper"] }));
    assert_eq!(
        secret.clone().token(&keeper).send(place.http).await.status,
        200
    );
    secret
        .send(place.http)
        .await
        .expect_problem(401, "unauthenticated");
    assert_eq!(get("/open").send(place.http).await.status, 200);

    a_tenants_limit_holds_and_refused_requests_cost_nothing(&site, place.http).await;
    keys_rotate_and_the_provider_goes_down(&mut site, &place, &mut node).await;
}

async fn a_tenants_limit_holds_and_refused_requests_cost_nothing(
    site: &Site,
    at: std::net::SocketAddr,
) {
    // 5 a minute for globex.
    let token = site.token("globex", "");
    for _ in 0..10 {
        get("/secret/plants")
            .token(&token)
            .send(at)
            .await
            .expect_problem(403, "forbidden");
    }
    for left in (0..5).rev() {
        let answer = get("/api/plants").token(&token).send(at).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-ratelimit-limit"), "5");
        assert_eq!(answer.header("x-ratelimit-remaining"), left.to_string());
        assert_eq!(
            answer.header("ratelimit-policy"),
            "\"tenant-minute\";q=5;w=60"
        );
    }
    for _ in 0..10 {
        let answer = get("/api/plants").token(&token).send(at).await;
        answer.expect_problem(429, "rate-limited");
        let wait: u64 = answer.header("retry-after").parse().expect("seconds");
        // Up to a fifth more than the window, so that clients do not come back together.
        assert!((1..=74).contains(&wait), "{answer:?}");
    }
    // Another tenant is not affected.
    let other = site.token("acme", "");
    assert_eq!(get("/api/plants").token(&other).send(at).await.status, 200);
}

async fn keys_rotate_and_the_provider_goes_down(
    site: &mut Site,
    place: &meridian_tests::site::Place,
    node: &mut meridian_tests::process::Process,
) {
    let second = Signer::new("second");
    site.provider.publish(&[&site.signer, &second]);
    let fresh = second.sign(&site.provider.claims("acme", ""));
    let answer = get("/api/plants").token(&fresh).send(place.http).await;
    assert_eq!(
        answer.status, 200,
        "a rotated key is fetched by the request that brings it: {answer:?}"
    );

    // Made-up key ids make no storm.
    let before = site.provider.fetches();
    for number in 0..50 {
        let token =
            Signer::new(&format!("made-up-{number}")).sign(&site.provider.claims("acme", ""));
        let answer = get("/api/plants").token(&token).send(place.http).await;
        assert!([401, 503].contains(&answer.status), "{answer:?}");
    }
    assert!(
        site.provider.fetches() <= before + 2,
        "{} fetches",
        site.provider.fetches() - before
    );

    // The provider goes down; known keys serve, after a restart of the node too.
    site.provider.go_down().await;
    assert_eq!(
        get("/api/plants")
            .token(&fresh)
            .send(place.http)
            .await
            .status,
        200
    );
    node.signal("TERM").await;
    assert_eq!(node.end(LONG).await.code(), Some(0), "{}", node.stderr());
    *node = site.start(place).await;
    ready(
        place.http,
        &second.sign(&site.provider.claims("acme", "again")),
    )
    .await;
    // A key that nobody can judge is no bad token.
    let third = Signer::new("third");
    let token = third.sign(&site.provider.claims("acme", ""));
    let answer = get("/api/plants").token(&token).send(place.http).await;
    answer.expect_problem(503, "issuer-unavailable");
    site.provider.publish(&[&second, &third]);
    site.provider.come_back().await;
    ready(place.http, &token).await;
}
