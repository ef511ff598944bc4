//! A real upstream (FastAPI under uvicorn), real clients (curl, websockets), a node as in production.

use meridian_tests::{
    http::{call, get},
    peer::{Upstream, curl, web_socket},
    site::Site,
};

use crate::restart::ready;

#[tokio::test(flavor = "multi_thread")]
async fn fastapi_answers_through_the_gateway() {
    let site = Site::new("peers", &[("one", "here")]).await;
    let place = &site.nodes[0];
    let upstream = Upstream::start(&site.path(""), "plants").await;
    let mut node = site.start(place).await;
    site.apply(place, &site.document(&[("here", upstream.address)]))
        .await;
    let token = site.token("acme", "plants:read");
    ready(place.http, &token).await;

    requests_arrive_as_sent_but_for_the_routes_changes(place, &token).await;
    bodies_stream_both_ways(place, &token).await;
    curl_speaks_http2_over_tls(&site, &token).await;
    the_upstreams_own_answers_pass(place, &token).await;
    for (scheme, port, ca) in [
        ("ws", place.http.port(), None),
        ("wss", place.https.port(), Some(site.path("outside-ca.pem"))),
    ] {
        let url = format!("{scheme}://localhost:{port}/api/ws");
        let ran = web_socket(&url, &token, ca.as_deref()).await.expect(0);
        assert!(ran.stdout.contains("echoed 6, closed with 1000"), "{ran:?}");
    }
    node.signal("TERM").await;
    assert_eq!(
        node.end(meridian_tests::wait::LONG).await.code(),
        Some(0),
        "{}",
        node.stderr()
    );
}

type Place = meridian_tests::site::Place;

async fn requests_arrive_as_sent_but_for_the_routes_changes(place: &Place, token: &str) {
    let echo = call("PUT", "/api/echo?a=1&b=%20x")
        .token(token)
        .header("x-drop-me", "please")
        .header("x-keep-me", "thanks")
        .header("x-tenant", "globex")
        .body("grüße")
        .send(place.http)
        .await;
    assert_eq!(echo.status, 200, "{echo:?}");
    assert_eq!(echo.header("x-served-by"), "here");
    let seen = echo.json();
    assert_eq!(
        (
            &seen["method"],
            &seen["path"],
            &seen["query"],
            &seen["length"]
        ),
        (
            &"PUT".into(),
            &"/echo".into(),
            &"a=1&b=%20x".into(),
            &7.into()
        )
    );
    let fields = seen["headers"].as_array().expect("a list");
    let all = |name: &str| -> Vec<&str> {
        let named = fields.iter().filter(|field| field[0] == name);
        named.filter_map(|field| field[1].as_str()).collect()
    };
    assert_eq!(all("x-keep-me"), ["thanks"]);
    assert_eq!(all("x-drop-me"), [""; 0]);
    assert_eq!(all("x-tenant"), ["acme"], "a client chose its tenant");
    assert_eq!(all("x-forwarded-proto"), ["http"]);
    assert_eq!(all("x-request-id"), [echo.header("x-request-id")]);
}

async fn bodies_stream_both_ways(place: &Place, token: &str) {
    let body = vec![b'x'; 1_500_000];
    let echo = call("POST", "/api/echo")
        .token(token)
        .body(body)
        .send(place.http)
        .await;
    assert_eq!(
        (echo.status, &echo.json()["length"]),
        (200, &1_500_000.into()),
        "{}",
        echo.status
    );
    let long = get("/api/stream?chunks=300&size=10000")
        .token(token)
        .send(place.http)
        .await;
    assert_eq!(long.body.len(), 3_000_000);
    assert!(
        long.body
            .chunks(10_000)
            .enumerate()
            .all(|(number, chunk)| { chunk.iter().all(|byte| usize::from(*byte) == number % 256) })
    );
    let head = call("HEAD", "/api/plants")
        .token(token)
        .send(place.http)
        .await;
    assert!(head.body.is_empty(), "{head:?}");
}

async fn curl_speaks_http2_over_tls(site: &Site, token: &str) {
    let place = &site.nodes[0];
    let ca = site.path("outside-ca.pem");
    let ca = ca.to_str().expect("a plain path");
    let field = format!("authorization: Bearer {token}");
    let base = format!("https://localhost:{}/api", place.https.port());
    let upload = site.path("upload");
    std::fs::write(&upload, vec![7; 1_000_000]).expect("written");
    let data = format!("@{}", upload.display());
    let (plants, echo) = (format!("{base}/plants/rose"), format!("{base}/echo"));
    let common = [
        "--http2",
        "--cacert",
        ca,
        "-H",
        &field,
        "-w",
        "\n%{http_version} %{http_code}",
    ];
    let got = curl(&[&common[..], &[&plants]].concat()).await.expect(0);
    assert_eq!(
        got.stdout,
        "{\"served_by\":\"plants\",\"plant\":\"rose\"}\n2 200"
    );
    let sent = curl(&[&common[..], &["--data-binary", &data, &echo]].concat())
        .await
        .expect(0);
    assert!(
        sent.stdout.contains("\"length\":1000000") && sent.stdout.ends_with("\n2 200"),
        "{sent:?}"
    );
    // Many streams on one connection.
    let many: Vec<String> = (0..50)
        .map(|number| format!("{base}/plants/{number}"))
        .collect();
    let urls: Vec<&str> = many.iter().map(String::as_str).collect();
    let parallel = [
        "--parallel",
        "--http2",
        "--cacert",
        ca,
        "-H",
        &field,
        "-w",
        "%{http_code} ",
    ];
    let ran = curl(&[&parallel[..], &urls].concat()).await.expect(0);
    assert_eq!(ran.stdout.matches("200 ").count(), 50, "{ran:?}");
}

async fn the_upstreams_own_answers_pass(place: &Place, token: &str) {
    for status in [201, 404, 418, 500, 503] {
        let answer = get(&format!("/api/status/{status}"))
            .token(token)
            .send(place.http)
            .await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            answer.header("content-type"),
            "application/json",
            "not the upstream's: {answer:?}"
        );
        assert_eq!(answer.header("x-request-id").len(), 32);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_gone_or_too_slow_is_told_from_a_refusal() {
    let site = Site::new("faults", &[("one", "here")]).await;
    let place = &site.nodes[0];
    let mut upstream = Upstream::start(&site.path(""), "upstream").await;
    let _node = site.start(place).await;
    let document = site
        .document(&[("here", upstream.address)])
        .replace("response: 5s", "response: 1s");
    site.apply(place, &document).await;
    let token = site.token("acme", "");
    ready(place.http, &token).await;
    let slow = get("/api/slow?ms=20000")
        .token(&token)
        .send(place.http)
        .await;
    slow.expect_problem(504, "upstream-timeout");
    upstream.process.signal("KILL").await;
    upstream.process.end(meridian_tests::wait::LONG).await;
    let gone = meridian_tests::wait::until(
        "the endpoint is known to be gone",
        meridian_tests::wait::LONG,
        async || {
            let answer = get("/api/plants").token(&token).send(place.http).await;
            if answer.status == 503 {
                Ok(answer)
            } else {
                Err(format!("{answer:?}"))
            }
        },
    )
    .await;
    gone.expect_problem(503, "no-healthy-upstream");
    assert!(
        gone.header("proxy-status").starts_with("meridian"),
        "{gone:?}"
    );
}
