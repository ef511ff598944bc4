//! Where the tokens of a scene's limit are, on average: what is not in use by living nodes is what is missing.

use crate::quota::ledger::Standing;

/// Sums over so many looks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whereabouts {
    looks: f64,
    /// Nobody's, and less than nobody's.
    pub(super) pool: f64,
    /// Cooling in the ledger.
    pub(super) cooling: f64,
    /// At nodes that live: to be spent, and spent.
    pub(super) free: f64,
    pub(super) used: f64,
    /// Base of nodes that don't live, or live and may not spend it yet.
    pub(super) base: f64,
    /// What is booked beyond that to nodes that don't live, or is on its way.
    pub(super) away: f64,
}

impl Whereabouts {
    /// Takes note of how a key stands, and how much is free and used at nodes that live.
    pub(super) fn look(&mut self, standing: &Standing, free: f64, used: f64, base_in_use: f64) {
        let extra: i64 = standing.extra.iter().map(|(_, extra)| extra).sum();
        self.looks += 1.0;
        self.pool += standing.pool as f64;
        self.cooling += standing.cooling as f64;
        self.free += free;
        self.used += used;
        self.base += standing.base as f64 - base_in_use;
        self.away += extra as f64 + base_in_use - free - used;
    }

    /// The averages, as parts of a limit, in percent.
    pub(super) fn line(&self, limit: u64) -> String {
        let of = |sum: f64| 100.0 * sum / self.looks.max(1.0) / limit as f64;
        format!(
            "pool {:>5.1}  cooling {:>5.1}  free {:>5.1}  used {:>5.1}  base unspent {:>5.1}  away {:>5.1}",
            of(self.pool),
            of(self.cooling),
            of(self.free),
            of(self.used),
            of(self.base),
            of(self.away),
        )
    }
}
