//! What a piece of code takes of memory: how often, how much, and how much at once.
//!
//! In: the allocations of this thread, through [`Counting`] as the program's global allocator. Out: a
//! [`Taken`]. Without it nothing is counted.

#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; this one passes everything on to the system's and counts"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator, counted.
#[derive(Debug, Clone, Copy)]
pub struct Counting;

/// What was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taken {
    /// How many times.
    pub times: usize,
    /// The greatest sum of what was held at once, in bytes.
    pub peak: usize,
}

#[derive(Clone, Copy)]
struct Tally {
    taken: Taken,
    held: usize,
}

thread_local! {
    static TALLY: Cell<Tally> = const {
        Cell::new(Tally {
            taken: Taken { times: 0, peak: 0 },
            held: 0,
        })
    };
}

/// Runs something and counts what it takes.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    let nothing = Tally {
        taken: Taken::default(),
        held: 0,
    };
    TALLY.with(|tally| tally.set(nothing));
    let outcome = work();
    (outcome, TALLY.with(Cell::get).taken)
}

fn change(tally: impl FnOnce(&mut Tally)) {
    // At a thread's end its tally may be gone already.
    let _ = TALLY.try_with(|cell| {
        let mut now = cell.get();
        tally(&mut now);
        cell.set(now);
    });
}

fn take(size: usize) {
    change(|tally| {
        tally.held = tally.held.wrapping_add(size);
        tally.taken.times += 1;
        tally.taken.peak = tally.taken.peak.max(tally.held);
    });
}

fn give(size: usize) {
    // What was taken before the measurement may be given back in it.
    change(|tally| tally.held = tally.held.saturating_sub(size));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of the caller's, and
// a thread-local of constant value and without a destructor allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        give(layout.size());
        take(size);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}
