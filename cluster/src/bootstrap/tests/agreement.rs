//! A founded cluster under writes, losses and restarts.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::world::{LATENCY, World, document, text, until};
use crate::{
    consensus::{Profile, Role},
    directory::{Actor, Note, Proposal, WayBack, WriteError},
    fabric::Kind,
    host::{
        LogStore,
        memory::{Disk, MemoryHost},
        os::SledStore,
    },
};

async fn everywhere(world: &World, wanted: &str) {
    until("the revision on every node", || {
        world
            .running()
            .all(|(_, directory)| text(directory).as_deref() == Some(wanted))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn three_nodes_agree_on_a_document() {
    let world = World::founded().await;
    let accepted = world.directory("a").apply(document("one")).await.unwrap();
    assert_eq!(accepted.revision, 1);
    let begun = Instant::now();
    everywhere(&world, "one").await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    let revisions: Vec<_> = world
        .running()
        .map(|(_, directory)| directory.current().unwrap())
        .collect();
    assert!(revisions.windows(2).all(|pair| pair[0] == pair[1]));
    let status = world.directory("b").status();
    assert_eq!(status.voters, ["a", "b", "c"].map(Into::into));
    assert!(status.quorum && status.applied_index >= accepted.index);
}

#[tokio::test(start_paused = true)]
async fn a_write_through_a_follower_is_seen_there_when_it_returns() {
    let world = World::founded().await;
    let follower = world.follower().await;
    let directory = world.directory(&follower);
    for number in 1..=3 {
        let wanted = format!("text {number}");
        let accepted = directory.apply(document(&wanted)).await.unwrap();
        assert_eq!(accepted.revision, number);
        assert_eq!(text(directory), Some(wanted));
    }
    let history: Vec<u64> = directory.history().iter().map(|s| s.revision).collect();
    assert_eq!(history, [3, 2, 1]);
    assert_eq!(directory.revision(2).unwrap().files[0].text, "text 2");
}

#[tokio::test(start_paused = true)]
async fn a_lost_leader_is_replaced_and_writes_go_on_within_three_seconds() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    let leader = world.leader().await;
    world.kill(&leader).await;
    let begun = Instant::now();
    let (_, survivor) = world.running().next().unwrap();
    survivor.apply(document("two")).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    everywhere(&world, "two").await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_hands_over_without_an_election() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    let leader = world.leader().await;
    let begun = Instant::now();
    world.directory(&leader).hand_over().await;
    world.kill(&leader).await;
    let (_, other) = world.running().next().unwrap();
    other.apply(document("two")).await.unwrap();
    assert!(
        begun.elapsed() < Profile::Wan.lease(),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_be_agreed_on_waits_for_a_majority_that_is_out_of_sight_for_a_moment() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    let follower = world.follower().await;
    let directory = world.directory(&follower).clone();
    let begun = Instant::now();
    let outage = async {
        // The leader has it; its answer is lost, and so is everybody, for less than a write waits.
        sleep(LATENCY * 3 / 2).await;
        world.cut_off(&follower);
        sleep(Profile::Wan.lease() / 2).await;
        assert!(!world.directory(&follower).status().quorum);
        world.heal();
    };
    let (written, ()) = tokio::join!(directory.apply(document("two")), outage);
    assert_eq!(written.unwrap().revision, 2);
    assert!(begun.elapsed() < Profile::Wan.patience());
}

#[tokio::test(start_paused = true)]
async fn writes_at_a_leader_that_hands_over_wait_without_spinning() {
    let world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    let leader = world.leader().await;
    let leader = world.directory(&leader);
    // On a paused clock a loop that never waits never ends.
    let writes = (0..20).map(|number| {
        let directory = leader.clone();
        async move {
            sleep(LATENCY / 10 * number).await;
            directory.apply(document(&format!("write {number}"))).await
        }
    });
    let ((), written) = tokio::join!(leader.hand_over(), futures_util::future::join_all(writes));
    assert!(written.iter().all(Result::is_ok), "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_finds_where_the_logs_agree_without_going_through_them() {
    let mut world = World::founded().await;
    // In three terms, so that the end of the log is not of one leader alone.
    for term in 0..3 {
        for number in 0..20 {
            let wanted = format!("term {term}, text {number}");
            world.directory("a").apply(document(&wanted)).await.unwrap();
        }
        let leader = world.leader().await;
        world.directory(&leader).hand_over().await;
    }
    let leader = world.leader().await;
    let begun = Instant::now();
    world.directory(&leader).hand_over().await;
    world.kill(&leader).await;
    let next = world.leader().await;
    world.directory(&next).apply(document("new")).await.unwrap();
    // One way to the heir, its election, its first entry, and the write; the log alone would take five more rounds.
    let took = begun.elapsed();
    assert!(took < 8 * LATENCY, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_minority_answers_no_quorum_at_once_and_serves_on() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    everywhere(&world, "one").await;
    let alone = world.leader().await;
    world.cut_off(&alone);
    let begun = Instant::now();
    let refused = world.directory(&alone).apply(document("two")).await;
    assert!(
        matches!(refused, Err(WriteError::NoQuorum { .. })),
        "{refused:?}"
    );
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(text(world.directory(&alone)).as_deref(), Some("one"));
    // The others elect a leader; the old one takes its lead back, and hears of the write after the cut.
    until("another leader", || {
        world.running().any(|(id, directory)| {
            let leader = directory.status().leader;
            id.as_str() != alone && leader.is_some_and(|leader| leader.as_str() != alone)
        })
    })
    .await;
    let other = world.leader().await;
    assert_eq!(world.directory(&alone).status().leader, None);
    world
        .directory(&other)
        .apply(document("three"))
        .await
        .unwrap();
    world.heal();
    everywhere(&world, "three").await;
    assert_eq!(world.leader().await, other);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_applied_once() {
    let world = World::founded().await;
    let follower = world.follower().await;
    world.lose_answers(Kind::Control, 2);
    let directory = world.directory(&follower);
    let accepted = directory.apply(document("one")).await.unwrap();
    assert_eq!(accepted.revision, 1);
    assert_eq!(directory.history().len(), 1);
    // Its own answer counts, not that of the repetitions: they stand further back in the log.
    assert!(directory.status().applied_index > accepted.index);
}

#[tokio::test(start_paused = true)]
async fn an_expectation_that_fails_is_a_conflict() {
    let world = World::founded().await;
    let follower = world.follower().await;
    let directory = world.directory(&follower);
    let expecting = |expect| Proposal {
        expect: Some(expect),
        ..document("text")
    };
    assert_eq!(directory.apply(expecting(0)).await.unwrap().revision, 1);
    let conflict = WriteError::Conflict {
        expected: 0,
        current: 1,
        author: "ada".to_owned(),
    };
    assert_eq!(directory.apply(expecting(0)).await, Err(conflict));
    assert_eq!(directory.apply(expecting(1)).await.unwrap().revision, 2);
}

#[tokio::test(start_paused = true)]
async fn of_two_writers_at_once_one_wins_and_the_other_hears_who() {
    let world = World::founded().await;
    let by = |name: &str| Proposal {
        actor: Actor::new(name, "operator", Some(([192, 0, 2, 1], 9).into())),
        expect: Some(0),
        ..document(name)
    };
    let (a, b) = (world.directory("a"), world.directory("b"));
    let (first, second) = tokio::join!(a.apply(by("ada")), b.apply(by("bob")));
    let (winner, conflict) = match (first, second) {
        (Ok(_), Err(conflict)) => ("ada", conflict),
        (Err(conflict), Ok(_)) => ("bob", conflict),
        both => panic!("not one of each: {both:?}"),
    };
    let expected = WriteError::Conflict {
        expected: 0,
        current: 1,
        author: winner.to_owned(),
    };
    assert_eq!(conflict, expected);
    assert!(conflict.to_string().contains(&format!("by {winner}")));
    until("both acts on every node", || {
        world
            .running()
            .all(|(_, directory)| directory.audit(None, 10).len() == 2)
    })
    .await;
    let entries = a.audit(None, 10);
    assert!(
        world
            .running()
            .all(|(_, other)| other.audit(None, 10) == entries)
    );
    let done: Vec<bool> = entries
        .iter()
        .map(|entry| entry.refused.is_none())
        .collect();
    assert_eq!(done, [true, false]);
    assert_eq!(entries[0].actor.name, winner);
    // Each through the node that took it, whoever led.
    for entry in &entries {
        let node = if entry.actor.name == "ada" { "a" } else { "b" };
        assert_eq!(entry.node.as_str(), node);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_brings_the_old_document_back_under_a_new_number() {
    let world = World::founded().await;
    let follower = world.follower().await;
    let directory = world.directory(&follower);
    for wanted in ["one", "two"] {
        directory.apply(document(wanted)).await.unwrap();
    }
    let back = |revision| WayBack {
        revision,
        actor: Actor::new("ada", "operator", None),
        message: "two was worse".to_owned(),
        expect: Some(2),
    };
    let missing = directory.roll_back(back(7)).await.unwrap_err();
    assert_eq!(missing.to_string(), "revision 7 is not kept; 1 to 2 are");
    assert_eq!(directory.roll_back(back(1)).await.unwrap().revision, 3);
    everywhere(&world, "one").await;
    assert_eq!(directory.history()[0].rollback_of, Some(1));
    assert!(matches!(
        directory.roll_back(back(1)).await,
        Err(WriteError::Conflict { current: 3, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_act_of_another_kind_is_noted_in_its_turn() {
    let world = World::founded().await;
    let follower = world.follower().await;
    let note = Note {
        act: "drain".to_owned(),
        target: "node c".to_owned(),
        refused: None,
    };
    let directory = world.directory(&follower);
    let index = directory
        .note(Actor::new("ada", "operator", None), note)
        .await
        .unwrap();
    until("the act at the node that took it", || {
        directory.audit(None, 1).first().is_some_and(|entry| {
            (entry.index, entry.act.as_str(), entry.target.as_str()) == (index, "drain", "node c")
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_document_is_refused_before_it_is_proposed() {
    let world = World::founded().await;
    let directory = world.directory("a");
    let before = directory.status().commit_index;
    let bad = directory.apply(document("bad")).await;
    assert_eq!(
        bad,
        Err(WriteError::Invalid(vec!["gateway.yaml is bad".to_owned()]))
    );
    let mut twice = document("text");
    twice.files.push(twice.files[0].clone());
    assert!(matches!(
        directory.apply(twice).await,
        Err(WriteError::Invalid(_))
    ));
    let chatty = Proposal {
        message: "x".repeat(5000),
        ..document("text")
    };
    assert!(matches!(
        directory.apply(chatty).await,
        Err(WriteError::Invalid(_))
    ));
    let large = document(&"x".repeat(crate::directory::DOCUMENT_LIMIT));
    assert!(matches!(
        directory.apply(large).await,
        Err(WriteError::TooLarge { .. })
    ));
    assert_eq!(directory.status().commit_index, before);
}

#[tokio::test(start_paused = true)]
async fn a_voter_restarted_alone_serves_and_has_applied_all_it_knew() {
    let mut world = World::founded().await;
    for number in 1..=5 {
        let wanted = format!("text {number}");
        world.directory("a").apply(document(&wanted)).await.unwrap();
    }
    everywhere(&world, "text 5").await;
    let mut disks = Vec::new();
    for id in ["a", "b", "c"] {
        disks.push(world.kill(id).await);
    }
    world.start("c", disks.pop().unwrap()).await;
    let alone = world.directory("c");
    assert_eq!(text(alone).as_deref(), Some("text 5"));
    assert_eq!(alone.history().len(), 5);
    let status = alone.status();
    assert_eq!(status.leader, None);
    assert!(!status.quorum);
    // At first it may only not have met the others yet; once it has had time for that, it says so at once.
    let meeting = 2 * Profile::Wan.lease() + Profile::Wan.heartbeat();
    for longest in [meeting, Duration::ZERO] {
        let begun = Instant::now();
        let refused = alone.apply(document("six")).await;
        assert!(
            matches!(refused, Err(WriteError::NoQuorum { .. })),
            "{refused:?}"
        );
        assert!(begun.elapsed() <= longest, "{:?}", begun.elapsed());
    }
    world.start("b", disks.pop().unwrap()).await;
    world.leader().await;
    world.directory("c").apply(document("six")).await.unwrap();
    everywhere(&world, "six").await;
}

#[tokio::test(start_paused = true)]
async fn without_its_log_a_node_still_serves_its_last_revision() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    everywhere(&world, "one").await;
    let disk = world.kill("c").await;
    for id in ["a", "b"] {
        world.kill(id).await;
    }
    let only_files = Disk::default();
    *only_files.files.lock().unwrap() = disk.files.lock().unwrap().clone();
    only_files
        .files
        .lock()
        .unwrap()
        .retain(|name, _| !name.starts_with("snapshot"));
    world.start("c", only_files).await;
    assert_eq!(text(world.directory("c")).as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_missed_more_than_the_log_holds_gets_a_snapshot() {
    let mut world = World::founded().await;
    let absent = world.follower().await;
    let disk = world.kill(&absent).await;
    let leader = world.leader().await;
    for number in 1..=200 {
        let wanted = format!("text {number}");
        world
            .directory(&leader)
            .apply(document(&wanted))
            .await
            .unwrap();
    }
    let files = &world.disk(&leader).files;
    assert!(files.lock().unwrap().contains_key("snapshot-directory"));
    world.start(&absent, disk).await;
    everywhere(&world, "text 200").await;
    assert_eq!(world.directory(&absent).history().len(), 64);
    // And it survives on the disk of the node that got it.
    let disk = world.kill(&absent).await;
    world.start(&absent, disk).await;
    assert_eq!(world.directory(&absent).history().len(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_disk_breaks_steps_down_and_serves_on() {
    let mut world = World::founded().await;
    world.directory("a").apply(document("one")).await.unwrap();
    everywhere(&world, "one").await;
    let broken = world.leader().await;
    world.disk(&broken).break_down();
    let refused = world.directory(&broken).apply(document("two")).await;
    assert!(
        matches!(refused, Err(WriteError::Stopped { .. })),
        "{refused:?}"
    );
    assert_eq!(world.directory(&broken).status().role, Role::Stopped);
    assert_eq!(text(world.directory(&broken)).as_deref(), Some("one"));
    let others = || world.running().filter(|(id, _)| id.as_str() != broken);
    until("another leader", || {
        others().all(|(_, other)| {
            let leader = other.status().leader;
            leader.is_some_and(|leader| leader.as_str() != broken)
        })
    })
    .await;
    let (_, other) = others().next().unwrap();
    other.apply(document("three")).await.unwrap();
    // Mended and started again it has all of it.
    let disk = world.kill(&broken).await;
    world.start(&broken, disk).await;
    everywhere(&world, "three").await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_write_survives_a_restart_on_sled() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("log");
    let mut world = World::new(&[("a", "eu")], &["a"]);
    let host = |disk: &Disk, seed| {
        let place = place.clone();
        let open = move || Ok(Arc::new(SledStore::open(&place)?) as Arc<dyn LogStore>);
        Arc::new(MemoryHost::with_store(disk.clone(), seed, Box::new(open)))
    };
    let mut disk = Disk::default();
    for life in 1..=4_u8 {
        let host = host(&disk, life);
        world
            .start_on("a", disk.clone(), "test", host)
            .await
            .unwrap();
        let directory = world.directory("a");
        assert_eq!(directory.history().len(), usize::from(life) - 1);
        let accepted = directory
            .apply(document(&format!("life {life}")))
            .await
            .unwrap();
        assert_eq!(accepted.revision, u64::from(life));
        disk = world.kill("a").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_without_any_leader_is_told_so_in_time() {
    let world = World::founded().await;
    let follower = world.follower().await;
    let others: Vec<String> = ["a", "b", "c"]
        .into_iter()
        .filter(|id| *id != follower)
        .map(str::to_owned)
        .collect();
    // The views still say `Up`: the failure is fresh.
    for other in &others {
        world.cut_off_unseen(other);
    }
    let begun = Instant::now();
    let refused = world.directory(&follower).apply(document("one")).await;
    assert!(refused.is_err(), "{refused:?}");
    let waited = begun.elapsed();
    assert!(
        waited >= Profile::Wan.lease() && waited <= Profile::Wan.patience(),
        "{waited:?}"
    );
}
