//! What the TLS library seeds its own generator with, in the process that plays a run.
//!
//! aws-lc does not rest with the kernel's entropy: it times the processor for some 40 ms, a fifteenth of a short run, and
//! draws from the processor's own generator. Neither can be answered from a seed where it is read. So this takes the
//! place of all three sources, by a function that the library exports for such tests; then even keys and the contents of
//! packets follow from the seed.

#![allow(
    unsafe_code,
    reason = "a C library's function table cannot be written without it"
)]

use std::{
    ffi::{c_int, c_void},
    ptr, slice,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use meridian_simulation::world::Seed;

/// `struct entropy_source_methods` of aws-lc.
#[repr(C)]
struct Methods {
    initialize: extern "C" fn(*mut c_void) -> c_int,
    zeroize_thread: extern "C" fn(*mut c_void),
    free_thread: extern "C" fn(*mut c_void),
    get_seed: unsafe extern "C" fn(*const c_void, *mut u8) -> c_int,
    get_extra_entropy: unsafe extern "C" fn(*const c_void, *mut u8) -> c_int,
    get_prediction_resistance: Option<unsafe extern "C" fn(*const c_void, *mut u8) -> c_int>,
    id: c_int,
}

static METHODS: Methods = Methods {
    initialize,
    zeroize_thread: nothing,
    free_thread: nothing,
    get_seed,
    get_extra_entropy,
    get_prediction_resistance: None,
    id: OVERRIDDEN,
};

/// `OVERRIDDEN_ENTROPY_SOURCE`.
const OVERRIDDEN: c_int = 0;

/// `CTR_DRBG_ENTROPY_LEN`: bytes of a seed.
const LENGTH: usize = 48;

unsafe extern "C" {
    // The library puts its version into each name. Where a new version no longer links: this line, and whether
    // `struct entropy_source_methods` (crypto/fipsmodule/rand/entropy/internal.h) is still as above.
    #[link_name = "aws_lc_0_47_0_override_entropy_source_method_FOR_TESTING"]
    fn override_entropy_source_method(methods: *const Methods);
}

/// From here on the TLS library's generators of this process are seeded from this; to be called before any is used.
pub(crate) fn follow(seed: Seed) {
    DRAWN.store(seed.0 ^ SALT, Relaxed);
    // SAFETY: the table lives as long as the process, and its functions keep what the library asks of them.
    unsafe { override_entropy_source_method(ptr::from_ref(&METHODS)) };
}

/// State of the generator, of its own: what other libraries draw must not depend on this one.
static DRAWN: AtomicU64 = AtomicU64::new(0);

const SALT: u64 = 0x6177_732d_6c63_2121;

extern "C" fn initialize(_source: *mut c_void) -> c_int {
    1
}

extern "C" fn nothing(_source: *mut c_void) {}

/// SplitMix64 (Steele, Lea, Flood 2014): nothing secret depends on it.
unsafe extern "C" fn get_seed(_source: *const c_void, bytes: *mut u8) -> c_int {
    // SAFETY: the library hands over an array of so many bytes.
    let bytes = unsafe { slice::from_raw_parts_mut(bytes, LENGTH) };
    for word in bytes.chunks_exact_mut(8) {
        let mut drawn = DRAWN
            .fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(drawn ^ (drawn >> 31)).to_le_bytes());
    }
    1
}

/// The kernel's, as before: this program answers it (`interposed`).
unsafe extern "C" fn get_extra_entropy(_source: *const c_void, bytes: *mut u8) -> c_int {
    // SAFETY: as in `get_seed`.
    let got = unsafe { libc::getrandom(bytes.cast(), LENGTH, 0) };
    c_int::from(usize::try_from(got) == Ok(LENGTH))
}
