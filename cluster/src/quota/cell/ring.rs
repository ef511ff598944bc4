//! The tokens that cool, counted by the slot they were spent in.
//!
//! A ring of counters, one more than slots can rest in. Who finds that time has come to a newer slot rolls:
//! it takes what the slots gone by have counted. Only one thread rolls at a time. Nobody waits for it: who
//! wants to book meanwhile books in `late`, which the thread that rolls counts in the slot of a clock
//! that it reads afterwards. So a thread that stands still
//! - before it books, books in the slot that its counter stands for by then, which is a later one;
//! - while it rolls, keeps tokens cooling until it goes on.

use std::{sync::OnceLock, time::Duration};

use super::super::{
    atomic::{AcqRel, Acquire, AtomicU16, AtomicU32, AtomicU64, Relaxed, Release, SLOTS},
    clock::{Clock, Now},
    pace::Pace,
};

/// Counters enough for either pace.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
pub(super) const COUNTERS: usize = SLOTS as usize + 2;

/// The counters of a key that holds more than a narrow counter takes.
#[derive(Debug)]
pub(super) struct Wide([AtomicU32; COUNTERS]);

impl Wide {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

/// The wide part, once the key has held more than the narrow counters take. Looked at anew by every use: a
/// thread may have stood still since before it was made.
pub(super) type Widened = OnceLock<Box<Wide>>;

/// The tokens that cool.
#[derive(Debug)]
pub(super) struct Ring {
    /// The newest slot, and in the lowest bit whether a thread rolls to it.
    newest: AtomicU64,
    /// Booked while another thread rolled.
    late: AtomicU32,
    /// By [`Pace::place`]. The counter after the newest slot's is clean.
    counters: [AtomicU16; COUNTERS],
}

impl Ring {
    pub(super) fn new() -> Self {
        Self {
            newest: AtomicU64::new(0),
            late: AtomicU32::new(0),
            counters: std::array::from_fn(|_| AtomicU16::new(0)),
        }
    }

    /// The newest slot, and whether a thread rolls to it.
    pub(super) fn newest(&self) -> (u64, bool) {
        let word = self.newest.load(Acquire);
        (word >> 1, word & ROLLING != 0)
    }

    /// Comes to the slot of `now`, and says how many tokens are free again. None, if another thread is
    /// about it.
    pub(super) fn advance(&self, pace: Pace, now: Now, wide: &Widened, clock: &impl Clock) -> u32 {
        let (newest, rolling) = self.newest();
        let slot = pace.slot(now, newest);
        if rolling || slot <= newest {
            return 0;
        }
        self.roll(pace, (newest, slot), wide, clock).unwrap_or(0)
    }

    /// Comes to a slot that another node has told of, though the own clock may not be there yet. Says how
    /// many tokens are free again, or none if another thread rolls.
    pub(super) fn push(
        &self,
        pace: Pace,
        slot: u64,
        wide: &Widened,
        clock: &impl Clock,
    ) -> Option<u32> {
        let (newest, rolling) = self.newest();
        if slot <= newest {
            return Some(0);
        }
        if rolling {
            return None;
        }
        self.roll(pace, (newest, slot), wide, clock)
    }

    /// Counts tokens spent at `now`. Says in which slot at the earliest, and how many others came free on
    /// the way.
    pub(super) fn book(
        &self,
        pace: Pace,
        count: u32,
        now: Now,
        wide: &Widened,
        clock: &impl Clock,
    ) -> (u64, u32) {
        let (newest, rolling) = self.newest();
        let slot = pace.slot(now, newest);
        if !rolling && slot <= newest {
            self.count(pace.place(newest), count, wide);
            return (newest, 0);
        }
        let rolled = if rolling {
            None
        } else {
            self.roll(pace, (newest, slot), wide, clock)
        };
        let Some(freed) = rolled else {
            self.late.fetch_add(count, AcqRel);
            return (slot.max(self.newest().0), 0);
        };
        // Not `slot`: the roll may have gone further, and the counter of `slot` have been cleaned by another.
        let (newest, _) = self.newest();
        self.count(pace.place(newest), count, wide);
        (newest, freed)
    }

    /// Takes tokens spent in the slot of `now` out of the count, if that is still the newest; says how many.
    pub(super) fn unbook(&self, pace: Pace, count: u32, spent: Now, wide: &Widened) -> u32 {
        let (newest, rolling) = self.newest();
        if rolling || pace.slot(spent, newest) != newest {
            return 0;
        }
        // Nobody may roll meanwhile: the counter could become a later slot's, whose tokens must rest.
        let word = newest << 1;
        let claim = self
            .newest
            .compare_exchange(word, word | ROLLING, AcqRel, Relaxed);
        if claim.is_err() {
            return 0;
        }
        let place = pace.place(newest);
        let out = wide
            .get()
            .map_or(0, |wide| subtract_wide(&wide.0[place], count));
        let out = out + subtract(&self.counters[place], count - out);
        self.newest.store(word, Release);
        out
    }

    /// How long until `missing` more tokens are free, if so many cool.
    pub(super) fn until(
        &self,
        pace: Pace,
        missing: u32,
        now: Now,
        wide: &Widened,
    ) -> Option<Duration> {
        let (newest, _) = self.newest();
        let oldest = newest.saturating_sub(pace.resting());
        let mut found = 0_u32;
        for slot in oldest..=newest {
            let place = pace.place(slot);
            let narrow = u32::from(self.counters[place].load(Relaxed));
            let wide = wide.get().map_or(0, |wide| wide.0[place].load(Relaxed));
            found = found.saturating_add(narrow).saturating_add(wide);
            if found >= missing {
                return Some(pace.until_free(slot, now));
            }
        }
        None
    }

    /// What cools: after how long how many are free.
    pub(super) fn spans(&self, pace: Pace, now: Now, wide: &Widened) -> Vec<(Duration, u32)> {
        let (newest, _) = self.newest();
        let oldest = newest.saturating_sub(pace.resting());
        let mut spans: Vec<_> = (oldest..=newest)
            .map(|slot| {
                let place = pace.place(slot);
                let narrow = u32::from(self.counters[place].load(Acquire));
                let wide = wide.get().map_or(0, |wide| wide.0[place].load(Acquire));
                (pace.until_free(slot, now), narrow.saturating_add(wide))
            })
            .collect();
        let late = self.late.load(Acquire);
        spans.push((pace.until_free(newest + 1, now), late));
        spans.retain(|(_, count)| *count > 0);
        spans
    }

    /// Rolls from one slot to a later one, if no other thread does. The mark and the slot are written
    /// before anything comes free: who spends what this frees must not be able to think it is still then.
    fn roll(
        &self,
        pace: Pace,
        (from, to): (u64, u64),
        wide: &Widened,
        clock: &impl Clock,
    ) -> Option<u32> {
        self.newest
            .compare_exchange(from << 1, to << 1 | ROLLING, AcqRel, Relaxed)
            .ok()?;
        let mut freed = self.sweep(pace, (from, to), wide);
        let mut newest = to;
        let late = self.late.swap(0, AcqRel);
        if late > 0 {
            // Whoever booked them had read the clock before; so this reading is not before any of theirs.
            newest = pace.slot(clock.now(), to).max(to);
            self.newest.store(newest << 1 | ROLLING, Release);
            freed += self.sweep(pace, (to, newest), wide);
            self.count(pace.place(newest), late, wide);
        }
        self.newest.store(newest << 1, Release);
        Some(freed)
    }

    /// Takes what the slots counted that have gone by between two newest ones.
    fn sweep(&self, pace: Pace, (from, to): (u64, u64), wide: &Widened) -> u32 {
        let mut freed = 0;
        for step in 1..=(to - from).min(pace.ring()) {
            // The slot that is free once `from + step` begins stands where the slot after that will.
            let place = pace.place(from + step + 1);
            freed += clear(&self.counters[place]);
            freed += wide.get().map_or(0, |wide| clear_wide(&wide.0[place]));
        }
        freed
    }

    fn count(&self, place: usize, count: u32, wide: &Widened) {
        match (wide.get(), u16::try_from(count)) {
            (None, Ok(narrow)) => {
                // Cannot overflow: without the wide part a key holds no more than one counter takes.
                self.counters[place].fetch_add(narrow, AcqRel);
            }
            (Some(wide), _) => {
                wide.0[place].fetch_add(count, AcqRel);
            }
            (None, Err(_)) => unreachable!("a key that holds so many has the wide part"),
        }
    }
}

fn clear(counter: &AtomicU16) -> u32 {
    // Most are empty, and a read is a fraction of a swap.
    if counter.load(Acquire) == 0 {
        return 0;
    }
    u32::from(counter.swap(0, AcqRel))
}

fn clear_wide(counter: &AtomicU32) -> u32 {
    if counter.load(Acquire) == 0 {
        return 0;
    }
    counter.swap(0, AcqRel)
}

fn subtract(counter: &AtomicU16, count: u32) -> u32 {
    let mut was = counter.load(Acquire);
    loop {
        let out = u16::try_from(count).unwrap_or(u16::MAX).min(was);
        match counter.compare_exchange(was, was - out, AcqRel, Acquire) {
            Ok(_) => return u32::from(out),
            Err(newer) => was = newer,
        }
    }
}

fn subtract_wide(counter: &AtomicU32, count: u32) -> u32 {
    let mut was = counter.load(Acquire);
    loop {
        let out = count.min(was);
        match counter.compare_exchange(was, was - out, AcqRel, Acquire) {
            Ok(_) => return out,
            Err(newer) => was = newer,
        }
    }
}

const ROLLING: u64 = 1;
