//! Nodes of this release and of the one before, side by side, until the last is upgraded.

use std::time::Duration;

use super::world::{World, document, text, until};
use crate::{consensus::Role, host::memory::Disk};

fn levels(world: &World) -> Vec<u8> {
    let running = world.running();
    running
        .map(|(_, directory)| *directory.level().borrow())
        .collect()
}

async fn restart(world: &mut World, id: &str) {
    let disk = world.kill(id).await;
    world.start(id, disk).await;
    world.leader().await;
}

async fn write_everywhere(world: &World, by: &str, words: &str) {
    world.directory(by).apply(document(words)).await.unwrap();
    until("the document is everywhere", || {
        let mut running = world.running();
        running.all(|(_, directory)| text(directory).as_deref() == Some(words))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_version_is_raised_when_the_last_member_reads_it_and_writes_go_on_all_the_while() {
    let mut world = World::founded().await;
    for id in ["a", "b", "c"] {
        assert_eq!(levels(&world), [1, 1, 1]);
        write_everywhere(&world, id, &format!("before {id} is upgraded")).await;
        world.upgrade(id);
        restart(&mut world, id).await;
        write_everywhere(&world, id, &format!("after {id} is upgraded")).await;
    }
    until("the version is raised", || levels(&world) == [2, 2, 2]).await;
    for id in ["a", "b", "c"] {
        restart(&mut world, id).await;
        until("it remembers the version", || levels(&world) == [2, 2, 2]).await;
    }
    write_everywhere(&world, "b", "in the new version").await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_away_keeps_the_version_from_rising_until_it_is_upgraded_too() {
    let mut world = World::founded().await;
    let away = world.follower().await;
    let disk = world.kill(&away).await;
    for id in ["a", "b", "c"].into_iter().filter(|id| *id != away) {
        world.upgrade(id);
        restart(&mut world, id).await;
    }
    // Its last word still counts: it said nothing of versions. The leader looks every half second.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(levels(&world), [1, 1]);
    world.upgrade(&away);
    world.start(&away, disk).await;
    until("the version is raised", || levels(&world) == [2, 2, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_put_back_to_the_release_before_takes_no_part_and_the_others_go_on() {
    let mut world = World::new(&[("a", "eu"), ("b", "us"), ("c", "ap")], &["a", "b", "c"]);
    for id in ["a", "b", "c"] {
        world.upgrade(id);
        world.start(id, Disk::default()).await;
    }
    until("the version is raised", || levels(&world) == [2, 2, 2]).await;
    let back = world.follower().await;
    let disk = world.kill(&back).await;
    world.downgrade(&back);
    if world.try_start(&back, disk, "test").await.is_ok() {
        until("it stops taking part", || {
            world.directory(&back).status().role == Role::Stopped
        })
        .await;
    }
    let leader = world.leader_without(&back).await;
    let accepted = world.directory(&leader).apply(document("on")).await;
    accepted.unwrap();
}
