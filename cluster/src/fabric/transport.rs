//! What consensus, gossip and facts need from the fabric: calls to a peer, and someone who answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use meridian_config::name::{NodeId, RegionName};

use crate::{host::BoxFuture, wire::Unreadable};

/// Who is at the other end of an authenticated connection: what its certificate and its hello agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its node id.
    pub id: NodeId,
    /// Its region.
    pub region: RegionName,
    /// Counts its starts; a higher one replaces a lower.
    pub incarnation: u64,
}

/// What a stream carries: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Raft messages.
    Raft = 1,
    /// Gossip that does not fit a datagram.
    Gossip = 2,
    /// The fast lane.
    Facts = 3,
    /// A forwarded request (bulk connection only).
    Forward = 4,
    /// Everything else between control planes: forwarded writes, bootstrap questions.
    Control = 5,
    /// Parts of a Raft snapshot (bulk connection only).
    Snapshot = 6,
}

/// Sends a message to a peer and waits for its answer.
pub trait Transport: Send + Sync + 'static {
    /// One bi-directional stream on the control connection (for [`Kind::Snapshot`] on the bulk
    /// connection): kind byte, body; the answer is read to its end. Dials first where no connection stands. Cancel-safe: dropping the future resets the stream.
    fn call(
        &self,
        to: &NodeId,
        kind: Kind,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;
}

/// Answers calls of one kind.
pub trait Handler: Send + Sync + 'static {
    /// The answer to a peer's message. An error is counted and resets the stream.
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer has no known address, or no connection to it came about.
    #[error("node {0} cannot be reached")]
    Unreachable(NodeId),
    /// The connection or stream broke before the answer.
    #[error("node {0} broke off before it answered")]
    Broken(NodeId),
    /// No answer in time.
    #[error("node {0} did not answer in time")]
    Late(NodeId),
    /// The message (or the answer) is in a version that this node does not read.
    #[error("a message of node {peer} cannot be read: {why}")]
    Unreadable {
        /// Who sent it.
        peer: NodeId,
        /// Which version it is in, and what to do.
        why: String,
    },
    /// The message (or the answer) is not one this version understands, or is too large.
    #[error("node {peer} sent what this version does not take: {cause}")]
    Refused {
        /// Who sent it.
        peer: NodeId,
        /// What is wrong with it.
        cause: String,
    },
}

impl CallError {
    /// What a peer sent cannot be decoded.
    pub(crate) fn unread(peer: &NodeId, why: &Unreadable) -> Self {
        let (peer, said) = (peer.clone(), why.to_string());
        match why {
            Unreadable::Version { .. } => Self::Unreadable { peer, why: said },
            Unreadable::Length(_) | Unreadable::Malformed(_) => Self::Refused { peer, cause: said },
        }
    }
}
