//! What nodes say to each other about facts: calls of kind [`Kind::Facts`](crate::fabric::Kind::Facts).
//!
//! In: a [`Message`]. Out: its [`Reply`]. Both are encoded by [`crate::wire`] and bounded there; the bounds
//! here keep a reply far below that.

use std::sync::Arc;

use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use super::{Digest, FactId, fact::Fact, set::Taken};

/// Facts of one message at most. Every message is acknowledged as a whole, so that a fresh fact never waits
/// behind more than so many.
pub(super) const FACTS: usize = 1024;

/// Facts of one answer to [`Message::Fetch`] at most: fewer answers, each a round trip, than [`FACTS`] takes.
pub(super) const FETCHED: usize = 4096;

/// Bytes of the facts of one message at most.
pub(super) const BYTES: usize = 512 << 10;

/// Ids of one message at most.
pub(super) const IDS: usize = 16 * 1024;

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Heed these, and pass on those that are new to you.
    Heed(Vec<Arc<Fact>>),
    /// Which facts of yours have this node's applied? Said to the node that made them.
    Applied {
        /// Who has applied them.
        node: NodeId,
        /// Which.
        facts: Vec<(FactId, Ack)>,
    },
    /// What are the digests of your buckets?
    Digests,
    /// Which ids are in these buckets?
    Ids(Vec<u8>),
    /// What are these facts?
    Fetch(Vec<FactId>),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// To [`Message::Heed`]: what became of each, in order.
    Acks(Vec<Ack>),
    /// To [`Message::Applied`].
    Noted,
    /// To [`Message::Digests`], in order of the buckets.
    Digests(Vec<Digest>),
    /// To [`Message::Ids`]: whole buckets, of those asked for as many as fit.
    Ids(Vec<(u8, Vec<FactId>)>),
    /// To [`Message::Fetch`]: of those asked for that are held as many as fit.
    Facts(Vec<Arc<Fact>>),
}

/// What a node made of a fact. It is heeded there when this is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// What became of it.
    pub taken: Taken,
    /// The node's own files hold it: it outlives a restart with nobody else alive.
    pub saved: bool,
}

impl Ack {
    /// The node heeds the fact (or what took it back).
    pub fn applied(&self) -> bool {
        match self.taken {
            Taken::New | Taken::Known | Taken::Cancelled => true,
            Taken::Expired | Taken::Full => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::fact::tests::revocation, *};
    use crate::wire;

    #[test]
    fn the_largest_messages_are_far_below_the_limit() {
        let facts = (0..FACTS as u64).map(|number| Arc::new(revocation(number, 9)));
        let heed = wire::encode(&Message::Heed(facts.collect()));
        assert!(heed.len() < wire::LIMIT / 8, "{}", heed.len());
        let ids = vec![revocation(1, 9).id; IDS];
        assert!(wire::encode(&Reply::Ids(vec![(1, ids)])).len() < wire::LIMIT / 8);
        let digests = vec![Digest::default(); super::super::digest::BUCKETS];
        assert!(wire::encode(&Reply::Digests(digests)).len() < 8192);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>) {
            let _ = wire::decode::<Message>(&bytes);
            let _ = wire::decode::<Reply>(&bytes);
        }
    }
}
