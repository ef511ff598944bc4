//! The atomics that the cells are made of, and how finely a sliding window is cut.
//!
//! A module of its own because the model checker's test puts its own twin in this one's place: the same
//! source files, loom's atomics, and few slots (`cluster/tests/quota_model`).

pub(super) use std::sync::atomic::{
    AtomicU16, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// Slots of a sliding window. A token rests between one window and one window and a slot, so that a limit in
/// full use loses 1/(n + 1) of its amount: 2.4 %.
pub(super) const SLOTS: u64 = 40;
