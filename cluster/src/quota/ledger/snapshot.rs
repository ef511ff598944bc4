//! The ledger as bytes, and back.
//!
//! In: bytes that a voter has sent or a disk has kept. Out: the state they were made of; what does not hold
//! together is refused, never taken in half.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{KEYS_MOST, Ledger, Params, book::Book, roster::Roster};
use crate::{
    quota::{
        key::KeyId,
        message::{Line, Stamp},
    },
    version::FIRST,
    wire::{self, Unreadable},
};

#[derive(Serialize, Deserialize)]
struct Kept<Books> {
    now: Stamp,
    line: Line,
    last: u64,
    roster: Roster,
    books: Books,
    swept: Option<KeyId>,
    scanned: Option<u64>,
}

impl Ledger {
    /// The whole state.
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::encode(&Kept {
            now: self.now,
            line: self.line.clone(),
            last: self.last,
            roster: self.roster.clone(),
            books: &self.books,
            swept: self.swept,
            scanned: self.scanned,
        })
    }

    /// The state that [`encode`](Self::encode) gave.
    pub(crate) fn decode(bytes: &[u8], params: Params) -> Result<Self, Unreadable> {
        let kept: Kept<BTreeMap<KeyId, Book>> = wire::decode_state(FIRST, bytes)?;
        let malformed = |why: &str| Unreadable::Malformed(why.to_owned());
        if kept.books.len() > KEYS_MOST {
            return Err(malformed("it has more keys than a ledger holds"));
        }
        for book in kept.books.values() {
            book.terms
                .check()
                .map_err(|why| malformed(&why.to_string()))?;
            let ordered = book.rows.is_sorted_by(|a, b| a.holder < b.holder)
                && book.cooling.is_sorted_by(|a, b| a.when < b.when)
                && book.resting.is_sorted_by(|a, b| a.holder < b.holder);
            if !ordered {
                return Err(malformed("a key's rows are not in order"));
            }
        }
        let mut ledger = Self::new(params);
        (ledger.now, ledger.line, ledger.last) = (kept.now, kept.line, kept.last);
        ledger.roster = kept.roster.indexed();
        ledger.rows = kept.books.values().map(Book::size).sum();
        ledger.books = kept.books;
        ledger.swept = kept.swept;
        ledger.scanned = kept.scanned;
        Ok(ledger)
    }
}
