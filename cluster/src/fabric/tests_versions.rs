//! Nodes of different releases meet, over a false network on a paused clock.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    CallError, Fabric, FabricSettings, Handler, Kind, PeerIdentity, Transport,
    testing::{Makings, Node, eventually},
};
use crate::{
    host::BoxFuture,
    version::Versions,
    wire::{self, Unreadable},
};

const DEADLINE: Duration = Duration::from_secs(1);

fn connected(fabric: &Fabric, id: &str) -> bool {
    let peers = fabric.peers().into_iter();
    let mut peers = peers.filter(|peer| peer.connected);
    peers.any(|peer| peer.identity.id.as_str() == id)
}

fn reading(versions: Versions) -> impl FnOnce(&mut FabricSettings) {
    move |settings| settings.versions = versions
}

fn versions(oldest: u8, newest: u8) -> Versions {
    Versions { oldest, newest }
}

/// Node `a` reads what this release reads, node `b` these.
async fn pair(makings: &Makings, theirs: Versions) -> (Node, Node) {
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start_liar(2, reading(theirs)).await;
    (a, b)
}

#[tokio::test(start_paused = true)]
async fn nodes_of_two_releases_meet_and_speak_the_newest_version_that_both_read() {
    for (theirs, spoken) in [
        (versions(1, 1), 1),
        (versions(1, 2), 2),
        (versions(2, 3), 2),
    ] {
        let makings = Makings::new();
        let (a, b) = pair(&makings, theirs).await;
        // What the cluster has agreed on before the node came.
        a.fabric.set_level(spoken);
        eventually("they meet", || {
            connected(&a.fabric, "b") && connected(&b.fabric, "a")
        })
        .await;
        assert_eq!(a.fabric.spoken_with(&"b".into()), spoken);
        assert_eq!(b.fabric.spoken_with(&"a".into()), spoken);
        // A node of version 1 says nothing of versions, and asks the bulk port in the old way too.
        assert_eq!(a.fabric.peers()[0].versions, Some(theirs));
        b.fabric.prepare_bulk(&"a".into());
        eventually("bulk stands", || b.fabric.has_bulk(&"a".into())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_common_version_is_refused_counted_and_told() {
    let makings = Makings::new();
    let (a, b) = pair(&makings, versions(3, 4)).await;
    eventually("a counts it", || a.fabric.refused()["version"] > 0).await;
    eventually("b is told", || b.fabric.refused()["refused-there"] > 0).await;
    assert_eq!(a.fabric.peers(), vec![]);
}

#[tokio::test(start_paused = true)]
async fn releases_that_are_far_apart_do_not_even_agree_on_a_hello() {
    let makings = Makings::new();
    let newer = makings
        .start_as("a", "eu", 1, reading(versions(2, 3)))
        .await;
    let older = makings.start_liar(2, reading(versions(1, 1))).await;
    for node in [&newer, &older] {
        eventually("it is counted", || node.fabric.refused()["protocol"] > 0).await;
        assert_eq!(node.fabric.peers(), vec![]);
    }
}

#[tokio::test(start_paused = true)]
async fn once_the_version_is_raised_a_node_that_does_not_read_it_is_parted_with_and_stays_out() {
    let makings = Makings::new();
    let (a, b) = pair(&makings, Versions::RELEASE_BEFORE).await;
    eventually("they meet", || connected(&a.fabric, "b")).await;
    a.fabric.set_level(2);
    eventually("a parts with it", || !connected(&a.fabric, "b")).await;
    let counted = a.fabric.refused()["version"];
    eventually("it tries again, in vain", || {
        a.fabric.refused()["version"] > counted
    })
    .await;
    assert!(!connected(&a.fabric, "b"));
    b.stop().await;
    let _upgraded = makings.start_liar(2, reading(Versions::THIS_RELEASE)).await;
    eventually("upgraded it comes in", || connected(&a.fabric, "b")).await;
}

/// Reads nothing but version 1.
struct Old;

impl Handler for Old {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let read: Result<u64, Unreadable> = wire::decode(&body);
        let answer = read.map_err(|why| CallError::unread(&from.id, &why));
        Box::pin(async move { Ok(wire::encode(&answer?).into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_in_a_version_that_is_not_read_is_counted_as_such_and_its_sender_is_told() {
    let makings = Makings::new();
    let (a, b) = pair(&makings, Versions::THIS_RELEASE).await;
    eventually("they meet", || connected(&b.fabric, "a")).await;
    a.fabric.register(Kind::Facts, Arc::new(Old));
    let to = "a".into();
    let call = |body: Vec<u8>| b.fabric.call(&to, Kind::Facts, body.into(), DEADLINE);
    let answer = call(wire::encode(&7_u64)).await.unwrap();
    assert_eq!(wire::decode::<u64>(&answer), Ok(7));
    let error = call(wire::encode_as(9, &7_u64)).await.unwrap_err();
    assert!(error.to_string().contains("version"), "{error}");
    assert_eq!(a.fabric.refused()["version"], 1);
    assert_eq!(a.fabric.refused()["handler-failed"], 0);
}
