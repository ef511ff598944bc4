//! How many tokens are free and how many cool, in one word.
//!
//! In one word, because every change moves tokens from the one to the other: a reader sees each token once,
//! a spender's two checks hold at the same instant, and to undo is one addition.

use super::super::atomic::{AcqRel, Acquire, AtomicU64, Relaxed};

/// What a holder has of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// May be spent. Negative when the ledger took back what was still cooling: then what cools off pays.
    pub free: i32,
    /// Spent less than a window ago, or about to be.
    pub cool: u32,
}

/// Why a cell had nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// Not enough free tokens.
    Empty,
    /// What is left may not be spent without contact: the ceiling is the base share, or nothing.
    Lapsed,
    /// The node is overloaded, and spends a part of what it holds.
    Overloaded,
    /// The holder has put the cell away: there is another for the key, or will be.
    Retired,
}

/// The word: free in the upper half, cool in the lower.
#[derive(Debug)]
pub(super) struct Balance(AtomicU64);

impl Balance {
    pub(super) fn new(free: u32) -> Self {
        Self(AtomicU64::new(pack(free.cast_signed(), 0)))
    }

    pub(super) fn read(&self) -> Held {
        unpack(self.0.load(Acquire))
    }

    /// Takes `cost` from the free to the cool, if `admits` has nothing against it, which sees the balance
    /// before. Says what is left.
    pub(super) fn take(
        &self,
        cost: u32,
        admits: impl Fn(Held) -> Result<(), Short>,
    ) -> Result<Held, Short> {
        let mut word = self.0.load(Acquire);
        loop {
            admits(unpack(word))?;
            let taken = word.wrapping_sub(moved(cost));
            match self.0.compare_exchange_weak(word, taken, AcqRel, Acquire) {
                Ok(_) => return Ok(unpack(taken)),
                Err(newer) => word = newer,
            }
        }
    }

    /// Puts the cell away, if just so many tokens are here and all of them free.
    pub(super) fn retire(&self, free: u32) -> bool {
        let all = pack(free.cast_signed(), 0);
        let none = pack(RETIRED, 0);
        self.0.compare_exchange(all, none, AcqRel, Relaxed).is_ok()
    }

    /// Puts the cell away, whatever is here; says what was.
    pub(super) fn void(&self) -> Held {
        unpack(self.0.swap(pack(RETIRED, 0), AcqRel))
    }

    /// Tokens that cooled are free again.
    pub(super) fn release(&self, count: u32) {
        if count > 0 {
            self.0.fetch_add(moved(count), AcqRel);
        }
    }

    /// Free tokens come in, or go; `change` may leave less than none.
    pub(super) fn adjust(&self, change: i32) {
        let change = u64::from(change.cast_unsigned()) << 32;
        self.0.fetch_add(change, AcqRel);
    }

    /// Takes up to `most` free tokens out and leaves at least `keep`; says how many.
    pub(super) fn withdraw(&self, most: u32, keep: u32) -> u32 {
        let mut word = self.0.load(Acquire);
        loop {
            let spare = i64::from(unpack(word).free) - i64::from(keep);
            let out = u32::try_from(spare).unwrap_or(0).min(most);
            if out == 0 {
                return 0;
            }
            let left = word.wrapping_sub(u64::from(out) << 32);
            match self.0.compare_exchange_weak(word, left, AcqRel, Relaxed) {
                Ok(_) => return out,
                Err(newer) => word = newer,
            }
        }
    }
}

impl Held {
    /// Whether it is what a cell shows that was put away: less than any debt, and what was in flight then
    /// does not lift it out of the debts.
    pub(super) fn retired(self) -> bool {
        self.free < RETIRED / 4 * 3
    }
}

/// The free tokens of a cell that was put away: nothing can be taken from them.
const RETIRED: i32 = i32::MIN;

/// What is added to move tokens from cool to free. The lower half never borrows: no more come back than
/// have gone.
fn moved(count: u32) -> u64 {
    (u64::from(count) << 32).wrapping_sub(u64::from(count))
}

fn pack(free: i32, cool: u32) -> u64 {
    u64::from(free.cast_unsigned()) << 32 | u64::from(cool)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of a word, each taken whole"
)]
fn unpack(word: u64) -> Held {
    Held {
        free: ((word >> 32) as u32).cast_signed(),
        cool: word as u32,
    }
}
