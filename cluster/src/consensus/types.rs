//! The one concrete type configuration of openraft.
//!
//! Commands and answers are opaque bytes here, so that every group shares one instantiation (openraft
//! compiles slowly) and consensus does not know what it orders. Their meaning is the [`super::Machine`]'s.

use std::fmt;

use bytes::Bytes;
use meridian_config::name::{NodeId, RegionName};
use serde::{Deserialize, Serialize};

pub(crate) use crate::wire::Payload;

openraft::declare_raft_types!(
    /// Types of every Raft group of a node.
    pub(crate) Types:
        D = Payload,
        R = Payload,
        NodeId = Id,
        Node = Seat,
);

pub(crate) type Raft = openraft::Raft<Types, super::state_machine::StateMachine>;
pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type LeaderId = openraft::alias::LeaderIdOf<Types>;
pub(crate) type Membership = openraft::Membership<Id, Seat>;
pub(crate) type RaftEntry = openraft::alias::EntryOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<Types, Bytes>;

/// A node in Raft's eyes. A type of its own only because openraft's test suite makes ids from numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Id(pub(crate) NodeId);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self(NodeId::new(format!("node-{number:020}")))
    }
}

/// What the membership remembers of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    /// Its region: voters are spread over regions.
    pub(crate) region: RegionName,
    /// The last index of the log when it was taken in; 0 for founders. It tells a node from an earlier one
    /// of its id that was removed.
    pub(crate) number: u64,
}
