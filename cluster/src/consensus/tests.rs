//! Storage under openraft's own suite, and what the answering side refuses.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use meridian_config::name::NodeId;
use openraft::{StorageError, raft::VoteRequest, testing::log::StoreBuilder, testing::log::Suite};
use proptest::prelude::*;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Answering, Foundation, Group, Machine, Profile,
    log::Log,
    message::{Answer, Ask, Question},
    state_machine::StateMachine,
    types::{Id, Seat, Types, Vote},
};
use crate::{
    fabric::{CallError, Handler, Kind, PeerIdentity, Transport},
    host::{
        BoxFuture, GroupId, Host, LogStore,
        memory::{Disk, MemoryHost},
        os::SledStore,
    },
    membership::View,
    wire::{self, Unreadable},
};

mod crash;
mod snapshots;
mod throughput;

/// Counts its commands.
#[derive(Default)]
struct Counter(u64);

impl Machine for Counter {
    fn apply(&mut self, _: u64, _: &[u8]) -> Result<Bytes, Unreadable> {
        self.0 += 1;
        Ok(wire::encode(&self.0).into())
    }

    fn snapshot(&self) -> Bytes {
        wire::encode(&self.0).into()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Unreadable> {
        self.0 = wire::decode(snapshot)?;
        Ok(())
    }

    fn take_files(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        Vec::new()
    }

    fn publish(&mut self) {}
}

struct Stores {
    on_sled: bool,
}

impl StoreBuilder<Types, Log, StateMachine, Option<tempfile::TempDir>> for Stores {
    async fn build(
        &self,
    ) -> Result<(Option<tempfile::TempDir>, Log, StateMachine), StorageError<Types>> {
        let disk = Disk::default();
        let (folder, host) = if self.on_sled {
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join("log");
            let open = move || Ok(Arc::new(SledStore::open(&place)?) as Arc<dyn LogStore>);
            let host = MemoryHost::with_store(disk, 1, Box::new(open));
            (Some(folder), host)
        } else {
            (None, MemoryHost::new(disk, 1))
        };
        let host: Arc<dyn Host> = Arc::new(host);
        let store = host.log_store().unwrap();
        let log = Log::new(
            Arc::clone(&host),
            store,
            GroupId::Directory,
            &TaskTracker::new(),
        );
        let machine = Box::new(Counter::default());
        let state = StateMachine::new(host, GroupId::Directory, machine);
        Ok((folder, log, state))
    }
}

#[tokio::test(start_paused = true)]
async fn log_and_state_machine_pass_the_suite_of_openraft() {
    Suite::test_all(Stores { on_sled: false }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn log_and_state_machine_pass_it_on_sled_too() {
    Suite::test_all(Stores { on_sled: true }).await.unwrap();
}

struct Nowhere;

impl Transport for Nowhere {
    fn call(
        &self,
        to: &NodeId,
        _: Kind,
        _: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let to = to.clone();
        Box::pin(async { Err(CallError::Unreachable(to)) })
    }
}

async fn group() -> (Group, Arc<dyn Handler>) {
    let view = View {
        own: "a".into(),
        own_region: "eu".into(),
        members: BTreeMap::new(),
        regions: BTreeMap::new(),
    };
    let foundation = Foundation {
        host: Arc::new(MemoryHost::new(Disk::default(), 1)),
        transport: Arc::new(Nowhere),
        group: GroupId::Directory,
        own: "a".into(),
        profile: Profile::Local,
        view: watch::channel(Arc::new(view)).1,
        tracker: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    let (group, answering) = Group::start(foundation, Box::new(Counter::default()))
        .await
        .unwrap();
    (group, Answering::handlers(vec![answering]).0)
}

async fn ask(handler: &Arc<dyn Handler>, body: Vec<u8>) -> Result<Answer, CallError> {
    let from = PeerIdentity {
        id: "b".into(),
        region: "us".into(),
        incarnation: 1,
    };
    let answer = Arc::clone(handler).answer(from, body.into()).await?;
    Ok(wire::decode(&answer).unwrap())
}

fn vote_for(candidate: &str) -> Vec<u8> {
    let vote = Vote::new(1, Id(candidate.into()));
    wire::encode(&Ask {
        group: GroupId::Directory,
        question: Question::Vote(VoteRequest::new(vote, None)),
    })
}

#[tokio::test(start_paused = true)]
async fn a_message_in_another_nodes_name_is_refused() {
    let (group, handler) = group().await;
    group.admit(None, 0).await.unwrap();
    let forged = ask(&handler, vote_for("c")).await;
    assert!(matches!(forged, Err(CallError::Refused { .. })));
    let honest = ask(&handler, vote_for("b")).await;
    assert!(matches!(honest, Ok(Answer::Vote(_))));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_the_cluster_has_not_taken_in_does_not_vote() {
    let (group, handler) = group().await;
    let answer = ask(&handler, vote_for("b")).await;
    assert!(matches!(answer, Ok(Answer::Unavailable(_))));
    group.admit(None, 0).await.unwrap();
    let answer = ask(&handler, vote_for("b")).await;
    assert!(matches!(answer, Ok(Answer::Vote(_))));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_an_unknown_version_is_refused() {
    let (group, handler) = group().await;
    group.admit(None, 0).await.unwrap();
    let mut body = vote_for("b");
    body[0] = 9;
    assert!(matches!(
        ask(&handler, body).await,
        Err(CallError::Unreadable { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_lone_voter_agrees_with_itself_and_says_so() {
    let (group, _) = group().await;
    group.admit(None, 0).await.unwrap();
    let region = "eu".into();
    group
        .found(BTreeMap::from([("a".into(), Seat { region, number: 0 })]))
        .await
        .unwrap();
    let mut changes = group.changes();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while group.status().leader.is_none() {
        assert!(changes.next(deadline).await, "no leader");
    }
    let (index, answer) = group.propose(Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(wire::decode::<u64>(&answer), Ok(1));
    assert!(group.status().applied_index >= index);
}

proptest! {
    #[test]
    fn any_bytes_as_a_message_give_an_answer(bytes: Vec<u8>) {
        prop_assert!(wire::decode::<Ask>(&bytes).is_err() || bytes[0] == 1);
        let mut versioned = vec![1];
        versioned.extend(&bytes);
        let _ = wire::decode::<Ask>(&versioned);
        let _ = wire::decode::<Answer>(&versioned);
    }
}
