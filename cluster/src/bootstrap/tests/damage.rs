//! Disks that come back damaged: named, set aside, and their nodes taken in anew.

use std::time::Duration;

use super::world::{World, document, text, until};
use crate::{
    bootstrap::BootstrapError,
    consensus::{GroupError, Role},
    directory::OpenError,
    host::memory::Disk,
};

const SNAPSHOT: &str = "snapshot-directory";

/// Three founders that have had so many documents, and a follower's disk after its end.
async fn lived(documents: usize) -> (World, String, Disk) {
    let mut world = World::founded().await;
    let writer = world.leader().await;
    for number in 1..=documents {
        let text = format!("document {number}");
        world
            .directory(&writer)
            .apply(document(&text))
            .await
            .unwrap();
    }
    let follower = world.follower().await;
    let newest = format!("document {documents}");
    until("the newest document", || {
        text(world.directory(&follower)).as_ref() == Some(&newest)
    })
    .await;
    let disk = world.kill(&follower).await;
    (world, follower, disk)
}

fn flip(disk: &Disk, file: &str) {
    let mut files = disk.files.lock().unwrap();
    let bytes = files.get_mut(file).expect("it was written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

fn aside(disk: &Disk, file: &str) -> usize {
    let files = disk.files.lock().unwrap();
    let prefix = format!("{file}.damaged-");
    files
        .keys()
        .filter(|name| name.starts_with(&prefix))
        .count()
}

/// Waits until a node votes again, under a seat that it was given anew, and has a document of today.
async fn rejoins(world: &World, id: &str) {
    let writer = world.leader_without(id).await;
    until("it votes again", || {
        let status = world.directory(id).status();
        status.role == Role::Follower && status.voters.len() == 3
    })
    .await;
    assert!(world.restorer(id).shared.group.seat_number() > 0);
    world
        .directory(&writer)
        .apply(document("today"))
        .await
        .unwrap();
    until("today's document", || {
        text(world.directory(id)).as_deref() == Some("today")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_log_is_set_aside_and_its_node_serves_and_rejoins() {
    let (mut world, id, disk) = lived(3).await;
    disk.damage_log();
    world.start(&id, disk).await;
    assert_eq!(text(world.directory(&id)).as_deref(), Some("document 3"));
    assert!(!world.restorer(&id).shared.group.is_admitted());
    rejoins(&world, &id).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_none_is_damage_of_the_log() {
    let (mut world, id, disk) = lived(3).await;
    disk.change_entry(4, |bytes| bytes.truncate(bytes.len() / 2));
    world.start(&id, disk).await;
    assert!(!world.restorer(&id).shared.group.is_admitted());
    rejoins(&world, &id).await;
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_log_is_damage_of_it() {
    let (mut world, id, disk) = lived(3).await;
    disk.remove_entry(3);
    world.start(&id, disk).await;
    assert!(!world.restorer(&id).shared.group.is_admitted());
    rejoins(&world, &id).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_is_set_aside_and_a_whole_log_goes_on() {
    // A snapshot is made after 64 entries, and so many are kept behind it.
    let (mut world, id, disk) = lived(70).await;
    flip(&disk, SNAPSHOT);
    world.start(&id, disk.clone()).await;
    assert_eq!(aside(&disk, SNAPSHOT), 1);
    let group = &world.restorer(&id).shared.group;
    assert!(
        group.is_admitted() && group.seat_number() == 0,
        "it goes on"
    );
    world.leader().await;
    assert_eq!(world.directory(&id).history().len(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_goes_on_from_a_damaged_snapshot_is_set_aside_with_it() {
    let (mut world, id, disk) = lived(200).await;
    flip(&disk, SNAPSHOT);
    world.start(&id, disk.clone()).await;
    assert_eq!(aside(&disk, SNAPSHOT), 1);
    assert_eq!(text(world.directory(&id)).as_deref(), Some("document 200"));
    assert!(!world.restorer(&id).shared.group.is_admitted());
    rejoins(&world, &id).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_of_an_unknown_version_is_left_alone_and_the_start_refused() {
    let (mut world, id, disk) = lived(70).await;
    let sealed = {
        let mut files = disk.files.lock().unwrap();
        let bytes = files.get_mut(SNAPSHOT).unwrap();
        bytes[32] = 9;
        let sum = blake3::hash(&bytes[32..]);
        bytes[..32].copy_from_slice(sum.as_bytes());
        bytes.clone()
    };
    let refused = world.try_start(&id, disk.clone(), "test").await;
    assert!(
        matches!(&refused, Err(BootstrapError::Open(OpenError::Group(GroupError::State { cause, .. }))) if cause.contains("version 9")),
        "{refused:?}"
    );
    assert_eq!(disk.files.lock().unwrap()[SNAPSHOT], sealed);

    let (mut world, id, disk) = lived(3).await;
    disk.change_entry(4, |bytes| bytes[0] = 9);
    let refused = world.try_start(&id, disk.clone(), "test").await;
    assert!(
        matches!(refused, Err(BootstrapError::Open(_))),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_identity_is_damaged_goes_on_with_its_log() {
    let (mut world, id, disk) = lived(3).await;
    flip(&disk, "identity");
    world.start(&id, disk.clone()).await;
    assert_eq!(aside(&disk, "identity"), 1);
    world.leader().await;
    let group = &world.restorer(&id).shared.group;
    assert!(
        group.is_admitted() && group.seat_number() == 0,
        "it goes on"
    );
    until("its identity", || {
        disk.files.lock().unwrap().contains_key("identity")
    })
    .await;
    let disk = world.kill(&id).await;
    flip(&disk, "identity");
    let other = if id == "a" { "b" } else { "a" };
    world.kill(other).await;
    let taken = world.try_start(other, disk, "test").await;
    assert!(
        matches!(&taken, Err(BootstrapError::Open(OpenError::Group(GroupError::OtherNode { stored, .. }))) if stored.as_str() == id),
        "{taken:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_identity_is_damaged_never_founds_a_cluster() {
    let mut world = World::new(&[("a", "eu")], &["a"]);
    world.start("a", Disk::default()).await;
    world.directory("a").apply(document("one")).await.unwrap();
    let disk = world.kill("a").await;
    flip(&disk, "identity");
    disk.damage_log();
    for _ in 0..2 {
        world.start("a", disk.clone()).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.directory("a").status().voters, []);
        assert_eq!(text(world.directory("a")).as_deref(), Some("one"));
        world.kill("a").await;
    }
}
