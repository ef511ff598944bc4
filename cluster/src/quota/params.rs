//! The times that the quota rests on. Nodes and ledger take them from here, so that no message carries them.
//!
//! A node counts its leases by its own clock from the *sending* of the last ask that was confirmed; the ledger
//! counts the same spans [`stretched`](Params::stretched), by log time, from the ask's entry. So a node has
//! stopped for certain when the ledger takes back.

use std::time::Duration;

/// Leases, drift, ticks. Every node of a cluster has the same: they are no operator's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// How long extra tokens are valid without contact, at least. Longer windows have longer leases: a lapse
    /// costs a whole window of the tokens it takes back.
    pub extra_lease_least: Duration,
    /// The same for base: how long an isolated region has the base of an `on_lapse: deny` limit.
    pub base_lease_least: Duration,
    /// How much faster or slower than real time a monotonic clock may run, in millionths.
    pub drift_ppm: u32,
    /// How far a wall clock may be off; matters to fixed windows only.
    pub offset: Duration,
    /// How often a node sends what it asks and returns; at once when it runs low.
    pub tick: Duration,
    /// How often a node sends an ask with nothing in it.
    pub heartbeat: Duration,
    /// How long a leader gathers asks into one entry: at most 1 / this many entries a second.
    pub batch: Duration,
    /// How long the leader remembers that a node wished for more than there was.
    pub wish: Duration,
    /// Mistakes on purpose; none but where a model or a simulation looks whether they are noticed.
    pub planted: Planted,
}

/// Mistakes that break what is promised of limits, each alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planted {
    /// The ledger gives what a dead life held to others at once.
    pub crash_without_cooling: bool,
    /// The ledger gives what a lapsed lease held to others at once.
    pub lapse_without_cooling: bool,
    /// The ledger takes all that a node has said to cool as spent for good, though it may have been spent again before
    /// the node's lease was over.
    pub rests_without_deadline: bool,
    /// A node spends what it holds though its lease is over.
    pub ignores_deadline: bool,
    /// A node spends each token again one slot too early.
    pub slot_early: bool,
    /// The ledger gives what is asked for, whether it is there or not.
    pub gives_beyond_pool: bool,
    /// A node says that it has handed tokens back, and keeps them.
    pub keeps_returns: bool,
    /// The ledger gives base to nodes that wait while keys with windows as long are in deficit.
    pub base_in_deficit: bool,
    /// A node spends its base share at once after a start.
    pub base_at_once: bool,
    /// A node takes all that an earlier life has spent of its base for cool.
    pub forgets_remains: bool,
    /// A node says that what it has spent fits a finer split, whether it does or not.
    pub always_fits: bool,
    /// A request that is denied leaves what it took with the first of its limits.
    pub denials_cost: bool,
    /// The ledger heeds an ask that it has heard before.
    pub heeds_repeats: bool,
    /// Hints mean nothing, on either side: no mistake, since nothing that is promised rests on them.
    pub wild_hints: bool,
    /// Leases are over after [seconds](Params::with): no mistake, since nothing that is promised rests on how long they
    /// are; ends of leases are common then.
    pub short_leases: bool,
}

impl Planted {
    /// None.
    pub const NONE: Self = Self {
        crash_without_cooling: false,
        lapse_without_cooling: false,
        rests_without_deadline: false,
        ignores_deadline: false,
        slot_early: false,
        gives_beyond_pool: false,
        keeps_returns: false,
        base_in_deficit: false,
        base_at_once: false,
        forgets_remains: false,
        always_fits: false,
        denials_cost: false,
        heeds_repeats: false,
        wild_hints: false,
        short_leases: false,
    };
}

impl Params {
    /// Those of every cluster.
    pub const DEFAULT: Self = Self {
        extra_lease_least: Duration::from_secs(30),
        base_lease_least: Duration::from_secs(600),
        drift_ppm: 200,
        offset: Duration::from_millis(250),
        tick: Duration::from_millis(100),
        heartbeat: Duration::from_secs(1),
        batch: Duration::from_millis(15),
        wish: Duration::from_secs(5),
        planted: Planted::NONE,
    };

    /// The same with mistakes, or leases of 3 s and 8 s, on purpose.
    #[must_use]
    pub fn with(planted: Planted) -> Self {
        let leases = match planted.short_leases {
            true => (Duration::from_secs(3), Duration::from_secs(8)),
            false => (
                Self::DEFAULT.extra_lease_least,
                Self::DEFAULT.base_lease_least,
            ),
        };
        Self {
            extra_lease_least: leases.0,
            base_lease_least: leases.1,
            planted,
            ..Self::DEFAULT
        }
    }

    /// How long extra tokens of a key with this window are valid without contact.
    pub fn extra_lease(&self, window: Duration) -> Duration {
        self.extra_lease_least.max(window / 20)
    }

    /// How long base of a key with this window is valid without contact, where its limit says
    /// `on_lapse: deny`.
    pub fn base_lease(&self, window: Duration) -> Duration {
        self.base_lease_least.max(window / 4)
    }

    /// A span as another clock has to measure it to be sure that it is over by this one: three times the drift
    /// (both clocks', and one for the product of the two and for rounding), and 2 ms because log time is cut to
    /// milliseconds at both ends.
    pub fn stretched(&self, span: Duration) -> Duration {
        Duration::from_millis(self.stretched_ms(span.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    pub(crate) fn stretched_ms(&self, span: u64) -> u64 {
        let drift = span.saturating_mul(3 * u64::from(self.drift_ppm));
        let drift = drift.div_ceil(1_000_000);
        span.saturating_add(drift).saturating_add(2)
    }
}

impl Default for Params {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_grow_with_long_windows() {
        let params = Params::DEFAULT;
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert_eq!(params.extra_lease(second), Duration::from_secs(30));
        assert_eq!(params.extra_lease(hour), Duration::from_secs(180));
        assert_eq!(params.base_lease(second), Duration::from_secs(600));
        assert_eq!(params.base_lease(hour), Duration::from_secs(900));
    }

    #[test]
    fn a_stretched_span_is_over_by_every_clock_within_the_drift() {
        let params = Params::DEFAULT;
        let rho = f64::from(params.drift_ppm) / 1e6;
        for ms in [1, 1000, 30_000, 3_600_000, 86_400_000, 34_560_000_000_u64] {
            // Counted by a clock that is fast, and cut to milliseconds at both ends.
            let real = (params.stretched_ms(ms) as f64 - 2.0) / (1.0 + rho);
            assert!(real * (1.0 - rho) >= ms as f64, "{ms}");
        }
        assert_eq!(params.stretched_ms(u64::MAX), u64::MAX);
    }
}
