//! The two clocks of a node, as the quota reads them.
//!
//! In a charge the clock is an argument and is read twice, so it is a trait and no instant: what happens
//! between the two readings is what the cells have to be right about.

/// Nanoseconds of the node's monotonic clock since some moment before the node's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

/// Nanoseconds since the Unix epoch, by the node's own wall clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unix(pub u64);

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// For sliding windows and leases.
    pub monotonic: Monotonic,
    /// For fixed windows. May be the monotonic reading plus an offset that is taken anew each tick: a step
    /// of the wall clock then arrives a tick late, which the bound on clocks' offsets allows for.
    pub unix: Unix,
}

/// Reads the clocks. A reading must be the real time at the call, never one kept from before: a late
/// reading would free tokens early.
pub trait Clock {
    /// Both clocks now.
    fn now(&self) -> Now;
}

impl<F: Fn() -> Now> Clock for F {
    fn now(&self) -> Now {
        self()
    }
}
