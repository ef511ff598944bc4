//! What nodes say to each other about quotas, on [`Topic::Quota`](crate::control::Topic).
//!
//! In and out: the body of a call, encoded by [`crate::wire`]. Asks and grants are the cores'
//! ([`crate::quota::message`]); here is how they find their way.

use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use super::starts::Alone;
use crate::quota::{
    key::KeyId,
    message::{QuotaAsk, QuotaGrant},
};

/// What is said to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Said {
    /// To the ledger's leader: what a node asks and hands back.
    Ask(QuotaAsk),
    /// From the ledger's leader: what a node was given without having asked now, or is to hand back.
    News(QuotaGrant),
    /// To the ledger's leader, from a voter of the directory that has no part in the ledger yet.
    Join {
        /// The number of the seat in the ledger that it remembers, if it does.
        seat: Option<u64>,
    },
    /// To the ledger's leader: how these keys stand.
    Look(Vec<KeyId>),
    /// To any node: what it knows of itself, and of these keys.
    Tell(Vec<KeyId>),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To an ask: what came of it.
    Granted {
        /// That.
        grant: QuotaGrant,
        /// The leader's clock meanwhile.
        clock: Reading,
    },
    /// Another node leads, as far as this one knows, or none.
    NotHere {
        /// Which.
        leader: Option<NodeId>,
    },
    /// To an ask: this life of the node is over, the ledger knows of a later one.
    Outlived {
        /// Which.
        known: u64,
    },
    /// To an ask: not agreed on in time, or not newer than one before. It may take effect; say it again.
    Later,
    /// To news: heard.
    Heard,
    /// To a joining voter: its seat.
    Joined {
        /// The seat's number.
        seat: u64,
    },
    /// To a joining voter: why not.
    No(String),
    /// To a look: a standing for each key, in their order; none where the ledger has no record.
    Standings(Vec<Option<Holdings>>),
    /// What a node knows of itself.
    Told(Told),
}

/// What the leader's clock says as it answers an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Its wall clock, ms since the Unix epoch.
    pub(crate) unix_ms: u64,
    /// How long it has had the ask, in ms.
    pub(crate) held_ms: u64,
}

/// What a node knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which of its lives it has begun without a quorum's word.
    pub alone: Alone,
    /// What it has spent of each key within its window, in their order.
    pub spent: Vec<u32>,
}

/// How a key stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// Tokens of the key, as the newest ask said.
    pub limit: u32,
    /// Tokens that nobody holds; less than 0: how many have still to come back after the limit was lowered.
    pub pool: i64,
    /// Tokens of all nodes' base shares.
    pub base: u64,
    /// Tokens that cool in the ledger: those of lives and leases that are over.
    pub cooling: u64,
    /// What each node holds beyond its base, and says that it could spend of it.
    pub holders: Vec<(NodeId, i64)>,
}
