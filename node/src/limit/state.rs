//! Where limits stand at this node, for the fields of a response.
//!
//! In: the keys that a charge has met. Out: a [`LimitState`] for each limit that it pays.

use std::{sync::Arc, time::Duration};

use meridian_cluster::quota::{clock::Now, holder::KeyHandle};
use meridian_config::document::{Limit, Window};

use super::{item::Item, outcome::LimitState};

/// Where the limits of a charge stand, in its order; one that was another before, where the tighter of both does.
pub(super) fn states(items: &[Item<'_>], keys: &[KeyHandle], now: Now) -> Vec<LimitState> {
    let mut states: Vec<LimitState> = Vec::with_capacity(items.len());
    for (item, key) in items.iter().zip(keys) {
        let state = state(item.limit, key, now);
        match item.former {
            true => tighten(&mut states, state),
            false => states.push(state),
        }
    }
    states
}

/// Of what a limit was before, less may be left than of what it is.
pub(super) fn tighten(states: &mut [LimitState], former: LimitState) {
    let now = states.iter_mut().find(|state| state.id == former.id);
    if let Some(state) = now.filter(|state| former.remaining < state.remaining) {
        (state.remaining, state.reset) = (former.remaining, former.reset);
    }
}

pub(super) fn state(limit: &Limit, key: &KeyHandle, now: Now) -> LimitState {
    let (_, remaining) = key.remaining();
    let reset = match limit.window {
        Window::Fixed => fixed_end(limit, now),
        Window::Sliding => key.frees_in(now).unwrap_or(limit.span),
    };
    LimitState {
        id: Arc::from(limit.id.as_str()),
        amount: limit.amount,
        span: limit.span,
        remaining: remaining.into(),
        reset,
    }
}

/// Of a key that this node has not met.
pub(super) fn untouched(limit: &Limit) -> LimitState {
    LimitState {
        id: Arc::from(limit.id.as_str()),
        amount: limit.amount,
        span: limit.span,
        remaining: limit.amount,
        reset: limit.span,
    }
}

pub(super) fn fixed_end(limit: &Limit, now: Now) -> Duration {
    let span = u64::try_from(limit.span.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1);
    Duration::from_nanos(span - now.unix.0 % span)
}
