//! Requests that a peer in another region serves.

mod failing;
mod over_fabric;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Frame as Piece;
use meridian_cluster::membership::Liveness;
use meridian_config::{
    document::{Protocol, Service},
    name::Zone,
};

use crate::{
    exchange::{Body, BodyError},
    problem::Refusal,
    upstream::{
        Destination,
        testing::{Node, World, answer, fed, full, request, service, text, with_body},
        tests::switching::{converse, echo},
    },
};

const US: &str = "10.1.0.1:80";
const AP: &str = "10.2.0.1:80";
const NODES: [&str; 3] = ["eu-1", "us-1", "ap-1"];

/// Three regions with a node each, and the service as each of them sees it. `eu` has no endpoint; `us` is
/// the nearer of the other two.
struct Three {
    world: World,
    nodes: Vec<(Node, Arc<Destination>)>,
}

impl Three {
    fn start(settings: &Service) -> Self {
        let world = World::default();
        let nodes = NODES
            .map(|id| {
                let peers: Vec<_> = NODES.into_iter().filter(|peer| *peer != id).collect();
                let node = Node::start(&world, id, &peers);
                let plant = node.adopt(settings.clone());
                (node, plant)
            })
            .into();
        Self { world, nodes }
    }

    fn eu(&self) -> (&Node, &Arc<Destination>) {
        (&self.nodes[0].0, &self.nodes[0].1)
    }
}

fn everywhere_else() -> Service {
    service(&[("us", US), ("ap", AP)])
}

fn names(world: &World) {
    for (at, region) in [(US, "us"), (AP, "ap")] {
        world.http1(at, move |request| async move {
            let body = request
                .into_body()
                .collect()
                .await
                .map(|all| all.to_bytes());
            match body {
                Ok(body) => answer(200, format!("{region} {}", String::from_utf8_lossy(&body))),
                Err(_) => answer(400, "cut off"),
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn the_nearest_region_serves_what_the_own_one_cannot() {
    let three = Three::start(&everywhere_else());
    names(&three.world);
    let (eu, plant) = three.eu();
    for (sent, expected) in [
        (request("GET"), "us "),
        (with_body("POST", full("small")), "us small"),
        (with_body("PUT", full("small")), "us small"),
    ] {
        let (response, served) = eu.send(plant, sent).await.expect("it is served");
        assert_eq!(text(response).await, expected);
        assert_eq!(
            (served.region.as_str(), served.endpoint.as_str()),
            ("us", "10.1.0.1")
        );
        assert_eq!(served.retries, 0);
    }
    // The own region has no endpoint: going elsewhere is no failover.
    assert_eq!(eu.failovers(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_forwarded_get_looks_like_at_the_upstream() {
    let three = Three::start(&everywhere_else());
    three.world.http1(US, |request| async move {
        let mut names: Vec<_> = request
            .headers()
            .keys()
            .map(|name| name.to_string())
            .collect();
        names.sort();
        let target = request.uri().to_string();
        let mut response = answer(201, format!("{} {target} {names:?}", request.method()));
        response
            .headers_mut()
            .append("set-cookie", http::HeaderValue::from_static("a=1"));
        response
            .headers_mut()
            .append("set-cookie", http::HeaderValue::from_static("b=2"));
        response
    });
    let (eu, plant) = three.eu();
    let mut asked = request("GET");
    asked
        .headers_mut()
        .insert("host", http::HeaderValue::from_static("api.test"));
    let (response, _) = eu.send(plant, asked).await.expect("it is served");
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    // Neither a length nor chunks: a GET without a body stays one.
    assert_eq!(text(response).await, r#"GET /plants?x=1 ["host"]"#);
}

#[tokio::test(start_paused = true)]
async fn an_own_region_that_fails_hands_over_and_is_counted() {
    let three = Three::start(&service(&[("eu", "10.0.0.1:80"), ("us", US)]));
    names(&three.world);
    let (eu, plant) = three.eu();
    let (response, served) = eu
        .send(plant, with_body("POST", full("x")))
        .await
        .expect("it is served");
    assert_eq!((text(response).await.as_str(), served.retries), ("us x", 1));
    assert_eq!(eu.failovers(), ["eu>us"]);
}

#[tokio::test(start_paused = true)]
async fn a_large_body_streams_both_ways_unharmed() {
    let three = Three::start(&everywhere_else());
    three.world.http1(US, |request| async move {
        let body = request
            .into_body()
            .map_err(|error| BodyError::Upstream(error.to_string()));
        http::Response::new(Body::new(body))
    });
    let (eu, plant) = three.eu();
    let sent: Bytes = (0..1_000_000_u32)
        .flat_map(u32::to_le_bytes)
        .collect::<Vec<u8>>()
        .into();
    let (response, _) = eu
        .send(plant, with_body("POST", full(sent.clone())))
        .await
        .expect("it is served");
    let back = response
        .into_body()
        .collect()
        .await
        .expect("it is sound")
        .to_bytes();
    assert!(back == sent);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_streams_both_ways_and_ends_with_trailers() {
    let mut settings = everywhere_else();
    settings.protocol = Protocol::Http2;
    let three = Three::start(&settings);
    three.world.http2(US, |request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let (feed, body) = fed();
        let mut asked = request.into_body();
        let mut response = http::Response::new(body);
        response.headers_mut().insert(
            "content-type",
            http::HeaderValue::from_static("application/grpc"),
        );
        let echo = async move {
            while let Some(Ok(piece)) = asked.frame().await {
                if feed.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            let _ = feed.send(Ok(Piece::trailers(trailers))).await;
        };
        TASKS.with(|tasks| tasks.spawn(echo));
        response
    });
    let (eu, plant) = three.eu();
    let (feed, body) = fed();
    let mut call = with_body("POST", body);
    call.headers_mut()
        .insert("te", http::HeaderValue::from_static("trailers"));
    let (response, _) = eu.send(plant, call).await.expect("headers come first");
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let mut body = response.into_body();
    for message in ["one", "two"] {
        feed.send(Ok(Piece::data(Bytes::from(message))))
            .await
            .expect("it is read");
        let back = body
            .frame()
            .await
            .expect("more comes")
            .expect("it is sound");
        assert_eq!(back.into_data().expect("it is data"), message);
    }
    drop(feed);
    let end = body
        .frame()
        .await
        .expect("more comes")
        .expect("it is sound");
    assert_eq!(
        end.into_trailers().expect("they are trailers")["grpc-status"],
        "0"
    );
    assert!(body.frame().await.is_none());
}

thread_local! {
    /// Tasks of upstreams in these tests.
    static TASKS: tokio_util::task::TaskTracker = tokio_util::task::TaskTracker::new();
}

#[tokio::test(start_paused = true)]
async fn a_websocket_passes_to_another_region_with_its_half_close() {
    let three = Three::start(&everywhere_else());
    three.world.raw(US, echo);
    let (eu, plant) = three.eu();
    assert_eq!(converse(eu, plant).await, "hello ping bye");
}

#[tokio::test(start_paused = true)]
async fn residency_goes_where_it_must_and_stops_where_it_must() {
    let three = Three::start(&service(&[("eu", "10.0.0.1:80"), ("us", US), ("ap", AP)]));
    names(&three.world);
    three
        .world
        .http1("10.0.0.1:80", |_| async { answer(200, "eu") });
    let (eu, plant) = three.eu();
    let india: [Zone; 1] = ["ap".into()];
    let (response, served) = eu
        .send_within(plant, &india, request("GET"))
        .await
        .expect("it is served there");
    assert_eq!(
        (text(response).await.as_str(), served.region.as_str()),
        ("ap ", "ap")
    );
    three.world.close(AP);
    // The connection that is open still serves; let it grow too old.
    tokio::time::sleep(Duration::from_secs(40)).await;
    let refusal = eu
        .send_within(plant, &india, request("GET"))
        .await
        .expect_err("it is down");
    assert!(
        matches!(refusal, Refusal::ResidencyUnavailable(_)),
        "{refusal:?}"
    );
    eu.believe(|view| {
        view.members.get_mut("ap-1").expect("it is known").liveness = Liveness::Down;
        view.regions.get_mut("ap").expect("it is known").liveness = Liveness::Down;
    });
    let refusal = eu
        .send_within(plant, &india, request("GET"))
        .await
        .expect_err("it is down");
    assert!(
        matches!(refusal, Refusal::ResidencyUnavailable(_)),
        "{refusal:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn many_at_once_keep_apart() {
    let three = Three::start(&everywhere_else());
    names(&three.world);
    let (eu, plant) = three.eu();
    let all = (0..100).map(|number| async move {
        let sent: Request<Body> = with_body("POST", full(format!("n{number}")));
        let (response, _) = eu.send(plant, sent).await.expect("it is served");
        assert_eq!(text(response).await, format!("us n{number}"));
    });
    futures_util::future::join_all(all).await;
}
