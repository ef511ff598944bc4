//! One worker's dice, turns and retry budgets.
//!
//! Enters: a service that is about to be served or retried. Leaves: numbers for the cores to choose by.
//! The worker is one thread, so the mutex is never contended, and nothing holds it across an await.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use meridian_config::name::ServiceName;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{budget::Budget, destination::Destination};

/// What changes from one choice to the next.
pub(super) struct Luck(Mutex<Inner>);

struct Inner {
    random: StdRng,
    services: BTreeMap<ServiceName, Turns>,
}

struct Turns {
    share: f64,
    budget: Budget,
    turn: usize,
}

impl Luck {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(Mutex::new(Inner {
            random: StdRng::from_seed(seed),
            services: BTreeMap::new(),
        }))
    }

    /// Lends the dice.
    pub(super) fn throw<T>(&self, act: impl FnOnce(&mut dyn FnMut(usize) -> usize) -> T) -> T {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut draw(&mut inner.random))
    }

    /// Lends the dice and the service's place in its round.
    pub(super) fn turn<T>(
        &self,
        service: &Destination,
        act: impl FnOnce(&mut usize, &mut dyn FnMut(usize) -> usize) -> T,
    ) -> T {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (turns, random) = inner.of(service, now());
        act(&mut turns.turn, &mut draw(random))
    }

    /// Lends the service's retry budget.
    pub(super) fn spend<T>(
        &self,
        service: &Destination,
        act: impl FnOnce(&mut Budget, Instant) -> T,
    ) -> T {
        let now = now();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut inner.of(service, now).0.budget, now)
    }
}

impl Inner {
    fn of(&mut self, service: &Destination, now: Instant) -> (&mut Turns, &mut StdRng) {
        let share = service.settings.retries.budget;
        let new = |turn| Turns {
            share,
            budget: Budget::new(share, now),
            turn,
        };
        if !self.services.contains_key(&service.name) {
            // Services that left the document are forgotten when there are many of them.
            if self.services.len() >= MOST_SERVICES {
                self.services.clear();
            }
            self.services.insert(service.name.clone(), new(0));
        }
        let turns = self.services.get_mut(&service.name);
        let turns = turns.expect("it was put there just now");
        #[allow(clippy::float_cmp, reason = "the same text gives the same number")]
        if turns.share != share {
            *turns = new(turns.turn);
        }
        (turns, &mut self.random)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn draw(random: &mut StdRng) -> impl FnMut(usize) -> usize {
    |below| random.random_range(0..below.max(1))
}

/// More services than a document has.
const MOST_SERVICES: usize = 4096;
