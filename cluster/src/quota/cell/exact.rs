//! The tokens that cool of a limit of a few, each by its own instant.
//!
//! With ten tokens, the slot that a slot's tokens rest too long is a tenth of the use that a client can
//! make of one token; so these are kept to the nanosecond. A place holds one token. It is emptied by
//! comparing with what was read, so a thread that stood still in between empties it only if it holds the
//! same instant, and then that is as long ago.

use std::time::Duration;

use super::super::{
    atomic::{AcqRel, Acquire, AtomicU64, Relaxed},
    clock::{Monotonic, Now},
    pace::Pace,
};

/// A place for each token.
#[derive(Debug)]
pub(super) struct Exact(Box<[AtomicU64]>);

impl Exact {
    /// As many places as the limit has tokens; of more than [`MOST`], so many.
    pub(super) fn new(tokens: u32) -> Self {
        let places = usize::try_from(tokens).unwrap_or(MOST).min(MOST);
        Self((0..places).map(|_| AtomicU64::new(EMPTY)).collect())
    }

    /// Books tokens spent at `now`. Says how many found no place.
    pub(super) fn book(&self, mut count: u32, now: Now) -> u32 {
        for place in &self.0 {
            if count == 0 {
                break;
            }
            if place.load(Relaxed) == EMPTY
                && place
                    .compare_exchange(EMPTY, mark(now.monotonic), AcqRel, Relaxed)
                    .is_ok()
            {
                count -= 1;
            }
        }
        count
    }

    /// Empties the places of tokens that have rested. Says how many.
    pub(super) fn expire(&self, pace: Pace, now: Now) -> u32 {
        self.empty_where(u32::MAX, |spent| pace.rested(spent, now))
    }

    /// Empties up to `count` places of tokens spent at `spent`. Says how many.
    pub(super) fn unbook(&self, count: u32, spent: Now) -> u32 {
        self.empty_where(count, |other| other == spent.monotonic)
    }

    /// How long until `missing` more tokens are free, if so many cool here.
    pub(super) fn until(&self, pace: Pace, missing: u32, now: Now) -> Option<Duration> {
        let mut spent = [u64::MAX; MOST];
        let mut cooling = 0;
        for place in self.0.iter().take(MOST) {
            if let Some(at) = instant(place.load(Acquire)) {
                spent[cooling] = at.0;
                cooling += 1;
            }
        }
        let which = usize::try_from(missing.checked_sub(1)?).ok()?;
        if which >= cooling {
            return None;
        }
        let (_, last, _) = spent[..cooling].select_nth_unstable(which);
        let free = last.saturating_add(pace.rest());
        Some(Duration::from_nanos(free.saturating_sub(now.monotonic.0)))
    }

    /// What cools: after how long each is free.
    pub(super) fn spans(&self, pace: Pace, now: Now) -> impl Iterator<Item = (Duration, u32)> {
        let spent = self
            .0
            .iter()
            .filter_map(|place| instant(place.load(Acquire)));
        spent.map(move |spent| {
            let free = spent.0.saturating_add(pace.rest());
            (
                Duration::from_nanos(free.saturating_sub(now.monotonic.0)),
                1,
            )
        })
    }

    fn empty_where(&self, most: u32, which: impl Fn(Monotonic) -> bool) -> u32 {
        let mut emptied = 0;
        for place in &self.0 {
            if emptied == most {
                break;
            }
            let word = place.load(Acquire);
            if instant(word).is_some_and(&which)
                && place.compare_exchange(word, EMPTY, AcqRel, Relaxed).is_ok()
            {
                emptied += 1;
            }
        }
        emptied
    }
}

fn mark(spent: Monotonic) -> u64 {
    spent.0.saturating_add(1)
}

fn instant(word: u64) -> Option<Monotonic> {
    word.checked_sub(1).map(Monotonic)
}

const EMPTY: u64 = 0;

/// Limits of more tokens are counted by slots. To look for a place costs a read for each, and only limits of
/// a few tokens gain by it.
pub(super) const MOST: usize = 64;
