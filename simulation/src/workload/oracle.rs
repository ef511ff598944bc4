//! What clients, operators and onlookers saw: the truth that the invariants judge by.
//!
//! In: events of a run, each with its simulated time. Out: a [`History`]. An outcome that nobody saw is
//! unknown, never "failed": a write whose node died may still have happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use meridian_cluster::membership::Liveness;
use serde::{Serialize, Serializer};

use super::{Deed, Sample, ask::Ask};
use crate::world::{Network, Place};

/// Remembers a run. Clones are one memory.
#[derive(Debug, Clone)]
pub struct Oracle {
    network: Network,
    history: Arc<Mutex<History>>,
}

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
    /// What requests were charged, in limits that all nodes share.
    pub charges: Vec<Charge>,
    /// Nodes that went on with their base share after a start, because no quorum could tell them better.
    pub assumed: Vec<Assumed>,
    /// What nodes took for a sign that another one fails.
    pub doubts: Vec<DoubtSeen>,
    /// Reads that must not be old.
    pub reads: Vec<ReadSeen>,
    /// Programs that ended by themselves and should not have, or panicked; and when.
    pub collapses: Vec<(Duration, String)>,
}

/// Requests of one kind from the clients of one region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Flow {
    /// Where the clients are.
    #[serde(skip)]
    pub from: Place,
    /// Which service is asked for, and how.
    pub kind: Kind,
}

impl Flow {
    /// Whether its tenant has limits that are there to be reached.
    pub fn is_limited(&self) -> bool {
        matches!(&self.kind, Kind::Asked(ask) if ask.limited)
    }
}

/// A kind of request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A GET of a service that every region has.
    Local,
    /// A GET of a service that every region has but the client's own: its node forwards.
    Remote,
    /// A POST, without an idempotency key, of a service that every region has.
    Order,
    /// What a scenario's tenants or the routes of an operator's document say.
    Asked(Arc<Ask>),
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
    /// Units of cost.
    pub cost: u64,
    /// The limit's amount, by the document that the node had.
    pub amount: u64,
    /// Its window's length.
    pub span: Duration,
    /// Of a fixed window: which one, by the node's clock.
    pub window: Option<u64>,
}

/// A start without a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumed {
    /// When.
    pub at: Duration,
    /// Into how many parts base is split.
    pub seats: u64,
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

/// How long after a fault requests may fail (DESIGN section 8, invariant 6).
pub const BUDGET: Duration = Duration::from_secs(1);

/// What a fault befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Nodes, whole regions of them.
    Nodes,
    /// Links between regions.
    Links,
    /// Disks of nodes that go on.
    Disks,
    /// Clocks of nodes.
    Clocks,
    /// Upstreams.
    Upstreams,
    /// The issuer of tokens.
    Issuer,
}

/// A fault that began.
#[derive(Debug, Clone)]
pub struct FaultSeen {
    /// When.
    pub at: Duration,
    /// What, in words.
    pub what: String,
    /// What it befalls.
    pub area: Area,
    /// Signs of it that the world saw: packets lost to it, machines down, percent of a link that a flood filled.
    pub signs: u64,
    /// A planned stop, not an accident.
    pub orderly: bool,
    /// How long after it began requests may fail: [`BUDGET`], or longer where what it breaks shows only later.
    pub budget: Duration,
    /// When it was over; none: never in this run.
    pub ended: Option<Duration>,
}

/// A node of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeKnown {
    /// Its name.
    pub name: String,
    /// Its region.
    pub place: Place,
}

/// A node lost what lay on its disk.
#[derive(Debug, Clone)]
pub struct DiskLost {
    /// Its name.
    pub node: String,
    /// When.
    pub at: Duration,
    /// All of it: the node begins with an empty disk.
    pub whole: bool,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// When.
    pub at: Duration,
    /// What begins.
    pub phase: Phase,
    /// In words.
    pub says: String,
}

/// What begins at a moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The machines are on; the nodes look for each other.
    Boot,
    /// The nodes see each other; the first document goes in.
    Document,
    /// Every node shows it; clients come in.
    Clients,
    /// Every kind of request succeeds steadily; the half with faults begins.
    Serving,
    /// A fault.
    Fault,
    /// The time after a fault.
    Over,
    /// The half without faults.
    Calm,
    /// The nodes are equal.
    Equal,
    /// The run is over, and is judged.
    Judged,
}

/// A node at a moment: what the world knows of it, and what it sees itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// When.
    pub at: Duration,
    /// Which node, by its position in [`History::nodes`].
    pub node: usize,
    /// Whether its program runs; what follows is empty where it does not.
    pub on: bool,
    /// The term that it knows.
    pub term: u64,
    /// The leader in its eyes: one whom a quorum has acknowledged within its lease.
    pub leader: Option<usize>,
    /// The revision of the document that it shows; 0: none.
    pub revision: u64,
    /// How alive it takes each node to be; none: it does not know it.
    pub others: Vec<Option<Liveness>>,
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

/// What is healthy: the world's own knowledge, not any node's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ground {
    /// By region: whether a node of it is on.
    pub nodes: Vec<bool>,
    /// By region: whether its upstream is on, and answers as it should.
    pub upstreams: Vec<bool>,
    /// Whether the issuer of tokens is on, and answers as it should.
    pub issuer: bool,
    /// Links that are cut, or so bad that nothing is promised over them, in this direction.
    pub cuts: BTreeSet<(Place, Place)>,
    /// Nodes that do not run, or hear nobody, by name, with their regions: also where another node of theirs does.
    pub apart: BTreeMap<String, Place>,
    /// Regions whose clients are owed nothing: a node there takes their connections and does not answer as it should, and
    /// only their own patience ends that.
    pub misled: BTreeSet<Place>,
}

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

impl Oracle {
    /// Remembers nothing yet; takes its time from the network.
    pub fn new(network: Network) -> Self {
        Self {
            network,
            history: Arc::default(),
        }
    }

    /// The simulated time.
    pub fn now(&self) -> Duration {
        self.network.now()
    }

    /// The id of a new request.
    pub fn begin(&self, ask: &Ask) -> u64 {
        let mut history = self.history();
        history.begun += 1;
        let id = history.begun;
        if !ask.repeatable() {
            history.orders.insert(id);
        }
        if let Some(places) = &ask.confined {
            history.confined.insert(id, places.clone());
        }
        id
    }

    /// Notes or reads something. Not to be called from within itself.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ground {
    /// Whether a client in one region is served by an upstream in one of `regions`, whichever node it is sent to: one
    /// of its own region where all are on, else any that it reaches. That node makes one hop to another region at most
    /// (DESIGN section 6): what it cannot reach itself it cannot have served, whatever a third region could reach.
    pub fn can_serve(&self, from: Place, regions: &[Place]) -> bool {
        if self.is_at_home(from) {
            !self.misled.contains(&from) && self.serves(from, regions)
        } else {
            self.can_serve_anywhere(from, regions)
        }
    }

    /// Whether a client in one region is served by an upstream in one of `regions`, if it may be sent to any node that it
    /// reaches.
    pub fn can_serve_anywhere(&self, from: Place, regions: &[Place]) -> bool {
        let mut reachable = self.reach(from).peekable();
        !self.misled.contains(&from)
            && !self.may_be_misled_elsewhere(from)
            && reachable.peek().is_some()
            && reachable.all(|node| self.serves(node, regions))
    }

    /// Whether clients of a region that has lost a node may come to one of another region that takes their connection and
    /// does not answer: they dial one of each region in turn, the nearest first.
    fn may_be_misled_elsewhere(&self, from: Place) -> bool {
        let strays = !self.nodes[from.0] || self.apart.values().any(|place| *place == from);
        strays && self.misled.iter().any(|place| self.open(from, *place))
    }

    /// Whether nodes of a region reach an upstream in one of `regions`. Across regions a peer there makes the call.
    fn serves(&self, node: Place, regions: &[Place]) -> bool {
        regions.iter().any(|region| {
            self.upstreams[region.0] && self.nodes[region.0] && self.open(node, *region)
        })
    }

    /// Whether clients of a region are sent to its own nodes alone: nothing is wrong with any node.
    pub fn is_at_home(&self, from: Place) -> bool {
        self.nodes[from.0] && self.apart.is_empty()
    }

    /// Every way on which a client in one region can be served by an upstream in one of `regions`: the node's region, and
    /// the upstream's.
    pub fn ways(&self, from: Place, regions: &[Place]) -> BTreeSet<(Place, Place)> {
        let nodes = (0..self.nodes.len()).map(Place);
        let nodes = nodes.filter(|node| self.nodes[node.0] && self.open(from, *node));
        let mut ways = BTreeSet::new();
        for node in nodes {
            let serves = |region: &&Place| {
                self.upstreams[region.0] && self.nodes[region.0] && self.open(node, **region)
            };
            ways.extend(regions.iter().filter(serves).map(|region| (node, *region)));
        }
        ways
    }

    /// Whether a client in one region can reach the nodes of another.
    pub fn reaches(&self, from: Place, to: Place) -> bool {
        self.nodes[to.0] && self.open(from, to)
    }

    /// The regions whose nodes a client in a region can reach.
    fn reach(&self, from: Place) -> impl Iterator<Item = Place> {
        let nodes = (0..self.nodes.len()).map(Place);
        nodes.filter(move |node| self.nodes[node.0] && self.open(from, *node))
    }

    /// Whether a client in a region can reach any node.
    pub fn can_reach(&self, from: Place) -> bool {
        self.reach(from).next().is_some()
    }

    /// Whether nodes of the two regions hear each other, over others if need be.
    pub fn joined(&self, from: Place, to: Place) -> bool {
        let mut reached = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            for other in (0..self.nodes.len()).map(Place) {
                let hears = self.nodes[at.0] && self.nodes[other.0] && self.open(at, other);
                if hears && reached.insert(other) {
                    next.push(other);
                }
            }
        }
        self.nodes[from.0] && reached.contains(&to)
    }

    fn open(&self, a: Place, b: Place) -> bool {
        !self.cuts.contains(&(a, b)) && !self.cuts.contains(&(b, a))
    }
}

impl Flow {
    /// The regions whose upstreams may serve it, of `count`; none: a node answers by itself.
    pub fn regions(&self, count: usize) -> Option<Vec<Place>> {
        let all = (0..count).map(Place);
        match &self.kind {
            Kind::Remote => Some(all.filter(|region| *region != self.from).collect()),
            Kind::Local | Kind::Order => Some(all.collect()),
            Kind::Asked(ask) => ask.served_in.clone(),
        }
    }

    /// Every way on which it can be served: the node's region, and the upstream's (the node's own, where it answers
    /// by itself).
    pub fn ways(&self, ground: &Ground) -> BTreeSet<(Place, Place)> {
        match self.regions(ground.nodes.len()) {
            Some(regions) => ground.ways(self.from, &regions),
            None => ground.reach(self.from).map(|node| (node, node)).collect(),
        }
    }

    /// Whether it can be served, as things are, if clients have not yet come home to their own region's nodes.
    pub fn servable_anywhere(&self, ground: &Ground) -> bool {
        match self.regions(ground.nodes.len()) {
            Some(regions) => ground.can_serve_anywhere(self.from, &regions),
            None => ground.can_reach(self.from),
        }
    }

    /// Whether it can be served, as things are.
    pub fn servable(&self, ground: &Ground) -> bool {
        match self.regions(ground.nodes.len()) {
            Some(regions) => ground.can_serve(self.from, &regions),
            None => ground.can_reach(self.from),
        }
    }
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

impl Phase {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Document => "document",
            Self::Clients => "clients",
            Self::Serving => "serving",
            Self::Fault => "fault",
            Self::Over => "over",
            Self::Calm => "calm",
            Self::Equal => "equal",
            Self::Judged => "judged",
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, phase) = (self.at.as_secs_f64(), self.phase.name());
        write!(f, "{at:>9.3} s  {phase:<9} {}", self.says)
    }
}

impl Kind {
    /// Its name in reports.
    pub fn name(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Order => "order",
            Self::Asked(ask) => &ask.name,
        }
    }

    /// Whether a request of it may be sent again when nobody knows what became of it.
    pub fn repeatable(&self) -> bool {
        match self {
            Self::Local | Self::Remote => true,
            Self::Order => false,
            Self::Asked(ask) => ask.repeatable(),
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_makes_one_hop_and_clients_stay_in_their_region_where_it_has_a_node() {
        let (a, b, c) = (Place(0), Place(1), Place(2));
        let mut ground = Ground {
            nodes: vec![true, true, true],
            upstreams: vec![true, false, true],
            cuts: BTreeSet::from([(a, c)]),
            ..Ground::default()
        };
        // Over b it could be reached; a's own node cannot.
        assert!(!ground.can_serve(a, &[b, c]));
        assert!(ground.can_serve(b, &[a, c]) && ground.can_serve(b, &[c]));
        // Then clients of a go to b, the only one that they reach.
        ground.nodes[0] = false;
        assert!(ground.can_serve(a, &[b, c]));
        // One of two might be the wrong one.
        ground.cuts = BTreeSet::from([(b, c)]);
        assert!(!ground.can_serve(a, &[c]));
    }

    #[test]
    fn clients_that_lost_a_node_of_their_own_may_be_misled_by_one_of_another_region() {
        let (a, b, c) = (Place(0), Place(1), Place(2));
        let mut ground = Ground {
            nodes: vec![true, false, true],
            upstreams: vec![true; 3],
            apart: BTreeMap::from([("b-1".to_owned(), b)]),
            misled: BTreeSet::from([b]),
            ..Ground::default()
        };
        // The nodes of b are paused. Clients of a stay with their own.
        assert!(ground.can_serve(a, &[a, b, c]) && ground.can_serve(c, &[a, b, c]));
        assert!(!ground.can_serve(b, &[a, b, c]));
        ground.apart.insert("a-1".to_owned(), a);
        assert!(!ground.can_serve(a, &[a, b, c]) && ground.can_serve(c, &[a, b, c]));
        ground.cuts.insert((a, b));
        assert!(ground.can_serve(a, &[a, c]), "b is out of reach");
    }

    #[test]
    fn ground_knows_what_could_be_served() {
        let (a, b) = (Place(0), Place(1));
        let mut ground = Ground {
            nodes: vec![true, true],
            upstreams: vec![true, true],
            ..Ground::default()
        };
        assert!(ground.can_serve(a, &[b]));
        assert!(ground.can_reach(a));
        ground.cuts.insert((b, a));
        assert!(!ground.can_serve(a, &[b]));
        assert!(ground.can_serve(a, &[a, b]));
        assert!(!ground.joined(a, b));
        ground.nodes.push(true);
        assert!(ground.joined(a, b), "over the third");
        ground.nodes[2] = false;
        assert!(!ground.joined(a, b) && ground.joined(a, a));
        ground.nodes.pop();
        ground.nodes[0] = false;
        assert!(!ground.can_serve(a, &[a, b]));
        assert!(!ground.can_reach(a) && ground.can_reach(b));
        ground.cuts.clear();
        assert!(ground.can_serve(a, &[a, b]));
        ground.upstreams[1] = false;
        assert!(!ground.can_serve(a, &[a, b]));
    }
}
