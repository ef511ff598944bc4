//! How clusters begin, and how nodes come to one that has begun.

use std::time::Duration;

use tokio::time::Instant;

use super::world::{World, document, text, until};
use crate::{
    bootstrap::BootstrapError, consensus::Role, directory::WriteError, host::memory::Disk,
};

fn status_of(world: &World, id: &str) -> (Vec<String>, Vec<String>) {
    let status = world.directory(id).status();
    let names = |ids: Vec<meridian_config::name::NodeId>| {
        ids.iter().map(|id| id.as_str().to_owned()).collect()
    };
    (names(status.voters), names(status.learners))
}

#[tokio::test(start_paused = true)]
async fn nothing_is_founded_before_all_named_nodes_are_there() {
    let mut world = World::new(&[("a", "eu"), ("b", "us"), ("c", "ap")], &["a", "b", "c"]);
    world.start("a", Disk::default()).await;
    world.start("b", Disk::default()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.directory("a").status().voters, []);
    let asked = Instant::now();
    let refused = world.directory("b").apply(document("one")).await;
    assert_eq!(refused, Err(WriteError::NotFounded));
    assert!(asked.elapsed() < Duration::from_millis(200), "at once");
    world.start("c", Disk::default()).await;
    world.leader().await;
    world.directory("b").apply(document("one")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_taken_in_yet_brings_a_write_to_the_leader() {
    let nodes = [("a", "eu"), ("b", "us"), ("c", "ap"), ("d", "ap")];
    let mut world = World::new(&nodes, &["a", "b", "c"]);
    for id in ["a", "b", "c"] {
        world.start(id, Disk::default()).await;
    }
    world.leader().await;
    world.start("d", Disk::default()).await;
    let joining = world.directory("d").clone();
    assert_eq!(joining.status().voters, [], "it has only just started");
    let asked = Instant::now();
    let accepted = joining.apply(document("one")).await.unwrap();
    assert_eq!(accepted.revision, 1);
    assert!(asked.elapsed() < Duration::from_secs(1));
    until("the newcomer's document", || {
        text(&joining).as_deref() == Some("one")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_named_node_is_a_cluster() {
    let mut world = World::new(&[("a", "eu")], &["a"]);
    world.start("a", Disk::default()).await;
    world.directory("a").apply(document("one")).await.unwrap();
    assert_eq!(world.leader().await, "a");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_not_voters_become_learners_and_have_the_document() {
    let nodes = [("a1", "eu"), ("a2", "eu"), ("b1", "us"), ("c1", "ap")];
    let mut world = World::new(&nodes, &["a1", "a2", "b1", "c1"]);
    for (id, _) in nodes {
        world.start(id, Disk::default()).await;
    }
    world.leader().await;
    world.directory("c1").apply(document("one")).await.unwrap();
    until("the learner's document", || {
        text(world.directory("a2")).as_deref() == Some("one")
    })
    .await;
    let (voters, learners) = status_of(&world, "a1");
    assert_eq!(voters, ["a1", "b1", "c1"]);
    assert_eq!(learners, ["a2"]);
    assert_eq!(world.directory("a2").status().role, Role::Learner);
    // A learner takes writes too.
    let accepted = world.directory("a2").apply(document("two")).await.unwrap();
    assert_eq!(accepted.revision, 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_later_joins_and_stays_over_restarts() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    world.add("d", "eu");
    world.start("d", Disk::default()).await;
    until("the late node's document", || {
        text(world.directory("d")).as_deref() == Some("one")
    })
    .await;
    let disk = world.kill("d").await;
    world.directory("a").apply(document("two")).await.unwrap();
    world.start("d", disk).await;
    until("the restarted learner's document", || {
        text(world.directory("d")).as_deref() == Some("two")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wiped_voter_comes_back_as_a_learner_and_then_gets_its_seat_again() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    let wiped = world.follower().await;
    world.kill(&wiped).await;
    world.start(&wiped, Disk::default()).await;
    until("the wiped node's document", || {
        text(world.directory(&wiped)).as_deref() == Some("one")
    })
    .await;
    until("three voters", || {
        status_of(&world, &wiped).0 == ["a", "b", "c"] && !world.directory(&wiped).status().changing
    })
    .await;
    // Its vote counts: without another voter there is still a quorum.
    let leader = world.leader().await;
    world.kill(&leader).await;
    world
        .directory(&wiped)
        .apply(document("two"))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn wiped_nodes_found_no_second_cluster_beside_one_that_lost_its_quorum() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    until("the document at c", || text(world.directory("c")).is_some()).await;
    for id in ["a", "b"] {
        world.kill(id).await;
    }
    for id in ["a", "b"] {
        world.start(id, Disk::default()).await;
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.directory("a").status().voters, []);
    assert_eq!(world.directory("c").status().leader, None);
    assert_eq!(text(world.directory("c")).as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_stays_away_is_replaced_from_its_region() {
    let nodes = [("a1", "eu"), ("b1", "us"), ("c1", "ap"), ("c2", "ap")];
    let mut world = World::new(&nodes, &["a1", "b1", "c1", "c2"]);
    for (id, _) in nodes {
        world.start(id, Disk::default()).await;
    }
    until("a learner", || status_of(&world, "a1").1 == ["c2"]).await;
    world.kill("c1").await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    let (voters, learners) = status_of(&world, "a1");
    assert_eq!(voters, ["a1", "b1", "c2"]);
    assert_eq!(learners, ["c1"]);
}

#[tokio::test(start_paused = true)]
async fn a_data_folder_of_another_cluster_or_node_is_refused() {
    let mut world = World::new(&[("a", "eu"), ("b", "us")], &["a"]);
    world.start("a", Disk::default()).await;
    world.leader().await;
    let disk = world.kill("a").await;
    let other = world.try_start("a", disk.clone(), "other").await;
    assert!(matches!(other, Err(BootstrapError::OtherCluster { .. })));
    let other = world.try_start("b", disk.clone(), "test").await;
    assert!(matches!(other, Err(BootstrapError::OtherNode { .. })));
}
