//! The course of a run: how far it is, which faults begin and end, what each node is like meanwhile.

use std::{fmt, time::Duration};

use meridian_cluster::membership::Liveness;
use serde::Serialize;

use crate::world::Place;

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
