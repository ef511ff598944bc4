//! The picture of the cluster that a node routes by: immutable, replaced whole.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use meridian_config::name::{NodeId, RegionName, ServiceName};
use serde::{Deserialize, Serialize};

use crate::{facts::Digest, version::Versions};

/// The picture of the cluster that this node routes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// This node.
    pub own: NodeId,
    /// Its region.
    pub own_region: RegionName,
    /// Every known node, this one included.
    pub members: BTreeMap<NodeId, Member>,
    /// Every region that has a member.
    pub regions: BTreeMap<RegionName, RegionHealth>,
}

/// A node in this node's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Its region.
    pub region: RegionName,
    /// Counts its starts.
    pub incarnation: u64,
    /// This node's verdict.
    pub liveness: Liveness,
    /// How surely requests arrive there while it is up.
    pub footing: Footing,
    /// Where its control endpoint is reached.
    pub control: SocketAddr,
    /// Where its bulk endpoint is reached.
    pub bulk: SocketAddr,
    /// What it says of itself by gossip.
    pub announced: Announced,
    /// Smoothed round trip on the control connection.
    pub rtt: Option<Duration>,
}

/// How surely requests arrive at a node that is up. The surest are asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Footing {
    /// Its answer is not late, and it was neither suspect for its silence in the last two seconds, nor late too often.
    Steady,
    /// The same, but for its neighbours: they are behind the same link.
    ShakyLink,
    /// It is late just now, or was suspect or late too often in the last two seconds.
    Shaky,
}

/// A verdict of the failure detector.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It answers.
    Up,
    /// Silent for longer than usual.
    Suspect,
    /// Taken for dead: nothing is sent to it.
    Down,
}

impl Liveness {
    /// Its name, as the API and the command line have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// What a node says of itself by gossip.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The revision it serves; 0: none yet.
    pub revision: u64,
    /// A revision it could not compile, and why.
    pub rejected: Option<(u64, String)>,
    /// When it took or could not compile its newest revision: ms since the Unix epoch, by its clock.
    pub decided_ms: u64,
    /// Requests in flight.
    pub load: u32,
    /// It takes no new work.
    pub draining: bool,
    /// Healthy endpoints of each service in its own region, as it sees them.
    pub services: BTreeMap<ServiceName, u32>,
    /// Its edge and admin addresses, for operators' eyes.
    pub addresses: BTreeMap<String, String>,
    /// Round trips to the nearest node of each other region; membership fills it in. All nodes' together
    /// are the latency matrix.
    pub latencies: BTreeMap<RegionName, Duration>,
    /// Of the facts that it holds; none before it has said so.
    pub facts: Option<Digest>,
    /// The versions of messages that it reads; membership fills it in.
    pub versions: Versions,
}

/// A region in this node's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionHealth {
    /// `Up` while any of its nodes is `Up`, `Down` when all are `Down`.
    pub liveness: Liveness,
    /// The least round trip to a living node of it; zero for the own region.
    pub rtt: Option<Duration>,
}
