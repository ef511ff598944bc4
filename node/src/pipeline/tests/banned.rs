//! Blocked clients and revoked tokens: refused when they ask, cut off where they have something running.

use std::time::Duration;

use meridian_cluster::{
    facts::{Claim, Revocation},
    host::BoxStream,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    DOCUMENT,
    gateway::{CLIENT, Gateway},
    problem,
};

fn block() -> Claim {
    Claim::Block(format!("{CLIENT}/32").parse().expect("a net"))
}

fn revoke(token_id: &str) -> Claim {
    Claim::Revoke(Revocation::TokenId(token_id.to_owned()))
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test(start_paused = true)]
async fn a_blocked_client_is_refused_whatever_it_asks() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    assert_eq!(gateway.get("/status").await.status, 200);
    gateway.decree.decree(1, block());
    for path in ["/status", "/livez", "/nowhere", "/a%2fb", "/closed"] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.body);
        assert_eq!(problem(&answer), "blocked");
    }
    // The connection is not kept for the next try.
    let twice = "GET /status HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    let answer = gateway.raw(&twice).await;
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(answer.body.matches("urn:meridian").count(), 1);
    let page = gateway.metrics.render();
    assert!(
        page.contains("meridian_blocked_total{reason=\"blocked\"} 6"),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_worked_is_401_once_it_is_revoked_and_another_goes_on() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let one = bearer(&gateway.token("acme", &[("jti", json!("one"))]));
    let other = bearer(&gateway.token("acme", &[("jti", json!("other"))]));
    assert_eq!(gateway.ask("GET", "/closed", &one, "").await.status, 200);
    gateway.decree.decree(1, revoke("one"));
    for _ in 0..2 {
        let answer = gateway.ask("GET", "/closed", &one, "").await;
        assert_eq!(answer.status, 401, "{}", answer.body);
        assert_eq!(problem(&answer), "token-revoked");
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer error=\"invalid_token\", error_description=\"the token was revoked\""
        );
    }
    assert_eq!(gateway.ask("GET", "/closed", &other, "").await.status, 200);
    // One that nobody has seen before it was revoked.
    gateway.decree.decree(2, revoke("fresh"));
    let fresh = bearer(&gateway.token("acme", &[("jti", json!("fresh"))]));
    let answer = gateway.ask("GET", "/closed", &fresh, "").await;
    assert_eq!(problem(&answer), "token-revoked");
    let page = gateway.metrics.render();
    assert!(
        page.contains("meridian_auth_failures_total{reason=\"revoked\"} 3"),
        "{page}"
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    let log = gateway.host.printed();
    let decisions = log
        .iter()
        .filter(|line| line["decision"] == "token-revoked");
    assert_eq!(decisions.count(), 3, "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn tokens_issued_before_a_moment_fall_and_later_ones_stand() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let token = |issued| {
        let issued: &[_] = &[("iat", issued)];
        bearer(&gateway.token("acme", issued))
    };
    let (early, late, without) = (
        token(json!(1_000)),
        token(json!(2_000)),
        token(serde_json::Value::Null),
    );
    let acme = Claim::Revoke(Revocation::Tenant {
        tenant: "acme".into(),
        issued_before: 2_000,
    });
    gateway.decree.decree(1, acme);
    for (fields, status) in [(early, 401), (late, 200), (without, 401)] {
        let answer = gateway.ask("GET", "/closed", &fields, "").await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

/// Reads until the answer's head is over.
async fn head(stream: &mut BoxStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

/// Reads until the stream ends, broken or not; how long that took.
async fn ends(stream: &mut BoxStream) -> Duration {
    let since = Instant::now();
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it goes on: {rest:?}");
    since.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_stream_and_a_tunnel_end_with_their_token_and_others_go_on() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let open = async |token: &str, path: &str, fields: &str| {
        let mut stream = gateway.connect().await;
        let token = bearer(&gateway.token("acme", &[("jti", json!(token))]));
        let request = format!("GET /guarded/{path} HTTP/1.1\r\nhost: x\r\n{token}{fields}\r\n");
        stream.write_all(request.as_bytes()).await.expect("taken");
        let head = head(&mut stream).await;
        (stream, head)
    };
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (mut drip, answer) = open("one", "drip", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (mut tunnel, answer) = open("one", "ws", upgrade).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let (mut other, answer) = open("other", "ws", upgrade).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    // Revocations of others leave both alone.
    gateway.decree.decree(1, revoke("nobody's"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    tunnel.write_all(b"ping").await.expect("open");
    let mut echo = [0; 4];
    tunnel.read_exact(&mut echo).await.expect("open");
    gateway.decree.decree(2, revoke("one"));
    assert!(ends(&mut drip).await < Duration::from_secs(1));
    assert!(ends(&mut tunnel).await < Duration::from_secs(1));
    other.write_all(b"ping").await.expect("open");
    other.read_exact(&mut echo).await.expect("open");
    assert_eq!(&echo, b"ping");
    gateway.decree.decree(3, block());
    assert!(ends(&mut other).await < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let log = gateway.host.printed();
    let cut = log.iter().find(|line| line["decision"] == "token-revoked");
    assert_eq!(
        cut.expect("a line for the stream")["status"],
        200,
        "{log:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_upload_ends_when_its_client_is_blocked() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let mut stream = gateway.connect().await;
    let request = "POST /echo/x HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\nfirst";
    stream.write_all(request.as_bytes()).await.expect("taken");
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.decree.decree(1, block());
    stream.write_all(b" the second").await.expect("taken");
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(ends(&mut stream).await < Duration::from_secs(2));
}
