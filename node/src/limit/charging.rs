//! A request is charged with tokens that this node holds.
//!
//! In: a charge, and this node's part of the quota. Out: [`Outcome`]. Nothing is asked of anybody on the way; a request
//! that finds too little waits where its limit says so, or where this node lacks its base share after a start.

use std::{sync::Arc, time::Duration};

use meridian_cluster::quota::{
    cell::WHOLE,
    charge::{Answer, Denial, Receipt, Why as Cause},
    clock::{Clock as _, Monotonic, Now},
    holder::{self, KeyHandle},
    service::Charging,
};
use meridian_config::document::{Limit, OnEmpty, Per, Window};

use tokio::time::Instant;

use super::{
    alarm::{Alarms, Level, Tell},
    item::{Item, items},
    limiter::{Charge, Charged, Payer},
    outcome::{LimitState, Outcome, Why},
    overload,
    paid::{Bill, Paid},
    state::{fixed_end, state, states, tighten, untouched},
};

/// How long a request waits, whatever its limit says, while this node lacks base of it: for a window after its own start,
/// until it was given as much in its place.
const FIRST: Duration = Duration::from_secs(1);

/// How often a request looks again: each grant of its key wakes it, and others may be faster.
const LOOKS: usize = 64;

/// Charges all limits or none.
pub(super) async fn charge(tokens: &Charging<'_>, charge: &Charge<'_>, alarms: &Alarms) -> Charged {
    let (enforced, shadow): (Vec<Item<'_>>, Vec<Item<'_>>) = items(tokens, charge)
        .into_iter()
        .partition(|item| !item.limit.shadow);
    let mut begun = None;
    let (mut outcome, bill) = settle(tokens, charge, &enforced, &mut begun).await;
    let mut bills: Vec<Bill> = bill.into_iter().collect();
    if let Outcome::Admit { shadowed, .. } = &mut outcome {
        *shadowed = over(tokens, charge, &shadow, &mut bills);
    }
    Charged {
        reached: reached(tokens, charge, &enforced, &outcome, alarms),
        outcome,
        paid: Paid::of(bills, charge.cost),
        waited: begun.map(|begun| begun.elapsed()),
    }
}

/// Tells of the tenant's limits that it has nearly or all used up, and which are to be counted.
fn reached(
    tokens: &Charging<'_>,
    charge: &Charge<'_>,
    items: &[Item<'_>],
    outcome: &Outcome,
    alarms: &Alarms,
) -> Vec<Level> {
    let Payer::Tenant(tenant) = charge.payer else {
        return Vec::new();
    };
    let full = match outcome {
        Outcome::Refuse {
            limit,
            why: Why::Limit,
            ..
        } => Some(&**limit),
        _ => None,
    };
    let (Outcome::Admit { states, .. } | Outcome::Refuse { states, .. }) = outcome;
    let mut reached = Vec::new();
    for (item, state) in items.iter().filter(|item| !item.former).zip(states) {
        let limit = item.limit;
        // What is left is never more than what is not used: a limit that is far from used up ends here.
        let near = Level::of(limit.amount.saturating_sub(state.remaining), limit.amount);
        if limit.per != Per::Tenant || near.is_none() {
            continue;
        }
        let used = match full {
            Some(full) if *full == limit.id => limit.amount,
            _ => match tokens.holder.find(item.id) {
                Some(key) => key.used().into(),
                None => continue,
            },
        };
        let now = Instant::now().into_std();
        let Some(level) = Level::of(used, limit.amount) else {
            continue;
        };
        let Some(tell) = alarms.judge(item.id, level, limit.span, now) else {
            continue;
        };
        if let Tell::Aloud { unlogged } = tell {
            tracing::warn!(
                %tenant,
                limit = %limit.id,
                used,
                amount = limit.amount,
                window_s = limit.span.as_secs(),
                unlogged,
                "a tenant has used {} % of a limit",
                level.percent()
            );
        }
        reached.push(level);
    }
    reached
}

/// What a charge would come to, with the states as they are before it.
pub(super) fn peek(tokens: &Charging<'_>, charge: &Charge<'_>) -> Outcome {
    let now = tokens.clock.now();
    let mut full = None;
    let mut states = Vec::new();
    for item in items(tokens, charge) {
        if item.limit.shadow {
            continue;
        }
        let state = match tokens.holder.find(item.id) {
            Some(key) => state(item.limit, &key, now),
            None => untouched(item.limit),
        };
        let here = tokens.holder.free(item.id, &item.terms, now);
        // Where requests wait, what is elsewhere comes.
        let waits = matches!(item.limit.on_empty, OnEmpty::Wait(_));
        let lacks = match (state.remaining < u64::from(charge.cost), here < charge.cost) {
            (true, _) => Some((Why::Limit, state.reset)),
            (false, true) if !waits => Some((Why::Local, GRANT)),
            _ => None,
        };
        if let (Some((why, reset)), None) = (lacks, &full) {
            full = Some((state.id.clone(), why, reset));
        }
        match item.former {
            true => tighten(&mut states, state),
            false => states.push(state),
        }
    }
    match full {
        None => Outcome::Admit {
            states,
            shadowed: Vec::new(),
        },
        Some((limit, why, retry_after)) => Outcome::Refuse {
            limit,
            why,
            retry_after,
            states,
        },
    }
}

/// Charges limits that may refuse the request. `begun` becomes when it began to wait, if it did.
async fn settle(
    tokens: &Charging<'_>,
    charge: &Charge<'_>,
    items: &[Item<'_>],
    begun: &mut Option<Instant>,
) -> (Outcome, Option<Bill>) {
    if items.is_empty() {
        let nothing = Outcome::Admit {
            states: Vec::new(),
            shadowed: Vec::new(),
        };
        return (nothing, None);
    }
    let mut patience: Option<Monotonic> = None;
    for _ in 0..LOOKS {
        let mut keys = Vec::with_capacity(items.len());
        for item in items {
            match resolve(tokens, charge, item) {
                Ok(key) => keys.push(key),
                Err(holder::Crowded(_)) => return (crowded(item.limit), None),
            }
        }
        let denial = match pay(tokens, charge, &keys) {
            Answer::Admit(receipt) => {
                tell(tokens, charge, items, &receipt);
                let outcome = admitted(tokens, charge, items, &keys);
                return (outcome, Some(bill(items, keys, receipt)));
            }
            Answer::Again => continue,
            Answer::Deny(denial) => denial,
        };
        let (key, limit) = (&keys[denial.which], items[denial.which].limit);
        let now = tokens.clock.now();
        if patience.is_some_and(|end| now.monotonic >= end) {
            return (refused(charge, items, &keys, &denial, now), None);
        }
        let wait = match limit.on_empty {
            OnEmpty::Wait(wait) => wait,
            OnEmpty::Deny if patience.is_some() || key.lacks_base() => FIRST,
            OnEmpty::Deny => Duration::ZERO,
        };
        let Ok(parked) = key.park_for(wait, now, &denial) else {
            return (refused(charge, items, &keys, &denial, now), None);
        };
        begun.get_or_insert_with(Instant::now);
        let nanoseconds = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let end = Monotonic(now.monotonic.0.saturating_add(nanoseconds));
        let end = *patience.get_or_insert(end);
        let until = tokens.clock.until(parked.until().min(end));
        // Called, or nobody has: the next look says.
        let _ = tokio::time::timeout(until, parked).await;
    }
    (crowded(items[0].limit), None)
}

/// What limits that may refuse a request have paid; those that were others before have no state of their own.
fn bill(items: &[Item<'_>], keys: Vec<KeyHandle>, receipt: Receipt) -> Bill {
    let stated = items.iter().filter(|item| !item.former).count();
    Bill {
        keys,
        receipt,
        stated,
    }
}

fn resolve(
    tokens: &Charging<'_>,
    charge: &Charge<'_>,
    item: &Item<'_>,
) -> Result<KeyHandle, holder::Crowded> {
    let on_empty = match item.limit.on_empty {
        OnEmpty::Deny => holder::OnEmpty::Deny,
        OnEmpty::Wait(wait) => holder::OnEmpty::Wait(wait),
    };
    let (terms, as_of) = (&item.terms, charge.as_of);
    tokens
        .holder
        .resolve(item.id, terms, on_empty, as_of, tokens.clock)
}

fn pay(tokens: &Charging<'_>, charge: &Charge<'_>, keys: &[KeyHandle]) -> Answer {
    let bill: Vec<(&KeyHandle, u32)> = keys.iter().map(|key| (key, charge.cost)).collect();
    let share = overload::share(charge.overload, priority(charge));
    tokens.holder.charge_within(&bill, share, tokens.clock)
}

/// The least priority of the limits that may refuse it.
fn priority(charge: &Charge<'_>) -> u8 {
    let limits = charge.standing.iter().chain(charge.route_limits);
    let enforced = limits.filter(|limit| !limit.shadow);
    enforced.map(|limit| limit.priority).min().unwrap_or(100)
}

/// What an overloaded node admits of the tightest limit, as a limit of its own.
fn overloaded(charge: &Charge<'_>, states: &[LimitState]) -> Option<LimitState> {
    let share = u64::from(overload::share(charge.overload, priority(charge)));
    let whole = u64::from(WHOLE);
    let part = |of: u64| u64::try_from(u128::from(of) * u128::from(share) / u128::from(whole));
    if share == whole {
        return None;
    }
    let tightest = states.iter().min_by(|one, other| {
        let left = |state: &LimitState| state.remaining as f64 / state.amount.max(1) as f64;
        left(one).total_cmp(&left(other))
    })?;
    let (amount, shed) = (part(tightest.amount).ok()?, tightest.amount);
    Some(LimitState {
        id: Arc::from("overload"),
        amount,
        span: tightest.span,
        remaining: tightest.remaining.saturating_sub(shed - amount),
        reset: tightest.reset,
    })
}

/// For onlookers that check what is promised of limits.
fn tell(tokens: &Charging<'_>, charge: &Charge<'_>, items: &[Item<'_>], receipt: &Receipt) {
    for item in items {
        tracing::trace!(
            target: "meridian::decision",
            key = ?item.id,
            limit = %item.limit.id,
            cost = charge.cost,
            amount = item.limit.amount,
            span_ms = u64::try_from(item.limit.span.as_millis()).unwrap_or(u64::MAX),
            window = match item.limit.window {
                Window::Sliding => None,
                Window::Fixed => Some(u128::from(receipt.spent().unix.0) / item.limit.span.as_nanos().max(1)),
            },
            alone = tokens.alone,
            "charged"
        );
    }
}

fn admitted(
    tokens: &Charging<'_>,
    charge: &Charge<'_>,
    items: &[Item<'_>],
    keys: &[KeyHandle],
) -> Outcome {
    let mut states = states(items, keys, tokens.clock.now());
    states.extend(overloaded(charge, &states));
    Outcome::Admit {
        states,
        shadowed: Vec::new(),
    }
}

fn refused(
    charge: &Charge<'_>,
    items: &[Item<'_>],
    keys: &[KeyHandle],
    denial: &Denial,
    now: Now,
) -> Outcome {
    let limit = items[denial.which].limit;
    let key = &keys[denial.which];
    let soonest = retry_after(limit, key, denial, now);
    let mut states = states(items, keys, now);
    for state in states.iter_mut().filter(|state| *state.id == limit.id) {
        (state.remaining, state.reset) = (0, soonest);
    }
    states.extend(overloaded(charge, &states));
    Outcome::Refuse {
        limit: Arc::from(limit.id.as_str()),
        why: match denial.why {
            Cause::Limit => Why::Limit,
            Cause::Local => Why::Local,
            Cause::Lapsed => Why::Lapsed,
            Cause::Overload => Why::Overload,
        },
        retry_after: jittered(soonest, now),
        states,
    }
}

/// The soonest at which asking again may help: when enough cools off here, when a grant may have come where others have
/// tokens, and else when the window is over.
fn retry_after(limit: &Limit, key: &KeyHandle, denial: &Denial, now: Now) -> Duration {
    let window = match limit.window {
        Window::Fixed => key.frees_in(now).unwrap_or_else(|| fixed_end(limit, now)),
        Window::Sliding => limit.span,
    };
    let cools_in = denial.cools_in.unwrap_or(window);
    match denial.why {
        Cause::Local => cools_in.min(GRANT),
        _ => cools_in,
    }
}

/// Within this time a grant comes, if there is one.
const GRANT: Duration = Duration::from_secs(1);

/// Up to a fifth longer, so that clients that were refused together do not come back together. A second stays one: they are
/// told whole seconds.
fn jittered(time: Duration, now: Now) -> Duration {
    if time <= GRANT {
        return time;
    }
    let dice =
        u32::try_from(now.monotonic.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).unwrap_or(0);
    time + time / 5 * dice / 256
}

/// A key for which there is no room, or that is put away each time it is looked up.
fn crowded(limit: &Limit) -> Outcome {
    Outcome::Refuse {
        limit: Arc::from(limit.id.as_str()),
        why: Why::Crowded,
        retry_after: GRANT,
        states: Vec::new(),
    }
}

/// Charges limits that turn nobody away; the ids of those that would have.
fn over(
    tokens: &Charging<'_>,
    charge: &Charge<'_>,
    shadow: &[Item<'_>],
    bills: &mut Vec<Bill>,
) -> Vec<Arc<str>> {
    let mut denies = |item: &&Item<'_>| {
        let Ok(key) = resolve(tokens, charge, item) else {
            return true;
        };
        let keys = vec![key];
        match pay(tokens, charge, &keys) {
            Answer::Admit(receipt) => {
                bills.push(Bill {
                    keys,
                    receipt,
                    stated: 0,
                });
                false
            }
            _ => true,
        }
    };
    let over = shadow.iter().filter(|item| denies(item));
    over.map(|item| Arc::from(item.limit.id.as_str())).collect()
}
