//! How a limit's window moves, in slots: a spent token rests until its slot has gone by.
//!
//! In: a window's length and kind. Out: the slot of an instant, and when a slot's tokens are free again. A
//! core. Both kinds are one arithmetic. A token spent in slot `s` is free again at the start of slot
//! `s + n + 1`:
//! - sliding: slots of the monotonic clock, `n` of which last the window and the most that clocks drift;
//! - fixed: slots are the aligned windows themselves by the wall clock, and `n` is 0.

use std::time::Duration;

use super::{
    atomic::SLOTS,
    clock::{Monotonic, Now},
    params::Params,
};

/// How a limit's window moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    kind: Kind,
    /// Nanoseconds of a slot.
    slot: u64,
    /// Nanoseconds that a token rests at least: the window, and for a sliding one the drift.
    rest: u64,
    /// The window's length in nanoseconds, for order.
    window: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sliding,
    Fixed,
}

impl Pace {
    /// A sliding window: any span of its length holds at most the amount.
    ///
    /// Lengths from 1 ms to 400 days are right; others are brought to the nearest of these
    /// (`Terms` refuse them).
    #[must_use]
    pub fn sliding(window: Duration) -> Self {
        Self::sliding_within(window, Params::DEFAULT.drift_ppm)
    }

    /// The same, for clocks that drift by so many millionths.
    pub(super) fn sliding_within(window: Duration, drift_ppm: u32) -> Self {
        let window = nanoseconds(window);
        let rest = window + (window * u64::from(drift_ppm)).div_ceil(1_000_000);
        Self {
            kind: Kind::Sliding,
            slot: rest.div_ceil(SLOTS),
            rest,
            window,
        }
    }

    /// Windows aligned to the Unix epoch, each of which holds at most the amount. Lengths as for
    /// [`Pace::sliding`].
    #[must_use]
    pub fn fixed(window: Duration) -> Self {
        let window = nanoseconds(window);
        Self {
            kind: Kind::Fixed,
            slot: window,
            rest: window,
            window,
        }
    }

    /// The window's length.
    #[must_use]
    pub fn window(self) -> Duration {
        Duration::from_nanos(self.window)
    }

    /// Whether it slides.
    #[must_use]
    pub fn is_sliding(self) -> bool {
        self.kind == Kind::Sliding
    }

    /// The slot of an instant; for a fixed window the window's number. `near` is a guess that saves a
    /// division where it is right.
    pub(super) fn slot(self, now: Now, near: u64) -> u64 {
        let time = self.time(now);
        let since = time.wrapping_sub(near.wrapping_mul(self.slot));
        if since < self.slot {
            near
        } else {
            time / self.slot
        }
    }

    /// Slots that rest besides the newest.
    pub(super) fn resting(self) -> u64 {
        match self.kind {
            Kind::Sliding => SLOTS,
            Kind::Fixed => 0,
        }
    }

    /// How many counters hold all slots: those that rest, the newest, and one that is clean for the next.
    pub(super) fn ring(self) -> u64 {
        self.resting() + 2
    }

    /// Where in the ring a slot is counted.
    pub(super) fn place(self, slot: u64) -> usize {
        // Two divisions by constants: a division by a variable costs as much as the rest of a booking.
        let place = match self.kind {
            Kind::Sliding => slot % (SLOTS + 2),
            Kind::Fixed => slot % 2,
        };
        usize::try_from(place).unwrap_or_default()
    }

    /// How long from now until what was spent in a slot is free.
    pub(super) fn until_free(self, slot: u64, now: Now) -> Duration {
        let start = (slot + self.resting() + 1).saturating_mul(self.slot);
        Duration::from_nanos(start.saturating_sub(self.time(now)))
    }

    /// Nanoseconds that a token rests at least.
    pub(super) fn rest(self) -> u64 {
        self.rest
    }

    /// Whether what was spent then is free now, to the nanosecond; for sliding windows.
    pub(super) fn rested(self, spent: Monotonic, now: Now) -> bool {
        now.monotonic.0.saturating_sub(spent.0) >= self.rest
    }

    fn time(self, now: Now) -> u64 {
        match self.kind {
            Kind::Sliding => now.monotonic.0,
            Kind::Fixed => now.unix.0,
        }
    }

    /// A planted mistake: each slot is free one slot too early.
    pub(in super::super) fn one_slot_early(self) -> Self {
        Self {
            slot: self.rest / (SLOTS + 1),
            ..self
        }
    }
}

fn nanoseconds(window: Duration) -> u64 {
    let window = window.clamp(SHORTEST, LONGEST);
    u64::try_from(window.as_nanos()).unwrap_or(u64::MAX)
}

/// The shortest window that the arithmetic is made for; terms have the same bounds.
pub const SHORTEST: Duration = Duration::from_millis(1);

/// The longest.
pub const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);
