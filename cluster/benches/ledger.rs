//! How much of a core the ledger's leader takes for so many items a second, by stage and all the way.
//!
//! `cargo bench --workspace --bench ledger`. An item is a node's word on one key: it hands back what it was given and asks
//! for as much again, so that every item moves tokens. Nine nodes send their asks, a batch each 15 ms; the leader knows
//! 7500 keys, and of every tenth nodes want more than there is. A batch is read, thought of, cut, made an entry, written
//! to a log like a node's and flushed, read, applied, answered, and the grants are dressed and written; a seventh as often
//! the leader looks for what can be given and what to ask back. What is left out is Raft's own work, some tens of entries
//! a second whatever they hold, snapshots, and the network. Times are those on a processor, not those of waiting for a
//! disk.

use std::{collections::BTreeMap, hint::black_box, time::Duration};

use meridian_cluster::{
    host::{Entry as Logged, GroupId, LogStore, os::SledStore},
    quota::{
        key::KeyId,
        leader::Leader,
        ledger::Ledger,
        message::{Act, AskItem, Entry, Line, QuotaAsk, QuotaGrant, Stamp, Wish},
        params::Params,
        terms::{Kind, OnLapse, Terms},
    },
};
use meridian_config::name::{NodeId, RegionName};
use rustix::time::{ClockId, clock_gettime};
use serde::{Serialize, de::DeserializeOwned};

const NODES: u64 = 9;
/// Of each node in a batch: 15 000 a second of all, and four times as much.
const LOADS: [u32; 2] = [25, 100];
const KEYS: u32 = 7500;
/// Batches that make all keys known, and those that are measured.
const WARM: u64 = 300;
const MEASURED: u64 = 600;
const BATCH: Duration = Duration::from_millis(15);
const ROUNDS: usize = 5;

fn name(node: u64) -> NodeId {
    NodeId::new(format!("node-{node}"))
}

fn region(node: u64) -> RegionName {
    RegionName::new(["eu-west", "us-east", "ap-south"][usize::try_from(node % 3).unwrap_or(0)])
}

fn key(number: u32) -> KeyId {
    let mut id = [0; 16];
    let spread = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    id[..8].copy_from_slice(&spread.to_le_bytes());
    KeyId(id)
}

fn ask(node: u64, seq: u64, items: Vec<AskItem>) -> QuotaAsk {
    let minute = Duration::from_secs(60);
    let terms = Terms::new(1000, minute, Kind::Sliding, OnLapse::Base).expect("within bounds");
    QuotaAsk {
        node: name(node),
        incarnation: 1,
        seq,
        sent_ms: seq,
        as_of: 1,
        seats: 0,
        fits: false,
        terms: vec![terms],
        items,
    }
}

/// As the nodes do, but for the version in front.
fn encode(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("it serializes")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> T {
    let read = bincode::serde::decode_from_slice(bytes, bincode::config::standard());
    read.expect("it was just written").0
}

/// How long this thread has been on a processor.
fn on_core() -> Duration {
    ran(ClockId::ThreadCPUTime)
}

/// The same of all threads of this process: the store has its own.
fn on_cores() -> Duration {
    ran(ClockId::ProcessCPUTime)
}

fn ran(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("it has not run for less than nothing")
}

/// A leader, its ledger and its log.
struct Bench {
    leader: Leader,
    ledger: Ledger,
    log: SledStore,
    _folder: tempfile::TempDir,
    index: u64,
    /// Of each node in a batch.
    load: u32,
    /// Of each key and node, as the ledger has told the node.
    given: BTreeMap<(KeyId, NodeId), u32>,
    times: BTreeMap<&'static str, Duration>,
}

impl Bench {
    fn new(load: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bench = Self {
            leader: Leader::new(Params::DEFAULT),
            ledger: Ledger::new(Params::DEFAULT),
            log: SledStore::open(folder.path()).expect("a store"),
            _folder: folder,
            index: 0,
            load,
            given: BTreeMap::new(),
            times: BTreeMap::new(),
        };
        let seats = u16::try_from(NODES).unwrap_or(1);
        bench.act(0, Act::Split { seats });
        for node in 0..NODES {
            let incarnation = 1;
            let node = name(node);
            bench.act(0, Act::NodeUp { node, incarnation });
        }
        bench
    }

    fn timed<T>(&mut self, stage: &'static str, work: impl FnOnce(&mut Self) -> T) -> T {
        let begun = on_core();
        let done = work(self);
        *self.times.entry(stage).or_default() += on_core() - begun;
        done
    }

    fn act(&mut self, now_ms: u64, act: Act) -> Vec<QuotaGrant> {
        self.index += 1;
        let entry = Entry {
            stamp: Stamp {
                log_ms: now_ms,
                unix_ms: now_ms,
            },
            line: Line {
                by: name(0),
                after: 0,
            },
            act,
        };
        let bytes = self.timed("made an entry, and read", |_| {
            let bytes = encode(&entry);
            black_box(decode::<Entry>(&bytes));
            bytes
        });
        self.timed("written to the log and flushed", |bench| {
            let index = bench.index;
            let bytes = bytes.into();
            let entry = Logged { index, bytes };
            let written = bench.log.append(GroupId::Ledger, &[entry]);
            written.and_then(|()| bench.log.flush()).expect("a disk");
        });
        let grants = self.timed("applied", |bench| bench.ledger.apply(bench.index, &entry));
        self.timed("answered", |_| decode(&encode(&grants)))
    }

    /// A node's word of a batch: what it was given it hands back, and asks for as much again.
    fn said(&self, node: u64, batch: u64) -> QuotaAsk {
        let first = u32::try_from(batch).unwrap_or(0).wrapping_mul(self.load);
        let items = (first..first + self.load).map(|number| {
            let key = key(number % KEYS);
            let given = self.given.get(&(key, name(node))).copied().unwrap_or(0);
            AskItem {
                key,
                terms: Some(0),
                born: 1,
                returned: given,
                lent: 0,
                want: given + if number % 10 == 0 { 150 } else { 25 },
                window: 0,
                rate: if node == 0 { 10 } else { 4000 },
                free: 0,
                given,
                unit: 1,
                waits_ms: 0,
                cooling: Vec::new(),
                rests: None,
            }
        });
        ask(node, 1 + batch, items.collect())
    }

    /// How many items of it were answered, and how many recalls it caused.
    fn batch(&mut self, batch: u64) -> (usize, usize) {
        let now_ms = batch * 15;
        let sent: Vec<Vec<u8>> = (0..NODES)
            .map(|node| encode(&self.said(node, batch)))
            .collect();
        let mut asks: Vec<QuotaAsk> = self.timed("read", |_| {
            let read = sent.iter().map(|bytes| decode(bytes));
            read.collect()
        });
        let wishes: Vec<Wish> = self.timed("thought of and cut", |bench| {
            for (node, ask) in (0..NODES).zip(&asks) {
                bench.leader.hear(ask, &region(node), now_ms);
            }
            bench.leader.cut(&mut asks, &bench.ledger);
            bench.leader.wishes(&bench.ledger)
        });
        let mut grants = self.act(now_ms, Act::Batch { asks, wishes });
        self.timed("dressed and written", |bench| {
            bench.leader.dress(&mut grants, &bench.ledger);
            for grant in &grants {
                black_box(encode(grant));
            }
        });
        let recalls = match batch % 7 {
            0 => self.timed("looked through", |bench| {
                bench.leader.forget(now_ms);
                black_box(bench.leader.wishes(&bench.ledger));
                bench.leader.recalls(bench.index, &bench.ledger, now_ms)
            }),
            _ => Vec::new(),
        };
        let mut items = 0;
        for grant in grants {
            items += grant.items.len();
            for item in grant.items {
                self.given
                    .insert((item.key, grant.node.clone()), item.given);
            }
        }
        (items, recalls.iter().map(|grant| grant.recalls.len()).sum())
    }
}

/// What one round took, by stage.
fn round(load: u32) -> BTreeMap<&'static str, Duration> {
    let mut bench = Bench::new(load);
    for batch in 0..WARM {
        bench.batch(batch);
    }
    bench.times.clear();
    let given: u64 = bench.given.values().copied().map(u64::from).sum();
    let (own, all) = (on_core(), on_cores());
    let (mut items, mut recalls) = (0, 0);
    for batch in WARM..WARM + MEASURED {
        let (answered, recalled) = bench.batch(batch);
        items += answered;
        recalls += recalled;
    }
    let others = (on_cores() - all).saturating_sub(on_core() - own);
    bench.times.insert("the store's threads", others);
    let given = bench.given.values().copied().map(u64::from).sum::<u64>() - given;
    let all = MEASURED * NODES * u64::from(load);
    // More: some wait, and are given theirs later.
    assert!(items as u64 >= all, "an item was not answered");
    assert!(given > 20 * all, "{given} tokens moved by {all} items");
    assert!(recalls > 0, "nothing was scarce");
    assert_eq!(bench.ledger.keys(), usize::try_from(KEYS).unwrap_or(0));
    bench.times
}

fn main() {
    for load in LOADS {
        let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round(load)).collect();
        rounds.sort_by_key(|times| times.values().sum::<Duration>());
        let times = &rounds[ROUNDS / 2];
        let span = BATCH.as_secs_f64() * MEASURED as f64;
        let a_second = f64::from(load) * NODES as f64 / BATCH.as_secs_f64();
        let share = |time: Duration| 100.0 * time.as_secs_f64() / span;
        println!("{a_second:.0} items a second, in % of a core, median of {ROUNDS} rounds");
        for (stage, time) in times {
            println!("  {stage:<40} {:6.1}", share(*time));
        }
        println!("  {:<40} {:6.1}", "all", share(times.values().sum()));
    }
}
