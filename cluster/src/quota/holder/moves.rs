//! What a grant and a farewell do to one key's tokens. A core.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    super::{
        clock::{Clock, Now},
        key::KeyId,
        message::{AskItem, GrantItem, RESTS, SPANS, Span},
        terms::Kind,
    },
    key::Key,
};

/// Brings a key's tokens to what the ledger has given. False if that can't be done now: the next grant says
/// it again.
pub(super) fn move_tokens(key: &Key, item: &GrantItem, now: Now, clock: &impl Clock) -> bool {
    let change = item
        .given
        .wrapping_sub(key.given.load(Relaxed))
        .cast_signed();
    if change > 0 {
        let held = key.cell.held();
        let after = i64::from(held.free) + i64::from(held.cool) + i64::from(change);
        if after > i64::from(i32::MAX) {
            return false;
        }
        if key.form.kind == Kind::Fixed && !reach_window(key, item.window, now, clock) {
            return false;
        }
        key.cell.credit(change.unsigned_abs());
    } else if change < 0 {
        key.cell.reclaim(change.unsigned_abs());
    }
    key.given.store(item.given, Relaxed);
    key.repay();
    true
}

/// Tokens that were spent elsewhere in the window before are counted in `window` or later.
fn reach_window(key: &Key, window: u64, now: Now, clock: &impl Clock) -> bool {
    let length = key.form.window.as_nanos();
    let ahead = u128::from(window) * length;
    let latest = u128::from(now.unix.0) + length + 4 * key.form.params.offset.as_nanos();
    // A window that no clock within bounds can have come to would stop the key until then.
    ahead <= latest && (0..TRIES).any(|_| key.cell.reach_window(key.form.pace, window, clock))
}

/// What cools of a key's tokens as its node ends: of those that are handed back, and of those that stay. Base has those
/// that cool longest, which is best for the others; of what is handed back, no more than is extra: the ledger takes no more.
pub(super) fn parting(
    key: &Key,
    mut cooling: Vec<(Duration, u32)>,
    cool: u32,
) -> (Vec<Span>, Vec<Span>) {
    let known: u32 = cooling.iter().map(|(_, count)| count).sum();
    if cool > known {
        // In flight: just spent.
        cooling.push((Duration::from_nanos(key.form.pace.rest()), cool - known));
    }
    let extra = u32::try_from(key.extra()).unwrap_or(0);
    let mut goes = cool.max(known).saturating_sub(key.cell.base()).min(extra);
    let mut gone = cooling.clone();
    for ((_, count), (_, left)) in gone.iter_mut().zip(&mut cooling) {
        *count = goes.min(*count);
        goes -= *count;
        *left -= *count;
    }
    (merged(key, gone, SPANS), merged(key, cooling, RESTS))
}

/// What cools of the tokens that are held. Those of the newest slot may still be given back, and spent again.
pub(super) fn rests(key: &Key, now: Now) -> Vec<Span> {
    let mut cooling = key.cell.cooling(key.form.pace, now);
    let rest = Duration::from_nanos(key.form.pace.rest());
    cooling.retain(|(time, _)| *time <= rest);
    merged(key, cooling, RESTS)
}

/// In order of time, so many at most: what is put together is free with the last.
fn merged(key: &Key, mut cooling: Vec<(Duration, u32)>, most: usize) -> Vec<Span> {
    cooling.retain(|(_, count)| *count > 0);
    let of_each = cooling.len().div_ceil(most).max(1);
    let merged = cooling.chunks(of_each).map(|spans| Span {
        ms: match key.form.kind {
            Kind::Fixed => 0,
            Kind::Sliding => spans
                .last()
                .map_or(0, |(time, _)| {
                    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
                })
                .saturating_add(1),
        },
        count: spans.iter().map(|(_, count)| count).sum(),
    });
    merged.collect()
}

/// What is said of a key that is not here any more.
pub(super) fn gone(id: KeyId, item: &GrantItem) -> AskItem {
    AskItem {
        key: id,
        terms: None,
        born: item.born,
        returned: item.given,
        lent: 0,
        want: item.given,
        window: item.window,
        rate: 0,
        free: 0,
        given: 0,
        unit: 1,
        waits_ms: 0,
        cooling: Vec::new(),
        rests: None,
    }
}

/// A thread that rolls a cell is done in a moment; if it stands still, the grant waits for its repetition.
const TRIES: usize = 100;
