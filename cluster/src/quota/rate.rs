//! How much is asked of a key a second: fast for what to have at hand, slow for what to hold.
//!
//! In: how much came since the last tick. Out: what to have at hand, what to hold for a window. A core.

use std::time::Duration;

/// The two rates, in units of cost a second.
#[derive(Debug, Clone)]
pub struct Rate {
    fast: f64,
    slow: f64,
    /// Which part of its weight the slow one has by now: it begins with nothing.
    weight: f64,
    /// Time constants, in seconds.
    fast_over: f64,
    slow_over: f64,
}

impl Rate {
    /// Of a key that nothing has come to yet, by its window.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        let within =
            |length: Duration, least: f64, most: f64| length.as_secs_f64().clamp(least, most);
        Self {
            fast: 0.0,
            slow: 0.0,
            weight: 0.0,
            fast_over: within(window, 1.0, 5.0),
            slow_over: within(window / 2, 1.0, 600.0),
        }
    }

    /// Of a key that comes into use again, of which so many were spent within the last window: a single one says
    /// nothing of how often.
    #[must_use]
    pub fn known(window: Duration, spent: u32) -> Self {
        let mut rate = Self::new(window);
        if spent > 1 {
            rate.slow = f64::from(spent) / window.as_secs_f64().max(1e-3);
            rate.weight = 1.0;
        }
        rate
    }

    /// `count` came within `time`.
    pub fn count(&mut self, count: u32, time: Duration) {
        let seconds = time.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let count = f64::from(count);
        let expected = self.fast * seconds;
        let now = count / seconds;
        // A burst that chance does not make: no reason to come to believe in it slowly. But a few that come together at a
        // tick between two others are no stream of as many in each such moment.
        if count > expected + 4.0 * (expected + 1.0).sqrt() + 3.0 {
            let burst = count / seconds.max(LEAST);
            self.fast = self.fast.max(f64::midpoint(self.fast, burst));
        } else {
            self.fast += (now - self.fast) * seconds / (self.fast_over + seconds);
        }
        let part = seconds / (self.slow_over + seconds);
        self.slow += (now - self.slow) * part;
        self.weight += (1.0 - self.weight) * part;
    }

    /// Over the last seconds.
    #[must_use]
    pub fn fast(&self) -> f64 {
        self.fast
    }

    /// What to hold tokens for: the rate over about half a window, or since the key came into use; or the rate of
    /// the last seconds, as far as it is more than chance makes of the few that come in seconds.
    #[must_use]
    pub fn lasting(&self) -> f64 {
        if self.slow_over <= self.fast_over {
            return self.fast.max(self.slow);
        }
        // A minute's worth, lest a single one be taken for a stream.
        let least = (60.0 / self.slow_over).min(1.0);
        let slow = self.slow / self.weight.max(least).max(f64::MIN_POSITIVE);
        let sure = self.fast - 2.0 * (self.fast / self.fast_over).sqrt();
        slow.max(sure)
    }
}

/// How long a burst is taken to have lasted at least, in seconds: the time between two regular ticks.
const LEAST: f64 = 0.1;

/// Room for chance: by how much what comes may be more than the tokens for a window's use. A use of so many varies by
/// its square root; but of a long window, tokens are moved long before it is over. Less than that is room for fewer; more
/// lies idle where others could use it, as the model's scenes show.
pub(super) fn chance(used: f64, window: Duration) -> f64 {
    let part = (60.0 / window.as_secs_f64()).min(1.0);
    1.5 * (used * part).sqrt()
}

/// Whether more is held of a scarce key than a cap, and half of what chance makes of it, by so much that moving it is worth the
/// while that tokens on their way are nobody's.
pub(super) fn over(held: i64, cap: u32, window: Duration) -> bool {
    let cap = f64::from(cap);
    held as f64 > cap * 1.1 + chance(cap, window) / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn a_steady_stream_is_found_and_forgotten() {
        let mut rate = Rate::new(Duration::from_secs(1));
        for _ in 0..100 {
            rate.count(20, TICK);
        }
        assert!((rate.fast() - 200.0).abs() < 1.0, "{rate:?}");
        assert!((rate.lasting() - 200.0).abs() < 1.0, "{rate:?}");
        for _ in 0..100 {
            rate.count(0, TICK);
        }
        assert!(rate.fast() < 0.1, "{rate:?}");
    }

    #[test]
    fn a_burst_is_believed_at_once_and_chance_is_not() {
        let mut rate = Rate::new(Duration::from_secs(3600));
        rate.count(100, TICK);
        assert!((rate.fast() - 500.0).abs() < 1e-9, "{rate:?}");
        let mut rate = Rate::new(Duration::from_secs(3600));
        rate.count(3, TICK);
        assert!(rate.fast() < 1.0, "{rate:?}");
    }

    #[test]
    fn a_few_that_come_together_are_no_stream() {
        let mut rate = Rate::new(Duration::from_secs(1));
        rate.count(8, Duration::from_millis(13));
        assert!(rate.fast() <= 40.0 && rate.lasting() <= 40.0, "{rate:?}");
    }

    #[test]
    fn a_few_of_a_long_window_are_no_stream() {
        // One every 30 s, for a quarter of an hour.
        let mut rate = Rate::new(Duration::from_secs(3600));
        let mut most = 0.0_f64;
        for tick in 0..9000 {
            rate.count(u32::from(tick % 300 == 0), TICK);
            most = most.max(rate.lasting());
        }
        assert!(most < 3.0 / 30.0, "{most}");
        assert!((rate.lasting() - 1.0 / 30.0).abs() < 0.01, "{rate:?}");
        for _ in 0..50 {
            rate.count(2, TICK);
        }
        assert!(rate.lasting() > 5.0, "a stream is believed in: {rate:?}");
    }

    #[test]
    fn a_key_that_comes_into_use_again_is_known_by_what_was_spent() {
        let hour = Duration::from_secs(3600);
        assert!((Rate::known(hour, 36).lasting() - 0.01).abs() < 1e-9);
        assert!(Rate::known(hour, 1).lasting() <= 0.0);
    }

    #[test]
    fn what_chance_makes_is_not_over_a_cap() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert!(!over(27, 22, second) && over(28, 22, second));
        assert!(!over(24, 22, hour) && over(25, 22, hour));
        assert!(over(1, 0, second) && !over(0, 0, second));
    }

    proptest! {
        #[test]
        fn no_rate_is_below_nothing_or_above_what_came(
            ticks in prop::collection::vec((0_u32..100_000, 1_u64..5_000), 1..200),
            window in 1_u64..100_000_000,
        ) {
            let mut rate = Rate::new(Duration::from_millis(window));
            let mut most = 0.0_f64;
            for (count, ms) in ticks {
                let time = Duration::from_millis(ms);
                rate.count(count, time);
                most = most.max(f64::from(count) / time.as_secs_f64());
                prop_assert!((0.0..=most * 1.000_001).contains(&rate.fast()));
                prop_assert!((0.0..=most * 1.000_001).contains(&rate.lasting()));
            }
        }
    }
}
