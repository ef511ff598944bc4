//! The allocator: mimalloc, which never gives memory back, and remembers of every piece whose it is.
//!
//! Nothing that a run does may depend on where memory lies, so the fastest allocator will do. mimalloc gives free
//! pages back to the kernel a second after their last use; it reads the simulated clock, on which a second is over in
//! no time, so that it would give back and ask again for the same pages all the time.
//!
//! Behind each piece stand two bytes with its owner ([`heap`]): who gives it back says how long it is, so they are found.

#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to be one, and mimalloc's options are set by a C function"
)]

use std::{
    alloc::{GlobalAlloc, Layout},
    ffi::{c_int, c_long},
    ptr,
};

use meridian_simulation::world::heap::{self, Owner};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Owned = Owned;

/// mimalloc, with an owner behind each piece.
struct Owned;

/// Bytes behind a piece.
const MARK: usize = size_of::<Owner>();

/// A piece with its mark; none where that is more than there can be.
fn marked(size: usize, align: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(MARK)?, align).ok()
}

/// Marks a new piece as the owner's whose turn it is.
///
/// # Safety
/// `piece` must be null, or valid for writes of `size` bytes and a mark.
unsafe fn mark(piece: *mut u8, size: usize) -> *mut u8 {
    if !piece.is_null() {
        let owner = heap::owner();
        // SAFETY: the mark is behind the piece and belongs to it; it need not be aligned.
        unsafe { piece.add(size).cast::<Owner>().write_unaligned(owner) };
        heap::took(owner, size);
    }
    piece
}

/// Whose a piece is.
///
/// # Safety
/// `piece` must be of this allocator and `size` bytes long.
unsafe fn owner_of(piece: *mut u8, size: usize) -> Owner {
    // SAFETY: `mark` wrote it there.
    unsafe { piece.add(size).cast::<Owner>().read_unaligned() }
}

// SAFETY: every piece is mimalloc's, made with room for its mark; a caller sees all but the mark.
unsafe impl GlobalAlloc for Owned {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(room) = marked(layout.size(), layout.align()) else {
            return ptr::null_mut();
        };
        // SAFETY: `room` is not empty, and has the mark's bytes too.
        unsafe { mark(MiMalloc.alloc(room), layout.size()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(room) = marked(layout.size(), layout.align()) else {
            return ptr::null_mut();
        };
        // SAFETY: as in `alloc`.
        unsafe { mark(MiMalloc.alloc_zeroed(room), layout.size()) }
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise: it is of this allocator, and so long.
        unsafe {
            heap::gave(owner_of(piece, layout.size()), layout.size());
            MiMalloc.dealloc(piece, layout);
        }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(before), Some(after)) = (
            marked(layout.size(), layout.align()),
            marked(size, layout.align()),
        ) else {
            return ptr::null_mut();
        };
        // SAFETY: as in `alloc` and `dealloc`; where there is no room for it the old piece stays whole, mark and all.
        unsafe {
            let owner = owner_of(piece, layout.size());
            let grown = MiMalloc.realloc(piece, before, after.size());
            if !grown.is_null() {
                grown.add(size).cast::<Owner>().write_unaligned(owner);
                heap::gave(owner, layout.size());
                heap::took(owner, size);
            }
            grown
        }
    }
}

unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
}

/// Keeps what was freed for the process itself.
pub(crate) fn keep_all() {
    // SAFETY: the function takes any option and any value; a wrong option would be another setting, not another type.
    unsafe { mi_option_set(PURGE_DELAY, NEVER) };
}

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: c_int = 15;

const NEVER: c_long = -1;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meridian_simulation::world::{Links, MachineId, Place, Seed, TICK, Trace, World};
    use tokio::time::sleep;

    use super::{super::interposed::Interposed, *};

    const MIB: usize = 1 << 20;

    fn mib(world: &World, machine: MachineId) -> Option<u64> {
        world.memory(machine).map(|held| held / MIB as u64)
    }

    #[test]
    fn a_machine_holds_what_it_took_until_anybody_gives_it_back() {
        let links = Links::even(1, TICK, TICK);
        let mut world = World::new(Seed(1), links, Trace::new(None), Box::new(Interposed));
        let [taker, other] = ["taker", "other"].map(|name| world.add(name, Place(0)));
        let (give, taken) = std::sync::mpsc::channel();
        world.start(taker, |_| async move {
            let mut grows = vec![1_u8; MIB];
            sleep(Duration::from_secs(1)).await;
            grows.resize(4 * MIB, 1);
            sleep(Duration::from_secs(1)).await;
            give.send(grows).expect("somebody takes it");
            std::future::pending().await
        });
        world.start(other, |_| std::future::pending());
        world.step();
        assert_eq!(mib(&world, taker), Some(1));
        world.run_for(Duration::from_millis(1_500));
        assert_eq!(mib(&world, taker), Some(4));
        world.run_for(Duration::from_secs(1));
        assert_eq!(mib(&world, taker), Some(4), "it took what another has now");
        std::thread::scope(|scope| {
            scope.spawn(move || drop(taken.recv()));
        });
        assert_eq!(mib(&world, taker), Some(0));
        assert_eq!(mib(&world, other), Some(0));
    }

    unsafe extern "C" {
        fn mi_option_get(option: c_int) -> c_long;
    }

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: as in `keep_all`.
        let read = || unsafe { mi_option_get(PURGE_DELAY) };
        // No other option of mimalloc's has this default: a second, in milliseconds.
        assert_eq!(read(), 1_000);
        keep_all();
        assert_eq!(read(), NEVER);
    }
}
