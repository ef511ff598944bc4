//! A worker over in-memory streams: requests as clients send them, responses as clients see them.

mod banned;
mod charged;
mod explained;
mod gateway;

use std::time::Duration;

use gateway::{Answer, CLIENT, Gateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DOCUMENT: &str = r#"
meridian: 1
regions: { here: { zone: eu }, there: { zone: us } }
edge: { probes: true }
defaults: { unidentified: { limits: [3/minute], per: client_ip } }
issuers:
  demo: { issuer: "http://10.0.0.9/", audiences: [api], algorithms: [ES256] }
plans:
  small: { limits: [2/minute] }
tenants:
  acme: { plan: small }
  strict: { plan: small, residency: [us] }
services:
  abroad: { endpoints: { there: ["http://10.1.0.8:80"] } }
  echo: { endpoints: { here: ["http://10.0.0.8:80"] }, retries: { attempts: 0 } }
routes:
  status: { match: { path: /status, methods: [GET] }, respond: { status: 200, json: { ok: true } }, exempt: [limits, auth] }
  limited: { match: { path: /limited }, respond: { status: 204 }, exempt: [auth] }
  closed: { match: { path: /closed }, service: echo }
  scoped: { match: { path: /scoped }, service: echo, allow: { scopes: [plants:write] } }
  abroad: { match: { path: /abroad }, service: abroad }
  echo:
    match: { path: "/echo/{*rest}" }
    service: echo
    exempt: [limits, auth]
    request: { rewrite: "/seen/{rest}", headers: { set: { x-region: "{region}" }, remove: [cookie] }, max_body: 16B }
    response: { headers: { set: { x-served-by: "{region}" }, remove: [x-inner] } }
  guarded: { match: { path: "/guarded/{*rest}" }, service: echo, exempt: [limits], request: { rewrite: "/seen/{rest}" } }
  host: { match: { hosts: [api.example.com], path: /only, methods: [POST] }, respond: { status: 200 }, exempt: [limits, auth] }
"#;

fn problem(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(body["status"], answer.status);
    assert_eq!(body["instance"], answer.header("x-request-id"));
    let name = body["type"].as_str().expect("a type");
    name.trim_start_matches("urn:meridian:problem:").to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_fixed_answer_carries_what_every_response_carries() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let answer = gateway.get("/status").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"ok":true}"#);
    assert_eq!(answer.header("x-request-id").len(), 32);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("strict-transport-security"), "");
    let head = gateway.ask("HEAD", "/status", "", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), "11");
}

#[tokio::test(start_paused = true)]
async fn each_refusal_is_a_problem_with_its_name() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    for (method, path, fields, status, name) in [
        ("GET", "/nowhere", "", 404, "no-route"),
        ("POST", "/status", "", 405, "method-not-allowed"),
        ("GET", "/closed", "", 401, "unauthenticated"),
        ("GET", "/status/../closed", "", 400, "malformed-request"),
        ("GET", "/a%2fb", "", 400, "malformed-request"),
        ("GET", "/status", "host: b\r\n", 400, "malformed-request"),
        ("CONNECT", "/status", "", 400, "malformed-request"),
        (
            "POST",
            "/echo/x",
            "content-length: 17\r\n",
            413,
            "body-too-large",
        ),
    ] {
        let answer = gateway.ask(method, path, fields, "").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_eq!(problem(&answer), name, "{method} {path}");
        assert!(
            answer
                .header("proxy-status")
                .starts_with("meridian; error=")
        );
    }
    let answer = gateway.ask("DELETE", "/status", "", "").await;
    assert_eq!(answer.header("allow"), "GET, HEAD");
    let answer = gateway.get("/closed").await;
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"meridian\""
    );
}

#[tokio::test(start_paused = true)]
async fn malformed_bytes_are_answered_with_a_problem_too() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let answer = gateway
        .raw("POST /status HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx")
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(problem(&answer), "malformed-request");
    assert_eq!(answer.header("connection"), "close");
    let head = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "y".repeat(33_000)
    );
    let answer = gateway.raw(&head).await;
    assert_eq!(answer.status, 431);
    assert_eq!(problem(&answer), "headers-too-large");
}

#[tokio::test(start_paused = true)]
async fn without_a_revision_the_gateway_says_so() {
    let gateway = Gateway::start(None).await;
    let answer = gateway.get("/status").await;
    assert_eq!(answer.status, 503);
    assert_eq!(problem(&answer), "not-configured");
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_request_reaches_its_upstream_rewritten_and_comes_back_clean() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let fields = "cookie: a=1\r\nx-forwarded-for: 6.6.6.6\r\nx-tenant: globex\r\n";
    let answer = gateway.ask("POST", "/echo/a/b?q=1", fields, "hello").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let seen: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(seen["target"], "/seen/a/b?q=1");
    assert_eq!(seen["body"], "hello");
    let headers = &seen["headers"];
    assert_eq!(headers["x-forwarded-for"], CLIENT);
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-region"], "here");
    assert_eq!(headers["x-request-id"], answer.header("x-request-id"));
    assert_eq!(headers["via"], "1.1 meridian");
    assert!(
        headers["traceparent"]
            .as_str()
            .is_some_and(|t| t.len() == 55)
    );
    assert!(headers["cookie"].is_null() && headers["x-tenant"].is_null());
    assert_eq!(answer.header("x-served-by"), "here");
    assert_eq!(answer.header("x-inner"), "");
    assert_eq!(answer.header("keep-alive"), "");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_outgrows_its_limit_while_it_streams_is_refused() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let answer = gateway
        .raw(
            "POST /echo/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
             a\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        )
        .await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert_eq!(problem(&answer), "body-too-large");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_given_up() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let answer = gateway
        .raw("POST /echo/x HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab")
        .await;
    assert_eq!(answer.status, 408, "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn limits_count_by_client_address_and_say_where_they_stand() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let first = gateway.get("/limited").await;
    assert_eq!(first.status, 204);
    assert_eq!(first.header("x-ratelimit-limit"), "3");
    assert_eq!(first.header("x-ratelimit-remaining"), "2");
    assert_eq!(
        first.header("ratelimit-policy"),
        "\"unidentified-minute\";q=3;w=60"
    );
    for _ in 0..2 {
        assert_eq!(gateway.get("/limited").await.status, 204);
    }
    let refused = gateway.get("/limited").await;
    assert_eq!(refused.status, 429);
    assert_eq!(problem(&refused), "rate-limited");
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    // A slot more than the window, and up to a fifth so that clients do not come back together.
    assert!((60..=74).contains(&wait), "{wait}");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(gateway.get("/limited").await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn probes_answer_at_the_edge_where_the_document_has_them() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let answer = gateway.get("/readyz").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let without = DOCUMENT.replace("probes: true", "probes: false");
    let gateway = Gateway::start(Some(&without)).await;
    assert_eq!(gateway.get("/readyz").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_websocket_passes_and_its_bytes_with_it() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let mut stream = gateway.connect().await;
    let request = "GET /echo/ws HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("taken");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.contains("x-request-id: "), "{head}");
    // Not HTTP, and not to be looked at.
    stream.write_all(b"\x81\n\n\0bytes").await.expect("taken");
    let mut echoed = [0; 9];
    stream.read_exact(&mut echoed).await.expect("an echo");
    assert_eq!(&echoed, b"\x81\n\n\0bytes");
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_upgrade_that_was_not_made_is_not_read() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let mut stream = gateway.connect().await;
    let request = "GET /status HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n\
        GET /status HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("taken");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.expect("it closes");
    assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "{heard}");
    assert!(heard.contains("connection: close"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn every_request_is_logged_and_counted_once() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    gateway.get("/status?token=secret").await;
    let echoed = gateway.ask("POST", "/echo/x", "", "hello").await;
    gateway.get("/closed").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let lines = gateway.host.printed();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["path"], "/status");
    assert_eq!(lines[0]["decision"], "admit");
    assert_eq!(lines[0]["client_ip"], "203.0.113.0");
    assert_eq!(lines[1]["request_id"], echoed.header("x-request-id"));
    assert_eq!(lines[1]["route"], "echo");
    assert_eq!(lines[1]["bytes_in"], 5);
    assert_eq!(lines[1]["bytes_out"], echoed.body.len());
    assert_eq!(lines[1]["served_region"], "here");
    let endpoint = lines[1]["endpoint"].as_str();
    assert!(
        endpoint.is_some_and(|e| e.starts_with("10.0.0.8")),
        "{endpoint:?}"
    );
    assert_eq!(lines[2]["status"], 401);
    assert_eq!(lines[2]["decision"], "unauthenticated");
    let page = gateway.metrics.render();
    for line in [
        "meridian_auth_failures_total{reason=\"missing\"} 1",
        "meridian_gateway_overhead_seconds_count 3",
        "meridian_upstream_duration_seconds_count{service=\"echo\",region=\"here\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not on\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_before_its_answer_is_logged_as_gone() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let mut stream = gateway.connect().await;
    stream
        .write_all(b"GET /echo/hang HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let lines = gateway.host.printed();
    assert_eq!(lines[0]["status"], 499, "{lines:?}");
    assert_eq!(lines[0]["decision"], "client-gone");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_known_by_its_token_and_pays_for_what_was_let_in() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let forbidden = gateway.ask_as("acme", "/scoped").await;
    assert_eq!(forbidden.status, 403, "{}", forbidden.body);
    assert_eq!(
        forbidden.header("www-authenticate"),
        "Bearer error=\"insufficient_scope\", scope=\"plants:write\""
    );
    assert_eq!(forbidden.header("x-ratelimit-limit"), "");
    for remaining in ["1", "0"] {
        let answer = gateway.ask_as("acme", "/closed").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("x-ratelimit-remaining"), remaining);
    }
    let refused = gateway.ask_as("acme", "/closed").await;
    assert_eq!(problem(&refused), "rate-limited");
    assert!(
        refused.body.contains("\"tenant\":\"acme\""),
        "{}",
        refused.body
    );
    let page = gateway.metrics.render();
    for line in [
        "meridian_tenant_requests_total{tenant=\"acme\",decision=\"admit\"} 2",
        "meridian_tenant_requests_total{tenant=\"acme\",decision=\"rate-limited\"} 1",
        "meridian_quota_decisions_total{decision=\"limit\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not on\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn residency_refuses_before_anything_is_charged_and_the_log_keeps_little() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let refused = gateway.ask_as("strict", "/closed").await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert_eq!(problem(&refused), "residency");
    // It has endpoints in the tenant's zone, but there is no peer to reach them through.
    let unreachable = gateway.ask_as("strict", "/abroad").await;
    assert_eq!(unreachable.status, 503, "{}", unreachable.body);
    assert_eq!(problem(&unreachable), "residency-unavailable");
    // It came to nothing, and has its token back.
    assert_eq!(unreachable.header("x-ratelimit-remaining"), "2");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let lines = gateway.host.printed();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(line["tenant"], "strict");
        for kept_back in ["subject", "client_ip", "host", "path", "method"] {
            assert!(line.get(kept_back).is_none(), "{kept_back} in {line}");
        }
    }
}
