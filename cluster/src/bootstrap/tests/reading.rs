//! Reads that must not be old, through every node.

use tokio::time::Instant;

use super::world::{World, document, text, until};
use crate::{directory::ReadError, fabric::Kind};

#[tokio::test(start_paused = true)]
async fn after_catching_up_every_node_shows_what_was_acknowledged_before() {
    let world = World::founded().await;
    let follower = world.follower().await;
    for number in 1..=5 {
        let wanted = format!("text {number}");
        world
            .directory(&follower)
            .apply(document(&wanted))
            .await
            .unwrap();
        for (_, directory) in world.running() {
            directory.catch_up().await.unwrap();
            assert_eq!(text(directory).as_ref(), Some(&wanted));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_cut_off_does_not_vouch_for_its_old_document() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    let old = world.leader().await;
    world.directory(&old).catch_up().await.unwrap();
    world.cut_off(&old);
    let begun = Instant::now();
    let read = world.directory(&old).catch_up().await;
    assert!(matches!(read, Err(ReadError::NoQuorum { .. })), "{read:?}");
    assert!(begun.elapsed().is_zero(), "it answers at once");
    until("another leader", || {
        world.running().any(|(id, directory)| {
            let leader = directory.status().leader;
            id.as_str() != old && leader.is_some_and(|leader| leader.as_str() != old)
        })
    })
    .await;
    let new = world.leader().await;
    world.directory(&new).apply(document("two")).await.unwrap();
    assert_eq!(text(world.directory(&old)).as_deref(), Some("one"));
    world.heal();
    until("the old leader is back", || {
        world.directory(&old).status().quorum
    })
    .await;
    world.directory(&old).catch_up().await.unwrap();
    assert_eq!(text(world.directory(&old)).as_deref(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again() {
    let world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    let follower = world.follower().await;
    world.lose_answers(Kind::Control, 1);
    world.directory(&follower).catch_up().await.unwrap();
    assert_eq!(text(world.directory(&follower)).as_deref(), Some("one"));
}
