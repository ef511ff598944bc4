//! What a node holds of a scarce key beyond its cap, and gives up.
//!
//! In: the row, at a tick. Out: whether something is handed back. A core.
//!
//! A key that wants nothing hands back what is free. One in full use has nothing free for long: each token is spent again
//! when it has cooled. From it, what nodes wait for is *withheld*: it is taken out at once, the cell owes it, and what cools
//! off pays that before it can be spent. What was paid is unspent, and is handed back as any free token is.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    super::super::{clock::Now, rate::over},
    Cap, Row, all, whole,
};

impl Row {
    /// Hands back what is free beyond the cap, and what has cooled of that which was withheld. True if it did.
    ///
    /// `wants`: it would have more of the key, and keeps half as much again as its cap, if no node waits for that.
    pub(super) fn yield_excess(&mut self, wants: bool, now: Now) -> bool {
        let key = self.key.clone();
        let (cell, withheld) = (&key.0.cell, &key.0.withheld);
        let owed = withheld.load(Relaxed);
        // What the ledger took back may be owed besides, and is paid first.
        let unpaid = u32::try_from(-i64::from(cell.held().free)).unwrap_or(0);
        let unpaid = unpaid.min(owed);
        withheld.store(unpaid, Relaxed);
        let paid = self.returned(owed - unpaid);
        let held = all(cell.held());
        let (most, excess) = self.most(held, wants, now);
        if excess <= 0 {
            let room = most.saturating_sub(held).max(0);
            let room = u32::try_from(room).unwrap_or(u32::MAX);
            let released = unpaid.min(room);
            cell.credit(released);
            withheld.store(unpaid - released, Relaxed);
            return paid;
        }
        let base = i64::from(cell.base());
        let gave = self.give(excess, base);
        if wants {
            let rest = excess - (held - all(cell.held()));
            let may = i64::from(key.0.extra()) + base - i64::from(unpaid);
            let more = u32::try_from(rest.min(may)).unwrap_or(0);
            if !key.0.form.params.planted.keeps_returns {
                cell.reclaim(more);
                withheld.store(unpaid + more, Relaxed);
            }
        }
        paid || gave
    }

    /// What it is to hold at most, as the leader has said lately, and what is more by so much that it is worth moving.
    fn most(&mut self, held: i64, wants: bool, now: Now) -> (i64, i64) {
        self.cap = self.cap.filter(|cap| now.monotonic.0 < cap.until);
        let Some(Cap {
            most, blind, owed, ..
        }) = self.cap
        else {
            return (i64::MAX, 0);
        };
        let used = match blind {
            true => whole(self.used_in_a_window()),
            false => 0,
        };
        let most = i64::from(most).max(used);
        // Of what makes no whole request nothing is worth keeping.
        let whole = self.unit() > 1;
        let most = match wants && !owed && !whole {
            true => most + most / 2,
            false => most,
        };
        let cap = u32::try_from(most).unwrap_or(u32::MAX);
        let beyond = owed || whole && held > most || over(held, cap, self.key.0.form.window);
        (most, if beyond { held - most } else { 0 })
    }
}
