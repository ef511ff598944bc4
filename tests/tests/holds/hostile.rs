//! Malformed requests, giant heads, endless bodies, clients that vanish: answered or dropped within the
//! limits, and the node goes on.

use std::{net::SocketAddr, time::Duration};

use meridian_tests::{
    http::{call, get},
    peer::Upstream,
    site::Site,
    wait::{LONG, until},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::restart::ready;

/// Sends bytes as they are and reads until the gateway closes or falls silent.
async fn raw(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.expect("a connection");
    // The gateway may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_secs(5), stream.read(&mut piece)).await {
        answer.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status lines in what came back: more than one means that a second request was smuggled.
fn statuses(answer: &str) -> Vec<&str> {
    answer
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|rest| &rest[..3])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_are_answered_or_dropped_and_the_node_goes_on() {
    let site = Site::new("hostile", &[("one", "here")]).await;
    let place = site.nodes[0].clone();
    let upstream = Upstream::start(&site.path(""), "upstream").await;
    let mut node = site.start(&place).await;
    site.apply(&place, &site.document(&[("here", upstream.address)]))
        .await;
    let token = site.token("acme", "");
    ready(place.http, &token).await;
    let at = place.http;

    ambiguous_requests_are_refused_and_the_connection_closed(at, &token).await;
    what_is_too_large_has_its_own_status(at, &token).await;
    clients_that_vanish_are_forgotten(at, &token).await;

    node.must_run();
    assert!(!node.stderr().contains("panicked"), "{}", node.stderr());
    assert_eq!(get("/api/plants").token(&token).send(at).await.status, 200);
    until("no request is left in flight", LONG, async || {
        let status = site.status(&place).await;
        if status["nodes"][0]["load"] == 0 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
}

async fn ambiguous_requests_are_refused_and_the_connection_closed(at: SocketAddr, token: &str) {
    let auth = format!("authorization: Bearer {token}\r\n");
    let smuggled = "GET /open HTTP/1.1\r\nhost: a\r\n\r\n";
    let cases = [
        (
            "length and chunks",
            format!(
                "POST /api/echo HTTP/1.1\r\nhost: a\r\n{auth}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "two lengths",
            format!(
                "POST /api/echo HTTP/1.1\r\nhost: a\r\n{auth}content-length: 4\r\ncontent-length: 5\r\n\r\nabcd{smuggled}"
            ),
        ),
        (
            "an odd coding",
            format!(
                "POST /api/echo HTTP/1.1\r\nhost: a\r\n{auth}transfer-encoding: xchunked\r\n\r\n{smuggled}"
            ),
        ),
        (
            "a space before the colon",
            format!("GET /open HTTP/1.1\r\nhost : a\r\n\r\n{smuggled}"),
        ),
        ("no host", format!("GET /open HTTP/1.1\r\n\r\n{smuggled}")),
        (
            "two hosts",
            format!("GET /open HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n{smuggled}"),
        ),
        ("no HTTP", "hello there\r\n\r\n".to_owned()),
        (
            "a folded field",
            format!("GET /open HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n{smuggled}"),
        ),
    ];
    for (what, request) in cases {
        let answer = raw(at, request.as_bytes()).await;
        let seen = statuses(&answer);
        assert!(
            seen.len() <= 1,
            "{what}: a second request was answered: {answer}"
        );
        assert!(
            seen.iter().all(|status| *status == "400"),
            "{what}: {answer}"
        );
    }
}

async fn what_is_too_large_has_its_own_status(at: SocketAddr, token: &str) {
    let field = "x".repeat(60_000);
    let answer = raw(
        at,
        format!("GET /open HTTP/1.1\r\nhost: a\r\nx-big: {field}\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answer), ["431"], "{answer}");
    let fields: String = (0..200)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    let answer = raw(
        at,
        format!("GET /open HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answer), ["431"], "{answer}");
    let path = "p".repeat(9_000);
    let answer = raw(
        at,
        format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answer), ["414"], "{answer}");

    // 2 MiB is the route's limit: told by its length at once, or counted while it comes.
    let large = call("POST", "/api/echo")
        .token(token)
        .body(vec![0; 3 << 20]);
    if let Ok(answer) = large.try_send(at).await {
        answer.expect_problem(413, "body-too-large");
    }
    let head = format!(
        "POST /api/echo HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let mut stream = TcpStream::connect(at).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend_from_slice(&[b'x'; 0x10000]);
    chunk.extend_from_slice(b"\r\n");
    let mut sent = 0;
    let endless = timeout(LONG, async {
        while stream.write_all(&chunk).await.is_ok() {
            sent += 0x10000;
        }
    });
    assert!(
        endless.await.is_ok(),
        "an endless body was read: {sent} bytes"
    );
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

async fn clients_that_vanish_are_forgotten(at: SocketAddr, token: &str) {
    for request in [
        "".to_owned(),
        "GET /api/pla".to_owned(),
        format!(
            "POST /api/echo HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 100000\r\n\r\nabc"
        ),
        format!(
            "GET /api/slow?ms=30000 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"
        ),
        format!(
            "GET /api/stream?chunks=1000&size=100000 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"
        ),
    ] {
        for _ in 0..10 {
            let mut stream = TcpStream::connect(at).await.expect("a connection");
            stream.write_all(request.as_bytes()).await.expect("written");
            drop(stream);
        }
    }
}
