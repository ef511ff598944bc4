//! What goes wrong: the kinds of faults as plain data.
//!
//! In: a fault of a scenario file, or one that was drawn from a seed. Out: what the schedule does to the stage.
//! A kind is a value without behaviour: [`text`] reads it from a file, prints it back and says it in words;
//! the schedule carries it out.

mod text;

use std::time::Duration;

pub use text::Names;
pub(super) use text::{KINDS, Options, RawFault, Value, node_name};

use crate::world::Place;

/// Something that goes wrong for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// When it begins, from the moment when all nodes serve.
    pub at: Duration,
    /// What goes wrong.
    pub what: FaultKind,
    /// How long it lasts; for [`FaultKind::Stop`]: how long each node is away after it has ended.
    pub lasts: Duration,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// Nodes lose power; of a region also the upstreams.
    PowerOff(Target),
    /// Nodes are killed; their kernels and the upstreams live.
    Kill(Target),
    /// Nodes are stopped, and start again with this release.
    Upgrade(Target),
    /// The upstreams of a region are killed.
    KillUpstreams(Target),
    /// What goes over a link is lost.
    Cut(Link),
    /// A region is cut off from every other; a single node is cut off from everybody, its own region included.
    Isolate(Target),
    /// The nodes of the first region send bulk to those of the second as fast as their connections take it.
    Flood {
        /// Where from.
        from: Place,
        /// Where to.
        to: Place,
    },
    /// Nodes are told to stop, as SIGTERM does, and are started again when they have ended: one after
    /// another, each when the one before serves again and all nodes see each other.
    Stop(Whom),
}

/// The way between two different regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Where from.
    pub from: Place,
    /// Where to.
    pub to: Place,
    /// Whether the way back is left as it is.
    pub one_way: bool,
}

/// Which nodes are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Every node of every region.
    Each,
    /// These.
    Of(Target),
}

/// A region or a node, by name or by its part at the time of the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// This region.
    Region(Place),
    /// The region of the node that leads the Raft group when the fault begins.
    Leader,
    /// This node.
    Node(Spot),
    /// The node that leads the Raft group when the fault begins.
    LeaderNode,
}

/// A node, by its region and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Its region.
    pub place: Place,
    /// Its number in that region, from 1.
    pub number: usize,
}

impl Link {
    /// The directions that are touched, as pairs of regions.
    pub fn ways(self) -> impl Iterator<Item = (Place, Place)> {
        let back = (!self.one_way).then_some((self.to, self.from));
        [(self.from, self.to)].into_iter().chain(back)
    }
}

impl Target {
    /// Whether a node is meant; `None` where that is only known when the fault begins.
    pub fn covers(self, node: Spot) -> Option<bool> {
        match self {
            Self::Region(place) => Some(place == node.place),
            Self::Node(spot) => Some(spot == node),
            Self::Leader | Self::LeaderNode => None,
        }
    }
}

impl FaultKind {
    /// The region or node that it befalls, where it befalls one.
    pub fn target(&self) -> Option<Target> {
        match self {
            Self::PowerOff(target)
            | Self::Kill(target)
            | Self::Upgrade(target)
            | Self::KillUpstreams(target)
            | Self::Isolate(target)
            | Self::Stop(Whom::Of(target)) => Some(*target),
            Self::Cut(_) | Self::Flood { .. } | Self::Stop(Whom::Each) => None,
        }
    }

    /// The same, to be replaced: by the region or node that `leader` turned out to be.
    pub fn target_mut(&mut self) -> Option<&mut Target> {
        match self {
            Self::PowerOff(target)
            | Self::Kill(target)
            | Self::Upgrade(target)
            | Self::KillUpstreams(target)
            | Self::Isolate(target)
            | Self::Stop(Whom::Of(target)) => Some(target),
            Self::Cut(_) | Self::Flood { .. } | Self::Stop(Whom::Each) => None,
        }
    }

    /// Whether the nodes it befalls do not run meanwhile.
    pub fn takes_down(&self) -> bool {
        match self {
            Self::PowerOff(_) | Self::Kill(_) | Self::Upgrade(_) | Self::Stop(_) => true,
            Self::KillUpstreams(_) | Self::Cut(_) | Self::Isolate(_) | Self::Flood { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
