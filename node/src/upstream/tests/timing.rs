//! Waits that end: deadlines, stalls, clients that leave.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::{io::AsyncReadExt, time::Instant};

use super::super::testing::{
    Count, Node, World, answer, fed, request, service, text, until, with_body,
};
use super::ONE;
use crate::{
    exchange::BodyError,
    problem::{Refusal, UpstreamFault},
};

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_is_a_timeout_after_the_documents_time() {
    let world = World::default();
    world.http1(ONE, |_| std::future::pending());
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let began = Instant::now();
    let refusal = node
        .send(&plant, request("GET"))
        .await
        .expect_err("nobody answers");
    assert_eq!(refusal, Refusal::UpstreamTimeout);
    assert_eq!(began.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_nobody_answers_ends_after_the_documents_time() {
    let world = World::default();
    let node = Node::start(&world, "eu-1", &[]);
    let mut settings = service(&[("eu", "192.0.2.1:80")]);
    settings.retries.attempts = 0;
    let plant = node.adopt(settings);
    let began = Instant::now();
    let refusal = node
        .send(&plant, request("GET"))
        .await
        .expect_err("nobody answers");
    assert_eq!(refusal, Refusal::UpstreamError(UpstreamFault::Connect));
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_long_upload_is_not_late_while_it_moves() {
    let world = World::default();
    world.http1(ONE, |request| async move {
        let length = request
            .into_body()
            .collect()
            .await
            .expect("it is sound")
            .to_bytes()
            .len();
        answer(200, length.to_string())
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let (feed, body) = fed();
    let upload = async move {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            feed.send(Ok(Frame::data(Bytes::from("piece"))))
                .await
                .expect("it is read");
        }
    };
    let (sent, ()) = tokio::join!(node.send(&plant, with_body("POST", body)), upload);
    assert_eq!(text(sent.expect("it is served").0).await, "50");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stalls_is_the_clients_fault() {
    let world = World::default();
    world.http1(ONE, |request| async move {
        let _ = request.into_body().collect().await;
        answer(200, "")
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let (_feed, body) = fed();
    let began = Instant::now();
    let refusal = node
        .send(&plant, with_body("POST", body))
        .await
        .expect_err("it stalls");
    assert_eq!(refusal, Refusal::SlowRequest);
    assert_eq!(began.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stalls_in_the_middle_ends() {
    let world = World::default();
    world.http1(ONE, |_| async {
        let (feed, body) = fed();
        feed.send(Ok(Frame::data(Bytes::from("begun"))))
            .await
            .expect("there is room");
        std::mem::forget(feed);
        http::Response::new(body)
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let (response, _) = node.send(&plant, request("GET")).await.expect("it answers");
    let mut body = response.into_body();
    assert!(body.frame().await.expect("it began").is_ok());
    let began = Instant::now();
    assert!(matches!(body.frame().await, Some(Err(BodyError::Stalled))));
    assert_eq!(began.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_the_exchange_at_the_upstream() {
    let world = World::default();
    let closed = Count::default();
    let counted = closed.clone();
    world.raw(ONE, move |mut stream| {
        let counted = counted.clone();
        async move {
            let mut heard = vec![0; 4096];
            while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
            counted.add();
        }
    });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let sending = node.send(&plant, request("GET"));
    assert!(
        tokio::time::timeout(Duration::from_secs(1), sending)
            .await
            .is_err()
    );
    until("the upstream sees the end", || closed.now() == 1).await;
    assert_eq!(plant.own[0].load(Instant::now().into_std()), Some(0));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_when_their_time_is_over() {
    let world = World::default();
    world.http1(ONE, |_| async { answer(200, "") });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let _ = node
        .send(&plant, request("GET"))
        .await
        .expect("it is served");
    assert_eq!(node.client.pool.idle(), 1);
    tokio::time::sleep(Duration::from_secs(36)).await;
    assert_eq!(node.client.pool.idle(), 0);
}

#[tokio::test(start_paused = true)]
async fn residency_refuses_before_anything_is_dialled() {
    let world = World::default();
    world.http1(ONE, |_| async { answer(200, "") });
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let refusal = node
        .send_within(&plant, &["us".into()], request("GET"))
        .await
        .expect_err("no endpoint lies there");
    assert!(matches!(refusal, Refusal::Residency(_)));
    assert_eq!(world.connected.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn one_slow_path_does_not_take_the_endpoint_out() {
    let world = World::default();
    world.http1(ONE, |_| std::future::pending());
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    for _ in 0..4 {
        let _ = node
            .send(&plant, request("GET"))
            .await
            .expect_err("nobody answers");
        assert_eq!(plant.healthy(), 1);
    }
    let _ = node
        .send(&plant, request("GET"))
        .await
        .expect_err("nobody answers");
    assert_eq!(plant.healthy(), 0);
}
