//! A snapshot on its way from a leader to a learner, with connections that break.

use std::sync::Mutex;

use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    consensus::{
        ChangeMembers, message,
        transfer::{self, PART},
    },
    fabric::Handler,
};

/// A state of a given length, whose first bytes count the commands.
struct Ballast(Vec<u8>);

impl Ballast {
    fn new(length: usize) -> Box<Self> {
        Box::new(Self(vec![7; length]))
    }
}

impl Machine for Ballast {
    fn apply(&mut self, index: u64, _: &[u8]) -> Result<Bytes, Unreadable> {
        self.0[..8].copy_from_slice(&index.to_be_bytes());
        Ok(Bytes::new())
    }

    fn snapshot(&self) -> Bytes {
        self.0.clone().into()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Unreadable> {
        self.0 = snapshot.to_vec();
        Ok(())
    }

    fn take_files(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        Vec::new()
    }

    fn publish(&mut self) {}
}

/// The way between the nodes: it remembers what went over it, and can lose it.
#[derive(Default)]
struct Road {
    handlers: BTreeMap<(NodeId, Kind), Arc<dyn Handler>>,
    /// The longest Raft message.
    longest: usize,
    /// How often each part was sent.
    parts: BTreeMap<u32, u32>,
    installs: u32,
    /// Calls about snapshots that pass before all break; then they pass again.
    break_after: Option<u32>,
}

struct Port(NodeId, Arc<Mutex<Road>>);

impl Transport for Port {
    fn call(
        &self,
        to: &NodeId,
        kind: Kind,
        body: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (to, own, road) = (to.clone(), self.0.clone(), Arc::clone(&self.1));
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            let handler = {
                let mut road = road.lock().unwrap();
                if kind == Kind::Snapshot {
                    let message: transfer::Message = wire::decode(&body).unwrap();
                    if let Some(left) = &mut road.break_after {
                        match left.checked_sub(1) {
                            Some(fewer) => *left = fewer,
                            None => {
                                if message.step == transfer::Step::Offer {
                                    road.break_after = None;
                                }
                                return Err(CallError::Broken(to));
                            }
                        }
                    }
                    match message.step {
                        transfer::Step::Part { number, .. } => {
                            *road.parts.entry(number).or_default() += 1;
                        }
                        transfer::Step::Install => road.installs += 1,
                        transfer::Step::Offer => {}
                    }
                } else {
                    assert!(wire::decode::<message::Ask>(&body).is_ok());
                    road.longest = road.longest.max(body.len());
                }
                road.handlers.get(&(to.clone(), kind)).cloned()
            };
            let from = PeerIdentity {
                id: own,
                region: "eu".into(),
                incarnation: 1,
            };
            let handler = handler.ok_or(CallError::Unreachable(to))?;
            handler.answer(from, body).await
        })
    }
}

struct Member {
    group: Group,
    disk: Disk,
    stop: CancellationToken,
}

async fn member(id: &str, road: &Arc<Mutex<Road>>, disk: Disk, length: usize) -> Member {
    let view = View {
        own: id.into(),
        own_region: "eu".into(),
        members: BTreeMap::new(),
        regions: BTreeMap::new(),
    };
    let stop = CancellationToken::new();
    let foundation = Foundation {
        host: Arc::new(MemoryHost::new(disk.clone(), 1)),
        transport: Arc::new(Port(id.into(), Arc::clone(road))),
        group: GroupId::Directory,
        own: id.into(),
        profile: Profile::Local,
        view: watch::channel(Arc::new(view)).1,
        tracker: TaskTracker::new(),
        stop: stop.clone(),
    };
    let (group, answering) = Group::start(foundation, Ballast::new(length))
        .await
        .unwrap();
    group.admit(None, 0).await.unwrap();
    let mut links = road.lock().unwrap();
    let handlers = &mut links.handlers;
    let (raft, snapshots) = Answering::handlers(vec![answering]);
    handlers.insert((id.into(), Kind::Raft), raft);
    handlers.insert((id.into(), Kind::Snapshot), snapshots);
    drop(links);
    Member { group, disk, stop }
}

/// A leader whose log no longer begins at its beginning.
async fn leader(road: &Arc<Mutex<Road>>, length: usize) -> Member {
    let leader = member("a", road, Disk::default(), length).await;
    let region = "eu".into();
    let voters = BTreeMap::from([("a".into(), Seat { region, number: 0 })]);
    leader.group.found(voters).await.unwrap();
    until("a leader", || leader.group.status().leader.is_some()).await;
    for _ in 0..200 {
        leader
            .group
            .propose(Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    leader
}

async fn take_in(leader: &Member, learner: &str) {
    let region = "eu".into();
    let nodes = BTreeMap::from([(Id(learner.into()), Seat { region, number: 0 })]);
    let change = ChangeMembers::AddNodes(nodes);
    leader.group.change(change, true).await.unwrap();
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = timeout(Duration::from_secs(60), async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for {what}");
}

fn caught_up(leader: &Member, learner: &Member) -> bool {
    learner.group.status().applied_index >= leader.group.status().commit_index
}

/// More than a message may hold: 40 parts and a bit.
const LARGE: usize = 40 * PART + 1;

#[tokio::test(start_paused = true)]
async fn a_snapshot_larger_than_a_message_reaches_a_learner_part_by_part() {
    let road = Arc::default();
    let a = leader(&road, LARGE).await;
    let b = member("b", &road, Disk::default(), 8).await;
    take_in(&a, "b").await;
    until("b has it", || caught_up(&a, &b)).await;
    let road = road.lock().unwrap();
    assert_eq!(road.parts.len(), 41);
    assert!(
        road.parts.values().all(|sent| *sent == 1),
        "{:?}",
        road.parts
    );
    assert_eq!(road.installs, 1);
    // Between heartbeats on the control connection nothing long ever stands.
    assert!(road.longest < 64 << 10, "{}", road.longest);
    assert!(b.disk.files.lock().unwrap()["snapshot-directory"].len() > LARGE);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_goes_on_where_its_connection_broke() {
    let road = Arc::new(Mutex::new(Road {
        break_after: Some(21),
        ..Road::default()
    }));
    let a = leader(&road, LARGE).await;
    let b = member("b", &road, Disk::default(), 8).await;
    take_in(&a, "b").await;
    until("b has it", || caught_up(&a, &b)).await;
    let road = road.lock().unwrap();
    assert_eq!(road.break_after, None, "the connection broke");
    assert_eq!(road.parts.len(), 41);
    assert!(
        road.parts.values().all(|sent| *sent == 1),
        "{:?}",
        road.parts
    );
}

#[tokio::test(start_paused = true)]
async fn half_a_snapshot_leaves_the_old_one_in_its_place() {
    let road = Arc::default();
    let a = leader(&road, LARGE).await;
    let b = member("b", &road, Disk::default(), 8).await;
    take_in(&a, "b").await;
    until("b has the first", || caught_up(&a, &b)).await;
    let first = b.disk.files.lock().unwrap()["snapshot-directory"].clone();
    // It dies when half of a newer one has come.
    let newer = vec![8; LARGE];
    let stamp = transfer::Stamp::of(Default::default(), &newer);
    let part = |number| {
        let bytes = Bytes::copy_from_slice(&newer[stamp.place(number)]);
        transfer::Step::Part {
            number,
            sum: *blake3::hash(&bytes).as_bytes(),
            bytes: wire::Payload(bytes),
        }
    };
    let offered = say(&road, "a", &stamp, transfer::Step::Offer).await;
    assert!(matches!(offered, Ok(transfer::Answer::Missing(missing)) if missing.len() == 41));
    for number in 0..20 {
        let taken = say(&road, "a", &stamp, part(number)).await;
        assert!(matches!(taken, Ok(transfer::Answer::Taken)));
    }
    let again = say(&road, "a", &stamp, transfer::Step::Offer).await;
    assert!(matches!(again, Ok(transfer::Answer::Missing(missing)) if missing.len() == 21));
    let early = say(&road, "a", &stamp, transfer::Step::Install).await;
    assert!(matches!(early, Ok(transfer::Answer::No(_))));
    let disk = b.disk.crash();
    b.stop.cancel();
    assert_eq!(disk.files.lock().unwrap()["snapshot-directory"], first);
    // In its next life it starts from the old one, and nothing of the new one is there.
    let b = member("b", &road, disk, 8).await;
    until("b has what it had", || caught_up(&a, &b)).await;
    let offered = say(&road, "a", &stamp, transfer::Step::Offer).await;
    assert!(matches!(offered, Ok(transfer::Answer::Missing(missing)) if missing.len() == 41));
}

/// Says something about a snapshot to b over a's connection, in a leader's name.
async fn say(
    road: &Mutex<Road>,
    leader: &str,
    stamp: &transfer::Stamp,
    step: transfer::Step,
) -> Result<transfer::Answer, CallError> {
    let handler = road.lock().unwrap().handlers[&("b".into(), Kind::Snapshot)].clone();
    let message = transfer::Message {
        group: GroupId::Directory,
        vote: Vote::new(1, Id(leader.into())),
        stamp: stamp.clone(),
        step,
    };
    let from = PeerIdentity {
        id: "a".into(),
        region: "eu".into(),
        incarnation: 1,
    };
    let answer = handler.answer(from, wire::encode(&message).into()).await?;
    Ok(wire::decode(&answer).unwrap())
}

#[tokio::test(start_paused = true)]
async fn parts_that_were_not_offered_and_other_nodes_names_are_refused() {
    let road: Arc<Mutex<Road>> = Arc::default();
    let b = member("b", &road, Disk::default(), 8).await;
    let stamp = transfer::Stamp::of(Default::default(), b"state");
    let say = async |leader: &str, step| say(&road, leader, &stamp, step).await;
    let part = || transfer::Step::Part {
        number: 0,
        sum: *blake3::hash(b"state").as_bytes(),
        bytes: crate::wire::Payload(Bytes::from_static(b"state")),
    };
    let forged = say("c", transfer::Step::Offer).await;
    assert!(matches!(forged, Err(CallError::Refused { .. })));
    for step in [part(), transfer::Step::Install] {
        let early = say("a", step).await;
        assert!(matches!(early, Ok(transfer::Answer::No(_))));
    }
    let offered = say("a", transfer::Step::Offer).await;
    assert!(matches!(offered, Ok(transfer::Answer::Missing(missing)) if missing == [0]));
    let taken = say("a", part()).await;
    assert!(matches!(taken, Ok(transfer::Answer::Taken)));
    b.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_whose_log_is_gone_makes_no_voter() {
    let road = Arc::default();
    let a = leader(&road, LARGE).await;
    let name = "snapshot-directory";
    until("a snapshot", || {
        a.disk.files.lock().unwrap().contains_key(name)
    })
    .await;
    a.stop.cancel();
    let snapshot = a.disk.files.lock().unwrap()[name].clone();
    let disk = Disk::default();
    let files = Arc::clone(&disk.files);
    files
        .lock()
        .unwrap()
        .insert(name.to_owned(), snapshot.clone());
    let a = member("a", &Arc::default(), disk, 8).await;
    assert!(a.group.status().voters.is_empty());
    assert!(!a.group.has_log().await.unwrap());
    let files = files.lock().unwrap();
    assert!(!files.contains_key(name));
    assert_eq!(files["snapshot-directory.without-log"], snapshot);
}
