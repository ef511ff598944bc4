//! What was seen in a run: requests, writes, revocations, commands, doubts, as the oracle gathers them.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meridian_cluster::quota::params::Params;

use super::{
    Deed, DiskLost, FaultSeen, Flow, Ground, NodeKnown, Progress, Sample, Sight, TokensSeen,
};
use crate::{invariant::Tried, world::Place};

/// All that was seen, in the order in which it was.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The nodes; a [`Sight`] names them by position.
    pub nodes: Vec<NodeKnown>,
    /// How far the run was when.
    pub progress: Vec<Progress>,
    /// What each node was like whenever that had changed.
    pub sights: Vec<Sight>,
    /// What each node answered, in bins of [`ANSWERS_BIN`]: so many with success or a redirection, with 4xx, with
    /// another status.
    pub answers: BTreeMap<String, Vec<[u32; 3]>>,
    /// Decisions of nodes that tell the story of a run, the first [`MOST_DECISIONS`].
    pub decisions: Vec<DecisionSeen>,
    /// Such decisions beyond these.
    pub decisions_left_out: u64,
    /// How many requests were begun; their ids count from 1.
    pub begun: u64,
    /// Requests that have an outcome.
    pub requests: Vec<Request>,
    /// Ids of requests that must not be repeated.
    pub orders: BTreeSet<u64>,
    /// Where upstreams may see a request, by its id; those that are not here may be seen everywhere.
    pub confined: BTreeMap<u64, Vec<Place>>,
    /// What upstreams received.
    pub arrivals: Vec<Arrival>,
    /// What operators read and wrote through nodes, and what came of it.
    pub deeds: Vec<Deed>,
    /// Documents that the operator applied; by id.
    pub writes: Vec<Write>,
    /// Badges that the operator revoked, in order; a badge's number is its position.
    pub revocations: Vec<Revoked>,
    /// Badges that were presented to nodes.
    pub presented: Vec<Presented>,
    /// Revisions that nodes showed.
    pub revisions: Vec<RevisionSeen>,
    /// Commands that nodes applied to their state.
    pub commands: Vec<CommandSeen>,
    /// What nodes held.
    pub samples: Vec<Sample>,
    /// Faults that began.
    pub faults: Vec<FaultSeen>,
    /// Nodes that lost what lay on their disks, or part of it.
    pub disks_lost: Vec<DiskLost>,
    /// When a fault that comes and goes struck again.
    pub strikes: Vec<Duration>,
    /// What was healthy, from each time on.
    pub grounds: Vec<(Duration, Ground)>,
    /// When every kind of request succeeded everywhere; earlier failures are not judged.
    pub serving_since: Option<Duration>,
    /// When the last fault had ended and the network was calm.
    pub calm_since: Option<Duration>,
    /// When all nodes were equal after that.
    pub equal_at: Option<Duration>,
    /// Each node's state at the end.
    pub ends: Vec<EndState>,
    /// Nothing goes wrong but floods.
    pub only_floods: bool,
    /// Every node's limits are the cluster's from here on: no node may count alone.
    pub counts_together: bool,
    /// When a node charged a request as if it had all of a limit for itself, and which, since then.
    pub alone: Vec<(Duration, String)>,
    /// What requests were charged, in limits that all nodes share.
    pub charges: Vec<Charge>,
    /// Limits that operators set for tenants in place of their plans', for a while.
    pub set: Vec<SetSeen>,
    /// What nodes and ledger go by: how long leases are.
    pub quota: Params,
    /// What was seen of limits' tokens inside nodes.
    pub tokens: Vec<TokensSeen>,
    /// How often promises about them were put to the test, once somebody has counted.
    pub tried: OnceCell<Tried>,
    /// Nodes that went on with their base share after a start, because no quorum could tell them better.
    pub assumed: Vec<Assumed>,
    /// What nodes took for a sign that another one fails.
    pub doubts: Vec<DoubtSeen>,
    /// Reads that must not be old.
    pub reads: Vec<ReadSeen>,
    /// Programs that ended by themselves and should not have, or panicked; and when.
    pub collapses: Vec<(Duration, String)>,
}

/// A request and its outcome.
#[derive(Debug, Clone)]
pub struct Request {
    /// Unique in a run.
    pub id: u64,
    /// Whose it is.
    pub flow: Flow,
    /// When the client began.
    pub sent: Duration,
    /// When the client knew the outcome.
    pub done: Duration,
    /// Nodes it was sent to, the last one included.
    pub tries: u32,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Answered 2xx by an upstream of this region.
    Served(String),
    /// Answered otherwise: status, and the problem's type where there is one.
    Refused(u16, String),
    /// No answer.
    Failed(String),
}

/// A request that a limit has paid for, at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// When, by the world's clock.
    pub at: Duration,
    /// Which node.
    pub node: String,
    /// The limit of a tenant, as the ledger knows it.
    pub key: String,
    /// What its document calls it.
    pub limit: String,
    /// Units of cost.
    pub cost: u64,
    /// The limit's amount, by the document that the node had.
    pub amount: u64,
    /// Its window's length.
    pub span: Duration,
    /// Of a fixed window: which one, by the node's clock.
    pub window: Option<u64>,
    /// It is given back: the request has reached nothing. `at` is then when it was charged.
    pub back: bool,
}

/// A start without a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumed {
    /// When.
    pub at: Duration,
    /// Of which node.
    pub node: String,
    /// When the ledger had answered the node again.
    pub agreed: Option<Duration>,
    /// Into how many parts base is split.
    pub seats: u64,
}

/// Limits that an operator set for a tenant.
#[derive(Debug, Clone)]
pub struct SetSeen {
    /// The node that took them.
    pub node: String,
    /// Whose they are.
    pub tenant: String,
    /// When the operator began.
    pub sent: Duration,
    /// When they are over, by the world's clock.
    pub over: Duration,
    /// Whether they were agreed on, or why not; none: nobody knows.
    pub outcome: Option<Result<(), String>>,
}

/// A request at an upstream.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Which request.
    pub id: u64,
    /// When.
    pub at: Duration,
    /// The upstream's region.
    pub region: Place,
}

/// A document that the operator applied.
#[derive(Debug, Clone)]
pub struct Write {
    /// The node that took it.
    pub node: String,
    /// When the operator began.
    pub sent: Duration,
    /// When there was an answer; none: unknown.
    pub done: Option<Duration>,
    /// The revision it became, or why not; none: unknown.
    pub outcome: Option<Result<u64, String>>,
}

/// A badge that the operator revoked.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// The node that took it.
    pub node: String,
    /// Its region.
    pub place: Place,
    /// When the operator began.
    pub called: Duration,
    /// When there was a receipt; none: unknown.
    pub returned: Option<Duration>,
    /// The nodes that had applied it by then, by the receipt.
    pub applied: BTreeSet<String>,
    /// When the last of these was known to have: after it was made.
    pub slowest: Duration,
}

/// A badge at a node.
#[derive(Debug, Clone)]
pub struct Presented {
    /// Which badge.
    pub badge: u64,
    /// Which node.
    pub node: String,
    /// Its region.
    pub place: Place,
    /// When its holder began.
    pub sent: Duration,
    /// When its holder knew the outcome.
    pub done: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// A revision that a node showed.
#[derive(Debug, Clone)]
pub struct RevisionSeen {
    /// When.
    pub at: Duration,
    /// Which node.
    pub node: String,
    /// The revision.
    pub number: u64,
    /// Digest of its text.
    pub digest: String,
}

/// A command that a node applied.
#[derive(Debug, Clone)]
pub struct CommandSeen {
    /// When.
    pub at: Duration,
    /// Which node.
    pub node: String,
    /// The Raft group.
    pub group: String,
    /// The log index.
    pub index: u64,
    /// Digest of the command.
    pub digest: String,
}

/// A node took another for silent or dead, was asked for its vote, or had no answer from it to a message of
/// Raft's.
#[derive(Debug, Clone)]
pub struct DoubtSeen {
    /// When.
    pub at: Duration,
    /// Which node.
    pub node: String,
    /// Its decision.
    pub says: String,
}

/// A read that must not be old.
#[derive(Debug, Clone)]
pub struct ReadSeen {
    /// When it was asked for.
    pub at: Duration,
    /// At which node.
    pub node: String,
    /// How long it took; none: the node could not know.
    pub took: Option<Duration>,
}

/// A decision of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionSeen {
    /// When.
    pub at: Duration,
    /// Which machine.
    pub node: String,
    /// Its words: the message, then `name=value` pairs.
    pub says: String,
}

/// How long a bin of [`History::answers`] is.
pub const ANSWERS_BIN: Duration = Duration::from_millis(100);

/// A bound on memory: what an hour of a lively scenario leaves behind.
pub const MOST_DECISIONS: usize = 50_000;

/// A node's state at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndState {
    /// Which node.
    pub node: String,
    /// Every revision it holds, with the digest of its text.
    pub revisions: Vec<(u64, String)>,
    /// Term and leader, in its eyes.
    pub leadership: String,
    /// Members and their liveness, in its eyes.
    pub members: String,
    /// What it holds of the fast lane, as nodes compare it.
    pub facts: String,
}

impl History {
    /// Counts an answer of a node.
    pub fn count_answer(&mut self, at: Duration, node: &str, status: u16) {
        let bin = usize::try_from(at.as_millis() / ANSWERS_BIN.as_millis()).unwrap_or(usize::MAX);
        let bins = match self.answers.get_mut(node) {
            Some(bins) => bins,
            None => self.answers.entry(node.to_owned()).or_default(),
        };
        if bins.len() <= bin {
            bins.resize(bin + 1, [0; 3]);
        }
        let class = match status {
            200..400 => 0,
            400..499 => 1,
            _ => 2,
        };
        bins[bin][class] += 1;
    }

    /// Keeps a decision that tells the story of a run, while there is room.
    pub fn keep(&mut self, decision: DecisionSeen) {
        if self.decisions.len() < MOST_DECISIONS {
            self.decisions.push(decision);
        } else {
            self.decisions_left_out += 1;
        }
    }
}
