//! What happens when a peer, an upstream or a client fails on the way.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame as Piece;
use tokio::{io::AsyncReadExt, time::Instant};

use crate::{
    exchange::{Body, BodyError},
    problem::{Refusal, UpstreamFault},
    upstream::{
        Destination,
        testing::{Count, fed, full, request, service, text, until, with_body},
    },
};

use super::{AP, TASKS, Three, US, everywhere_else, names};

/// A body of no stated length that ends.
fn unstated(text: &'static str) -> Body {
    let (feed, body) = fed();
    feed.try_send(Ok(Piece::data(Bytes::from(text))))
        .expect("there is room");
    body
}

#[tokio::test(start_paused = true)]
async fn a_region_whose_endpoints_are_gone_says_so_and_the_next_one_serves_even_a_post() {
    let three = Three::start(&everywhere_else());
    names(&three.world);
    three.world.close(US);
    let (eu, plant) = three.eu();
    for body in [
        full("small"),
        full(vec![b'x'; 100_000]),
        unstated("streamed"),
    ] {
        let (response, served) = eu
            .send(plant, with_body("POST", body))
            .await
            .expect("it is served");
        assert!(text(response).await.starts_with("ap "));
        assert_eq!(served.region.as_str(), "ap");
    }
    assert_eq!(eu.failovers()[0], "us>ap");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_there_is_passed_over() {
    let three = Three::start(&everywhere_else());
    names(&three.world);
    three.world.kill("us-1");
    let (eu, plant) = three.eu();
    let (response, _) = eu
        .send(plant, with_body("POST", full("x")))
        .await
        .expect("it is served");
    assert_eq!(text(response).await, "ap x");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_could_not_be_reached_in_time_is_tried_once_more_before_a_refusal() {
    let three = Three::start(&service(&[("us", US)]));
    names(&three.world);
    let (eu, plant) = three.eu();
    three.world.lose_dials("us-1", 1);
    let (response, served) = eu
        .send(plant, with_body("POST", full("x")))
        .await
        .expect("it is served");
    assert_eq!((text(response).await.as_str(), served.retries), ("us x", 1));
    // Once, and then it is refused.
    three.world.lose_dials("us-1", 2);
    let refused = eu.send(plant, with_body("POST", full("x"))).await;
    assert_eq!(refused.err(), Some(Refusal::NoHealthyUpstream));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_dies_fails_a_post_that_may_have_acted_and_repeats_a_get() {
    let three = Three::start(&everywhere_else());
    names(&three.world);
    let seen = Count::default();
    let counted = seen.clone();
    three.world.http1(US, move |_| {
        counted.add();
        std::future::pending()
    });
    let (eu, plant) = three.eu();
    let post = eu.send(plant, with_body("POST", full("pay")));
    let get = eu.send(plant, request("GET"));
    let kill = async {
        until("both have arrived", || seen.now() == 2).await;
        three.world.kill("us-1");
    };
    let (post, get, ()) = tokio::join!(post, get, kill);
    assert_eq!(
        post.expect_err("it may have acted"),
        Refusal::UpstreamError(UpstreamFault::Reset)
    );
    assert_eq!(text(get.expect("it is repeated").0).await, "ap ");
}

#[tokio::test(start_paused = true)]
async fn a_post_whose_peer_falls_silent_before_it_was_ready_goes_elsewhere() {
    // The endpoint of `us` accepts no connection and refuses none, so the peer is never ready.
    let three = Three::start(&service(&[("us", "192.0.2.1:80"), ("ap", AP)]));
    names(&three.world);
    let (eu, plant) = three.eu();
    let post = eu.send(plant, with_body("POST", full("pay")));
    let kill = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        three.world.kill("us-1");
    };
    let (post, ()) = tokio::join!(post, kill);
    assert_eq!(text(post.expect("nobody has acted").0).await, "ap pay");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_the_exchange_in_the_other_region() {
    let three = Three::start(&everywhere_else());
    let closed = Count::default();
    let counted = closed.clone();
    three.world.raw(US, move |mut stream| {
        let counted = counted.clone();
        async move {
            let mut heard = vec![0; 4096];
            while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
            counted.add();
        }
    });
    let (eu, plant) = three.eu();
    let sending = eu.send(plant, request("GET"));
    assert!(
        tokio::time::timeout(Duration::from_secs(1), sending)
            .await
            .is_err()
    );
    until("the upstream sees the end", || closed.now() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_the_middle_of_an_answer_ends_it_too() {
    let three = Three::start(&everywhere_else());
    let ended = Count::default();
    let counted = ended.clone();
    three.world.http1(US, move |_| {
        let (feed, body) = fed();
        let counted = counted.clone();
        TASKS.with(|tasks| {
            tasks.spawn(async move {
                while feed
                    .send(Ok(Piece::data(Bytes::from(vec![1; 10_000]))))
                    .await
                    .is_ok()
                {}
                counted.add();
            })
        });
        async move { http::Response::new(body) }
    });
    let (eu, plant) = three.eu();
    let (response, _) = eu.send(plant, request("GET")).await.expect("it begins");
    let mut body = response.into_body();
    for _ in 0..50 {
        assert!(body.frame().await.expect("it is endless").is_ok());
    }
    drop(body);
    until("the upstream stops", || ended.now() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_breaks_off_its_answer_is_noticed_two_regions_on() {
    let three = Three::start(&everywhere_else());
    three.world.http1(US, |_| {
        let (feed, body) = fed();
        TASKS.with(|tasks| {
            tasks.spawn(async move {
                let _ = feed.send(Ok(Piece::data(Bytes::from("half")))).await;
                // Else hyper closes before it has written what came just now.
                tokio::time::sleep(Duration::from_millis(10)).await;
                let _ = feed.send(Err(BodyError::Client)).await;
            })
        });
        async move { http::Response::new(body) }
    });
    let (eu, plant) = three.eu();
    let (response, _) = eu.send(plant, request("GET")).await.expect("it begins");
    let mut body = response.into_body();
    assert!(body.frame().await.expect("half comes").is_ok());
    assert!(matches!(
        body.frame().await,
        Some(Err(BodyError::Upstream(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn nodes_that_each_hope_for_the_other_do_not_pass_a_request_round() {
    let three = Three::start(&everywhere_else());
    // Nobody listens anywhere.
    let (eu, plant) = three.eu();
    let began = Instant::now();
    let refusal = eu
        .send(plant, with_body("POST", full("x")))
        .await
        .expect_err("nobody serves it");
    assert_eq!(refusal, Refusal::NoHealthyUpstream);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_outside_the_zones_refuses_what_an_older_revision_sends() {
    let three = Three::start(&everywhere_else());
    names(&three.world);
    let (eu, _) = three.eu();
    // Here `us` still lies in the zone `old`; there it does not.
    let mut stale = Destination::clone(&three.nodes[0].1);
    stale.places = vec![("us".into(), "old".into())];
    let refusal = eu
        .send_within(&Arc::new(stale), &["old".into()], request("GET"))
        .await
        .expect_err("it may not be served there");
    assert!(
        matches!(refusal, Refusal::ResidencyUnavailable(_)),
        "{refusal:?}"
    );
    assert_eq!(
        three
            .world
            .connected
            .load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_clients_broken_body_is_cut_off_at_the_upstream_too() {
    let three = Three::start(&everywhere_else());
    names(&three.world);
    let (eu, plant) = three.eu();
    let (feed, body) = fed();
    let send = eu.send(plant, with_body("POST", body));
    let spoil = async move {
        feed.send(Ok(Piece::data(Bytes::from("half"))))
            .await
            .expect("it is read");
        feed.send(Err(BodyError::TooLarge { limit: 4 }))
            .await
            .expect("it is read");
    };
    let (sent, ()) = tokio::join!(send, spoil);
    assert_eq!(
        sent.expect_err("it is too large"),
        Refusal::BodyTooLarge { limit: 4 }
    );
}
