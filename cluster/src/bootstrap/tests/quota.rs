//! The ledger's group beside the directory's, and limits that all nodes share.

use std::time::Duration;

use meridian_config::name::TenantId;
use tokio::time::sleep;

use super::world::{World, document, until};
use crate::{
    directory::Directory,
    host::memory::Disk,
    quota::{
        charge::Answer,
        holder::OnEmpty,
        key::KeyName,
        service::{Quota, Stage},
        terms::{Kind, OnLapse, Terms},
    },
};

const IDS: [&str; 3] = ["a", "b", "c"];

/// Three nodes of this release with a ledger that has answered each.
async fn counted_together() -> World {
    let mut world = World::new(&[("a", "eu"), ("b", "us"), ("c", "ap")], &IDS);
    for id in IDS {
        world.upgrade(id);
        world.start(id, Disk::default()).await;
    }
    answered(&world, &IDS).await;
    world
}

async fn answered(world: &World, ids: &[&str]) {
    until("the ledger's answers", || {
        let answered = |id: &&str| world.quota(id).stage() == Stage::Answered;
        ids.iter().all(answered)
    })
    .await;
}

fn terms(limit: u64, window: Duration) -> Terms {
    Terms::new(limit, window, Kind::Sliding, OnLapse::Base).unwrap()
}

/// Charges a node once.
fn admits(quota: &Quota, terms: &Terms) -> bool {
    let shared = quota.charging();
    let id = shared.keys.key(&KeyName {
        tenant: &TenantId::from("garden"),
        limit: "tenant",
        shape: terms.shape(),
        client: None,
    });
    let key = shared
        .holder
        .resolve(id, terms, OnEmpty::Deny, 1, shared.clock)
        .unwrap();
    matches!(
        shared.holder.charge(&[(&key, 1)], shared.clock),
        Answer::Admit(_)
    )
}

/// Charges one node after the other, every 10 ms for so long; how many were admitted.
async fn storm(world: &World, ids: &[&str], terms: &Terms, span: Duration) -> u64 {
    let mut admitted = 0;
    let end = tokio::time::Instant::now() + span;
    while tokio::time::Instant::now() < end {
        for id in ids {
            admitted += u64::from(admits(world.quota(id), terms));
        }
        sleep(Duration::from_millis(10)).await;
    }
    admitted
}

#[tokio::test(start_paused = true)]
async fn one_limit_holds_over_all_nodes_and_is_used_up() {
    let world = counted_together().await;
    let terms = terms(600, Duration::from_secs(3600));
    // Asked for 9 000 times within the window.
    let admitted = storm(&world, &IDS, &terms, Duration::from_secs(30)).await;
    assert!(admitted <= 600, "{admitted}");
    assert!(admitted >= 590, "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn a_small_limit_is_given_to_who_asks() {
    let world = counted_together().await;
    let terms = terms(10, Duration::from_secs(60));
    let admitted = storm(&world, &IDS, &terms, Duration::from_secs(20)).await;
    assert_eq!(admitted, 10);
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_under_another_leader_and_with_a_node_on_an_empty_disk() {
    let mut world = counted_together().await;
    let terms = terms(900, Duration::from_secs(3600));
    let first = storm(&world, &IDS, &terms, Duration::from_secs(2)).await;
    let ledger = |world: &World, id: &str| world.quota(id).status()?.leader;
    let leader = ledger(&world, "a")
        .expect("it answered")
        .as_str()
        .to_owned();
    world.kill(&leader).await;
    let left: Vec<&str> = IDS.into_iter().filter(|id| *id != leader).collect();
    until("another leader of the ledger", || {
        let leads = |id: &&str| ledger(&world, id).is_some_and(|now| now.as_str() != leader);
        left.iter().all(leads)
    })
    .await;
    let then = storm(&world, &left, &terms, Duration::from_secs(20)).await;
    assert!(first + then <= 900, "{first} {then}");

    // It comes back without its disk: a learner at first, with another seat.
    world.start(&leader, Disk::default()).await;
    let directory = |world: &World| -> Directory { world.directory(left[0]).clone() };
    until("three voters in both groups", || {
        let voters = [
            directory(&world).status().voters,
            world.quota(left[0]).status().expect("in a cluster").voters,
        ];
        voters.iter().all(|voters| voters.len() == 3)
    })
    .await;
    answered(&world, &IDS).await;
    let last = storm(&world, &IDS, &terms, Duration::from_secs(20)).await;
    assert!(first + then + last <= 900, "{first} {then} {last}");
    // What the lost life held and its base are not spent again within the window.
    assert!(first + then + last >= 500, "{first} {then} {last}");
}

#[tokio::test(start_paused = true)]
async fn what_a_stopping_node_hands_back_is_spent_by_others() {
    let mut world = counted_together().await;
    let terms = terms(900, Duration::from_secs(3600));
    storm(&world, &["b"], &terms, Duration::from_secs(2)).await;
    world.quota("b").part(Duration::from_secs(2)).await;
    assert!(!admits(world.quota("b"), &terms), "it gave everything up");
    world.kill("b").await;
    let others = storm(&world, &["a", "c"], &terms, Duration::from_secs(20)).await;
    // All but b's base and what b spent: it asked 200 times at the most.
    assert!(others >= 900 - 150 - 200, "{others}");
}

#[tokio::test(start_paused = true)]
async fn a_node_cut_off_goes_on_with_what_it_holds_and_no_more() {
    let mut world = counted_together().await;
    let terms = terms(900, Duration::from_secs(3600));
    world.cut_off("c");
    let alone = storm(&world, &["c"], &terms, Duration::from_secs(10)).await;
    assert_eq!(alone, 150, "its base");
    let others = storm(&world, &["a", "b"], &terms, Duration::from_secs(20)).await;
    assert!(others <= 750, "{others}");
    assert!(others >= 740, "{others}");
}

#[tokio::test(start_paused = true)]
async fn nodes_of_the_release_before_have_no_ledger_and_count_alone() {
    let mut world = World::founded().await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.quota("a").stage(), Stage::Alone);
    let terms = terms(60, Duration::from_secs(3600));
    let alone = storm(&world, &IDS, &terms, Duration::from_secs(2)).await;
    assert_eq!(alone, 180, "each node admits all of it");
    for id in IDS {
        let disk = world.kill(id).await;
        world.upgrade(id);
        world.start(id, disk).await;
        world.leader().await;
    }
    answered(&world, &IDS).await;
    let leader = world.leader().await;
    let applied = world.directory(&leader).apply(document("a")).await;
    assert!(applied.is_ok(), "{applied:?}");
}
