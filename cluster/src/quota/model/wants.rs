//! What a holder of the model asks for and hands back: by its demand, or by chance.

use super::dice::Dice;
use crate::quota::{params::Params, terms::Terms};

/// How many tokens to ask for and to hand back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Plan {
    pub(super) missing: u32,
    pub(super) hand_back: i64,
}

/// By chance.
pub(super) fn wild(terms: &Terms, dice: &mut Dice) -> Plan {
    let limit = u64::from(terms.limit());
    Plan {
        missing: if dice.chance(400) {
            u32::try_from(dice.below(limit + 1)).expect("no more than a limit")
        } else {
            0
        },
        hand_back: if dice.chance(250) {
            dice.below(limit + 1).cast_signed()
        } else {
            0
        },
    }
}

/// What is asked of a node for one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Demand {
    /// Units a second.
    rate: f64,
    since: Option<u64>,
    arrived: f64,
    denied: u32,
    idle_since: Option<u64>,
    last_missing: u32,
    asked_at: u64,
    unsaid: bool,
    said_at: u64,
}

impl Demand {
    pub(super) fn arrive(&mut self, cost: u32, passed: bool) {
        self.arrived += f64::from(cost);
        if !passed {
            self.denied += cost;
        }
    }

    /// Once a tick; times in local microseconds.
    #[expect(
        clippy::too_many_arguments,
        reason = "a plain list of what section by section goes into it"
    )]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a limit before"
    )]
    pub(super) fn plan(
        &mut self,
        terms: &Terms,
        params: &Params,
        now: u64,
        free: i64,
        cooling_off: i64,
        base: i64,
        cap: Option<u32>,
        pool_hint: u32,
    ) -> Plan {
        let window = terms.window().as_secs_f64();
        let limit = f64::from(terms.limit());
        let span = now - self.since.unwrap_or(now.saturating_sub(100_000));
        self.since = Some(now);
        let seconds = (span as f64 / 1e6).max(1e-3);
        let constant = window.clamp(1.0, 5.0);
        let weight = 1.0 - (-seconds / constant).exp();
        let expected = self.rate * seconds;
        let weight = if self.arrived > expected + 4.0 * (expected + 1.0).sqrt() + 3.0 {
            weight.max(0.5)
        } else {
            weight
        };
        self.rate += weight * (self.arrived / seconds - self.rate);
        let (arrived, denied) = (self.arrived, self.denied);
        self.arrived = 0.0;
        self.denied = 0;

        let grant_time = 0.3;
        let low = (self.rate * grant_time * 1.5).max(1.0);
        let need = self.rate * window * (1.0 + 1.0 / 40.0) + 2.0 * (self.rate * window).sqrt();
        let share = limit / 16.0 / 9.0;
        let high = (3.0 * low).max(share).min(need.max(1.0));
        let held = cap.map_or(limit, f64::from);
        let mut plan = Plan::default();
        let soon = (free + cooling_off) as f64;
        if denied > 0 || (soon < low && arrived > 0.0) {
            let target = if terms.pooled() {
                arrived
            } else {
                high.max(arrived)
            };
            let missing = (target - free.max(0) as f64).clamp(0.0, held);
            plan.missing = missing.ceil() as u32;
            self.idle_since = None;
        }
        if plan.missing > 0 && pool_hint == 0 && plan.missing <= self.last_missing {
            let wait = (window / 4.0).clamp(0.1, 1.0) * 1e6;
            if now < self.asked_at + wait as u64 {
                // The leader keeps the wish.
                plan.missing = 0;
            }
        }
        let (idle_after, keep) = if terms.pooled() {
            (500_000, 0.0)
        } else {
            let after = (window / 10.0).clamp(params.heartbeat.as_secs_f64() * 2.0, 60.0);
            ((after * 1e6) as u64, high)
        };
        let spare = if terms.pooled() {
            0.0
        } else {
            2.0 * high + share
        };
        let too_much = free as f64 > spare.max(base as f64 * 0.0) && free > 0;
        if too_much && (!terms.pooled() || arrived == 0.0) {
            let since = *self.idle_since.get_or_insert(now);
            if now >= since + idle_after {
                plan.hand_back = free - keep as i64;
                self.idle_since = None;
            }
        } else {
            self.idle_since = None;
        }
        if let Some(cap) = cap {
            let over = free - i64::from(cap);
            plan.hand_back = plan.hand_back.max(over);
        }
        plan
    }

    /// Whether there is something to say: again each second until it is quiet, since any word may be lost.
    pub(super) fn changed(&mut self, back: u32, missing: u32, now: u64) -> bool {
        if missing > 0 {
            self.last_missing = missing;
            self.asked_at = now;
        }
        if back > 0 || missing > 0 {
            self.unsaid = true;
            self.said_at = now;
            return true;
        }
        // Said again once, a second later.
        if self.unsaid && now >= self.said_at + 1_000_000 {
            self.unsaid = false;
            self.said_at = now;
            return true;
        }
        false
    }

    pub(super) fn quiet_since(&self, now: u64) -> bool {
        !self.unsaid && now >= self.said_at + 2_000_000
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate of the model"
    )]
    pub(super) fn rate_milli(&self) -> u32 {
        (self.rate * 1000.0) as u32
    }
}
