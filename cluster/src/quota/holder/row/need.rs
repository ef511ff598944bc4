//! What one key's node should hold of it, and what it says of how that cools.
//!
//! In: the row, at a tick. Out: how much is missing; how what is held cools, now and then. A core.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    super::{
        super::{
            cell::Held,
            message::Rests,
            rate::chance,
            terms::{Kind, POOLED_MOST},
        },
        moves::rests,
    },
    Row, Surroundings, all, elapsed, whole,
};

impl Row {
    /// How many more tokens it should hold.
    pub(super) fn missing(&self, around: &Surroundings<'_>, short: u32) -> u32 {
        let key = &self.key.0;
        let limit = key.limit();
        let held = key.cell.held();
        let all = all(held);
        let short = i64::from(short) - i64::from(held.free.max(0));
        let ahead = if self.fetched() || around.draining {
            // What would come to a node that drains comes to others.
            key.cell.set_low(0);
            0
        } else {
            self.ahead(around, held, short > 0)
        };
        let most = i64::from(limit) - all;
        // Nobody uses it: it wants no more than its base.
        let lent = match self.leaving {
            true => -i64::from(key.extra()),
            false => 0,
        };
        let missing = ahead.max(short).max(lent).min(most);
        u32::try_from(missing).unwrap_or(0)
    }

    /// Whether nothing is kept at hand, and a request fetches what it needs: of a small limit each token is a part that others
    /// feel, and so is what one request takes of a limit of few such requests, where they wait. Of a short window what is spent
    /// is free again before it could have been fetched.
    pub(super) fn fetched(&self) -> bool {
        let key = &self.key.0;
        let (limit, unit) = (key.limit(), self.unit());
        let few = unit > 1 && limit / unit <= POOLED_MOST;
        let waits = !key.wait().is_zero() && key.form.window >= FETCHED_WINDOW;
        limit <= POOLED_MOST || few && waits
    }

    /// How many it should hold for what comes until a grant can, and is not held yet.
    fn ahead(&self, around: &Surroundings<'_>, held: Held, found_nothing: bool) -> i64 {
        let key = &self.key.0;
        let low = self.low(around);
        key.cell.set_low(
            whole(low)
                .min(u32::MAX.into())
                .try_into()
                .unwrap_or(u32::MAX),
        );
        let for_others = self.for_others(around, held);
        let mut soon = i64::from(held.free);
        if (soon as f64) < low {
            soon += self.cools(around, around.grant_time);
        }
        if soon as f64 >= low && !found_nothing {
            return for_others;
        }
        // Of what little there is, little.
        let pool = key.pool.load(Relaxed).min(key.limit());
        let floor = f64::from(pool) / (16.0 * f64::from(around.nodes));
        // So that of a long window it does not ask for every few.
        let soon_used = self.used_in_a_window() / 120.0;
        let instead = self.instead_of_base(around);
        let target = whole(self.high(around).max(floor).max(soon_used)).max(instead);
        // What it can use in a window at all, with room for chance.
        let most = self.need().max(instead).max(self.at_once()) - all(held);
        (target - soon).min(most).max(for_others)
    }

    /// What is missing of the reserve, if that is much of it: what is free and what cools in time should be enough for
    /// what comes here and for the reserve.
    fn for_others(&self, around: &Surroundings<'_>, held: Held) -> i64 {
        let reserve = self.reserve(around);
        let enough = self.rate.fast() * LEADERLESS.as_secs_f64() + reserve;
        let free = i64::from(held.free);
        if free as f64 >= enough {
            return 0;
        }
        let missing = enough - (free + self.cools(around, LEADERLESS)) as f64;
        if missing > reserve * RESERVE_MISSING {
            whole(missing.min(reserve))
        } else {
            0
        }
    }

    /// What is to be at hand, while there is plenty, for clients that come because their own region is lost: until the
    /// ledger's leader, which may have been lost with it, is another and can give more. As much as comes here already in
    /// that time; but no more than its part of what is left beyond a quarter of the limit.
    fn reserve(&self, around: &Surroundings<'_>) -> f64 {
        let key = &self.key.0;
        let limit = key.limit();
        let plenty = key.pool.load(Relaxed).min(limit).saturating_sub(limit / 4);
        let part = f64::from(plenty) / f64::from(around.nodes);
        part.min(self.rate.fast() * LEADERLESS.as_secs_f64())
    }

    /// How many of those that cool are free within that time.
    fn cools(&self, around: &Surroundings<'_>, within: Duration) -> i64 {
        let key = &self.key.0;
        let cooling = key.cell.cooling(key.form.pace, around.now);
        let in_time = cooling.iter().filter(|(time, _)| *time <= within);
        in_time.map(|(_, count)| i64::from(*count)).sum()
    }

    fn need(&self) -> i64 {
        let used = self.used_in_a_window();
        whole(used * (1.0 + 1.0 / 40.0) + chance(used, self.key.0.form.window))
    }

    pub(super) fn used_in_a_window(&self) -> f64 {
        self.rate.lasting() * self.key.0.form.window.as_secs_f64()
    }

    /// What a node asks for in the place of base that is its own and may not be spent yet, since an earlier life's
    /// spends of it still cool: after a start it has no idea yet of how much is asked of a key.
    pub(super) fn instead_of_base(&self, around: &Surroundings<'_>) -> i64 {
        let Some((terms, _)) = self.key.0.terms() else {
            return 0;
        };
        i64::from(around.base.in_time(&terms))
            - i64::from(around.base.of(&self.key.0.id, &terms, around.now))
    }

    fn low(&self, around: &Surroundings<'_>) -> f64 {
        let soon = self.rate.fast() * around.grant_time.as_secs_f64() * LEAD;
        soon.max(self.at_once() as f64)
    }

    /// What the next request takes, if that is more than one token.
    fn at_once(&self) -> i64 {
        match self.unit() {
            1 => 0,
            unit => unit.into(),
        }
    }

    /// Whether it is time to say how what it holds cools, which it does so many times in a window: of windows that are
    /// long beside a lease, and of what it holds beyond its base and may not owe.
    fn rests_due(&self, around: &Surroundings<'_>, times: u32) -> bool {
        let (key, now) = (&self.key.0, around.now.monotonic.0);
        key.form.kind == Kind::Sliding
            && key.form.window >= 2 * key.form.params.extra_lease_least
            && key.limit() > POOLED_MOST
            && key.extra() > 0
            && self.doubted_at.is_none()
            && elapsed(self.rests_said, now) >= key.form.window / times
    }

    pub(super) fn high(&self, around: &Surroundings<'_>) -> f64 {
        (self.low(around) * HIGH).max(self.reserve(around))
    }

    /// Whether that is to be said though there is nothing else to say.
    pub(super) fn rests_overdue(&self, around: &Surroundings<'_>) -> bool {
        self.rests_due(around, RESTS_LATEST)
    }

    /// How what it holds cools, if it is time to say so.
    pub(super) fn say_rests(&mut self, around: &Surroundings<'_>) -> Option<Rests> {
        if !self.rests_due(around, RESTS_SOONEST) {
            return None;
        }
        self.rests_said = around.now.monotonic.0;
        let key = &self.key.0;
        let given = key.given.load(Relaxed);
        let spans = rests(key, around.now);
        // What cools of tokens that were taken back is not of those that it holds. What is withheld is.
        let withheld = i64::from(key.withheld.load(Relaxed));
        let owes = i64::from(key.cell.held().free) + withheld < 0;
        (!spans.is_empty() && !owes).then_some(Rests { given, spans })
    }
}

/// How often in a window a node says at least, and with other words on a key at most, how what it holds cools.
const RESTS_LATEST: u32 = 8;
const RESTS_SOONEST: u32 = 40;

/// Of shorter windows tokens are kept at hand that requests wait for, too.
const FETCHED_WINDOW: Duration = Duration::from_secs(10);

/// A node asks when what it has free lasts less than so many times as long as a grant takes.
const LEAD: f64 = 1.5;

/// And then for so many times of that.
const HIGH: f64 = 3.0;

/// How long it may take until a ledger whose leader is lost gives tokens again: others notice, one of them is elected,
/// and hears from nodes.
const LEADERLESS: Duration = Duration::from_secs(1);

/// How much of the reserve for that is missing when it is asked for.
const RESERVE_MISSING: f64 = 0.25;
