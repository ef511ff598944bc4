//! How overloaded a worker is: by how long a task that could run has to wait for its turn.
//!
//! In: samples of that wait. Out: a level from 0 to 1, by which limits are shrunk ([`share`]). A core with a lock around
//! it that only its own worker takes; no timer runs while no requests come. The rule is CoDel's (RFC 8289): a queue
//! that empties within an interval is no overload, however long it is in between; one that never does stands.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use meridian_cluster::quota::cell::WHOLE;

/// A wait that a request hardly notices beside a round trip to a client.
const TARGET: Duration = Duration::from_millis(20);

/// For so long the wait must have been above the target without a break.
const INTERVAL: Duration = Duration::from_millis(100);

/// How much an interval of overload adds to the level: from nothing to all in a second.
const STEP: f64 = 0.1;

/// Between two samples.
const SAMPLES: Duration = Duration::from_millis(5);

/// Without a sample for so long there is no overload.
const STALE: Duration = Duration::from_millis(500);

/// How overloaded one worker is.
#[derive(Debug, Default)]
pub struct Pressure {
    state: Mutex<State>,
    /// The level in thousandths.
    level: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    sampled: Option<Instant>,
    /// When the interval began, and the least wait in it.
    interval: Option<(Instant, Duration)>,
    level: f64,
}

impl Pressure {
    /// Whether a sample is due, which is then expected.
    pub fn wants_sample(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state
            .sampled
            .is_none_or(|then| now.saturating_duration_since(then) >= SAMPLES);
        if due {
            let silent = state
                .sampled
                .is_none_or(|then| now.saturating_duration_since(then) >= STALE);
            if silent {
                *state = State::default();
                self.level.store(0, Relaxed);
            }
            state.sampled = Some(now);
        }
        due
    }

    /// A task that could run had to wait so long for its turn.
    pub fn sample(&self, wait: Duration, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.take(wait, now);
        let level = (state.level * 1000.0).round();
        // From 0 to 1000.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded"
        )]
        self.level.store(level as u32, Relaxed);
    }

    /// From 0, no overload, to 1.
    pub fn level(&self) -> f64 {
        f64::from(self.level.load(Relaxed)) / 1000.0
    }
}

impl State {
    fn take(&mut self, wait: Duration, now: Instant) {
        if wait <= TARGET {
            // The queue has emptied: limits are whole again at once.
            self.level = 0.0;
            self.interval = None;
            return;
        }
        let (begun, least) = self.interval.unwrap_or((now, wait));
        let least = least.min(wait);
        if now.saturating_duration_since(begun) < INTERVAL {
            self.interval = Some((begun, least));
            return;
        }
        self.interval = Some((now, wait));
        self.level = (self.level + STEP).min(1.0);
    }
}

/// The part of a limit that is spent at a level of overload, in 1/65 536. A limit's priority is its floor: with 100 it
/// is never shrunk, with 0 it may be shrunk to nothing, and by default half of it stays.
pub(super) fn share(level: f64, priority: u8) -> u32 {
    let floor = f64::from(priority.min(100)) / 100.0;
    let part = 1.0 - level.clamp(0.0, 1.0) * (1.0 - floor);
    // From 0 to 65 536.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded"
    )]
    let share = (part * f64::from(WHOLE)).round() as u32;
    share.min(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Samples of a wait, every 10 ms for so long.
    fn press(pressure: &Pressure, from: Instant, span: Duration, wait: Duration) -> Instant {
        let mut now = from;
        while now < from + span {
            if pressure.wants_sample(now) {
                pressure.sample(wait, now);
            }
            now += 10 * MS;
        }
        now
    }

    #[test]
    fn a_queue_that_stands_raises_the_level_and_one_that_empties_lifts_it_at_once() {
        let (pressure, begin) = (Pressure::default(), crate::limit::moment());
        let now = press(&pressure, begin, 90 * MS, 50 * MS);
        assert!(pressure.level() < 1e-9, "not yet an interval");
        let now = press(&pressure, now, 500 * MS, 50 * MS);
        assert!(
            (0.3..=0.6).contains(&pressure.level()),
            "{}",
            pressure.level()
        );
        let now = press(&pressure, now, 2000 * MS, 50 * MS);
        assert!(pressure.level() > 0.999);
        press(&pressure, now, 10 * MS, 5 * MS);
        assert!(pressure.level() < 1e-9);
    }

    #[test]
    fn bursts_that_pass_are_no_overload() {
        let (pressure, mut now) = (Pressure::default(), crate::limit::moment());
        for _ in 0..20 {
            now = press(&pressure, now, 80 * MS, 300 * MS);
            now = press(&pressure, now, 10 * MS, MS);
        }
        assert!(pressure.level() < 1e-9);
    }

    #[test]
    fn an_old_level_does_not_outlive_the_requests() {
        let (pressure, begin) = (Pressure::default(), crate::limit::moment());
        let now = press(&pressure, begin, 2000 * MS, 50 * MS);
        assert!(pressure.level() > 0.5);
        assert!(pressure.wants_sample(now + STALE));
        assert!(pressure.level() < 1e-9);
    }

    #[test]
    fn a_priority_is_the_floor_of_its_limit() {
        assert_eq!(share(0.0, 0), WHOLE);
        assert_eq!(share(1.0, 100), WHOLE);
        assert_eq!(share(1.0, 50), WHOLE / 2);
        assert_eq!(share(1.0, 0), 0);
        assert_eq!(share(0.5, 50), WHOLE / 4 * 3);
        assert_eq!(share(7.0, 200), WHOLE);
    }
}
