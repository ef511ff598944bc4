//! A machine's clocks: how far its wall clock is off, and how much faster both run than the world's.
//!
//! A core: the world's time comes in, what the machine takes it for comes out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::EPOCH;

/// A machine's clocks. Clones are one pair.
#[derive(Debug, Clone, Default)]
pub struct Clocks(Arc<Mutex<Reading>>);

#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    /// How far the wall clock was ahead of the world's, in nanoseconds, when that was set.
    ahead: i128,
    since: Duration,
    drift: Drift,
}

/// How much faster than the world's time a clock runs, in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drift(pub i32);

impl Clocks {
    /// At the world's `now` the wall clock jumps to so many milliseconds ahead of the world's, and drifts from there.
    pub fn set(&self, now: Duration, ahead_ms: i64, drift: Drift) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Reading {
            ahead: i128::from(ahead_ms) * 1_000_000,
            since: now,
            drift,
        };
    }

    /// Whether it tells the world's time.
    pub fn is_right(&self) -> bool {
        let reading = self.read();
        reading.ahead == 0 && reading.drift == Drift(0)
    }

    /// The wall clock at the world's `now`: time since the Unix epoch.
    pub fn unix(&self, now: Duration) -> Duration {
        let reading = self.read();
        let right = EPOCH + now;
        let ahead = reading.ahead + reading.drift.of(now.saturating_sub(reading.since));
        let distance =
            Duration::from_nanos(u64::try_from(ahead.unsigned_abs()).unwrap_or(u64::MAX));
        if ahead < 0 {
            right.saturating_sub(distance)
        } else {
            right + distance
        }
    }

    /// How much faster both clocks run.
    pub fn drift(&self) -> Drift {
        self.read().drift
    }

    fn read(&self) -> Reading {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drift {
    /// How far a clock gets ahead in that time, in nanoseconds.
    fn of(self, time: Duration) -> i128 {
        let nanos = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        nanos * i128::from(self.0) / 1_000_000
    }

    /// What a clock that drifts takes a span of the world's time for, in whole milliseconds: the grain of timers.
    pub(super) fn takes_for(self, span: Duration) -> Duration {
        if self == Self(0) {
            return span;
        }
        let nanos = i128::try_from(span.as_nanos()).unwrap_or(i128::MAX) + self.of(span);
        Duration::from_millis(u64::try_from(nanos / 1_000_000).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_and_drifts_gets_further_off() {
        let clocks = Clocks::default();
        let at = |seconds| clocks.unix(Duration::from_secs(seconds));
        assert!(clocks.is_right());
        assert_eq!(at(5), EPOCH + Duration::from_secs(5));
        clocks.set(Duration::from_secs(10), -2_000, Drift(1_000));
        assert!(!clocks.is_right());
        assert_eq!(at(10), EPOCH + Duration::from_secs(8));
        assert_eq!(at(20), EPOCH + Duration::from_millis(18_010));
        clocks.set(Duration::from_secs(20), 1, Drift(0));
        assert_eq!(at(30), EPOCH + Duration::from_millis(30_001));
    }

    #[test]
    fn a_drift_takes_time_for_longer_or_shorter_than_it_is() {
        let span = Duration::from_secs(2);
        let ms = Duration::from_millis;
        assert_eq!(Drift(0).takes_for(span), span);
        assert_eq!(Drift(500).takes_for(span), ms(2_001));
        assert_eq!(Drift(-500).takes_for(span), ms(1_999));
    }
}
