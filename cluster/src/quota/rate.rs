//! How much is asked of a key a second: fast for what to have at hand, slow for what to hold.
//!
//! In: how much came since the last tick. Out: two rates. A core.

use std::time::Duration;

/// The two rates, in units of cost a second.
#[derive(Debug, Clone)]
pub struct Rate {
    fast: f64,
    slow: f64,
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
            fast_over: within(window, 1.0, 5.0),
            slow_over: within(window / 2, 1.0, 600.0),
        }
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
        // A burst that chance does not make: no reason to come to believe in it slowly.
        if count > expected + 4.0 * (expected + 1.0).sqrt() + 3.0 {
            self.fast = f64::midpoint(self.fast, now);
        } else {
            self.fast += (now - self.fast) * seconds / (self.fast_over + seconds);
        }
        self.slow += (now - self.slow) * seconds / (self.slow_over + seconds);
    }

    /// Over the last seconds.
    #[must_use]
    pub fn fast(&self) -> f64 {
        self.fast
    }

    /// Over about half a window.
    #[must_use]
    pub fn slow(&self) -> f64 {
        self.slow
    }
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
        assert!((rate.slow() - 200.0).abs() < 1.0, "{rate:?}");
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
    fn the_slow_one_of_a_long_window_is_slow() {
        let mut rate = Rate::new(Duration::from_secs(3600));
        for _ in 0..100 {
            rate.count(20, TICK);
        }
        assert!(rate.fast() > 150.0 && rate.slow() < 5.0, "{rate:?}");
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
                for rate in [rate.fast(), rate.slow()] {
                    prop_assert!((0.0..=most * 1.000_001).contains(&rate));
                }
            }
        }
    }
}
