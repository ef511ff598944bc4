//! What each machine's program holds on the heap, as told by an allocator that asks whose turn it is.
//!
//! In: turns, from the world; bytes that were taken and given back, from the program's allocator. Out: how many bytes
//! that were taken in the turns of a machine's present life have not been given back, by whomever. Its kernel's buffers
//! are memory of this process, too, and count as its own; its disk and the trace do not, nor does what the C library gave
//! out (the TLS library's own keys and contexts).
//!
//! A process runs one world, on one thread: its numbers are the process's. Only that thread has turns. What it took may
//! be given back on another; so there are two tables, of which the first has one writer and needs no locked instruction.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed},
};

/// Whose some memory is: one life of a machine, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(u16);

/// Of other threads, and of the world itself.
const NOBODY: Owner = Owner(u16::MAX);

/// More than the lives of any run; those after are not counted.
const OWNERS: usize = 4096;

thread_local! {
    // `const` and without a destructor: an allocator must not allocate, nor find it gone.
    static TURN: Cell<Turn> = const { Cell::new(Turn { owner: NOBODY, world: false }) };
}

#[derive(Clone, Copy)]
struct Turn {
    owner: Owner,
    /// This thread has run a machine.
    world: bool,
}

static HERE: [AtomicU64; OWNERS] = [const { AtomicU64::new(0) }; OWNERS];
static ELSEWHERE: [AtomicU64; OWNERS] = [const { AtomicU64::new(0) }; OWNERS];

/// Who takes what is taken now, on this thread.
#[inline]
pub fn owner() -> Owner {
    TURN.get().owner
}

/// An allocator gave so many bytes to `owner`.
#[inline]
pub fn took(owner: Owner, bytes: usize) {
    change(owner, bytes as u64);
}

/// An allocator got so many bytes back that `owner` had taken.
#[inline]
pub fn gave(owner: Owner, bytes: usize) {
    change(owner, (bytes as u64).wrapping_neg());
}

/// Adds to what an owner holds. It wraps below 0 and back: the sum of both tables is exact.
#[inline]
fn change(owner: Owner, by: u64) {
    let nth = usize::from(owner.0);
    let Some(here) = HERE.get(nth) else {
        return;
    };
    if TURN.get().world {
        here.store(here.load(Relaxed).wrapping_add(by), Relaxed);
    } else {
        ELSEWHERE[nth].fetch_add(by, Relaxed);
    }
}

impl Owner {
    /// One that owns nothing yet.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let next = NEXT.try_update(Relaxed, Relaxed, |next| {
            (usize::from(next) < OWNERS).then_some(next + 1)
        });
        next.map_or(NOBODY, Self)
    }

    /// Bytes that it holds; none where no allocator tells.
    pub(super) fn held(self) -> Option<u64> {
        let nth = usize::from(self.0);
        let elsewhere = ELSEWHERE.get(nth)?.load(Relaxed);
        let held = HERE.get(nth)?.load(Relaxed).wrapping_add(elsewhere);
        (held > 0).then_some(held)
    }
}

/// Does something in the turn of a machine's life.
pub(super) fn turn_of<T>(owner: Owner, then: impl FnOnce() -> T) -> T {
    let _before = Before::change(Turn { owner, world: true });
    then()
}

/// Does something that the world does, also where it is called in a machine's turn.
pub fn outside<T>(then: impl FnOnce() -> T) -> T {
    let _before = Before::change(Turn {
        owner: NOBODY,
        ..TURN.get()
    });
    then()
}

/// Whose turn it was; it is again when this is dropped. That this thread has the world stays.
struct Before(Owner);

impl Before {
    fn change(turn: Turn) -> Self {
        Self(TURN.replace(turn).owner)
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        let owner = self.0;
        TURN.set(Turn {
            owner,
            ..TURN.get()
        });
    }
}
