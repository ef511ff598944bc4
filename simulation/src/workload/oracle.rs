//! What clients, operators and onlookers saw: the truth that the invariants judge by.
//!
//! In: events of a run, each with its simulated time. Out: a [`History`]. An outcome that nobody saw is
//! unknown, never "failed": a write whose node died may still have happened.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{History, ask::Ask};
use crate::world::Network;

/// Remembers a run. Clones are one memory.
#[derive(Debug, Clone)]
pub struct Oracle {
    network: Network,
    history: Arc<Mutex<History>>,
}

impl Oracle {
    /// Remembers nothing yet; takes its time from the network.
    pub fn new(network: Network) -> Self {
        Self {
            network,
            history: Arc::default(),
        }
    }

    /// The simulated time.
    pub fn now(&self) -> Duration {
        self.network.now()
    }

    /// The id of a new request.
    pub fn begin(&self, ask: &Ask) -> u64 {
        let mut history = self.history();
        history.begun += 1;
        let id = history.begun;
        if !ask.repeatable() {
            history.orders.insert(id);
        }
        if let Some(places) = &ask.confined {
            history.confined.insert(id, places.clone());
        }
        id
    }

    /// Notes or reads something. Not to be called from within itself.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
