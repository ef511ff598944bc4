//! Counts what the fabric refused, and says each cause in the log once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Mutex, MutexGuard},
};

/// Counters by cause.
#[derive(Default)]
pub(super) struct Refusals(Mutex<State>);

#[derive(Default)]
struct State {
    counts: BTreeMap<&'static str, u64>,
    said: BTreeSet<(&'static str, String)>,
}

/// Causes and peers that the log has named. A cluster has fewer; when a stranger fills it with invented
/// names, later ones are counted and not said.
const SAID_LIMIT: usize = 512;

impl Refusals {
    /// Counts one refusal of `who`. The first of its cause and peer is logged as a warning.
    pub(super) fn note(&self, cause: &'static str, who: &str, why: &dyn Display) {
        tracing::trace!(target: "meridian::decision", cause, who, "fabric refuses");
        let first = {
            let mut state = self.lock();
            *state.counts.entry(cause).or_default() += 1;
            state.said.len() < SAID_LIMIT && state.said.insert((cause, who.to_owned()))
        };
        if first {
            tracing::warn!(cause, "refused {who}: {why}");
        }
    }

    /// Counts a refusal that is no operator's business.
    pub(super) fn count(&self, cause: &'static str) {
        *self.lock().counts.entry(cause).or_default() += 1;
    }

    /// Forgets that causes were said about a peer: it is well again, and a next time is news.
    pub(super) fn well(&self, who: &str) {
        self.lock().said.retain(|(_, said)| said != who);
    }

    /// Refusals by cause since the start.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it is held")
    }
}
