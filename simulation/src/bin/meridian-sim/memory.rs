//! The allocator: mimalloc, which never gives memory back.
//!
//! Nothing that a run does may depend on where memory lies, so the fastest allocator will do. mimalloc gives free
//! pages back to the kernel a second after their last use; it reads the simulated clock, on which a second is over in
//! no time, so that it would give back and ask again for the same pages all the time.

#![allow(unsafe_code, reason = "mimalloc's options are set by a C function")]

use std::ffi::{c_int, c_long};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    use super::*;

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
