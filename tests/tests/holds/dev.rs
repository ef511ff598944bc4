//! The main job: `meridian dev`, then what its screen promises.

use std::time::Duration;

use meridian_tests::{
    dev::Dev,
    http::{Wire, call, get},
    peer::{curl, web_socket},
    wait::{LONG, until},
};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn three_regions_serve_authenticated_limited_logged_requests() {
    let dev = Dev::start().await;
    let nodes = dev.nodes();
    let regions: Vec<&str> = nodes.iter().map(|node| node.region.as_str()).collect();
    assert_eq!(regions, ["eu-west", "us-east", "ap-south"]);
    assert!(
        dev.screen().lines().count() <= 24,
        "more than one screen: {}",
        dev.screen()
    );

    let token = dev.token("acme", &["plants:read"]).await;
    let scopeless = dev.token("acme", &[]).await;
    for node in &nodes {
        let good = get("/v1/plants").token(&token).send(node.http).await;
        assert_eq!(good.status, 200, "{good:?}");
        assert_eq!(good.json()["region"], node.region, "served elsewhere");
        assert_eq!(good.header("x-request-id").len(), 32, "{good:?}");
        assert_eq!(good.header("x-content-type-options"), "nosniff");
        let left: u64 = good
            .header("x-ratelimit-remaining")
            .parse()
            .expect("a number");
        assert!(left < 100, "{good:?}");
        assert!(
            good.header("ratelimit-policy")
                .contains("\"tenant-hour\";q=5000;w=3600"),
            "{good:?}"
        );
        assert!(
            good.header("ratelimit").contains("\"tenant-second\";r="),
            "{good:?}"
        );

        let none = get("/v1/plants").send(node.http).await;
        none.expect_problem(401, "unauthenticated");
        let challenge = none.header("www-authenticate");
        assert!(
            challenge.starts_with("Bearer") && !challenge.contains("error"),
            "{none:?}"
        );
        let narrow = get("/v1/plants").token(&scopeless).send(node.http).await;
        narrow.expect_problem(403, "forbidden");
        assert!(
            narrow
                .header("www-authenticate")
                .contains("insufficient_scope"),
            "{narrow:?}"
        );
        get("/v9/none")
            .token(&token)
            .send(node.http)
            .await
            .expect_problem(404, "no-route");
        let method = call("DELETE", "/v1/plants")
            .token(&token)
            .send(node.http)
            .await;
        method.expect_problem(405, "method-not-allowed");
        assert!(method.header("allow").contains("GET"), "{method:?}");

        assert_eq!(get("/readyz").send(node.admin).await.status, 200);
        assert_eq!(
            get("/livez").send(node.http).await.status,
            200,
            "probes at the edge"
        );
    }

    over_the_limit_is_429(&dev).await;
    https_and_http2_pass(&dev, &token).await;
    identity_headers_are_the_gateways_own(&dev, &token).await;
    nothing_secret_is_logged(&dev, &token).await;
    an_apply_at_one_node_is_on_all_within_a_second(&dev, &token).await;
    dev.stop().await;
}

async fn over_the_limit_is_429(dev: &Dev) {
    // 100 a second for a premium tenant; eight connections ask until one is refused.
    let request = get("/v1/plants").token(&dev.token("acme", &["plants:read"]).await);
    let at = dev.node("us-east").http;
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let request = request.clone();
        clients.spawn(async move {
            let mut wire = Wire::open(at).await.expect("a connection");
            for _ in 0..500 {
                let answer = wire.send(&request, LONG).await.expect("an answer");
                if answer.status == 429 {
                    return Some(answer);
                }
            }
            None
        });
    }
    let answers = clients.join_all().await;
    let answer = answers
        .into_iter()
        .flatten()
        .next()
        .expect("4000 requests, and none was refused");
    let problem = answer.expect_problem(429, "rate-limited");
    assert_eq!(problem["tenant"], "acme");
    assert_eq!(problem["limit"], "tenant-second");
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=2).contains(&wait), "{answer:?}");
    assert_eq!(answer.header("x-ratelimit-remaining"), "0");
}

async fn https_and_http2_pass(dev: &Dev, token: &str) {
    let node = dev.node("ap-south");
    let ca = dev.folder().join("ca.pem");
    let ca = ca.to_str().expect("a plain path");
    let url = format!("https://localhost:{}/v1/plants", node.https.port());
    let field = format!("authorization: Bearer {token}");
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let ran = curl(&[
            flag,
            "--tlsv1.3",
            "--cacert",
            ca,
            "-H",
            &field,
            "-w",
            "\n%{http_version} %{http_code}",
            &url,
        ])
        .await
        .expect(0);
        assert!(ran.stdout.ends_with(&format!("\n{version} 200")), "{ran:?}");
    }
    let head = curl(&["--cacert", ca, "-I", "-H", &field, &url])
        .await
        .expect(0)
        .stdout
        .to_lowercase();
    assert!(head.contains("strict-transport-security:"), "{head}");
    let old = curl(&["--tls-max", "1.2", "--cacert", ca, &url]).await;
    assert_ne!(old.code, Some(0), "TLS 1.2 was accepted");
    let socket = format!("wss://localhost:{}/v1/ws", node.https.port());
    let ran = web_socket(&socket, token, Some(&dev.folder().join("ca.pem")))
        .await
        .expect(0);
    assert!(ran.stdout.contains("echoed 6"), "{ran:?}");
    let refused = web_socket(&format!("ws://{}/v1/ws", node.http), "", None).await;
    assert!(refused.stdout.contains("refused with 401"), "{refused:?}");
}

async fn identity_headers_are_the_gateways_own(dev: &Dev, token: &str) {
    let echo = call("POST", "/v1/echo")
        .token(token)
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-request-id", "mine")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .header("connection", "keep-alive, x-private")
        .header("x-private", "hop")
        .body("12345")
        .send(dev.node("eu-west").http)
        .await;
    assert_eq!(echo.status, 200, "{echo:?}");
    let seen = echo.json();
    assert_eq!(seen["body_length"], 5);
    let field = |name: &str| {
        seen["headers"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(
        field("x-forwarded-for"),
        "127.0.0.1",
        "a stranger's field was believed: {seen}"
    );
    assert_eq!(field("x-request-id"), echo.header("x-request-id"));
    assert_ne!(field("x-request-id"), "mine");
    assert!(
        field("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "{seen}"
    );
    assert!(
        !field("traceparent").contains("b7ad6b7169203331"),
        "the span is not this hop's: {seen}"
    );
    assert_eq!(field("x-private"), "", "a hop-by-hop field passed: {seen}");
    assert!(field("via").contains("1.1"), "{seen}");
}

async fn nothing_secret_is_logged(dev: &Dev, token: &str) {
    let marker = format!("/v1/status/{}", 200);
    let node = dev.node("eu-west");
    let answer = get(&marker).token(token).send(node.http).await;
    let id = answer.header("x-request-id").to_owned();
    let line = until("the access log has the request", LONG, async || {
        let log = dev.log(&node.id);
        let line = log
            .lines()
            .find(|line| line.contains(&id) && line.starts_with('{'));
        line.map(str::to_owned)
            .ok_or_else(|| format!("{} lines", log.lines().count()))
    })
    .await;
    let entry: serde_json::Value = serde_json::from_str(&line).expect("a JSON object a line");
    assert_eq!(entry["tenant"], "acme", "{entry}");
    assert_eq!(entry["route"], "status", "{entry}");
    assert_eq!(entry["status"], 200, "{entry}");
    assert_eq!(entry["served_region"], "eu-west", "{entry}");
    assert_eq!(entry["client_ip"], "127.0.0.0", "cut to /24: {entry}");
    assert_ne!(
        entry["subject"], "demo",
        "the subject is pseudonymised: {entry}"
    );
    let signature = token.rsplit('.').next().expect("a signature");
    for node in dev.nodes() {
        let log = dev.log(&node.id);
        assert!(
            !log.contains(signature),
            "a token is in the log of {}",
            node.id
        );
        assert!(
            !log.contains("Bearer"),
            "an authorization field is in the log of {}",
            node.id
        );
    }
}

async fn an_apply_at_one_node_is_on_all_within_a_second(dev: &Dev, token: &str) {
    let path = dev.folder().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("the applied document");
    let more = format!(
        "{text}  new: {{ match: {{ path: /v1/new }}, respond: {{ status: 200, json: {{ new: true }} }} }}\n"
    );
    std::fs::write(&path, more).expect("written");
    let file = path.to_str().expect("a plain path");
    let first = dev.node("us-east");
    let differs = dev.admin(&first, &["diff", "-f", file]).await.expect(3);
    assert!(differs.stdout.contains("new"), "{differs:?}");
    let request = get("/v1/new").token(token);
    for node in dev.nodes() {
        request
            .send(node.http)
            .await
            .expect_problem(404, "no-route");
    }
    let applied = dev
        .admin(
            &first,
            &["apply", "-f", file, "-m", "a new route", "--wait", "0s"],
        )
        .await;
    let committed = tokio::time::Instant::now();
    applied.expect(0);
    for node in dev.nodes() {
        node.eventually(&request, LONG, |answer| answer.status == 200)
            .await;
    }
    let took = committed.elapsed();
    println!("all three nodes ran the revision {took:?} after the command ended");
    assert!(took < Duration::from_secs(1), "{took:?}");
    dev.admin(&first, &["diff", "-f", file]).await.expect(0);
    let exported = dev
        .admin(&dev.node("ap-south"), &["export"])
        .await
        .expect(0);
    assert!(exported.stdout.contains("/v1/new"), "{exported:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_crashes_leaves_no_process_behind() {
    Dev::start().await.crash().await;
}
