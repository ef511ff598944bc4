//! The quota's cells under a model checker: every interleaving of two or three threads' steps, up to some
//! preemptions, and every value that a read may have by the memory model.
//!
//! `twin` is the very source of the cells with loom's atomics and a sliding window of two slots. The clock is
//! an atomic too: that it leaps between any two steps of a thread is one more interleaving. Reading it orders
//! nothing else, as a real clock's reading doesn't.

#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the twin is used in part, and is no one's interface"
)]
mod twin;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use loom::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};
use twin::{
    cell::{Bound, Cell, Held, WHOLE},
    charge::{Account, Answer, Bounds, charge, refund},
    clock::{Clock, Monotonic, Now, Unix},
    lease::{Lease, Validity},
    pace::Pace,
};

const WINDOW: Duration = Duration::from_secs(1);

struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Now {
        // Adds nothing: so the reading is the newest, and makes no other thread's writes visible.
        let time = self.0.fetch_add(0, Ordering::Relaxed);
        Now {
            monotonic: Monotonic(time),
            unix: Unix(time),
        }
    }
}

struct Key {
    cell: Cell,
    pace: Pace,
}

impl Account for Key {
    fn cell(&self) -> &Cell {
        &self.cell
    }
    fn pace(&self) -> Pace {
        self.pace
    }
    fn validity(&self) -> Validity {
        Validity::new(WINDOW / 2, None)
    }
    fn free_elsewhere(&self) -> bool {
        false
    }
    fn spent(&self, _: u32, _: i32) {}
    fn denied(&self, _: u32) {}
}

/// What the threads of one execution share.
struct World {
    keys: Vec<Key>,
    clock: Hand,
    lease: Lease,
    /// Spends of all keys, by the true time. Not loom's: it must add no order.
    log: Mutex<Vec<(u64, u32)>>,
}

impl World {
    /// Keys of so many tokens, all here. A limit's amount decides its form; `amount` is that of all.
    fn new(held: &[u32], amount: u32, pace: Pace) -> Arc<Self> {
        let keys = held.iter().map(|&held| {
            let cell = Cell::new(pace, amount);
            cell.credit(held);
            Key { cell, pace }
        });
        let lease = Lease::new();
        lease.confirm(Monotonic(u64::MAX - 1));
        Arc::new(Self {
            keys: keys.collect(),
            clock: Hand(AtomicU64::new(10_000_000_000)),
            lease,
            log: Mutex::default(),
        })
    }

    fn forward(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).expect("short");
        self.clock.0.fetch_add(by, Ordering::Relaxed);
    }

    fn bounds(&self) -> Bounds<'_> {
        Bounds {
            lease: &self.lease,
            share: WHOLE,
        }
    }

    fn charge(&self, which: &[usize]) -> Answer {
        let items: Vec<_> = which.iter().map(|&which| (&self.keys[which], 1)).collect();
        let answer = charge(&items, self.bounds(), &self.clock);
        if let Answer::Admit(receipt) = &answer {
            let mut log = self.log.lock().expect("one at a time");
            log.push((receipt.spent().monotonic.0, 1));
        }
        answer
    }

    /// No window has more than `most`, and no token is lost.
    fn check(&self, most: u32) {
        let mut log = self.log.lock().expect("one at a time").clone();
        log.sort_unstable();
        let over = overspent(&log, most);
        assert!(over.is_none(), "overspent: {log:?}");
        self.check_conserved();
    }

    /// Once all have rested, all are free.
    fn check_conserved(&self) {
        for key in &self.keys {
            let Held { free, cool } = key.cell.held();
            let all = i64::from(free) + i64::from(cool);
            for _ in 0..2 {
                self.forward(WINDOW * 3);
                key.cell.settle(key.pace, &self.clock);
            }
            let rested = key.cell.held();
            assert_eq!((i64::from(rested.free), rested.cool), (all, 0), "lost");
        }
    }
}

/// Two spends less than a window apart, of more tokens than `most`. `log` is in order of time.
fn overspent(log: &[(u64, u32)], most: u32) -> Option<(u64, u32)> {
    let window = u64::try_from(WINDOW.as_nanos()).expect("short");
    log.iter().find_map(|&(at, _)| {
        let within = log
            .iter()
            .filter(|(other, _)| (at..at + window).contains(other));
        let spent = within.map(|(_, cost)| cost).sum();
        (spent > most).then_some((at, spent))
    })
}

/// Plays all interleavings with up to `preemptions` switches from a thread that could go on.
fn explore(preemptions: usize, play: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 20_000;
    model.check(play);
}

/// Whether some interleaving fails.
fn caught(play: impl Fn() + Sync + Send + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| explore(3, play))).is_err()
}

/// The paces and amounts that between them use each form of a cell but the wide one, which threads of the operating
/// system are played with (`cluster/src/quota/tests/stress.rs`).
fn forms() -> [(Pace, u32); 3] {
    [
        (Pace::sliding(WINDOW), 1),
        (Pace::sliding(WINDOW), 1000),
        (Pace::fixed(WINDOW), 1000),
    ]
}

#[test]
fn one_token_is_spent_by_one_of_two() {
    for (pace, amount) in forms() {
        explore(3, move || {
            let world = World::new(&[1], amount, pace);
            let other = world.clone();
            let thread = thread::spawn(move || other.charge(&[0]));
            world.charge(&[0]);
            thread.join().expect("no panic");
            assert_eq!(world.log.lock().expect("ended").len(), 1);
            world.check(1);
        });
    }
}

/// A thread charges while another lets the window go by and charges, twice: whatever the first stood still
/// at, no two spends of the token are less than a window apart.
fn stalls_while_windows_go_by(
    spend: fn(&World),
    pace: Pace,
    amount: u32,
) -> impl Fn() + Sync + Send {
    move || {
        let world = World::new(&[1], amount, pace);
        let other = world.clone();
        let thread = thread::spawn(move || spend(&other));
        for _ in 0..2 {
            world.forward(WINDOW * 8 / 5);
            spend(&world);
        }
        thread.join().expect("no panic");
        world.check(1);
    }
}

fn spend(world: &World) {
    world.charge(&[0]);
}

#[test]
fn a_thread_that_stands_still_anywhere_frees_nothing_early() {
    // A window that is fixed may have its end in any span of its length: counted by label below.
    for (pace, amount) in [forms()[0], forms()[1]] {
        explore(3, stalls_while_windows_go_by(spend, pace, amount));
    }
}

/// The planted mistake: books the reading from before its checks.
fn spend_by_the_first_reading(world: &World) {
    let Key { cell, pace } = &world.keys[0];
    let before = world.clock.now();
    if cell
        .take(*pace, 1, Bound::OPEN, before, &world.clock)
        .is_ok()
    {
        let spent = world.clock.now();
        cell.book(*pace, 1, before, &world.clock);
        let mut log = world.log.lock().expect("one at a time");
        log.push((spent.monotonic.0, 1));
    }
}

#[test]
fn a_thread_that_books_by_its_first_reading_is_caught() {
    for (pace, amount) in [forms()[0], forms()[1]] {
        assert!(caught(stalls_while_windows_go_by(
            spend_by_the_first_reading,
            pace,
            amount
        )));
    }
}

#[test]
fn a_slot_freed_one_early_is_caught() {
    let early = Pace::sliding(WINDOW).one_slot_early();
    assert!(caught(move || {
        let world = World::new(&[1], 1000, early);
        for _ in 0..4 {
            spend(&world);
            world.forward(WINDOW / 3);
        }
        world.check(1);
    }));
}

#[test]
fn no_token_is_spent_twice_in_a_fixed_window() {
    explore(3, || {
        let pace = Pace::fixed(WINDOW);
        let world = World::new(&[1], 1000, pace);
        let spend = |world: &World| {
            let Key { cell, pace } = &world.keys[0];
            let before = world.clock.now();
            let taken = cell.take(*pace, 1, Bound::OPEN, before, &world.clock);
            if taken.is_ok() {
                let spent = world.clock.now();
                cell.book(*pace, 1, spent, &world.clock);
                let mut log = world.log.lock().expect("one at a time");
                log.push((spent.unix.0 / 1_000_000_000, 1));
            }
        };
        let other = world.clone();
        let thread = thread::spawn(move || spend(&other));
        world.forward(WINDOW * 8 / 5);
        spend(&world);
        world.forward(WINDOW);
        spend(&world);
        thread.join().expect("no panic");
        let mut labels = world.log.lock().expect("ended").clone();
        labels.sort_unstable();
        let spends = labels.len();
        labels.dedup();
        assert_eq!(labels.len(), spends, "twice in a window");
        world.check_conserved();
    });
}

#[test]
fn three_threads_on_one_cell() {
    for (pace, amount) in [forms()[0], forms()[1]] {
        explore(2, move || {
            let world = World::new(&[1], amount, pace);
            let threads = [0, 1].map(|_| {
                let world = world.clone();
                thread::spawn(move || spend(&world))
            });
            world.forward(WINDOW * 8 / 5);
            spend(&world);
            for thread in threads {
                thread.join().expect("no panic");
            }
            world.check(1);
        });
    }
}

#[test]
fn two_charges_in_opposite_order_take_both_or_neither() {
    explore(3, || {
        let world = World::new(&[1, 1], 1000, Pace::sliding(WINDOW));
        let other = world.clone();
        let thread = thread::spawn(move || other.charge(&[1, 0]));
        world.charge(&[0, 1]);
        thread.join().expect("no panic");
        let [first, second] = [0, 1].map(|which| world.keys[which].cell.held());
        assert_eq!(first, second);
        assert!(world.log.lock().expect("ended").len() <= 1);
        world.check(1);
    });
}

#[test]
fn a_refund_beside_a_roll_frees_nothing_twice() {
    for (pace, amount) in [forms()[0], forms()[1]] {
        explore(3, move || {
            let world = World::new(&[1], amount, pace);
            let other = world.clone();
            let thread = thread::spawn(move || {
                let items = [(&other.keys[0], 1)];
                let answer = charge(&items, other.bounds(), &other.clock);
                if let Answer::Admit(receipt) = answer {
                    // Not in the log: it was refunded, or is a spend that reached nothing.
                    refund(&items, receipt);
                }
            });
            // As many slots as have counters: the same counter counts again.
            world.forward(WINDOW * 21 / 10);
            spend(&world);
            spend(&world);
            thread.join().expect("no panic");
            world.check(1);
        });
    }
}

#[test]
fn a_token_from_a_later_window_is_not_counted_in_the_one_before() {
    explore(3, || {
        let pace = Pace::fixed(WINDOW);
        let world = World::new(&[1], 1000, pace);
        spend(&world);
        let other = world.clone();
        let thread = thread::spawn(move || {
            let _ = other.keys[0].cell.reach_window(pace, 11, &other.clock);
        });
        let cell = &world.keys[0].cell;
        let now = world.clock.now();
        if cell.take(pace, 1, Bound::OPEN, now, &world.clock).is_ok() {
            let label = cell.book(pace, 1, world.clock.now(), &world.clock);
            assert_eq!(label, Some(11), "it was spent in 10");
        }
        thread.join().expect("no panic");
        world.check_conserved();
    });
}

#[test]
fn tokens_that_come_and_go_beside_a_charge_are_counted() {
    explore(3, || {
        let world = World::new(&[1], 1000, Pace::sliding(WINDOW));
        let other = world.clone();
        let thread = thread::spawn(move || {
            other.charge(&[0]);
            other.charge(&[0])
        });
        let cell = &world.keys[0].cell;
        cell.credit(1);
        let gone = cell.withdraw(1, 0);
        cell.reclaim(1);
        thread.join().expect("no panic");
        let Held { free, cool } = cell.held();
        assert_eq!(
            i64::from(free) + i64::from(cool) + i64::from(gone),
            1,
            "conserved"
        );
        assert!(world.log.lock().expect("ended").len() <= 2);
    });
}

#[test]
fn a_lease_that_ends_beside_two_charges_leaves_the_base() {
    explore(3, || {
        let world = World::new(&[2], 1000, Pace::sliding(WINDOW));
        world.keys[0].cell.set_base(1);
        let lease = Lease::new();
        lease.confirm(Monotonic(10_000_000_000));
        let world = Arc::new(World {
            lease,
            keys: Arc::into_inner(world).expect("not shared yet").keys,
            clock: Hand(AtomicU64::new(10_000_000_000)),
            log: Mutex::default(),
        });
        let other = world.clone();
        let thread = thread::spawn(move || other.charge(&[0]));
        world.forward(WINDOW * 3 / 5);
        world.charge(&[0]);
        thread.join().expect("no panic");
        let log = world.log.lock().expect("ended");
        let after = log.iter().filter(|(at, _)| *at >= 10_500_000_000).count();
        assert!(after <= 1, "{log:?}");
    });
}
