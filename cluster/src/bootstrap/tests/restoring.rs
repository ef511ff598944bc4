//! A cluster that is lost and begins again with its backup.

use std::time::Duration;

use bytes::Bytes;

use super::world::{World, document, text, until};
use crate::{
    bootstrap::{Origin, RestoreError},
    consensus::Role,
    directory::{Actor, BackupError, Decision, NotABackup},
    facts::revocation,
    host::memory::Disk,
};

const NODES: [(&str, &str); 3] = [("a", "eu"), ("b", "us"), ("c", "ap")];

fn ada() -> Actor {
    Actor::new("ada", "admin", None)
}

/// A cluster that has had three documents, a revocation and a drained node, and its backup.
async fn lived() -> (World, Bytes) {
    let world = World::founded().await;
    for text in ["one", "two", "three"] {
        world.directory("b").apply(document(text)).await.unwrap();
    }
    let fact = revocation(1, u64::MAX);
    let refused = world.directory("a").keep_facts(vec![fact.into()]).await;
    assert_eq!(refused, Ok(vec![]));
    let drained = world
        .directory("c")
        .mark(&"a".into(), Decision::Drain, ada())
        .await;
    drained.unwrap();
    let backup = world.directory("c").back_up("test", ada(), false).await;
    (world, backup.unwrap())
}

/// Nodes of this release that are told to wait for a backup. None runs yet.
fn waiting(nodes: &[(&str, &str)]) -> World {
    let ids: Vec<&str> = nodes.iter().map(|(id, _)| *id).collect();
    let mut world = World::new(nodes, &ids);
    world.origin = Origin::Restore;
    for id in ids {
        world.upgrade(id);
    }
    world
}

/// Empty nodes, of which the first waits for a backup.
async fn awaiting() -> World {
    let mut world = waiting(&NODES);
    // All are told to wait; only the first does.
    for (id, _) in NODES {
        world.start(id, Disk::default()).await;
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_lost_begins_again_with_all_it_held() {
    let (old, backup) = lived().await;
    let held = (
        old.directory("c").history(),
        old.directory("c").audit(None, 100),
    );
    drop(old);
    let world = awaiting().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    for (id, _) in NODES {
        assert_eq!(world.directory(id).status().voters, [], "{id}");
    }
    let restored = world.restorer("a").restore(backup, ada()).await.unwrap();
    assert_eq!((restored.revision, restored.facts), (3, 1));
    assert_eq!(world.leader().await, "a");
    until("two more voters", || {
        world.directory("a").status().voters.len() == 3
    })
    .await;
    for (id, _) in NODES {
        let directory = world.directory(id);
        until("the document", || {
            text(directory).as_deref() == Some("three")
        })
        .await;
        assert_eq!(directory.history(), held.0, "{id}");
        assert_eq!(directory.take_applied_facts().len(), 1, "{id}");
        assert!(directory.marks().borrow().drained.is_empty(), "{id}");
        let audit = directory.audit(None, 100);
        assert_eq!(audit[..held.1.len()], held.1[..], "{id}");
        let acts: Vec<&str> = audit.iter().map(|entry| entry.act.as_str()).collect();
        assert_eq!(acts[acts.len() - 2..], ["backup", "restore"], "{id}");
        assert!(audit.windows(2).all(|pair| pair[0].index < pair[1].index));
    }
    let next = world.directory("c").apply(document("four")).await.unwrap();
    assert_eq!(next.revision, 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_restored_is_there_after_a_restart() {
    let (_, backup) = lived().await;
    let mut world = waiting(&NODES[..1]);
    world.start("a", Disk::default()).await;
    let restored = world.restorer("a").restore(backup, ada()).await.unwrap();
    let disk = world.kill("a").await;
    // The unit that starts it may still say that it waits.
    world.start("a", disk).await;
    assert_eq!(text(world.directory("a")).as_deref(), Some("three"));
    assert_eq!(world.leader().await, "a");
    let id = world.directory("a").cluster_id().borrow().clone();
    assert_eq!(id, Some(restored.cluster_id));
    world.directory("a").apply(document("four")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_is_refused_changes_nothing() {
    let (mut old, backup) = lived().await;
    let living = old.restorer("a").restore(backup.clone(), ada()).await;
    assert_eq!(living, Err(RestoreError::NotAwaited(Some("a".into()))));
    let before = old.directory("a").history();
    assert_eq!(before.len(), 3);

    let of_other = old.directory("b").back_up("other", ada(), false).await;
    let world = awaiting().await;
    let restore = async |id: &str, backup: Bytes| world.restorer(id).restore(backup, ada()).await;
    assert_eq!(
        restore("b", backup.clone()).await,
        Err(RestoreError::NotAwaited(Some("a".into())))
    );
    assert_eq!(
        restore("a", of_other.unwrap()).await,
        Err(RestoreError::OtherCluster {
            theirs: "other".into(),
            ours: "test".into()
        })
    );
    let half = backup.slice(..backup.len() / 2);
    let mut flipped = backup.to_vec();
    flipped[backup.len() / 2] ^= 1;
    for bad in [half, flipped.into(), Bytes::new()] {
        assert!(matches!(
            restore("a", bad).await,
            Err(RestoreError::NotABackup(NotABackup::Damaged(_)))
        ));
    }
    assert!(!world.restorer("a").shared.group.is_admitted());
    assert_eq!(world.directory("a").status().voters, []);
    restore("a", backup.clone()).await.unwrap();
    assert_eq!(
        restore("a", backup).await,
        Err(RestoreError::NotEmpty("it belongs to a cluster"))
    );
    old.kill("c").await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_restored_while_a_node_of_a_cluster_is_in_reach() {
    let (mut old, backup) = lived().await;
    let disk = old.kill("b").await;
    let mut world = waiting(&NODES);
    world.start("a", Disk::default()).await;
    world.start("b", disk).await;
    let refused = world.restorer("a").restore(backup.clone(), ada()).await;
    assert_eq!(refused, Err(RestoreError::Elsewhere("b".into())));
    world.kill("b").await;
    world.restorer("a").restore(backup, ada()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_left_over_from_the_lost_cluster_has_no_part_in_the_restored_one() {
    let (mut old, backup) = lived().await;
    // It knows more than the backup does, and has a greater term.
    old.directory("b").apply(document("lost")).await.unwrap();
    let leader = old.leader().await;
    old.kill(&leader).await;
    old.leader().await;
    let left = if leader == "b" { "c" } else { "b" };
    let disk = old.kill(left).await;
    disk.files.lock().unwrap().remove("identity");

    let other = if left == "b" { "c" } else { "b" };
    let mut world = waiting(&NODES);
    world.start("a", Disk::default()).await;
    world.start(other, Disk::default()).await;
    world.restorer("a").restore(backup, ada()).await.unwrap();
    until("the document", || {
        text(world.directory(other)).as_deref() == Some("three")
    })
    .await;
    world.start(left, disk).await;
    let term = world.directory("a").status().term;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = world.directory("a").status();
    assert_eq!((status.role, status.term), (Role::Leader, term));
    // While no leader speaks up, a voter gives its vote to whoever has the longer log.
    world.cut_off("a");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.directory(left).status().leader, None);
    assert_eq!(text(world.directory(other)).as_deref(), Some("three"));
    world.heal();
    assert_ne!(world.leader_without(left).await, left);
    assert_eq!(text(world.directory("a")).as_deref(), Some("three"));
    world.directory("a").apply(document("four")).await.unwrap();
    assert_eq!(text(world.directory(left)).as_deref(), Some("lost"));
}

#[tokio::test(start_paused = true)]
async fn a_survivor_without_a_quorum_gives_what_it_has_when_it_is_asked_for_that() {
    let (mut old, _) = lived().await;
    old.kill("a").await;
    old.kill("b").await;
    let survivor = old.directory("c");
    let refused = survivor.back_up("test", ada(), false).await;
    assert!(matches!(refused, Err(BackupError::Write(_))), "{refused:?}");
    let backup = survivor.back_up("test", ada(), true).await.unwrap();
    let empty = awaiting().await;
    let nothing = empty.directory("b").back_up("test", ada(), true).await;
    assert_eq!(nothing, Err(BackupError::Nothing));
    let restored = empty.restorer("a").restore(backup, ada()).await.unwrap();
    assert_eq!(restored.revision, 3);
    assert_eq!(empty.leader().await, "a");
}
