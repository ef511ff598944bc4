//! The log on the real store, in a process that is killed at any moment.
//!
//! A child appends, votes, truncates and purges through [`Log`] and says each step before it begins and when
//! it is acknowledged. The parent kills it, opens the store and compares it with what was acknowledged.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    str::FromStr,
};

use openraft::{
    EntryPayload, RaftLogReader as _,
    alias::OneshotReceiverOf,
    storage::{IOFlushed, RaftLogStorage as _},
    type_config::TypeConfigExt as _,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    consensus::types::{LeaderId, LogId, Payload, RaftEntry},
    host::os::OsHost,
};

/// Where the child's data folder is.
const PLACE: &str = "MERIDIAN_TEST_DATA";
/// What its choices depend on.
const SEED: &str = "MERIDIAN_TEST_SEED";

/// Something the child does with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Append { first: u64, last: u64, term: u64 },
    Truncate { from: u64 },
    Purge { upto: u64 },
    Vote { term: u64 },
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Append { first, last, term } => write!(f, "append {first} {last} {term}"),
            Self::Truncate { from } => write!(f, "truncate {from}"),
            Self::Purge { upto } => write!(f, "purge {upto}"),
            Self::Vote { term } => write!(f, "vote {term}"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
        let numbers = (number(1), number(2), number(3));
        match (words[0], numbers) {
            ("append", (Some(first), Some(last), Some(term))) => {
                Ok(Self::Append { first, last, term })
            }
            ("truncate", (Some(from), ..)) => Ok(Self::Truncate { from }),
            ("purge", (Some(upto), ..)) => Ok(Self::Purge { upto }),
            ("vote", (Some(term), ..)) => Ok(Self::Vote { term }),
            _ => Err(text.to_owned()),
        }
    }
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    vote: u64,
    purged: u64,
    /// The term of each entry.
    entries: BTreeMap<u64, u64>,
}

impl Held {
    fn apply(&mut self, step: Step) {
        match step {
            Step::Append { first, last, term } => {
                self.entries
                    .extend((first..=last).map(|index| (index, term)));
            }
            Step::Truncate { from } => drop(self.entries.split_off(&from)),
            Step::Purge { upto } => {
                self.purged = upto;
                self.entries = self.entries.split_off(&(upto + 1));
            }
            Step::Vote { term } => self.vote = term,
        }
    }

    fn last(&self) -> u64 {
        self.entries
            .keys()
            .next_back()
            .map_or(self.purged, |last| *last)
    }

    /// That this is what was acknowledged, but for a step that was under way: of it any part may be there.
    fn must_be(&self, acknowledged: &Self, under_way: Option<Step>) {
        let mut done = acknowledged.clone();
        if let Some(step) = under_way {
            done.apply(step);
        }
        let votes = [acknowledged.vote, done.vote];
        assert!(
            votes.contains(&self.vote),
            "vote {} of {votes:?}",
            self.vote
        );
        let purged = [acknowledged.purged, done.purged];
        assert!(
            purged.contains(&self.purged),
            "purged up to {} of {purged:?}",
            self.purged
        );
        for (index, term) in &acknowledged.entries {
            let goes = !done.entries.contains_key(index);
            match self.entries.get(index) {
                Some(there) => assert_eq!(there, term, "entry {index}"),
                None => assert!(goes, "entry {index} was acknowledged and is missing"),
            }
        }
        for (index, term) in &self.entries {
            assert!(
                acknowledged.entries.contains_key(index) || done.entries.get(index) == Some(term),
                "entry {index} has come back, or was never written"
            );
        }
        let (first, count) = (self.entries.keys().next(), self.entries.len() as u64);
        assert!(
            first.is_none_or(|first| first + count == self.last() + 1),
            "a hole in {:?}",
            self.entries.keys()
        );
    }
}

fn log_id(term: u64, index: u64) -> LogId {
    let leader_id = LeaderId {
        term,
        node_id: Id("a".into()),
    };
    LogId { leader_id, index }
}

/// An entry whose content follows from its place, of up to three chunks of the store.
fn entry(term: u64, index: u64) -> RaftEntry {
    let length = usize::try_from((index * 997 + term * 31) % 9000).unwrap();
    RaftEntry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Payload(
            vec![(index ^ term).to_le_bytes()[0]; length].into(),
        )),
    }
}

fn open(place: &Path) -> (Log, TaskTracker) {
    let host: Arc<dyn Host> = Arc::new(OsHost::new(place).unwrap());
    let store = host.log_store().unwrap();
    let tracker = TaskTracker::new();
    let log = Log::new(host, store, GroupId::Directory, &tracker);
    (log, tracker)
}

/// What lies in the store; every entry is as it was written.
async fn held(log: &mut Log) -> Held {
    let state = log.get_log_state().await.unwrap();
    let mut reader = log.get_log_reader().await;
    let vote = reader.read_vote().await.unwrap();
    let purged = state.last_purged_log_id.map_or(0, |id| id.index);
    let entries = reader.try_get_log_entries(..).await.unwrap();
    for there in &entries {
        let LogId { leader_id, index } = &there.log_id;
        assert_eq!(*there, entry(leader_id.term, *index));
    }
    let terms = entries
        .iter()
        .map(|entry| (entry.log_id.index, entry.log_id.leader_id.term));
    Held {
        vote: vote.map_or(0, |vote| vote.leader_id.term),
        purged,
        entries: terms.collect(),
    }
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
#[ignore = "it writes until it is killed; the tests that kill it start it"]
async fn append_until_killed() {
    let place = std::env::var_os(PLACE).expect("who starts it says where");
    let seed = std::env::var(SEED).expect("who starts it says which");
    let mut random = StdRng::seed_from_u64(seed.parse().unwrap());
    let (mut log, _tracker) = open(Path::new(&place));
    let mut held = held(&mut log).await;
    let mut term = held.vote + 1;
    let mut next = Some(Step::Vote { term });
    loop {
        let step = next
            .take()
            .unwrap_or_else(|| choose(&mut random, &held, &mut term));
        say(&format!("begin {step}"));
        perform(&mut log, step).await;
        say("done");
        held.apply(step);
    }
}

fn choose(random: &mut StdRng, held: &Held, term: &mut u64) -> Step {
    let last = held.last();
    match random.random_range(0..10) {
        0 if last > held.purged => Step::Truncate {
            from: random.random_range(last.saturating_sub(5).max(held.purged + 1)..=last),
        },
        1 if last > held.purged => Step::Purge {
            upto: random.random_range(held.purged + 1..=last),
        },
        2 => {
            *term += 1;
            Step::Vote { term: *term }
        }
        _ => Step::Append {
            first: last + 1,
            last: last + random.random_range(1..=6),
            term: *term,
        },
    }
}

async fn perform(log: &mut Log, step: Step) {
    match step {
        // In two calls that wait for durability together, as a busy leader's do.
        Step::Append { first, last, term } => {
            let middle = first + (last - first) / 2;
            let entries = |from: u64, to: u64| (from..=to).map(move |index| entry(term, index));
            let one = append(log, entries(first, middle)).await;
            let other = append(log, entries(middle + 1, last)).await;
            one.await.unwrap().unwrap();
            other.await.unwrap().unwrap();
        }
        Step::Truncate { from } => {
            // Only the index counts.
            log.truncate_after(Some(log_id(0, from - 1))).await.unwrap();
        }
        Step::Purge { upto } => log.purge(log_id(0, upto)).await.unwrap(),
        Step::Vote { term } => {
            let vote = Vote::new(term, Id("a".into()));
            log.save_vote(&vote).await.unwrap();
        }
    }
}

/// Writes entries; what is given back resolves when they are durable.
pub(super) async fn append(
    log: &mut Log,
    entries: impl Iterator<Item = RaftEntry> + Send,
) -> OneshotReceiverOf<Types, Result<(), io::Error>> {
    let (done, durable) = Types::oneshot();
    let entries: Vec<RaftEntry> = entries.collect();
    log.append(entries, IOFlushed::signal(done)).await.unwrap();
    durable
}

fn say(line: &str) {
    let mut line = line.to_owned();
    line.push('\n');
    io::stdout().write_all(line.as_bytes()).unwrap();
}

/// A child that works on the log in `place`.
fn start(place: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "--quiet"])
        .arg("consensus::tests::crash::append_until_killed")
        .env(PLACE, place)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a child work until it has said so many lines, and kills it a moment later. Enters what it says into
/// `acknowledged`; gives the step that was under way.
fn work_and_die(mut child: Child, acknowledged: &mut Held, random: &mut StdRng) -> Option<Step> {
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut left = random.random_range(1..=60);
    let mut under_way = None;
    for line in said.map_while(Result::ok) {
        if let Some(step) = line.strip_prefix("begin ") {
            under_way = Some(step.parse().unwrap());
        } else if line == "done" {
            acknowledged.apply(under_way.take().expect("it was begun"));
        } else {
            continue;
        }
        left -= 1;
        if left == 0 {
            // Anywhere between two system calls; what it still says before it dies counts too.
            for _ in 0..random.random_range(0..100_000) {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(left <= 0, "it ended by itself");
    under_way
}

/// Opens what a dead child has left, compares it, and goes on from there.
async fn look(place: &Path, acknowledged: &mut Held, under_way: Option<Step>) {
    let (mut log, tracker) = open(place);
    let there = held(&mut log).await;
    there.must_be(acknowledged, under_way);
    *acknowledged = there;
    drop(log);
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_and_nothing_purged_comes_back_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Held::default();
    let mut random = StdRng::seed_from_u64(1);
    for round in 0..110 {
        let child = start(folder.path(), round);
        let under_way = work_and_die(child, &mut acknowledged, &mut random);
        look(folder.path(), &mut acknowledged, under_way).await;
    }
    println!("after 110 kills: entry {}", acknowledged.last());
    assert!(acknowledged.last() > 1000);
}

/// A file with a file system in it, mounted, of which copies can be made while it is in use.
struct Device {
    image: std::path::PathBuf,
    mount: std::path::PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {said}", arguments.join(" ")))
}

impl Device {
    fn mount(image: std::path::PathBuf, mount: std::path::PathBuf) -> Result<Self, String> {
        // The journal is committed when somebody syncs, not by itself in between.
        let (from, to) = (image.to_str().unwrap(), mount.to_str().unwrap());
        run("mount", &["-o", "loop,commit=300", from, to])?;
        Ok(Self { image, mount })
    }

    /// The device as it stands, as a power cut would leave it: what lies in memory alone is not on it.
    fn cut_power(self, next: std::path::PathBuf) -> Self {
        let (from, to) = (self.image.to_str().unwrap(), next.to_str().unwrap());
        run("cp", &["--sparse=always", from, to]).unwrap();
        let mount = self.mount.clone();
        let old = self.image.clone();
        drop(self);
        std::fs::remove_file(old).unwrap();
        Self::mount(next, mount).unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Nobody can be told, and the test's folder is in the way of whoever looks next.
        let _ = run("umount", &["-l", self.mount.to_str().unwrap()]);
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_after_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("0.image");
    let mount = folder.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let made = File::create(&image).and_then(|file| file.set_len(128 << 20));
    made.unwrap();
    let format = ["-q", "-F", "-E", "nodiscard", image.to_str().unwrap()];
    let ready = run("mkfs.ext4", &format).and_then(|()| Device::mount(image, mount.clone()));
    let mut device = match ready {
        Ok(device) => device,
        Err(why) => {
            println!(
                "NOT TESTED: no power can be cut here, which takes root and loop mounts: {why}"
            );
            return;
        }
    };
    let place = mount.join("data");
    std::fs::create_dir(&place).unwrap();
    let mut acknowledged = Held::default();
    let mut random = StdRng::seed_from_u64(2);
    for round in 0..40 {
        let child = start(&place, 1000 + round);
        let under_way = work_and_die(child, &mut acknowledged, &mut random);
        let next = folder.path().join(format!("{}.image", round + 1));
        device = device.cut_power(next);
        look(&place, &mut acknowledged, under_way).await;
    }
    drop(device);
    println!("after 40 power cuts: entry {}", acknowledged.last());
    assert!(acknowledged.last() > 300);
}
