//! What nodes, the ledger's leader and the ledger say to each other.
//!
//! ```text
//! node ── QuotaAsk ──► leader ── Entry { Batch of asks } ──► ledger ── Outcome ──► leader ── QuotaGrant ──► node
//! ```
//!
//! Messages carry state, never a difference: any may be lost, doubled, late or overtaken. An ask that is not
//! newer than the last one of its incarnation changes nothing, and a node takes no grant that is older than the
//! last one it took. Encoded by [`crate::wire`], bounded here.
//!
//! **Totals** count from a cell's birth and wrap. `given` is what the ledger has given a node beyond its base,
//! less what it took back when a lease was over; `returned` is what the node has handed back. The node holds
//! base + `given` - `returned`. So each side owns one of the two, and a repeat says the same again. Where others
//! want more than there is, a node hands back of its base, too: then `returned` is beyond `given`.

use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use super::{
    key::KeyId,
    terms::{Scope, Share, Terms, Unkept},
};
use crate::wire::{self, Unreadable};

/// Items of one ask or grant at most; a node with more sends several.
pub const ITEMS: usize = 4096;

/// Recalls of one grant at most.
pub const RECALLS: usize = 1024;

/// Different terms in one ask at most.
pub const TERMS: usize = 1024;

/// Spans of cooling tokens of one item at most: as many as a cell has slots, and some.
pub const SPANS: usize = 80;

/// Spans of [`Rests`] at most: the ledger keeps them for each key and node.
pub const RESTS: usize = 20;

/// Bytes of an ask, a grant or an entry at most: an entry is one message to each voter.
pub const BYTES: usize = 1 << 20;

/// Asks of one entry at most.
pub const ASKS: usize = 1024;

/// What a node tells the leader, once a tick for all its keys together, and each second if only to be heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaAsk {
    /// Who asks: the node that its certificate names.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: u64,
    /// Counts the asks of this life from 1.
    pub seq: u64,
    /// When it was sent, in ms of the node's own clock; the answer says it again.
    pub sent_ms: u64,
    /// The last entry of the directory that changed a limit, as far as this node's compiled revision goes. Of
    /// two asks that say different amounts for a key the one with the greater number is right.
    pub as_of: u64,
    /// How many seats there are by the share that this node spends base of; 0: it spends none.
    pub seats: u16,
    /// Of every key, what cools here is no more than base by that split and what it holds beyond: what it has given up of
    /// base as the split became finer, it has not spent within a window. Means nothing of fixed windows.
    pub fits: bool,
    /// The terms of the keys below, each once.
    pub terms: Vec<Terms>,
    /// What it asks and returns.
    pub items: Vec<AskItem>,
}

/// A node's word on one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskItem {
    /// Which.
    pub key: KeyId,
    /// Where its terms stand in [`QuotaAsk::terms`]; none for a key that this node was given tokens of and does
    /// not know any more: it holds nothing of it.
    pub terms: Option<u16>,
    /// Numbers the cells of this life: a key that was forgotten and is met again has a greater one, and
    /// its totals begin at 0.
    pub born: u32,
    /// Tokens handed back so far. They are unspent for a window, but for those in `cooling`.
    pub returned: u32,
    /// How many of these it has handed back of its base, and not been given again.
    pub lent: u32,
    /// `given` as far as the node has seen it, and what it misses: a repeat asks for nothing more.
    pub want: u32,
    /// For a fixed window: the newest one that the node has counted in, what is returned is unspent in it.
    pub window: u64,
    /// Thousandths of a unit that are asked of it a second; a hint.
    pub rate: u32,
    /// Tokens it could spend now; a hint.
    pub free: u32,
    /// `given` as far as the node had seen it then; a hint.
    pub given: u32,
    /// How many tokens a request of its takes, where all take about the same, else 1: fewer are of no use; a hint.
    pub unit: u32,
    /// Where nothing is kept at hand: how long, in ms, somebody waits for what it asks for, else 0; a hint.
    pub waits_ms: u32,
    /// Which of the tokens handed back last are still cooling: a node that ends leaves nothing to wait for
    /// that it could tell.
    pub cooling: Vec<Span>,
    /// Now and then, of a long window: how what it holds cools, lest others wait for all of it if the node is lost.
    pub rests: Option<Rests>,
}

/// How tokens cool that a node holds and has spent for good. What is not named it may spend at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rests {
    /// `given` as far as the node has seen it.
    pub given: u32,
    /// By when they may be spent again, the soonest first; of a span none before the end of the one before it, of the
    /// first at any time.
    pub spans: Vec<Span>,
}

/// So many tokens that may be spent again after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// How long from the sending on, in ms of the node's clock. Nothing for a fixed window: until the next.
    pub ms: u64,
    /// How many.
    pub count: u32,
}

/// What the leader tells a node: the answer to an ask, or news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaGrant {
    /// Whom.
    pub node: NodeId,
    /// Which of its lives; any other takes nothing of it.
    pub incarnation: u64,
    /// The entry of the ledger's log that this was true after. A node takes nothing from before what it took.
    pub index: u64,
    /// What it answers; none for news. It renews the node's leases, counted from its sending. If the lease of
    /// extra tokens of a key was over when it arrived, the node spends none of them before it has a word on
    /// that key, here or later: they may have been taken back.
    pub answers: Option<Echo>,
    /// The node's base; none while it has none.
    pub base: Option<BaseRight>,
    /// What came of its items.
    pub items: Vec<GrantItem>,
    /// Keys that others want more of, and what of them is asked back. Hints.
    pub recalls: Vec<Recall>,
}

/// A node is asked to hold less of a key, of its base too. It may never have met the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// Which.
    pub key: KeyId,
    /// Its terms, as the ledger has them.
    pub terms: Terms,
    /// The document that they are from.
    pub as_of: u64,
    /// More than this, base included, is not to be held for now, but for what is needed soon.
    pub cap: u32,
    /// And what is needed soon neither, and not a token more: while the key is in deficit, nodes may have no base of it and of longer windows.
    pub owed: bool,
}

/// Which ask is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// Its number.
    pub seq: u64,
    /// Its `sent_ms`.
    pub sent_ms: u64,
}

/// The right to spend base, of every key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRight {
    /// Which part is the node's.
    pub share: Share,
    /// Of which keys.
    pub scope: Scope,
    /// For how long, in ms of log time, nobody else has spent of this share. A key's base may be spent when
    /// this, and what the node has counted by its own clock since it first was told, is its window
    /// [stretched](super::params::Params::stretched); a fixed window's in the first window that begins
    /// after that moment (three times the drift later than it says) and twice the clocks' offset.
    pub unspent_ms: u64,
    /// How long ago, in ms of log time, the right was given after a wait in which others may have held its part, or another
    /// had it; the greatest number: neither. Base of a fixed window may be spent in the first window that begins after
    /// that moment, too: what others handed back just then they may have spent in the one before.
    pub waited_ms: u64,
    /// The life before this one; none: the node is new, or was declared gone since.
    pub past: Option<Past>,
}

/// A life of a node that is over, as the ledger knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Which.
    pub incarnation: u64,
    /// The last of its asks that counted.
    pub seq: u64,
    /// How long ago that was, in ms of log time.
    pub ended_ms: u64,
}

/// The ledger's word on one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantItem {
    /// Which.
    pub key: KeyId,
    /// Which cell: a node whose cell of the key has another number takes nothing of it.
    pub born: u32,
    /// Tokens given so far.
    pub given: u32,
    /// For a fixed window: the tokens that are new may be spent in this window at the earliest.
    pub window: u64,
    /// More than this, base included, is not to be held for now: free tokens above it are asked back. A hint.
    pub cap: Option<u32>,
    /// Tokens nobody holds; a hint.
    pub pool: u32,
    /// Tokens that other nodes could spend, as they said last; a hint.
    pub others_free: u32,
}

/// The times of an entry, by the leader that proposes it; its log time is on its [`Line`].
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    /// Log time in ms: what the last applied entry of another says, and how long ago this leader received that. It
    /// runs no faster than time, stands still without a leader, and needs no clock to be set.
    pub log_ms: u64,
    /// The leader's wall clock, ms since the Unix epoch; matters to fixed windows only.
    pub unix_ms: u64,
}

/// A straight line of log time: who tells it by its clock, and from which entry on. While a leader leads, all its
/// entries are on one, however long each takes to be agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whose clock.
    pub by: NodeId,
    /// The index of the entry that the line begins with, at the time it was received.
    pub after: u64,
}

/// One entry of the ledger's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub stamp: Stamp,
    /// By which line of log time. An entry that does not follow from what is before it in the log counts for nothing.
    pub line: Line,
    /// What.
    pub act: Act,
}

/// What an entry does. A new one stands at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// What reached the leader within the batch time.
    Batch {
        /// The asks, as it has cut what they want.
        asks: Vec<QuotaAsk>,
        /// What earlier asks wanted and there was none of then.
        wishes: Vec<Wish>,
    },
    /// Leases may be over: looks at every key.
    Expire,
    /// A node has begun a life. It admits nothing before this is agreed on.
    NodeUp {
        /// Who.
        node: NodeId,
        /// Which life.
        incarnation: u64,
    },
    /// A node is dead for certain, or has been removed: its base goes to the others.
    NodeGone {
        /// Who.
        node: NodeId,
        /// Its last life.
        incarnation: u64,
    },
    /// Splits the base halves into so many parts: at least twice as many as before.
    Split {
        /// How many.
        seats: u16,
    },
}

/// What a node has asked for and not been given yet: as its ask, but not a word from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Whose.
    pub node: NodeId,
    /// Of which life.
    pub incarnation: u64,
    /// The item of its last ask; [`AskItem::terms`] means nothing here.
    pub item: AskItem,
}

/// What is not one of our messages, though it decodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsound {
    /// More of something than a message holds.
    #[error("it has {count} {what}, more than {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// An item that names terms which are not there.
    #[error("an item refers to terms {0}, which the ask does not have")]
    NoTerms(u16),
    /// Terms out of bounds.
    #[error(transparent)]
    Terms(#[from] Unkept),
}

impl QuotaAsk {
    /// Looks for what no node of ours sends.
    pub(crate) fn check(&self) -> Result<(), Unsound> {
        within("terms", self.terms.len(), TERMS)?;
        within("items", self.items.len(), ITEMS)?;
        self.terms.iter().try_for_each(Terms::check)?;
        for item in &self.items {
            within("spans of an item", item.cooling.len(), SPANS)?;
            let rests = item.rests.as_ref().map_or(0, |rests| rests.spans.len());
            within("spans of what an item holds", rests, RESTS)?;
            match item.terms {
                Some(terms) if usize::from(terms) >= self.terms.len() => {
                    return Err(Unsound::NoTerms(terms));
                }
                _ => {}
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    #[cfg(test)]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let ask: Self = decode(bytes)?;
        ask.check().map_err(malformed)?;
        Ok(ask)
    }
}

impl QuotaGrant {
    /// Looks for what no leader of ours sends.
    pub(crate) fn check(&self) -> Result<(), Unsound> {
        within("items", self.items.len(), ITEMS)?;
        within("recalls", self.recalls.len(), RECALLS)?;
        let mut recalls = self.recalls.iter();
        recalls.try_for_each(|recall| recall.terms.check().map_err(Unsound::Terms))
    }

    #[cfg(test)]
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    #[cfg(test)]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let grant: Self = decode(bytes)?;
        grant.check().map_err(malformed)?;
        Ok(grant)
    }
}

impl Entry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let entry: Self = decode(bytes)?;
        if let Act::Batch { asks, wishes } = &entry.act {
            within("asks", asks.len(), ASKS).map_err(malformed)?;
            within("wishes", wishes.len(), ITEMS).map_err(malformed)?;
            asks.iter()
                .try_for_each(QuotaAsk::check)
                .map_err(malformed)?;
        }
        Ok(entry)
    }
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    if bytes.len() > BYTES {
        return Err(Unreadable::Length(bytes.len()));
    }
    wire::decode(bytes)
}

fn within(what: &'static str, count: usize, most: usize) -> Result<(), Unsound> {
    if count <= most {
        Ok(())
    } else {
        Err(Unsound::TooMany { what, count, most })
    }
}

fn malformed(why: Unsound) -> Unreadable {
    Unreadable::Malformed(why.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::samples::{ask, grant},
        *,
    };

    fn asking(item: AskItem, items: usize) -> QuotaAsk {
        QuotaAsk {
            items: vec![item; items],
            ..ask()
        }
    }

    #[test]
    fn the_largest_ask_and_grant_fit_an_entry() {
        let item = AskItem {
            terms: Some(1),
            born: u32::MAX,
            returned: u32::MAX,
            lent: u32::MAX,
            want: u32::MAX,
            window: u64::MAX,
            rate: u32::MAX,
            free: u32::MAX,
            given: u32::MAX,
            unit: u32::MAX,
            waits_ms: 0,
            cooling: Vec::new(),
            rests: None,
            ..ask().items[0].clone()
        };
        let ask = asking(item, ITEMS);
        let bytes = ask.encode();
        assert!(bytes.len() < BYTES / 2, "{}", bytes.len());
        assert_eq!(QuotaAsk::decode(&bytes), Ok(ask));
        let item = GrantItem {
            cap: Some(u32::MAX),
            ..grant().items[0].clone()
        };
        let grant = QuotaGrant {
            items: vec![item; ITEMS],
            recalls: vec![grant().recalls[0].clone(); RECALLS],
            ..grant()
        };
        assert!(grant.encode().len() < BYTES / 2);
        assert_eq!(QuotaGrant::decode(&grant.encode()), Ok(grant));
    }

    #[test]
    fn what_no_node_sends_is_refused_with_the_bound() {
        let item = ask().items[0].clone();
        let refused = |ask: QuotaAsk| match QuotaAsk::decode(&ask.encode()) {
            Err(Unreadable::Malformed(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(refused(asking(item.clone(), ITEMS + 1)).contains("4097 items, more than 4096"));
        let strange = AskItem {
            terms: Some(9),
            ..item.clone()
        };
        assert!(refused(asking(strange, 1)).contains("terms 9"));
        let spans = AskItem {
            cooling: vec![Span { ms: 1, count: 1 }; SPANS + 1],
            ..item
        };
        assert!(refused(asking(spans, 1)).contains("spans"));
        let entry = Entry {
            stamp: Stamp::default(),
            line: Line::default(),
            act: Act::Batch {
                asks: vec![ask(); ASKS + 1],
                wishes: Vec::new(),
            },
        };
        assert!(Entry::decode(&entry.encode()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>) {
            let _ = QuotaAsk::decode(&bytes);
            let _ = QuotaGrant::decode(&bytes);
            let _ = Entry::decode(&bytes);
        }
    }
}
