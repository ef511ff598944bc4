//! Nodes that are drained, removed and replaced, and how clusters grow.

use std::time::Duration;

use meridian_config::name::NodeId;
use tokio::time::{Instant, sleep};

use super::world::{World, document, text, until};
use crate::{
    bootstrap::GRACE,
    consensus::Profile,
    directory::{Actor, Decision, MarkError, WriteError},
    host::memory::Disk,
};

fn voters(world: &World, through: &str) -> Vec<String> {
    let status = world.directory(through).status();
    status.voters.iter().map(ToString::to_string).collect()
}

fn members(world: &World, through: &str) -> Vec<String> {
    let seats = world.directory(through).seats();
    seats.keys().map(ToString::to_string).collect()
}

async fn mark(world: &World, through: &str, node: &str, decision: Decision) {
    let node = NodeId::from(node);
    let directory = world.directory(through);
    directory
        .mark(&node, decision, Actor::new("alice", "admin", None))
        .await
        .unwrap();
}

/// Ends the node that leads; who leads after it.
async fn lose_leader(world: &mut World) -> String {
    let leader = world.leader().await;
    world.kill(&leader).await;
    until("another leader", || {
        world.running().all(|(_, directory)| {
            let next = directory.status().leader;
            next.is_some_and(|next| next.as_str() != leader)
        })
    })
    .await;
    world.leader().await
}

/// Four nodes: the founders `a1`, `b1`, `c1` vote, `c2` in the region of `c1` does not.
async fn four() -> World {
    let nodes = [("a1", "eu"), ("b1", "us"), ("c1", "ap"), ("c2", "ap")];
    let mut world = World::new(&nodes, &["a1", "b1", "c1", "c2"]);
    for (id, _) in nodes {
        world.start(id, Disk::default()).await;
    }
    world.leader().await;
    until("a learner", || members(&world, "a1").len() == 4).await;
    world.directory("a1").apply(document("one")).await.unwrap();
    until("the learner's document", || {
        text(world.directory("c2")).is_some()
    })
    .await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_drained_leader_hands_over_and_gives_its_seat_to_its_own_region() {
    let nodes = [("a1", "eu"), ("a2", "eu"), ("b1", "us"), ("c1", "ap")];
    let mut world = World::new(&nodes, &["a1", "a2", "b1", "c1"]);
    for (id, _) in nodes {
        world.start(id, Disk::default()).await;
    }
    assert_eq!(world.leader().await, "a1");
    until("a learner", || members(&world, "a1").len() == 4).await;
    world.directory("b1").apply(document("one")).await.unwrap();
    until("the learner's document", || {
        text(world.directory("a2")).is_some()
    })
    .await;

    mark(&world, "c1", "a1", Decision::Drain).await;
    let begun = Instant::now();
    // Writes go on through all nodes meanwhile; none waits for an election.
    let mut number = 0;
    while voters(&world, "b1") != ["a2", "b1", "c1"] || world.directory("b1").status().changing {
        number += 1;
        let through = ["a1", "a2", "b1", "c1"][number % 4];
        let sent = Instant::now();
        let wanted = format!("while it drains {number}");
        world
            .directory(through)
            .apply(document(&wanted))
            .await
            .unwrap();
        assert!(
            sent.elapsed() < Profile::Wan.lease(),
            "{:?} through {through}",
            sent.elapsed()
        );
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            voters(&world, "b1")
        );
    }
    assert_ne!(world.leader().await, "a1");
    assert!(
        members(&world, "b1").contains(&"a1".to_owned()),
        "it stays a member"
    );

    // The mark survives its restart, and the seat is not given back to it.
    let disk = world.kill("a1").await;
    world.start("a1", disk).await;
    assert!(
        world
            .directory("a1")
            .marks()
            .borrow()
            .is_drained(&"a1".into())
    );
    sleep(Duration::from_secs(5)).await;
    assert_eq!(voters(&world, "b1"), ["a2", "b1", "c1"]);

    mark(&world, "a1", "a1", Decision::Undrain).await;
    assert!(
        !world
            .directory("a1")
            .marks()
            .borrow()
            .is_drained(&"a1".into())
    );
    world.directory("a1").apply(document("back")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drained_voter_whose_region_has_no_other_gets_its_seat_back() {
    let nodes = [("a1", "eu"), ("a2", "eu"), ("b1", "us"), ("c1", "ap")];
    let mut world = World::new(&nodes, &["a1", "a2", "b1", "c1"]);
    for (id, _) in nodes {
        world.start(id, Disk::default()).await;
    }
    world.leader().await;
    until("a learner", || members(&world, "a1").len() == 4).await;
    mark(&world, "a1", "c1", Decision::Drain).await;
    until("its seat is given away", || {
        voters(&world, "a1") == ["a1", "a2", "b1"]
    })
    .await;
    mark(&world, "a1", "c1", Decision::Undrain).await;
    until("three regions again", || {
        let voters = voters(&world, "b1");
        voters.len() == 3 && voters.contains(&"b1".to_owned()) && voters.contains(&"c1".to_owned())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_voter_that_is_removed_is_replaced_at_once_and_forgotten() {
    let mut world = four().await;
    world.kill("c1").await;
    let begun = Instant::now();
    mark(&world, "b1", "c1", Decision::Remove).await;
    until("another takes its seat", || {
        voters(&world, "a1") == ["a1", "b1", "c2"]
    })
    .await;
    until("it is forgotten", || {
        members(&world, "a1") == ["a1", "b1", "c2"]
    })
    .await;
    assert!(begun.elapsed() < GRACE / 10, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_substitute_a_removed_voter_goes_all_the_same_and_a_new_node_fills_the_seat() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    let removed = world.follower().await;
    world.kill(&removed).await;
    let leader = world.leader().await;
    mark(&world, &leader, &removed, Decision::Remove).await;
    until("it is forgotten", || members(&world, &leader).len() == 2).await;
    world
        .directory(&leader)
        .apply(document("two"))
        .await
        .unwrap();
    world.add("d", "ap");
    world.start("d", Disk::default()).await;
    until("the new node votes", || {
        let voters = voters(&world, &leader);
        let whole = !world.directory(&leader).status().changing;
        whole && voters.len() == 3 && voters.contains(&"d".to_owned())
    })
    .await;
    // What is acknowledged now stands behind the change, so the change is agreed on as well.
    let directory = world.directory(&leader);
    directory.apply(document("with three votes")).await.unwrap();
    let second = lose_leader(&mut world).await;
    world
        .directory(&second)
        .apply(document("three"))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_never_votes_with_its_old_disk_and_joins_as_new_with_an_empty_one() {
    let mut world = four().await;
    let disk = world.kill("c1").await;
    mark(&world, "a1", "c1", Decision::Remove).await;
    until("it is forgotten", || {
        members(&world, "a1") == ["a1", "b1", "c2"]
    })
    .await;
    let leader = world.leader().await;
    let term = world.directory(&leader).status().term;
    assert!(world.directory(&leader).takes_work());

    // The mesh of this test lets it in; the fabric would not.
    world.start("c1", disk).await;
    sleep(Duration::from_secs(30)).await;
    let status = world.directory(&leader).status();
    assert_eq!(
        (status.leader, status.term),
        (Some(leader.as_str().into()), term)
    );
    assert_eq!(members(&world, &leader), ["a1", "b1", "c2"]);

    world.kill("c1").await;
    world.start("c1", Disk::default()).await;
    until("it has joined", || text(world.directory("c1")).is_some()).await;
    // Its seat is newer than its removal: it stays, and takes work.
    sleep(Duration::from_secs(30)).await;
    assert!(world.directory("c1").takes_work());
    assert_eq!(members(&world, &leader), ["a1", "b1", "c1", "c2"]);
    let seat = |world: &World| {
        let marks = world.directory("a1").marks();
        marks.borrow().removed["c1"].index
    };
    assert!(seat(&world) > 0);
    // It can be removed again.
    world.kill("c1").await;
    mark(&world, "a1", "c1", Decision::Remove).await;
    until("it is forgotten again", || {
        members(&world, "a1") == ["a1", "b1", "c2"]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn decisions_that_are_not_in_order_are_refused_with_what_to_do() {
    let mut world = four().await;
    let refused = async |world: &World, node: &str, decision| {
        let node = NodeId::from(node);
        match world
            .directory("b1")
            .mark(&node, decision, Actor::new("alice", "admin", None))
            .await
        {
            Err(WriteError::Mark(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let serving = refused(&world, "c1", Decision::Remove).await;
    assert!(
        serving.to_string().contains("meridian drain c1"),
        "{serving}"
    );
    assert_eq!(
        refused(&world, "x", Decision::Drain).await,
        MarkError::Unknown("x".into())
    );
    // Drained first, a living node may be removed, also the leader and through itself.
    let leader = world.leader().await;
    mark(&world, &leader, &leader, Decision::Drain).await;
    until("another leads", || {
        let other = world
            .running()
            .find(|(id, _)| id.as_str() != leader)
            .unwrap();
        other
            .1
            .status()
            .leader
            .is_some_and(|it| it.as_str() != leader)
    })
    .await;
    assert!(!world.directory(&leader).takes_work());
    mark(&world, &leader, &leader, Decision::Remove).await;
    // It is not drained any more, but does not serve again before its process ends.
    assert!(!world.directory(&leader).takes_work());
    let other = world
        .running()
        .map(|(id, _)| id.to_string())
        .find(|id| *id != leader)
        .unwrap();
    until("it is forgotten", || {
        !members(&world, &other).contains(&leader)
    })
    .await;
    world.kill(&leader).await;
    world
        .directory(&other)
        .apply(document("without it"))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_grows_to_five_regions_has_five_voters() {
    let mut world = World::founded().await;
    for (id, region) in [("d", "sa"), ("e", "af")] {
        world.add(id, region);
        world.start(id, Disk::default()).await;
    }
    until("five voters", || {
        voters(&world, "a") == ["a", "b", "c", "d", "e"]
    })
    .await;
    until("the change is whole", || {
        !world.directory("a").status().changing
    })
    .await;
    world
        .directory("a")
        .apply(document("with five votes"))
        .await
        .unwrap();
    // Two of them may go now.
    lose_leader(&mut world).await;
    let leader = lose_leader(&mut world).await;
    world
        .directory(&leader)
        .apply(document("three of five"))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn founders_that_are_wiped_one_after_another_stay_one_cluster() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("kept")).await.unwrap();
    for wiped in ["a", "b", "c"] {
        world.kill(wiped).await;
        world.start(wiped, Disk::default()).await;
        until("the wiped node has the document", || {
            text(world.directory(wiped)).as_deref() == Some("kept")
        })
        .await;
        until("three voters", || {
            let status = world.directory(wiped).status();
            status.voters.len() == 3 && !status.changing
        })
        .await;
    }
    let ids = world
        .running()
        .map(|(_, directory)| directory.cluster_id().borrow().clone());
    let ids: std::collections::BTreeSet<_> = ids.collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    world.directory("a").apply(document("two")).await.unwrap();
    assert_eq!(world.directory("a").current().unwrap().number, 2);
}

#[tokio::test(start_paused = true)]
async fn wiped_founders_wait_for_the_third_whether_it_comes_with_its_disk_or_a_learner_does() {
    let mut world = World::founded().await;
    world.add("d", "eu");
    world.start("d", Disk::default()).await;
    world.directory("a").apply(document("one")).await.unwrap();
    until("the learner's document", || {
        text(world.directory("d")).is_some()
    })
    .await;
    let mut disks = Vec::new();
    for id in ["a", "b", "c", "d"] {
        disks.push(world.kill(id).await);
    }
    // Two of three are wiped; the third is not there yet: nothing is founded without it.
    for id in ["a", "b"] {
        world.start(id, Disk::default()).await;
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(voters(&world, "a"), Vec::<String>::new());
    // All three founders are wiped, but a learner knows the cluster.
    world.start("d", disks[3].clone()).await;
    sleep(Duration::from_secs(5)).await;
    world.start("c", Disk::default()).await;
    sleep(Duration::from_secs(60)).await;
    for id in ["a", "b", "c"] {
        assert_eq!(voters(&world, id), Vec::<String>::new(), "{id}");
        assert_eq!(world.directory(id).status().term, 0, "{id}");
    }
    // Two voters come back on their disks: the cluster goes on, and takes the wiped one in.
    for (id, disk) in [("b", 1), ("c", 2)] {
        world.kill(id).await;
        world.start(id, disks[disk].clone()).await;
    }
    until("the wiped founder has the document", || {
        text(world.directory("a")).as_deref() == Some("one")
    })
    .await;
    world.directory("a").apply(document("two")).await.unwrap();
    until("the learner has it as well", || {
        world.directory("d").current().unwrap().number == 2
    })
    .await;
}
