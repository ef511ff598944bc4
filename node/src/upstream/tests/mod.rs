//! Requests to endpoints of the own region: real HTTP over in-memory streams, on paused time.

mod healthy;
mod retrying;
mod secure;
pub(crate) mod switching;
mod timing;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use meridian_config::document::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::testing::{Node, World, answer, fed, request, service, text, with_body};
use crate::{
    exchange::{Body, BodyError},
    problem::{Refusal, UpstreamFault},
};

const ONE: &str = "10.0.0.1:80";
const TWO: &str = "10.0.0.2:80";

/// Reads a request's head and then drops the connection.
async fn slam(mut stream: DuplexStream) {
    let mut heard = vec![0; 4096];
    let _ = stream.read(&mut heard).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_back_and_its_connection_serves_again() {
    let world = World::default();
    world.http1(ONE, |request| async move {
        let host = request.headers()["host"]
            .to_str()
            .unwrap_or_default()
            .to_owned();
        answer(
            200,
            format!("{} {} {host}", request.method(), request.uri()),
        )
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    for _ in 0..3 {
        let (response, served) = node.send(&plant, request("GET")).await.expect("it answers");
        assert_eq!(text(response).await, "GET /plants?x=1 10.0.0.1");
        assert_eq!((served.endpoint.as_str(), served.retries), ("10.0.0.1", 0));
        assert_eq!(served.region.as_str(), "eu");
    }
    assert_eq!(world.connected.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(node.client.pool.idle(), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_without_a_body_give_the_connection_back_too() {
    let world = World::default();
    world.http1(ONE, |request| async move {
        match request.method().as_str() {
            "HEAD" => answer(200, "never sent"),
            "DELETE" => answer(204, ""),
            _ => answer(304, ""),
        }
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    for (method, status) in [("HEAD", 200), ("DELETE", 204), ("GET", 304)] {
        let (response, _) = node
            .send(&plant, request(method))
            .await
            .expect("it answers");
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(text(response).await, "");
    }
    assert_eq!(world.connected.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn bodies_stream_both_ways_with_trailers() {
    let world = World::default();
    world.http1(ONE, |request| async move {
        let mut response = http::Response::new(Body::new(
            request
                .into_body()
                .map_err(|error| BodyError::Upstream(error.to_string())),
        ));
        response
            .headers_mut()
            .insert("trailer", http::HeaderValue::from_static("x-sum"));
        response
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let (feed, body) = fed();
    let mut request = with_body("POST", body);
    request
        .headers_mut()
        .insert("te", http::HeaderValue::from_static("trailers"));
    request
        .headers_mut()
        .insert("trailer", http::HeaderValue::from_static("x-sum"));
    let (response, _) = node
        .send(&plant, request)
        .await
        .expect("it answers before the body ends");
    let mut body = response.into_body();
    for piece in ["one", "two"] {
        feed.send(Ok(Frame::data(Bytes::from(piece))))
            .await
            .expect("it is read");
        let back = body
            .frame()
            .await
            .expect("more comes")
            .expect("it is sound");
        assert_eq!(back.into_data().expect("it is data"), piece);
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("6"));
    feed.send(Ok(Frame::trailers(trailers.clone())))
        .await
        .expect("it is read");
    drop(feed);
    let back = body
        .frame()
        .await
        .expect("more comes")
        .expect("it is sound");
    assert_eq!(back.into_trailers().expect("they are trailers"), trailers);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn http2_shares_one_connection_and_passes_trailers() {
    let world = World::default();
    world.http2(ONE, |request| async move {
        assert_eq!(
            request.uri().authority().map(|host| host.as_str()),
            Some("10.0.0.1")
        );
        assert_eq!(request.headers()["te"], "trailers");
        let (feed, body) = fed();
        feed.send(Ok(Frame::data(Bytes::from("message"))))
            .await
            .expect("there is room");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        feed.send(Ok(Frame::trailers(trailers)))
            .await
            .expect("there is room");
        http::Response::new(body)
    });
    let node = Node::start(&world, "eu-1", &[]);
    let mut settings = service(&[("eu", ONE)]);
    settings.protocol = Protocol::Http2;
    let plant = node.adopt(settings);
    for _ in 0..3 {
        let mut request = request("POST");
        request
            .headers_mut()
            .insert("te", http::HeaderValue::from_static("trailers"));
        let (response, _) = node.send(&plant, request).await.expect("it is served");
        let all = response.into_body().collect().await.expect("it is sound");
        let trailers = all.trailers().cloned().expect("there are trailers");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(all.to_bytes(), "message");
    }
    assert_eq!(world.connected.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_http_is_a_protocol_fault() {
    let world = World::default();
    world.raw(ONE, |mut stream| async move {
        let mut heard = vec![0; 4096];
        let _ = stream.read(&mut heard).await;
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await;
        let _ = stream.read(&mut heard).await;
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let refusal = node
        .send(&plant, request("GET"))
        .await
        .expect_err("it is mail");
    assert_eq!(refusal, Refusal::UpstreamError(UpstreamFault::Protocol));
}
