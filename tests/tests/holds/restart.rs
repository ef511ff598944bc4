//! Nodes that stop and start again.

use std::time::Duration;

use meridian_tests::{
    dev::Dev,
    http::{Wire, get},
    peer::{Upstream, WebSocket},
    site::Site,
    wait::{LONG, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_cluster_starts_again_with_the_document_it_had() {
    let dev = Dev::start().await;
    let node = dev.node("eu-west");
    let path = dev.folder().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("the applied document");
    let marked = format!(
        "{text}  kept: {{ match: {{ path: /v1/kept }}, respond: {{ status: 204 }}, exempt: [auth] }}\n"
    );
    std::fs::write(&path, marked).expect("written");
    dev.admin(
        &node,
        &[
            "apply",
            "-f",
            path.to_str().expect("a plain path"),
            "--wait",
            "20s",
        ],
    )
    .await
    .expect(0);
    let before = dev.status(&node).await;
    let folder = dev.stop().await;

    let dev = Dev::start_in(folder).await;
    for node in dev.nodes() {
        assert_eq!(
            dev.status(&node).await["serving"],
            before["serving"],
            "at {}",
            node.id
        );
        assert_eq!(get("/v1/kept").send(node.http).await.status, 204);
    }
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_with_nobody_else_alive_serves_its_last_revision() {
    let dev = Dev::start().await;
    let token = dev.token("acme", &["plants:read"]).await;
    for region in ["eu-west", "us-east", "ap-south"] {
        dev.dev(&["kill", region]).await.expect(0);
    }
    assert!(
        dev.nodes().iter().all(|node| node.pid.is_none()),
        "{:?}",
        dev.nodes()
    );
    dev.dev(&["start", "ap-south"]).await.expect(0);
    let alone = dev.node("ap-south");
    let request = get("/v1/plants").token(&token);
    let answer = alone
        .eventually(&request, LONG, |answer| answer.status == 200)
        .await;
    assert_eq!(answer.json()["region"], "ap-south");
    dev.stop().await;
}

/// The contract is two seconds from the start of the process to its first answer. A debug build beside
/// other tests on a few shared cores is allowed more, and what it took is printed.
const ALONE_MAX: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_node_serves_soon_says_degraded_and_merges_back() {
    let site = Site::new("alone", &[("a", "ra"), ("b", "rb"), ("c", "rc")]).await;
    let document = |word: &str| {
        format!(
            "meridian: 1\nregions: {{ ra: {{}}, rb: {{}}, rc: {{}} }}\nroutes:\n  open: {{ match: {{ path: /{word} }}, respond: {{ status: 200 }}, exempt: [auth, limits] }}\n"
        )
    };
    let mut nodes = Vec::new();
    for place in &site.nodes {
        nodes.push(site.start(place).await);
    }
    site.apply(&site.nodes[0], &document("one")).await;
    for mut node in nodes.drain(..) {
        node.signal("KILL").await;
        node.end(LONG).await;
    }

    let alone = &site.nodes[2];
    let begun = std::time::Instant::now();
    nodes.push(site.spawn(alone));
    until("it serves", LONG, async || {
        let answer = get("/one").try_send(alone.http).await?;
        (answer.status == 200)
            .then_some(())
            .ok_or(format!("{answer:?}"))
    })
    .await;
    let took = begun.elapsed();
    println!("alone, the first answer came {took:?} after the process was started");
    assert!(took < ALONE_MAX, "{took:?}");
    let ready = get("/readyz").send(alone.admin).await;
    assert_eq!(
        (ready.status, ready.json()["status"].as_str()),
        (200, Some("degraded"))
    );
    let health = get("/healthz?verbose").send(alone.admin).await.json();
    assert_eq!(
        (&health["quorum"], health["revision"].as_u64()),
        (&false.into(), Some(1)),
        "{health}"
    );
    let status = site.status(alone).await;
    assert_eq!(
        (&status["stale"], status["serving"]["revision"].as_u64()),
        (&true.into(), Some(1))
    );
    let file = site.path("gateway.yaml");
    std::fs::write(&file, document("two")).expect("written");
    let file = file.to_str().expect("a plain path");
    let begun = std::time::Instant::now();
    let ran = site.admin(alone, &["apply", "-f", file]).await.expect(4);
    println!(
        "alone, `apply` ended after {:?}: {}",
        begun.elapsed(),
        ran.stderr.trim()
    );

    for place in &site.nodes[..2] {
        nodes.push(site.start(place).await);
    }
    site.apply(alone, &document("two")).await;
    for place in &site.nodes {
        assert_eq!(
            get("/two").send(place.http).await.status,
            200,
            "at {}",
            place.id
        );
    }
    until("it is whole again", LONG, async || {
        let ready = get("/readyz").try_send(alone.admin).await?.json();
        (ready["status"] == "ready")
            .then_some(())
            .ok_or(ready.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_stop_finishes_what_it_has_begun() {
    let site = Site::new("drain", &[("one", "here")]).await;
    let place = &site.nodes[0];
    let upstream = Upstream::start(&site.path(""), "upstream").await;
    let mut node = site.start(place).await;
    site.apply(place, &site.document(&[("here", upstream.address)]))
        .await;
    let token = site.token("acme", "");
    ready(place.http, &token).await;

    let mut wire = Wire::open(place.http).await.expect("a connection");
    let slow = get("/api/slow?ms=1500").token(&token);
    let running = tokio::spawn(async move { wire.send(&slow, LONG).await });
    until("the request runs", LONG, async || {
        let status = site.status(place).await;
        if status["nodes"][0]["load"].as_u64() >= Some(1) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    node.signal("TERM").await;
    let answer = running
        .await
        .expect("no panic")
        .expect("an answer while draining");
    assert_eq!(answer.status, 200, "{answer:?}");
    let status = node.end(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{}", node.stderr());
    assert!(
        get("/open").try_send(place.http).await.is_err(),
        "it still listens"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_goes_on_while_its_node_drains_and_the_node_ends_with_it() {
    let site = Site::new("tunnel", &[("one", "here")]).await;
    let place = &site.nodes[0];
    let upstream = Upstream::start(&site.path(""), "upstream").await;
    let mut node = site.start(place).await;
    site.apply(place, &site.document(&[("here", upstream.address)]))
        .await;
    let token = site.token("acme", "");
    ready(place.http, &token).await;

    let mut socket = WebSocket::open(place.http, "/api/ws", &token).await;
    assert_eq!(socket.echo("before").await, "before");
    node.signal("TERM").await;
    until("the node says that it drains", LONG, async || {
        let answer = get("/readyz").try_send(place.admin).await?;
        if answer.status == 503 && answer.json()["status"] == "draining" {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
    // Longer than all that it waits for besides.
    let told = tokio::time::Instant::now();
    let mut count = 0;
    while told.elapsed() < Duration::from_secs(3) {
        let sent = format!("while it drains {count}");
        assert_eq!(socket.echo(&sent).await, sent);
        node.must_run();
        count += 1;
    }
    assert!(
        get("/open").try_send(place.http).await.is_err(),
        "it still listens"
    );
    drop(socket);
    let status = node.end(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{}", node.stderr());
    assert!(!node.stderr().contains("broken off"), "{}", node.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_has_lost_nothing_that_it_acknowledged() {
    let site = Site::new("killed", &[("one", "here")]).await;
    let place = &site.nodes[0];
    let upstream = Upstream::start(&site.path(""), "upstream").await;
    let mut node = site.start(place).await;
    let document = site.document(&[("here", upstream.address)]);
    for round in 0..3 {
        site.apply(place, &format!("{document}# round {round}\n"))
            .await;
        node.signal("KILL").await;
        node.end(LONG).await;
        node = site.start(place).await;
        let exported = site.admin(place, &["export"]).await.expect(0).stdout;
        assert!(
            exported.contains(&format!("# round {round}\n")),
            "round {round} is lost: {exported}"
        );
        ready(place.http, &site.token("acme", "")).await;
    }
    node.signal("TERM").await;
    assert_eq!(node.end(LONG).await.code(), Some(0));
}

/// Waits until the upstream answers through the gateway.
pub(crate) async fn ready(at: std::net::SocketAddr, token: &str) {
    until(
        "the upstream answers through the gateway",
        LONG,
        async || {
            let answer = get("/api/plants").token(token).try_send(at).await?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        },
    )
    .await;
}
