//! The cells' source, over loom's atomics.

pub(super) mod atomic {
    pub(super) use loom::sync::atomic::{
        AtomicU16, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    };

    /// Few, so that all interleavings can be played.
    pub(super) const SLOTS: u64 = 2;
}
#[path = "../../src/quota/cell/mod.rs"]
pub(super) mod cell;
#[path = "../../src/quota/charge.rs"]
pub(super) mod charge;
#[path = "../../src/quota/clock.rs"]
pub(super) mod clock;
#[path = "../../src/quota/lease.rs"]
pub(super) mod lease;
#[path = "../../src/quota/pace.rs"]
pub(super) mod pace;
#[path = "../../src/quota/params.rs"]
pub(super) mod params;
