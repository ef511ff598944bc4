//! Tests of the quota's cores, and what they share.

mod cell;
mod charge;
mod holder;
mod property;
mod stress;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    cell::{Cell, WHOLE},
    charge::{Account, Answer, Bounds, charge},
    clock::{Clock, Monotonic, Now, Unix},
    lease::{Lease, Validity},
    pace::Pace,
};

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Hand {
    fn at(nanoseconds: u64) -> Self {
        Self(AtomicU64::new(nanoseconds))
    }

    fn forward(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).expect("short");
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    fn set(&self, nanoseconds: u64) {
        self.0.store(nanoseconds, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Now {
        reading(self.0.load(Ordering::SeqCst))
    }
}

/// Both clocks at one time.
fn reading(nanoseconds: u64) -> Now {
    Now {
        monotonic: Monotonic(nanoseconds),
        unix: Unix(nanoseconds),
    }
}

/// A key with nothing around it.
#[derive(Debug)]
struct Key {
    cell: Cell,
    pace: Pace,
    validity: Validity,
    free_elsewhere: bool,
}

impl Key {
    /// A limit of `held` tokens, all here.
    fn holding(held: u32, pace: Pace) -> Self {
        let cell = Cell::new(pace, held);
        cell.credit(held);
        Self {
            cell,
            pace,
            validity: Validity::new(SECOND * 30, None),
            free_elsewhere: false,
        }
    }

    fn charge(&self, cost: u32, lease: &Lease, clock: &impl Clock) -> Answer {
        let bounds = Bounds {
            lease,
            share: WHOLE,
        };
        charge(&[(self, cost)], bounds, clock)
    }
}

impl Account for Key {
    fn cell(&self) -> &Cell {
        &self.cell
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn validity(&self) -> Validity {
        self.validity
    }

    fn free_elsewhere(&self) -> bool {
        self.free_elsewhere
    }

    fn spent(&self, _: u32, _: i32) {}

    fn denied(&self, _: u32) {}
}

/// A lease that never ends.
fn always() -> Lease {
    let lease = Lease::new();
    lease.confirm(Monotonic(u64::MAX - 1));
    lease
}

/// The first span of the window's length in which more than `most` was spent, if there is one: its end and
/// what was spent in it. `log` is in order of time.
fn overspent(log: &[(u64, u32)], window: Duration, most: u32) -> Option<(u64, u64)> {
    let window = u64::try_from(window.as_nanos()).expect("short");
    let mut oldest = 0;
    let mut within = 0_u64;
    for &(at, cost) in log {
        within += u64::from(cost);
        while log[oldest].0 + window <= at {
            within -= u64::from(log[oldest].1);
            oldest += 1;
        }
        if within > u64::from(most) {
            return Some((at, within));
        }
    }
    None
}

const SECOND: Duration = Duration::from_secs(1);
