//! Real threads on one cell, and a count of true times beside it.
//!
//! The clock is one number that every reading moves on, so that all readings have an order whatever the
//! machine does, and windows go by in a moment.

use std::sync::Mutex;

use super::*;
use crate::quota::cell::Held;

/// A clock that goes on by a little with each reading.
struct Ticking {
    time: AtomicU64,
    step: u64,
}

impl Clock for Ticking {
    fn now(&self) -> Now {
        reading(self.time.fetch_add(self.step, Ordering::SeqCst) + self.step)
    }
}

const THREADS: u64 = 4;
const CHARGES: u64 = 40_000;

/// Spends from several threads, and returns all spends in order of the clock.
fn spend(keys: &[&Key], clock: &Ticking) -> Vec<(u64, u32)> {
    let log = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                let lease = always();
                let bounds = Bounds {
                    lease: &lease,
                    share: WHOLE,
                };
                let mut own = Vec::new();
                for nth in 0..CHARGES {
                    let cost = u32::try_from((nth + thread) % 3).expect("small") + 1;
                    let items: Vec<_> = keys.iter().map(|key| (*key, cost)).collect();
                    if let Answer::Admit(receipt) = charge(&items, bounds, clock) {
                        own.push((receipt.spent().monotonic.0, cost));
                        if nth % 64 == 0 {
                            // So that some time passes with a spend not undone nor used up.
                            std::thread::yield_now();
                        }
                    }
                }
                log.lock().unwrap().extend(own);
            });
        }
    });
    let mut log = log.into_inner().unwrap();
    log.sort_unstable();
    log
}

#[test]
fn threads_on_one_cell_never_pass_what_is_held_and_lose_nothing() {
    for (held, step, pace) in [
        (8, 3_000_000, Pace::sliding(SECOND)),
        (300, 1_000_000, Pace::sliding(SECOND)),
        (300, 30_000_000, Pace::sliding(SECOND)),
        (90_000, 100_000, Pace::sliding(SECOND * 3)),
    ] {
        let clock = Ticking {
            time: AtomicU64::new(0),
            step,
        };
        let key = Key::holding(held, pace);
        let log = spend(&[&key], &clock);
        assert!(log.len() > 100, "{}", log.len());
        assert_eq!(overspent(&log, pace.window(), held), None);
        clock.time.fetch_add(20_000_000_000, Ordering::SeqCst);
        key.cell.settle(pace, &clock);
        clock.time.fetch_add(20_000_000_000, Ordering::SeqCst);
        key.cell.settle(pace, &clock);
        let free = held.cast_signed();
        assert_eq!(key.cell.held(), Held { free, cool: 0 });
    }
}

#[test]
fn threads_on_several_cells_spend_from_all_or_none() {
    let clock = Ticking {
        time: AtomicU64::new(0),
        step: 2_000_000,
    };
    let keys = [
        Key::holding(20, Pace::sliding(SECOND)),
        Key::holding(200, Pace::sliding(SECOND * 7)),
        Key::holding(150, Pace::fixed(SECOND * 5)),
    ];
    let log = spend(&keys.each_ref(), &clock);
    assert_eq!(overspent(&log, SECOND, 20), None);
    assert_eq!(overspent(&log, SECOND * 7, 200), None);
    for (at, _) in &log {
        let label = |at: &u64| at / 5_000_000_000;
        let same = log.iter().filter(|(other, _)| label(other) == label(at));
        assert!(same.map(|(_, cost)| cost).sum::<u32>() <= 150);
    }
    let spent: u32 = log.iter().map(|(_, cost)| cost).sum();
    assert!(spent > 150);
    for _ in 0..2 {
        clock.time.fetch_add(20_000_000_000, Ordering::SeqCst);
        for key in &keys {
            key.cell.settle(key.pace, &clock);
        }
    }
    for (key, held) in keys.iter().zip([20, 200, 150]) {
        assert_eq!(
            key.cell.held(),
            Held {
                free: held,
                cool: 0
            }
        );
    }
}
