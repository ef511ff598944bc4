//! The ledger: who holds how many tokens of which key. What its Raft group agrees on.
//!
//! In: entries in the log's order. Out: a grant for each ask. A core: no clock, no randomness, no hash's order;
//! every replica that applies the same entries has the same state.
//!
//! - `roster`: nodes, their lives and leases, and the seats that base goes by;
//! - `book`: one key: who holds extra of it, what is cooling, and how the pool follows from that;
//! - `apply`: what an entry does; `snapshot`: the whole as bytes; [`clock`]: the time in entries.
//!
//! Nothing is counted twice: a key's pool is its limit less what is taken, worked out when it is asked for. A
//! change of limits, seats or leases changes no record, and a key that nobody asks about has none.

mod apply;
mod book;
pub mod clock;
pub(crate) mod machine;
mod roster;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use meridian_config::name::NodeId;

use super::{
    key::KeyId,
    message::{BaseRight, GrantItem, Line, Stamp},
    params::Params,
    terms::Terms,
};
use book::{Book, Booked};
use roster::Roster;

/// Keys with a record at most. With the bound below the state is less than a snapshot may hold. A further key
/// is given nothing beyond its base until others are idle again.
pub const KEYS_MOST: usize = 400_000;

/// Keys in deficit that one search finds at most: when they are settled, the next finds others.
const SHORTS_MOST: usize = 256;

/// Rows and spans of cooling tokens at most, of all keys together; see [`KEYS_MOST`].
pub const ROWS_MOST: usize = 1_600_000;

/// The replicated state.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    params: Params,
    now: Stamp,
    /// Of the last entry that counted: the line its time is on, and its index.
    line: Line,
    last: u64,
    roster: Roster,
    books: BTreeMap<KeyId, Book>,
    /// Rows and spans in `books`.
    rows: usize,
    /// The key that was looked at last for what is over.
    swept: Option<KeyId>,
    /// Log time of the last search for a deficit.
    scanned: Option<u64>,
    /// Some keys that were in deficit then. Only the leader looks at it; it is in no snapshot.
    shorts: Vec<KeyId>,
}

/// A key as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its terms, by the newest document that was asked under.
    pub terms: Terms,
    /// That document, by [`QuotaAsk::as_of`](super::message::QuotaAsk::as_of).
    pub as_of: u64,
    /// Tokens that nobody holds; less than 0: how many must come back before any is given.
    pub pool: i64,
    /// Base of all nodes, and what is cooling of it.
    pub base: u64,
    /// Tokens that cool in the ledger.
    pub cooling: u64,
    /// Who holds how many beyond base; less than 0: how many of its base a node has handed back.
    pub extra: Vec<(NodeId, i64)>,
}

/// What of a key is nobody's, as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    /// Its terms, and the document that they are from.
    pub(crate) terms: Terms,
    pub(crate) as_of: u64,
    /// Tokens that nobody holds; less than 0: how many must come back before any is given.
    pub(crate) pool: i64,
    /// Tokens that cool in the ledger.
    pub(crate) cooling: u64,
}

impl Ledger {
    /// An empty one.
    pub fn new(params: Params) -> Self {
        Self {
            params,
            ..Self::default()
        }
    }

    /// The times of the last entry.
    pub fn now(&self) -> Stamp {
        self.now
    }

    /// The index of the last entry that counted.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// How many keys have a record.
    pub fn keys(&self) -> usize {
        self.books.len()
    }

    /// How many rows and spans of cooling tokens there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How a key stands as of the last entry; none where it has no record.
    pub fn standing(&self, key: &KeyId) -> Option<Standing> {
        let book = self.books.get(key)?;
        let base = self.booked(book);
        let rows = book.rows.iter();
        Some(Standing {
            terms: book.terms,
            as_of: book.as_of,
            pool: book.pool(&base, self.now),
            base: base.sum,
            cooling: book.cooling_sum(self.now),
            extra: rows
                .filter_map(|row| {
                    let extra = base.held_beyond(row.holder, row.extra());
                    Some((self.roster.member(row.holder)?.node.clone(), extra))
                })
                .collect(),
        })
    }

    /// What of a key is nobody's; none where it has no record.
    pub(crate) fn level(&self, key: &KeyId) -> Option<Level> {
        let book = self.books.get(key)?;
        Some(Level {
            terms: book.terms,
            as_of: book.as_of,
            pool: book.pool(&self.booked(book), self.now),
            cooling: book.cooling_sum(self.now),
        })
    }

    /// Keys that have a record, of limits that are wanted, and how each stands.
    pub fn standings(
        &self,
        wanted: impl Fn(&Terms) -> bool,
    ) -> impl Iterator<Item = (KeyId, Standing)> {
        let keys = self
            .books
            .iter()
            .filter(move |(_, book)| wanted(&book.terms));
        keys.filter_map(|(key, _)| Some((*key, self.standing(key)?)))
    }

    /// Keys that are in deficit, each with its window in ms: those with the shortest, of which the first is the shortest.
    fn search_shorts(&self) -> Vec<(u64, KeyId)> {
        let short = |book: &Book| book.pool(&self.booked(book), self.now) < 0;
        let books = self.books.iter().filter(|(_, book)| short(book));
        let mut shorts: Vec<_> = books
            .map(|(key, book)| (book.terms.window_ms(), *key))
            .collect();
        if shorts.len() > SHORTS_MOST {
            shorts.select_nth_unstable(SHORTS_MOST);
            shorts.truncate(SHORTS_MOST);
        }
        shorts.sort_unstable();
        shorts
    }

    /// Keys that a node waits for to have no deficit, as of the last search.
    pub(crate) fn shorts(&self) -> &[KeyId] {
        &self.shorts
    }

    /// What a node has been given of a key; none where it holds nothing beyond base.
    pub(crate) fn given(&self, node: &NodeId, key: &KeyId) -> Option<u32> {
        let number = self.roster.find(node)?;
        let book = self.books.get(key)?;
        let at = book.rows.binary_search_by_key(&number, |row| row.holder);
        Some(book.rows[at.ok()?].given)
    }

    /// The last ask of a node that has counted.
    pub(crate) fn heard(&self, node: &NodeId) -> Option<(u64, u64)> {
        let member = self.roster.member(self.roster.find(node)?)?;
        Some((member.incarnation, member.seq))
    }

    /// What a node holds of a key as the ledger has it, for news; none where it holds nothing beyond base.
    pub(crate) fn word(&self, node: &NodeId, key: &KeyId) -> Option<GrantItem> {
        let number = self.roster.find(node)?;
        let book = self.books.get(key)?;
        let at = book.rows.binary_search_by_key(&number, |row| row.holder);
        let row = book.rows.get(at.ok()?)?;
        let pool = book.pool(&self.booked(book), self.now).max(0);
        Some(GrantItem {
            key: *key,
            born: row.born,
            given: row.given,
            window: book.window,
            cap: None,
            pool: u32::try_from(pool).unwrap_or(u32::MAX),
            others_free: 0,
        })
    }

    fn booked(&self, book: &Book) -> Booked {
        self.roster.booked(book, self.now, &self.params)
    }

    /// The life of a node that the ledger knows.
    pub fn life(&self, node: &NodeId) -> Option<u64> {
        let member = self.roster.member(self.roster.find(node)?)?;
        Some(member.incarnation)
    }

    /// Tokens of a key that a node holds, base included.
    pub(crate) fn held(&self, node: &NodeId, key: &KeyId) -> u32 {
        let held = || {
            let number = self.roster.find(node)?;
            let book = self.books.get(key)?;
            let base = self.base_of(number, book);
            let at = book.rows.binary_search_by_key(&number, |row| row.holder);
            let extra = at.map_or(0, |at| book.rows[at].extra());
            u32::try_from((i64::from(base) + extra).max(0)).ok()
        };
        held().unwrap_or(0)
    }

    /// Tokens of a key that a node which says nothing of it could spend: all that it holds, if it was heard of within the
    /// time that words are remembered. Not base that its earlier life may have spent. For hints.
    pub(crate) fn unsaid(&self, node: &NodeId, key: &KeyId) -> u32 {
        let held = || {
            let member = self.roster.member(self.roster.find(node)?)?;
            let wish = u64::try_from(self.params.wish.as_millis()).unwrap_or(u64::MAX);
            let heard = self.now.log_ms <= member.contact.saturating_add(wish);
            let (right, book) = (self.right(node)?, self.books.get(key)?);
            let rested = right.unspent_ms >= book.terms.window_ms();
            (heard && rested).then(|| self.held(node, key))
        };
        held().unwrap_or(0)
    }

    /// A node's part of a key's base, now or once it has rested.
    pub(crate) fn base(&self, node: &NodeId, key: &KeyId) -> u32 {
        let number = self.roster.find(node).zip(self.books.get(key));
        number.map_or(0, |(number, book)| self.base_of(number, book))
    }

    /// What a node may spend of a key as base, now or once it has rested.
    fn base_of(&self, number: u16, book: &Book) -> u32 {
        let right = self.roster.right(number, self.now);
        let right = right.filter(|right| right.scope.covers(&book.terms));
        right.map_or(0, |right| book.terms.base(right.share))
    }

    /// Tokens of a key that are booked as base and that no node may spend: it waits for the right to it, or is gone, or
    /// has a lesser part by now.
    pub(crate) fn base_withheld(&self, key: &KeyId) -> u64 {
        let Some(book) = self.books.get(key) else {
            return 0;
        };
        let held = self
            .roster
            .numbers()
            .map(|number| u64::from(self.base_of(number, book)));
        self.booked(book).sum.saturating_sub(held.sum())
    }

    /// Every node that the ledger knows, with its life and the log time at which it was last heard of.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&NodeId, u64, u64)> {
        let members = self.roster.members();
        members.map(|member| (&member.node, member.incarnation, member.contact))
    }

    /// A node's right to base, for news.
    pub(crate) fn right(&self, node: &NodeId) -> Option<BaseRight> {
        self.roster.right(self.roster.find(node)?, self.now)
    }

    /// Into how many parts base is split.
    pub fn seats(&self) -> u16 {
        self.roster.split()
    }

    /// Nodes without a seat.
    pub fn unseated(&self) -> usize {
        let members = self.roster.members();
        members.filter(|member| member.seat.is_none()).count()
    }

    /// Whether the seats may be split further: all nodes have confirmed the last split.
    pub fn may_split(&self) -> bool {
        self.roster.may_split()
    }

    /// Log time at which the next lease of extra tokens is over, if nobody is heard of until then: the time for
    /// an [`Act::Expire`](super::message::Act::Expire). None while nobody holds any.
    pub fn next_lapse(&self) -> Option<u64> {
        if self.rows == 0 {
            return None;
        }
        let least = self.params.extra_lease(std::time::Duration::ZERO);
        let lease = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
        let contacts = self.roster.members().map(|member| member.contact);
        contacts
            .map(|contact| contact + self.params.stretched_ms(lease))
            .filter(|due| *due > self.now.log_ms)
            .min()
    }
}
