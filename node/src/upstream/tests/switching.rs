//! WebSockets, and switches that nobody asked for.

use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::Instant,
};

use super::super::{
    Destination, Errand,
    testing::{Node, World, request, service, until},
};
use super::ONE;
use crate::{
    exchange::{Body, BodyError},
    problem::Refusal,
};

/// An upstream that takes every WebSocket and sends back what it hears, until it hears the end.
pub(crate) async fn echo(mut stream: DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("it is text").to_lowercase();
    assert!(head.contains("upgrade: websocket"), "{head}");
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\nhello ";
    let _ = stream.write_all(switch).await;
    let mut heard = vec![0; 100];
    while let Ok(read @ 1..) = stream.read(&mut heard).await {
        let _ = stream.write_all(&heard[..read]).await;
    }
    let _ = stream.write_all(b" bye").await;
}

/// Opens a WebSocket through a node as a client would, says something, ends its half, and hears all.
pub(crate) async fn converse(node: &Node, plant: &std::sync::Arc<Destination>) -> String {
    let (mut ours, theirs) = tokio::io::duplex(4096);
    let (client, plant) = (node.client.clone(), std::sync::Arc::clone(plant));
    let edge = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (client, plant) = (client.clone(), std::sync::Arc::clone(&plant));
        async move {
            let errand = Errand {
                destination: &plant,
                zones: &[],
                tenant: None,
                request_id: "r",
                leave: None,
            };
            let request = request.map(|body| Body::new(body.map_err(|_| BodyError::Client)));
            let sent = client.send(errand, request).await;
            let (response, _) = sent.map_err(|unserved| unserved.refusal)?;
            Ok::<_, Refusal>(response)
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(theirs), edge)
        .with_upgrades();
    let talk = async move {
        let open =
            b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        ours.write_all(open).await.expect("the edge reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(ours.read_u8().await.expect("the edge answers"));
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        ours.write_all(b"ping").await.expect("the tunnel is open");
        ours.shutdown().await.expect("the tunnel is open");
        let mut heard = String::new();
        ours.read_to_string(&mut heard)
            .await
            .expect("the tunnel ends in order");
        heard
    };
    let (served, heard) = tokio::join!(serving, talk);
    served.expect("the edge served");
    heard
}

#[tokio::test(start_paused = true)]
async fn a_websocket_passes_with_its_half_close() {
    let world = World::default();
    world.raw(ONE, echo);
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    assert_eq!(converse(&node, &plant).await, "hello ping bye");
    until("the place is free again", || {
        plant.own[0].load(Instant::now().into_std()) == Some(0)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_switches_unasked_is_not_followed() {
    let world = World::default();
    world.raw(ONE, |mut stream| async move {
        let mut heard = vec![0; 4096];
        let _ = stream.read(&mut heard).await;
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        let _ = stream.write_all(switch).await;
        let _ = stream.read(&mut heard).await;
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let refusal = node
        .send(&plant, request("GET"))
        .await
        .expect_err("it is no answer");
    assert!(matches!(refusal, Refusal::UpstreamError(_)), "{refusal:?}");
}
