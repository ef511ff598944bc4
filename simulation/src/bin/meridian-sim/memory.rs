//! The allocator: mimalloc, which never gives memory back, and remembers of every piece whose it is.
//!
//! Nothing that a run does may depend on where memory lies, so the fastest allocator will do. mimalloc gives free
//! pages back to the kernel a second after their last use; it reads the simulated clock, on which a second is over in
//! no time, so that it would give back and ask again for the same pages all the time.
//!
//! Before each piece stands its owner ([`heap`]), in the line of the cache that whoever has the piece reads first.

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

/// mimalloc, with an owner before each piece.
struct Owned;

/// What stands before a piece: a multiple of its alignment, with room for the owner.
fn ahead(align: usize) -> usize {
    align.max(16)
}

/// A piece with what stands before it; none where that is more than there can be.
fn whole(size: usize, align: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(ahead(align))?, align).ok()
}

/// Notes whose turn it is at the beginning of a new whole, and gives the piece in it.
///
/// # Safety
/// `whole` must be null, or made for `layout` by [`whole`].
unsafe fn begin(whole: *mut u8, layout: Layout) -> *mut u8 {
    if whole.is_null() {
        return whole;
    }
    let owner = heap::owner();
    heap::took(owner, layout.size());
    // SAFETY: there are at least 16 bytes before the piece, and mimalloc gives no address that is not a multiple of 8.
    unsafe {
        whole.cast::<Owner>().write_unaligned(owner);
        whole.add(ahead(layout.align()))
    }
}

// SAFETY: every piece lies in one of mimalloc's, behind its owner and aligned as that is; a caller sees the piece only.
unsafe impl GlobalAlloc for Owned {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(room) = whole(layout.size(), layout.align()) else {
            return ptr::null_mut();
        };
        // SAFETY: `room` is not empty.
        unsafe { begin(MiMalloc.alloc(room), layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(room) = whole(layout.size(), layout.align()) else {
            return ptr::null_mut();
        };
        // SAFETY: as in `alloc`.
        unsafe { begin(MiMalloc.alloc_zeroed(room), layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise: `begin` gave it, for this layout.
        unsafe {
            let whole = piece.sub(ahead(layout.align()));
            heap::gave(whole.cast::<Owner>().read_unaligned(), layout.size());
            MiMalloc.dealloc(whole, layout);
        }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        let (Some(before), Some(after)) = (whole(layout.size(), align), whole(size, align)) else {
            return ptr::null_mut();
        };
        // SAFETY: as in `dealloc`; the owner moves along, and where there is no room the old piece stays as it is.
        unsafe {
            let old = piece.sub(ahead(align));
            let owner = old.cast::<Owner>().read_unaligned();
            let grown = MiMalloc.realloc(old, before, after.size());
            if grown.is_null() {
                return grown;
            }
            heap::gave(owner, layout.size());
            heap::took(owner, size);
            grown.add(ahead(align))
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
