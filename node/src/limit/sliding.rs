//! A sliding window: any span of its length holds at most the amount.
//!
//! In: the present instant. Out: how much is free, and when more will be. A core; [`super::window`] holds
//! it. Admissions are kept as a log of ticks with a count each. A tick is booked at its *end*, so a place
//! is given back late by at most one tick and never early: the promise above is exact.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The shortest tick. Below it a log entry would cost more than the precision is worth.
const TICK_MIN: Duration = Duration::from_millis(1);

/// Admissions of the last span.
#[derive(Debug, Clone)]
pub(super) struct Sliding {
    span: Duration,
    /// Length of a tick.
    tick: Duration,
    /// When tick 0 began.
    origin: Instant,
    /// Ascending ticks. Eight bytes an entry; `Grain` bounds their number.
    log: VecDeque<Admitted>,
    /// Sum of the log's counts.
    total: u64,
}

/// So many admissions within one tick.
#[derive(Debug, Clone, Copy)]
struct Admitted {
    tick: u32,
    count: u32,
}

/// How many log entries a window may have: the price of its precision.
///
/// A window whose amount is not above the grain keeps a tick of one millisecond, with an entry for each
/// admission at most; a larger one has as many ticks as the grain says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grain(pub(super) u32);

impl Sliding {
    pub(super) fn new(span: Duration, amount: u64, grain: Grain, now: Instant) -> Self {
        Self {
            span,
            tick: tick_of(span, amount, grain),
            origin: now,
            log: VecDeque::new(),
            total: 0,
        }
    }

    /// How many admissions of the last span stand in the log.
    pub(super) fn used(&mut self, now: Instant) -> u64 {
        while let Some(oldest) = self.log.front() {
            if self.expiry(oldest.tick) > now {
                break;
            }
            self.total -= u64::from(oldest.count);
            self.log.pop_front();
        }
        self.total
    }

    /// Books one admission.
    pub(super) fn admit(&mut self, now: Instant) {
        if self.log.is_empty() {
            // An idle window starts over, which also keeps ticks small.
            self.origin = self.origin.max(now);
        }
        let tick = self.tick_at(now);
        self.total += 1;
        if let Some(newest) = self.log.back_mut()
            // Workers read the clock before they take the lock, so `now` may lie a little back: the later
            // tick is the safe one.
            && tick <= newest.tick
            && newest.count < u32::MAX
        {
            newest.count += 1;
            return;
        }
        let tick = self.log.back().map_or(tick, |newest| tick.max(newest.tick));
        self.log.push_back(Admitted { tick, count: 1 });
    }

    /// How long until one place that is taken now is free again; nothing where none is taken.
    pub(super) fn next_free(&self, now: Instant) -> Option<Duration> {
        self.log
            .front()
            .map(|oldest| self.expiry(oldest.tick).saturating_duration_since(now))
    }

    /// How long until at most `amount - 1` places are taken: more than one expiry after an amount fell.
    pub(super) fn room_below(&self, amount: u64, now: Instant) -> Duration {
        let mut taken = self.total;
        for entry in &self.log {
            taken -= u64::from(entry.count);
            if taken < amount {
                return self.expiry(entry.tick).saturating_duration_since(now);
            }
        }
        Duration::ZERO
    }

    /// Keeps what is booked under a new amount, with ticks that fit it. No place is freed earlier.
    pub(super) fn adapt(&mut self, amount: u64, grain: Grain) {
        let tick = tick_of(self.span, amount, grain);
        if tick == self.tick {
            return;
        }
        let old = std::mem::replace(&mut self.tick, tick);
        for entry in std::mem::take(&mut self.log) {
            let end = old.saturating_mul(entry.tick.saturating_add(1));
            let index = end.as_nanos().div_ceil(tick.as_nanos()).saturating_sub(1);
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            match self.log.back_mut() {
                Some(newest)
                    if newest.tick == index && newest.count.checked_add(entry.count).is_some() =>
                {
                    newest.count += entry.count;
                }
                _ => self.log.push_back(Admitted {
                    tick: index,
                    count: entry.count,
                }),
            }
        }
    }

    /// When the admissions of a tick have left the window.
    fn expiry(&self, tick: u32) -> Instant {
        self.origin + self.tick * tick + self.tick + self.span
    }

    /// The tick that `now` lies in, counted from an origin that is moved up before ticks outgrow `u32`
    /// (after 49 days of uninterrupted use at the shortest tick).
    fn tick_at(&mut self, now: Instant) -> u32 {
        let tick = self.ticks_since_origin(now);
        if let Ok(tick) = u32::try_from(tick)
            && tick < u32::MAX
        {
            return tick;
        }
        let shift = self.log.front().map_or(0, |oldest| oldest.tick);
        self.origin += self.tick * shift;
        for entry in &mut self.log {
            entry.tick -= shift;
        }
        u32::try_from(self.ticks_since_origin(now)).expect(
            "a span has at most 2^31 ticks, and the oldest entry is younger than span and a tick",
        )
    }

    fn ticks_since_origin(&self, now: Instant) -> u128 {
        now.saturating_duration_since(self.origin).as_nanos() / self.tick.as_nanos()
    }
}

/// One millisecond where an entry for each admission is affordable, else the span's share; never so short
/// that a span has more than 2^31 ticks.
fn tick_of(span: Duration, amount: u64, grain: Grain) -> Duration {
    let tick = if amount <= u64::from(grain.0) {
        TICK_MIN
    } else {
        span / grain.0
    };
    tick.max(TICK_MIN).max(span / (1 << 31))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn entries(window: &Sliding) -> usize {
        window.log.len()
    }

    #[test]
    fn a_place_is_free_again_a_span_after_it_was_taken() {
        let start = crate::limit::moment();
        let mut window = Sliding::new(SECOND, 5, Grain(1024), start);
        window.admit(start);
        assert_eq!(window.used(start + SECOND), 1);
        assert_eq!(window.used(start + SECOND + TICK_MIN), 0);
    }

    #[test]
    fn a_large_amount_takes_no_more_entries_than_its_grain() {
        let start = crate::limit::moment();
        let hour = 3600 * SECOND;
        let mut window = Sliding::new(hour, 1_000_000, Grain(1024), start);
        for step in 0..200_000_u32 {
            let now = start + hour / 100_000 * step;
            window.used(now);
            window.admit(now);
        }
        assert!(entries(&window) <= 1026, "{} entries", entries(&window));
        let end = start + 2 * hour;
        assert!(
            (99_000..=101_500).contains(&window.used(end)),
            "{}",
            window.used(end)
        );
    }

    #[test]
    fn years_of_uninterrupted_use_do_not_overflow_a_tick() {
        let start = crate::limit::moment();
        let day = 86_400 * SECOND;
        let mut window = Sliding::new(day, 10, Grain(1024), start);
        for step in 0..2_000 {
            let now = start + day / 2 * step;
            assert!(window.used(now) <= 3);
            window.admit(now);
        }
    }

    #[test]
    fn a_clock_read_before_another_worker_booked_does_not_free_a_place_early() {
        let start = crate::limit::moment();
        let mut window = Sliding::new(SECOND, 5, Grain(1024), start);
        window.admit(start + Duration::from_millis(5));
        window.admit(start + Duration::from_millis(3));
        assert_eq!(window.used(start + Duration::from_millis(1004)), 2);
    }

    #[test]
    fn a_new_amount_keeps_what_is_booked_and_frees_none_of_it_early() {
        let start = crate::limit::moment();
        let mut window = Sliding::new(10 * SECOND, 5, Grain(8), start);
        for second in 0..5 {
            window.admit(start + second * SECOND);
        }
        window.adapt(1000, Grain(8));
        assert_eq!(window.used(start + 10 * SECOND), 5);
        assert_eq!(window.used(start + 12 * SECOND + SECOND / 2), 2);
        window.adapt(5, Grain(8));
        assert_eq!(window.used(start + 13 * SECOND), 2);
        assert_eq!(window.used(start + 16 * SECOND), 0);
    }

    proptest! {
        #[test]
        fn for_any_arrivals_no_span_holds_more_than_the_amount_and_no_place_is_lost(
            amount in 1_u64..40,
            grain in 1_u32..64,
            span_ms in 100_u64..5_000,
            gaps in prop::collection::vec(0_u64..400_000, 1..300),
        ) {
            let span = Duration::from_millis(span_ms);
            let start = crate::limit::moment();
            let mut now = start;
            let mut window = Sliding::new(span, amount, Grain(grain), start);
            // The naive model: every admission's exact time, kept for ever.
            let mut admitted: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_micros(gap);
                let within = |span: Duration| {
                    admitted.iter().filter(|at| now.duration_since(**at) < span).count() as u64
                };
                if window.used(now) < amount {
                    prop_assert!(within(span) < amount, "one too many within {span:?}");
                    window.admit(now);
                    admitted.push(now);
                } else {
                    // Refused: a window longer by one tick is full, so at most a tick is given away.
                    prop_assert!(within(span + window.tick) >= amount, "refused with room");
                    prop_assert!(window.room_below(amount, now) <= span + window.tick);
                    prop_assert!(window.room_below(amount, now) > Duration::ZERO);
                }
                prop_assert!(entries(&window) as u64 <= amount.min(u64::from(grain) + 2).max(1));
            }
        }
    }
}
