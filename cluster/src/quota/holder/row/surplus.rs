//! What a node holds of a key and does not need, and hands back.
//!
//! In: the row, at a tick. Out: whether something is handed back. A core.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::{Row, Surroundings, elapsed, whole};

impl Row {
    /// Hands back what it does not need. True if it did.
    pub(super) fn hand_back(&mut self, around: &Surroundings<'_>) -> bool {
        let key = &self.key.0;
        let now = around.now.monotonic.0;
        let held = key.cell.held();
        let free = i64::from(held.free);
        let limit = key.limit();
        let fetched = self.fetched();
        if around.draining {
            self.spare_since = None;
            // For requests that are on their way here still.
            let few = match fetched || elapsed(self.used, now) >= DRAINED {
                true => 0,
                false => whole(self.rate.fast() * DRAINED.as_secs_f64()),
            };
            return self.give(free - few, 0);
        }
        let high = whole(self.high(around));
        let floor = i64::from(limit) / (16 * i64::from(around.nodes));
        let high = high.max(self.instead_of_base(around));
        let enough = if fetched { 0 } else { 2 * high + floor };
        if free > enough {
            let since = *self.spare_since.get_or_insert(now);
            let idle = match fetched {
                true => elapsed(self.used, now).min(elapsed(since, now)),
                false => elapsed(since, now),
            };
            let patience = match fetched {
                true => Duration::from_millis(200),
                false => {
                    (key.form.window / 10).clamp(Duration::from_secs(2), Duration::from_secs(60))
                }
            };
            if idle >= patience {
                self.spare_since = None;
                let keep = if fetched { 0 } else { high };
                return self.give(free - keep, 0);
            }
        } else {
            self.spare_since = None;
        }
        self.leaving && self.give(free, 0)
    }

    /// Hands back up to so many free tokens: of what is beyond base, and so many of the base.
    pub(super) fn give(&mut self, count: i64, base: i64) -> bool {
        let key = &self.key.0;
        let withheld = i64::from(key.withheld.load(Relaxed));
        let may = i64::from(key.extra()) + base - withheld;
        let most = u32::try_from(count.min(may)).unwrap_or(0);
        let out = match key.form.params.planted.keeps_returns {
            true => most,
            false => key.cell.withdraw(most, 0),
        };
        self.returned(out)
    }

    /// So many free tokens were taken out to be handed back. True if it is any.
    pub(super) fn returned(&mut self, out: u32) -> bool {
        if out == 0 {
            return false;
        }
        let key = &self.key.0;
        let extra = i64::from(key.extra());
        let returned = key.returned.load(Relaxed).wrapping_add(out);
        key.returned.store(returned, Relaxed);
        let of_base = u32::try_from(i64::from(out) - extra.max(0)).unwrap_or(0);
        key.lent.fetch_add(of_base, Relaxed);
        self.unsaid = true;
        true
    }
}

/// For how long after the last request others may be on their way to a node that drains: what they need at the pace of
/// lately stays here.
const DRAINED: Duration = Duration::from_millis(200);
