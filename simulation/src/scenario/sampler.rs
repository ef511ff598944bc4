//! Looks at what every node holds, once a second of a run, and says what it may hold.
//!
//! In: the machines and the insides of the nodes. Out: samples to the oracle. A bound is what the code of the node
//! states where it has one (facts, revisions, the log); for connections and tasks it follows from how many requests
//! can be under way, which the workload says. Memory is looked at where the program's allocator counts it.

use std::{collections::VecDeque, time::Duration};

use meridian_cluster::{
    facts::{BYTES_LIMIT, COUNT_LIMIT},
    host::{GroupId, LogStore as _},
};

use super::stage::Stage;
use crate::{
    gateway::{FLOOD_STREAMS, Gateway},
    workload::{Held, Sample},
    world::MachineId,
};

/// Looks once a second.
pub(super) struct Sampler {
    next: Duration,
    /// How many requests had begun, at each of the last samples.
    begun: VecDeque<u64>,
    /// The most requests that can have been under way at once so far.
    peak: u64,
    /// Presentations of badges that can be under way at one node.
    badges: u64,
}

impl Sampler {
    /// `badges`: between two presentations of one badge at one node; none: nobody presents any.
    pub(super) fn new(badges: Option<Duration>) -> Self {
        let patience = count(PATIENCE.as_millis());
        Self {
            next: Duration::ZERO,
            begun: VecDeque::new(),
            peak: 0,
            badges: badges.map_or(0, |every| {
                PRESENTED * patience / count(every.as_millis()).max(1)
            }),
        }
    }

    /// Looks where it is time to.
    pub(super) fn look(&mut self, stage: &Stage) {
        let now = stage.world.now();
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        let begun = stage.oracle.history().begun;
        self.begun.push_back(begun);
        if self.begun.len() > usize::try_from(PATIENCE.as_secs()).expect("a few seconds") + 1 {
            self.begun.pop_front();
        }
        let before = self.begun.front().copied().unwrap_or_default();
        self.peak = self.peak.max(begun - before);
        for (index, gateway) in stage.gateways() {
            let node = &stage.nodes[index];
            let held = self.held(stage, node.machine, &gateway);
            stage.oracle.history().samples.push(Sample {
                at: now,
                node: node.name(),
                held,
            });
        }
    }

    fn held(&self, stage: &Stage, machine: MachineId, gateway: &Gateway) -> Vec<Held> {
        let nodes = stage.nodes.len() as u64;
        let requests = self.peak + self.badges;
        let upstreams = stage.regions.len() as u64 * (stage.regions.len() as u64 + 1);
        let standing = gateway.standing();
        let entries = |group| {
            let bounds = stage.world.disk(machine).bounds(group);
            let bounds = bounds.ok().flatten();
            bounds.map_or(0, |(first, last)| last - first + 1)
        };
        let (waiting, served) = gateway.forwarding();
        let (keys, rows) = gateway.ledger();
        let held = |what, count, bound| Held { what, count, bound };
        let memory = stage.world.memory(machine);
        let mut all = vec![
            held("facts", standing.held as u64, COUNT_LIMIT as u64),
            held("bytes of facts", standing.bytes as u64, BYTES_LIMIT as u64),
            held("revisions", gateway.kept() as u64, REVISIONS),
            held("entries of the log", entries(GroupId::Directory), LOG),
            held(
                "entries of the ledger's log",
                entries(GroupId::Ledger),
                LEDGER,
            ),
            held(
                "rows of the ledger",
                rows as u64,
                keys as u64 * (nodes + SPANS),
            ),
            held("requests under way", gateway.in_flight(), requests),
            held(
                "requests that wait to be forwarded",
                waiting as u64,
                requests,
            ),
            held("requests served for peers", served as u64, requests + FLOOD),
            held("peers", gateway.peers() as u64, nodes),
            held(
                "streams",
                stage.world.network().streams_of(machine),
                STREAMS + CHECKS * upstreams + STREAMS_A_REQUEST * requests,
            ),
            held(
                "tasks",
                stage.world.tasks(machine),
                TASKS + TASKS_A_PEER * nodes + CHECKS * upstreams + TASKS_A_REQUEST * requests,
            ),
        ];
        let document = gateway.document() as u64;
        all.extend(memory.map(|memory| {
            let bound = MEMORY
                + MEMORY_A_PEER * nodes
                + MEMORY_A_REQUEST * requests
                + REVISIONS * document
                + FACTS * standing.bytes as u64;
            held("bytes of memory", memory, bound)
        }));
        all
    }
}

fn count(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// How long a request can be under way: clients wait 3 s, an upstream may take 2.
const PATIENCE: Duration = Duration::from_secs(5);

/// Badges that are presented at once at one node.
const PRESENTED: u64 = 3;

/// Revisions that a node keeps (`Directory::history`).
const REVISIONS: u64 = 64;

/// Entries of the log: 64 until a snapshot is made, 64 that stay below it for the slow (`Profile`), and as many again as
/// come while one is made and what is below it is dropped.
const LOG: u64 = 4 * 64;

/// Those of the ledger's: 4096 until a snapshot is made, 1024 that stay, and as many again.
const LEDGER: u64 = 4096 + 2 * 1024;

/// Spans of cooling tokens that the ledger keeps of a key (`cluster::quota::ledger`).
const SPANS: u64 = 41;

/// Streams of two floods of one node: bulk that begins as a request does.
const FLOOD: u64 = 2 * FLOOD_STREAMS as u64;

/// Streams apart from requests: to the issuer, and of operators.
const STREAMS: u64 = 16;

/// Streams and tasks of the checks of one upstream: one at a time, and one that ends.
const CHECKS: u64 = 2;

/// A client's stream, the one to the upstream, and one that idles afterwards.
const STREAMS_A_REQUEST: u64 = 3;

/// Tasks of a node that has no peers and serves nobody.
const TASKS: u64 = 128;

/// Bytes of a node that has no peers and serves nobody, while a large snapshot or two floods pass through it.
const MEMORY: u64 = 16 << 20;

/// Bytes for each node: connections and their buffers, what gossip says of it, what replication has under way.
const MEMORY_A_PEER: u64 = 1 << 20;

/// Bytes of a request: two connections, its heads, parts of its body.
const MEMORY_A_REQUEST: u64 = 8 << 10;

/// How often a fact's bytes are kept: as it came, read, and in indexes.
const FACTS: u64 = 4;

/// Tasks for each node: connections, their streams, replication.
const TASKS_A_PEER: u64 = 32;

/// Connection, exchange, forwarding, and their counterparts on a peer.
const TASKS_A_REQUEST: u64 = 8;
