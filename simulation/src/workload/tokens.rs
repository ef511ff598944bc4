//! What was seen of limits' tokens inside nodes and their ledger, in the order in which it was.

use std::time::Duration;

use meridian_cluster::quota::{holder::Holding, key::KeyId, ledger::Standing};
use meridian_config::name::NodeId;

/// Something that happened to tokens at a node.
#[derive(Debug, Clone)]
pub struct TokensSeen {
    /// When, by the world's clock.
    pub at: Duration,
    /// At which node.
    pub node: NodeId,
    /// What.
    pub what: TokensDeed,
}

/// What happened to tokens.
#[derive(Debug, Clone)]
pub enum TokensDeed {
    /// The node begins a life; it holds nothing.
    Begun {
        /// Which of its lives.
        life: u64,
    },
    /// It sends an ask.
    Asked {
        /// The ask's number in this life.
        seq: u64,
        /// When, in ms of the node's own clock.
        sent_ms: u64,
    },
    /// It has taken what the ledger's leader says.
    Granted {
        /// To which of its lives.
        life: u64,
        /// The ask that is answered; none for news.
        answers: Option<u64>,
        /// It had heard the very same before: what it holds beyond base of each key that this has changed, before and
        /// after.
        again: Option<Vec<(KeyId, i32, i32)>>,
    },
    /// What it holds.
    Holds {
        /// Of each key.
        holdings: Vec<Holding>,
        /// The keeper has just looked at the keys in use: what has cooled off there is free.
        settled: bool,
        /// The node's own clock, in ms.
        clock_ms: u64,
    },
    /// A request was charged, or given back its charge.
    Charged {
        /// Which, by its place in `History::charges`.
        nth: usize,
        /// Of which key.
        key: KeyId,
        /// What the node holds of it after that.
        holding: Holding,
        /// The node's own clock, in ms.
        clock_ms: u64,
    },
    /// A replica of the ledger is the first to apply an entry.
    Applied(Box<AppliedSeen>),
    /// A replica that has applied this entry is not as the first one was after it.
    Apart {
        /// The entry's place in the log.
        index: u64,
    },
}

/// An entry of the ledger and what came of it.
#[derive(Debug, Clone, Default)]
pub struct AppliedSeen {
    /// Its place in the log.
    pub index: u64,
    /// A life that it began.
    pub up: Option<(NodeId, u64)>,
    /// A node that it ended.
    pub gone: Option<NodeId>,
    /// Whose word on which key it has.
    pub named: Vec<(NodeId, KeyId)>,
    /// Asks that it answered: whose, of which life, and their numbers.
    pub answered: Vec<(NodeId, u64, u64)>,
    /// Keys that stand otherwise than before; none where a key has no record any more.
    pub changed: Vec<(KeyId, Option<Standing>)>,
}
