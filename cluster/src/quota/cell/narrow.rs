//! The cell: 128 bytes that every charge of a key goes through.
//!
//! In: what to take, and the clock. Out: whether it was there. Nothing here knows of requests, leases or
//! other nodes. Of a limit of a few tokens the cell has a place for each beside it; of a key that holds more
//! than 65 535 tokens at this node, wider counters. Both are made where tokens come in, never in a charge.

use std::{sync::OnceLock, time::Duration};

use super::{
    super::{
        atomic::{AcqRel, Acquire, AtomicU32, Relaxed, Release},
        clock::{Clock, Now},
        pace::Pace,
    },
    balance::{Balance, Held, Short},
    exact::{self, Exact},
    ring::{Ring, Wide, Widened},
};

/// One key's tokens at one node.
#[derive(Debug)]
pub struct Cell {
    narrow: Narrow,
    wide: Widened,
    exact: Option<Box<Exact>>,
}

/// What a charge touches. Two lines of a cache, the first of which has all but the counters.
#[derive(Debug)]
#[repr(C)]
struct Narrow {
    balance: Balance,
    /// Tokens that have cooled off since the cell was made, wrapping: with those that cool, what was spent.
    cooled: AtomicU32,
    /// Tokens that were asked for and not there, wrapping.
    denied: AtomicU32,
    /// The holder's part of the initial split: what may be spent without contact.
    base: AtomicU32,
    /// With fewer free tokens than this, the holder asks for more.
    low: AtomicU32,
    /// The holder's: bits that it gives a meaning to.
    marks: AtomicU32,
    /// The most that a denied charge has wanted since the holder looked.
    wanted: AtomicU32,
    ring: Ring,
}

/// What has come to a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Units of cost that were paid.
    pub spent: u32,
    /// Units that were not there.
    pub denied: u32,
}

impl Traffic {
    /// What was asked for, wrapping.
    pub fn all(self) -> u32 {
        self.spent.wrapping_add(self.denied)
    }
}

/// What bounds a charge besides the free tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// What may be spent of what is held, by the state of the node's lease.
    pub reach: Reach,
    /// The part of what is held that an overloaded node still spends, in 1/65 536.
    pub share: u32,
}

/// What a node may spend by its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All that it holds.
    Held,
    /// The base share.
    Base,
    /// Nothing.
    Nothing,
}

/// The whole, of a bound's `share`.
pub const WHOLE: u32 = 1 << 16;

impl Bound {
    /// Everything that is held may be spent.
    pub const OPEN: Self = Self {
        reach: Reach::Held,
        share: WHOLE,
    };

    /// Whether `cost` more may be in use.
    fn admits(self, held: Held, cost: u32, base: &AtomicU32) -> Result<(), Short> {
        if held.retired() {
            return Err(Short::Retired);
        }
        let used = u64::from(held.cool) + u64::from(cost);
        match self.reach {
            Reach::Held => {}
            // What was spent of the extra still counts: a window holds the base, whatever it was paid with.
            Reach::Base if used <= u64::from(base.load(Acquire)) => {}
            Reach::Base | Reach::Nothing => return Err(Short::Lapsed),
        }
        if i64::from(held.free) < i64::from(cost) {
            return Err(Short::Empty);
        }
        if self.share < WHOLE {
            let all = i64::from(held.free) + i64::from(held.cool);
            let part = u64::try_from(all).unwrap_or(0) * u64::from(self.share) / u64::from(WHOLE);
            if used > part {
                return Err(Short::Overloaded);
            }
        }
        Ok(())
    }
}

impl Cell {
    /// A cell of a limit of so many tokens, none of which are here yet.
    #[must_use]
    pub fn new(pace: Pace, amount: u32) -> Self {
        let few = usize::try_from(amount).is_ok_and(|amount| amount <= exact::MOST);
        Self {
            narrow: Narrow {
                balance: Balance::new(0),
                cooled: AtomicU32::new(0),
                denied: AtomicU32::new(0),
                base: AtomicU32::new(0),
                low: AtomicU32::new(0),
                marks: AtomicU32::new(0),
                wanted: AtomicU32::new(0),
                ring: Ring::new(),
            },
            wide: OnceLock::new(),
            // A fixed window's tokens are all free at once, at its end.
            exact: (few && pace.is_sliding()).then(|| Box::new(Exact::new(amount))),
        }
    }

    /// What is here.
    pub fn held(&self) -> Held {
        self.narrow.balance.read()
    }

    /// Takes `cost` free tokens, which are in flight then: they count as cooling, and rest until
    /// [`Cell::book`] or [`Cell::undo`]. A cost of 0 takes nothing. Says what is left.
    pub fn take(
        &self,
        pace: Pace,
        cost: u32,
        bound: Bound,
        now: Now,
        clock: &impl Clock,
    ) -> Result<Held, Short> {
        let freed = self.narrow.ring.advance(pace, now, &self.wide, clock);
        self.free(freed);
        let admits = |held| bound.admits(held, cost, &self.narrow.base);
        match self.narrow.balance.take(cost, admits) {
            Err(_) if self.expire(pace, now) > 0 => self.narrow.balance.take(cost, admits),
            taken => taken,
        }
    }

    /// Whether what is in use is still within what the lease lets a node spend; for after a take.
    pub fn within(&self, reach: Reach) -> bool {
        match reach {
            Reach::Held => true,
            Reach::Base => self.held().cool <= self.narrow.base.load(Acquire),
            Reach::Nothing => false,
        }
    }

    /// Gives back what was taken and not booked.
    pub fn undo(&self, cost: u32) {
        self.narrow.balance.release(cost);
    }

    /// Counts what was taken as spent at `now`, which must have been read after the take. Says the slot
    /// it rests from, of a fixed window the window's number; none for a token with a place of its own. No
    /// token is ever counted twice in one slot.
    pub fn book(&self, pace: Pace, cost: u32, now: Now, clock: &impl Clock) -> Option<u64> {
        let cost = match &self.exact {
            Some(exact) => exact.book(cost, now),
            None => cost,
        };
        if cost == 0 {
            return None;
        }
        let (slot, freed) = self.narrow.ring.book(pace, cost, now, &self.wide, clock);
        self.free(freed);
        Some(slot)
    }

    /// Frees what was booked at `spent` by a request that has reached nothing. Only while its slot is the
    /// newest; otherwise the spend stands. Says how many came free.
    pub fn refund(&self, pace: Pace, cost: u32, spent: Now) -> u32 {
        let exact = match &self.exact {
            Some(exact) => exact.unbook(cost, spent),
            None => 0,
        };
        let rest = cost - exact;
        let ring = match rest {
            0 => 0,
            rest => self.narrow.ring.unbook(pace, rest, spent, &self.wide),
        };
        self.undo(exact + ring);
        exact + ring
    }

    /// Frees what has rested, without a charge.
    pub fn settle(&self, pace: Pace, clock: &impl Clock) {
        let now = clock.now();
        let freed = self.narrow.ring.advance(pace, now, &self.wide, clock);
        self.free(freed);
        self.expire(pace, now);
    }

    /// Of a fixed window: comes to window `number`, though the own clock may be behind, because a token that
    /// came from another node has been spent in the one before. False if another thread was about to
    /// come to a newer one: try again.
    #[must_use]
    pub fn reach_window(&self, pace: Pace, number: u64, clock: &impl Clock) -> bool {
        match self.narrow.ring.push(pace, number, &self.wide, clock) {
            Some(freed) => {
                self.free(freed);
                true
            }
            None => false,
        }
    }

    /// Of a fixed window: the newest window that tokens of this cell may have been spent in.
    pub fn newest_window(&self) -> u64 {
        self.narrow.ring.newest().0
    }

    /// Free tokens come in. For one thread at a time, as everything that changes what is held.
    pub fn credit(&self, count: u32) {
        self.make_room(count);
        self.narrow.balance.adjust(count.cast_signed());
    }

    fn make_room(&self, count: u32) {
        let Held { free, cool } = self.held();
        let after = i64::from(free) + i64::from(cool) + i64::from(count);
        if after > i64::from(u16::MAX) {
            // Before the tokens: who spends them must see it.
            self.wide.get_or_init(|| Box::new(Wide::new()));
        }
    }

    /// Takes out up to `most` free tokens and leaves at least `keep`. Says how many.
    pub fn withdraw(&self, most: u32, keep: u32) -> u32 {
        self.narrow.balance.withdraw(most, keep)
    }

    /// The ledger has taken `count` back while there was no contact, free or not.
    pub fn reclaim(&self, count: u32) {
        self.narrow
            .balance
            .adjust(count.cast_signed().wrapping_neg());
    }

    /// What may be spent without contact.
    pub fn base(&self) -> u32 {
        self.narrow.base.load(Acquire)
    }

    /// Sets what may be spent without contact, and no tokens.
    pub fn set_base(&self, base: u32) {
        self.narrow.base.store(base, Release);
    }

    /// What may be spent without contact becomes another amount, and as many tokens come in or go, if it still
    /// is `from`. As [`Cell::credit`], for one thread at a time.
    #[must_use]
    pub fn change_base(&self, from: u32, to: u32) -> bool {
        if to > from {
            self.make_room(to - from);
        }
        let changed = self
            .narrow
            .base
            .compare_exchange(from, to, AcqRel, Acquire)
            .is_ok();
        if changed {
            let by = to.wrapping_sub(from).cast_signed();
            self.narrow.balance.adjust(by);
        }
        changed
    }

    /// What may be spent without contact is no more than this, and the tokens above it are gone, spent or not.
    /// For any thread: whoever changes the base afterwards sees what the caller has written before.
    pub fn lower_base(&self, most: u32) {
        let before = self.narrow.base.fetch_min(most, AcqRel);
        if before > most {
            self.reclaim(before - most);
        }
    }

    /// Puts the cell away for ever, if it holds just `free` tokens and none of them cools: whoever still has
    /// it finds [`Short::Retired`].
    #[must_use]
    pub fn retire(&self, free: u32) -> bool {
        self.narrow.balance.retire(free)
    }

    /// Puts the cell away for ever, and says what it held.
    pub fn void(&self) -> Held {
        self.narrow.balance.void()
    }

    /// Whether it was put away.
    pub fn retired(&self) -> bool {
        self.held().retired()
    }

    /// What has come to it since it was made, wrapping.
    pub fn traffic(&self) -> Traffic {
        let cooled = self.narrow.cooled.load(Relaxed);
        Traffic {
            spent: cooled.wrapping_add(self.held().cool),
            denied: self.narrow.denied.load(Relaxed),
        }
    }

    /// `cost` was asked for and not there. Says what [`Cell::take_wanted`] would have said before.
    pub fn note_denied(&self, cost: u32) -> u32 {
        self.narrow.denied.fetch_add(cost, Relaxed);
        self.narrow.wanted.fetch_max(cost, Relaxed)
    }

    /// What was denied waits, and is counted when that is over: it will come again.
    pub fn note_waiting(&self, cost: u32) {
        self.narrow.denied.fetch_sub(cost, Relaxed);
    }

    /// The most that was asked for at once and not there, since this was called last.
    pub fn take_wanted(&self) -> u32 {
        self.narrow.wanted.swap(0, Relaxed)
    }

    /// With fewer free tokens than this, the holder wants to know.
    pub fn set_low(&self, low: u32) {
        self.narrow.low.store(low, Relaxed);
    }

    /// Whether so many free tokens are few.
    pub fn is_low(&self, free: i32) -> bool {
        i64::from(free) < i64::from(self.narrow.low.load(Relaxed))
    }

    /// The marks that are set.
    pub fn marks(&self) -> u32 {
        self.narrow.marks.load(Acquire)
    }

    /// Sets a mark, and says whether it was not set. A read where it was: most of the time it is.
    pub fn mark(&self, mark: u32) -> bool {
        self.marks() & mark == 0 && self.narrow.marks.fetch_or(mark, AcqRel) & mark == 0
    }

    /// Clears a mark.
    pub fn unmark(&self, mark: u32) {
        self.narrow.marks.fetch_and(!mark, AcqRel);
    }

    /// What cools, in spans: how many tokens are free again after how long. Tokens in flight are not among
    /// them.
    pub fn cooling(&self, pace: Pace, now: Now) -> Vec<(Duration, u32)> {
        let mut spans = self.narrow.ring.spans(pace, now, &self.wide);
        if let Some(exact) = &self.exact {
            spans.extend(exact.spans(pace, now));
        }
        spans.sort_unstable();
        spans
    }

    /// How long until a charge of `cost` can find enough free tokens, if nothing else happens; none if not
    /// even all that cools is enough.
    pub fn until(&self, pace: Pace, cost: u32, now: Now) -> Option<Duration> {
        let Held { free, cool } = self.held();
        let missing = i64::from(cost) - i64::from(free);
        let Ok(missing) = u32::try_from(missing) else {
            return Some(Duration::ZERO);
        };
        if missing == 0 {
            return Some(Duration::ZERO);
        }
        (missing <= cool)
            .then(|| self.until_cooled(pace, missing, now))
            .flatten()
    }

    /// How long until `count` of what cools here is free; none if less cools.
    pub fn until_cooled(&self, pace: Pace, count: u32, now: Now) -> Option<Duration> {
        if count > self.held().cool {
            return None;
        }
        let exact = self.exact.as_ref();
        exact
            .and_then(|exact| exact.until(pace, count, now))
            .or_else(|| self.narrow.ring.until(pace, count, now, &self.wide))
            // In flight, or booked late: a window at the most.
            .or(Some(Duration::from_nanos(pace.rest())))
    }

    fn expire(&self, pace: Pace, now: Now) -> u32 {
        let expired = match &self.exact {
            Some(exact) => exact.expire(pace, now),
            None => 0,
        };
        self.free(expired);
        expired
    }

    fn free(&self, count: u32) {
        if count > 0 {
            self.narrow.cooled.fetch_add(count, Relaxed);
            self.narrow.balance.release(count);
        }
    }
}

#[cfg(test)]
pub(in super::super) const NARROW_BYTES: usize = size_of::<Narrow>();
