//! What is tried again, and what is not.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::testing::{
    Count, Node, World, answer, fed, full, request, service, text, with_body,
};
use super::{ONE, TWO, slam};
use crate::{
    exchange::BodyError,
    problem::{Refusal, UpstreamFault},
};

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_tried_elsewhere_whatever_the_method() {
    let world = World::default();
    world.http1(TWO, |request| async move {
        answer(
            200,
            request
                .into_body()
                .collect()
                .await
                .expect("it is sound")
                .to_bytes(),
        )
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE), ("eu", TWO)]));
    for _ in 0..2 {
        let (feed, body) = fed();
        feed.send(Ok(Frame::data(Bytes::from("streamed"))))
            .await
            .expect("there is room");
        drop(feed);
        let (response, _) = node
            .send(&plant, with_body("POST", body))
            .await
            .expect("it is served");
        assert_eq!(text(response).await, "streamed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_never_repeated_after_it_left() {
    let world = World::default();
    let seen = Count::default();
    for at in [ONE, TWO] {
        let seen = seen.clone();
        world.raw(at, move |stream| {
            seen.add();
            slam(stream)
        });
    }
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE), ("eu", TWO)]));
    let refusal = node
        .send(&plant, with_body("POST", full("pay")))
        .await
        .expect_err("it breaks");
    assert_eq!(refusal, Refusal::UpstreamError(UpstreamFault::Reset));
    assert_eq!(seen.now(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_get_and_a_keyed_post_are_repeated_after_a_reset() {
    let world = World::default();
    world.raw(ONE, slam);
    world.http1(TWO, |request| async move {
        answer(
            200,
            request
                .into_body()
                .collect()
                .await
                .expect("it is sound")
                .to_bytes(),
        )
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE), ("eu", TWO)]));
    let (response, served) = node
        .send(&plant, request("GET"))
        .await
        .expect("it is repeated");
    assert_eq!((text(response).await.as_str(), served.retries), ("", 1));
    // In turn the next would be `TWO` again after the retry; start at `ONE` once more.
    let _ = node
        .send(&plant, request("GET"))
        .await
        .expect("it is served");
    let mut keyed = with_body("POST", full("pay"));
    keyed
        .headers_mut()
        .insert("idempotency-key", http::HeaderValue::from_static("\"k\""));
    let (response, _) = node.send(&plant, keyed).await.expect("it is repeated");
    assert_eq!(text(response).await, "pay");
}

#[tokio::test(start_paused = true)]
async fn a_put_whose_body_is_gone_is_not_repeated() {
    let world = World::default();
    world.raw(ONE, slam);
    world.raw(TWO, slam);
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE), ("eu", TWO)]));
    let large = full(vec![7; 200_000]);
    let refusal = node
        .send(&plant, with_body("PUT", large))
        .await
        .expect_err("it breaks");
    assert_eq!(refusal, Refusal::UpstreamError(UpstreamFault::Reset));
    assert_eq!(world.connected.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_503_is_tried_elsewhere_and_the_last_one_is_passed_on() {
    let world = World::default();
    let seen = Count::default();
    let counted = seen.clone();
    world.http1(ONE, move |_| {
        counted.add();
        async { answer(503, "busy") }
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let (response, served) = node.send(&plant, request("GET")).await.expect("it answers");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(response).await, "busy");
    assert_eq!((served.retries, seen.now()), (2, 3));
    let (response, served) = node
        .send(&plant, request("POST"))
        .await
        .expect("it answers");
    assert_eq!((response.status().as_u16(), served.retries), (503, 0));
}

#[tokio::test(start_paused = true)]
async fn retries_stay_within_their_budget() {
    let world = World::default();
    let seen = Count::default();
    let counted = seen.clone();
    // Every other answer is good, so that the endpoint stays in.
    world.http1(ONE, move |_| {
        let status = if counted.add() % 2 == 0 { 200 } else { 503 };
        async move { answer(status, "") }
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    for _ in 0..200 {
        let _ = node.send(&plant, request("GET")).await.expect("it answers");
    }
    let retries = seen.now() - 200;
    assert!(
        (40..=50).contains(&retries),
        "20 % and a floor of 10: {retries}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_clients_broken_body_is_not_the_upstreams_failure() {
    let world = World::default();
    world.http1(ONE, |request| async move {
        let _ = request.into_body().collect().await;
        answer(200, "")
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    for _ in 0..5 {
        let (feed, body) = fed();
        feed.send(Err(BodyError::TooLarge { limit: 9 }))
            .await
            .expect("there is room");
        let refusal = node
            .send(&plant, with_body("POST", body))
            .await
            .expect_err("it is cut");
        assert_eq!(refusal, Refusal::BodyTooLarge { limit: 9 });
    }
    assert_eq!(plant.healthy(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_the_upstream_closed_costs_a_post_nothing() {
    let world = World::default();
    world.raw(ONE, |mut stream| async move {
        let mut heard = vec![0; 4096];
        let _ = stream.read(&mut heard).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
        // And closes without having said so.
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    for _ in 0..3 {
        let (response, _) = node
            .send(&plant, request("POST"))
            .await
            .expect("it is served");
        assert_eq!(text(response).await, "ok");
    }
    assert_eq!(plant.healthy(), 1);
}
