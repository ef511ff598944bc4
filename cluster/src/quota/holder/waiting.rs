//! Requests that wait for a grant of one key: at most 64, each for at most as long as the limit says.
//!
//! Not on the way of a request that finds tokens. The shell waits for the [`Parked`], which is ready when
//! tokens have come, and no longer than until [`Parked::until`], and charges again.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    super::{
        charge::{Account, Denial},
        clock::{Monotonic, Now},
    },
    key::KeyHandle,
};

/// Waits for tokens of a key. Its place is given up when it is dropped.
#[derive(Debug)]
#[must_use = "a request that doesn't wait for it has given up its place"]
pub struct Parked {
    key: KeyHandle,
    place: u64,
    cost: u32,
    until: Monotonic,
}

/// Why a request can't wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unparked {
    /// The limit's requests do not wait.
    #[error("requests of this limit do not wait")]
    Never,
    /// Nothing will come in time, as far as this node knows.
    #[error("no token is free elsewhere, and none cools off in time")]
    Hopeless,
    /// As many wait as may.
    #[error("{MOST} requests wait already")]
    Crowded,
}

#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    /// What they ask for together.
    cost: u32,
    /// In order of arrival. One without a waker has been called, or has not been polled yet.
    places: VecDeque<Place>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    waker: Option<Waker>,
    called: bool,
}

impl Waiting {
    /// How many units of cost wait.
    pub(super) fn cost(&self) -> u32 {
        self.lock().cost
    }

    /// Tokens have come: all look again. A request that finds too little waits on.
    pub(super) fn call(&self) {
        for place in &mut self.lock().places {
            place.called = true;
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    fn enter(&self, cost: u32) -> Option<u64> {
        let mut places = self.lock();
        if places.places.len() >= MOST {
            return None;
        }
        let number = places.next;
        places.next += 1;
        places.cost = places.cost.saturating_add(cost);
        places.places.push_back(Place {
            number,
            waker: None,
            called: false,
        });
        Some(number)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Places> {
        // Nothing in here leaves the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyHandle {
    /// Waits for tokens of this key, for a charge that was denied at `now`.
    ///
    /// # Errors
    /// Why there is no use in waiting.
    pub fn park(&self, now: Now, denial: &Denial) -> Result<Parked, Unparked> {
        self.park_for(self.0.wait(), now, denial)
    }

    /// The same for at most so long, whatever the limit says: for a key whose base may not be spent yet.
    ///
    /// # Errors
    /// Why there is no use in waiting.
    pub fn park_for(&self, wait: Duration, now: Now, denial: &Denial) -> Result<Parked, Unparked> {
        let cools_in = denial.cools_in;
        if wait.is_zero() {
            return Err(Unparked::Never);
        }
        let in_time = cools_in.is_some_and(|cools_in| cools_in <= wait);
        if !in_time && !self.free_elsewhere() {
            return Err(Unparked::Hopeless);
        }
        let waiting = self.0.waiting.get_or_init(Box::default);
        let place = waiting.enter(denial.cost).ok_or(Unparked::Crowded)?;
        // It is counted as one that waits, and comes again: once is enough to know how much is asked for.
        self.0.cell.note_waiting(denial.cost);
        let longest = match cools_in {
            Some(cools_in) if in_time => cools_in,
            _ => wait,
        };
        let nanoseconds = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Ok(Parked {
            key: self.clone(),
            place,
            cost: denial.cost,
            until: Monotonic(now.monotonic.0.saturating_add(nanoseconds)),
        })
    }
}

impl Parked {
    /// When to look again though nobody has called: what cools here is free then, or the time is up.
    #[must_use]
    pub fn until(&self) -> Monotonic {
        self.until
    }
}

impl Future for Parked {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(waiting) = self.key.0.waiting.get() else {
            return Poll::Ready(());
        };
        let mut places = waiting.lock();
        let place = places
            .places
            .iter_mut()
            .find(|place| place.number == self.place);
        match place {
            Some(place) if !place.called => {
                place.waker = Some(context.waker().clone());
                Poll::Pending
            }
            Some(place) => {
                // Ready once: whoever polls again waits for the next call.
                place.called = false;
                Poll::Ready(())
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(waiting) = self.key.0.waiting.get() {
            let number = self.place;
            let mut places = waiting.lock();
            places.cost = places.cost.saturating_sub(self.cost);
            places.places.retain(|place| place.number != number);
        }
    }
}

/// So many requests wait for one key: more would come to a place when their time is up, and hold memory
/// until then.
pub(super) const MOST: usize = 64;
