//! Which endpoint is chosen, and which is left out.

use std::time::Duration;

use meridian_config::document::{Balance, Health};
use tokio::time::Instant;

use super::super::{
    Errand,
    testing::{Count, Node, World, answer, request, service},
};
use super::{ONE, TWO, slam};
use crate::problem::{Refusal, UpstreamFault};

#[tokio::test(start_paused = true)]
async fn checks_take_an_endpoint_out_and_bring_it_back() {
    let world = World::default();
    let serve = |world: &World| world.http1(ONE, |_| async { answer(200, "") });
    serve(&world);
    let node = Node::start(&world, "eu-1", &[]);
    let mut settings = service(&[("eu", ONE)]);
    settings.health = Some(Health {
        path: "/health".into(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        healthy_after: 2,
        unhealthy_after: 2,
    });
    let plant = node.adopt(settings);
    let mut changes = node.upstreams.changes();
    changes.mark_unchanged();
    world.close(ONE);
    let began = Instant::now();
    changes.changed().await.expect("the node lives");
    assert!(began.elapsed() <= Duration::from_secs(2));
    assert_eq!(node.upstreams.healthy(&"plant".into()), 0);
    let refusal = node
        .send(&plant, request("GET"))
        .await
        .expect_err("none is healthy");
    assert_eq!(refusal, Refusal::NoHealthyUpstream);
    serve(&world);
    changes.changed().await.expect("the node lives");
    assert_eq!(node.upstreams.announcement(), [("plant".into(), 1)].into());
    let _ = node.send(&plant, request("GET")).await.expect("it is back");
}

#[tokio::test(start_paused = true)]
async fn without_checks_failed_requests_tell_and_one_trial_brings_it_back() {
    let world = World::default();
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", ONE)]));
    let refusal = node
        .send(&plant, request("GET"))
        .await
        .expect_err("nobody listens");
    assert_eq!(refusal, Refusal::UpstreamError(UpstreamFault::Connect));
    assert_eq!(plant.healthy(), 0);
    let refusal = node
        .send(&plant, request("GET"))
        .await
        .expect_err("still nobody");
    assert_eq!(refusal, Refusal::NoHealthyUpstream);
    tokio::time::sleep(Duration::from_secs(6)).await;
    world.http1(ONE, |_| async { answer(200, "") });
    let _ = node
        .send(&plant, request("GET"))
        .await
        .expect("the trial is good");
    assert_eq!(plant.healthy(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_well_a_silent_endpoint_is_tried_and_one_that_says_no_is_not() {
    let world = World::default();
    let node = Node::start(&world, "eu-1", &[]);
    let mut settings = service(&[("eu", ONE)]);
    settings.health = Some(Health {
        path: "/health".into(),
        interval: Duration::from_secs(60),
        timeout: Duration::from_millis(500),
        healthy_after: 2,
        unhealthy_after: 1,
    });
    let plant = node.adopt(settings.clone());
    let mut changes = node.upstreams.changes();
    changes.mark_unchanged();
    changes.changed().await.expect("the node lives");
    assert_eq!(plant.healthy(), 0, "nobody listens");
    // The next check is a minute away.
    world.http1(ONE, |_| async { answer(200, "") });
    let _ = node.send(&plant, request("GET")).await.expect("it serves");
    assert_eq!(plant.healthy(), 0, "checks decide");

    world.http1(TWO, |request| {
        let well = request.uri().path() != "/health";
        async move { answer(if well { 200 } else { 503 }, "") }
    });
    settings.endpoints = service(&[("eu", TWO)]).endpoints;
    let plant = node.adopt_at(2, settings);
    changes.mark_unchanged();
    changes.changed().await.expect("the node lives");
    let refusal = node
        .send(&plant, request("GET"))
        .await
        .expect_err("it asked for nothing to be sent");
    assert_eq!(refusal, Refusal::NoHealthyUpstream);
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_gets_requests_and_is_announced_once_a_check_of_it_was_good() {
    let world = World::default();
    // It takes requests and hangs, as a node that has just started cannot know.
    world.http1(ONE, |_| std::future::pending());
    world.http1(TWO, |_| async { answer(200, "") });
    let (eu, us) = (
        Node::start(&world, "eu-1", &["us-1"]),
        Node::start(&world, "us-1", &["eu-1"]),
    );
    let mut settings = service(&[("eu", ONE), ("us", TWO)]);
    settings.health = Some(Health {
        path: "/health".into(),
        interval: Duration::from_secs(60),
        timeout: Duration::from_millis(500),
        healthy_after: 2,
        unhealthy_after: 2,
    });
    us.adopt(settings.clone());
    let mut proven = us.upstreams.changes();
    proven.mark_unchanged();
    assert_eq!(us.upstreams.announcement(), [].into(), "nothing is known");
    let began = Instant::now();
    proven.changed().await.expect("the node lives");
    assert!(
        began.elapsed() < Duration::from_millis(200),
        "the first check waits for no interval"
    );
    let announced = us.upstreams.announcement();
    assert_eq!(announced, [("plant".into(), 1)].into());

    eu.believe(|view| {
        let us = view.members.get_mut("us-1").expect("it is a member");
        us.announced.services = announced;
    });
    let plant = eu.adopt(settings);
    let (_, served) = eu.send(&plant, request("GET")).await.expect("us serves");
    assert_eq!(served.region, "us".into());
    assert_eq!(eu.upstreams.announcement(), [].into());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_keeps_its_health_from_one_revision_to_the_next() {
    let world = World::default();
    let node = Node::start(&world, "eu-1", &[]);
    let settings = service(&[("eu", ONE)]);
    let plant = node.adopt(settings.clone());
    let _ = node
        .send(&plant, request("GET"))
        .await
        .expect_err("nobody listens");
    let again = node.adopt_at(2, settings);
    assert_eq!((again.healthy(), again.revision), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn the_less_loaded_of_two_gets_the_next_request() {
    let world = World::default();
    let (slow, fast) = (Count::default(), Count::default());
    let counted = slow.clone();
    world.http1(ONE, move |_| {
        counted.add();
        async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            answer(200, "")
        }
    });
    let counted = fast.clone();
    world.http1(TWO, move |_| {
        counted.add();
        async { answer(200, "") }
    });
    let node = Node::start(&world, "eu-1", &[]);
    let mut settings = service(&[("eu", ONE), ("eu", TWO)]);
    settings.balance = Balance::LeastLoaded;
    let plant = node.adopt(settings);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (client, plant) = (node.client.clone(), std::sync::Arc::clone(&plant));
        all.spawn(async move {
            let errand = Errand {
                destination: &plant,
                zones: &[],
                tenant: None,
                request_id: "r",
                leave: None,
            };
            client.send(errand, request("GET")).await.map(|_| ())
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for ended in all.join_all().await {
        ended.expect("it is served");
    }
    // The slow one is busy from its first request on; ties alone bring it more.
    assert!(
        slow.now() <= 2 && fast.now() >= 48,
        "{} {}",
        slow.now(),
        fast.now()
    );
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_once_for_half_a_minute() {
    let world = World::default();
    world.raw(ONE, slam);
    let at = ONE.parse().expect("it is an address");
    world
        .names
        .lock()
        .expect("no panic")
        .insert("plant.test".into(), vec![at]);
    let node = Node::start(&world, "eu-1", &[]);
    let plant = node.adopt(service(&[("eu", "plant.test:80")]));
    let _ = node.send(&plant, request("POST")).await;
    let _ = node.send(&plant, request("POST")).await;
    assert_eq!(world.resolved.load(std::sync::atomic::Ordering::SeqCst), 1);
    tokio::time::sleep(Duration::from_secs(31)).await;
    let _ = node.send(&plant, request("POST")).await;
    assert_eq!(world.resolved.load(std::sync::atomic::Ordering::SeqCst), 2);
}
