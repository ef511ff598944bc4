//! What libraries read without asking anyone: the process's entropy and clocks.
//!
//! Hash tables seed themselves, gossip picks its peers by the thread's generator, TLS reads the wall clock.
//! No argument reaches those, so the simulator's binary interposes the symbols they call. This is the seam
//! between that binary and the world: the world says which seed and what time it is.

use std::time::Duration;

use super::Seed;

/// The process's entropy and clocks, as far as they can be steered.
pub trait Ambient {
    /// From here on this thread's entropy follows from the seed, and its clocks stand at `unix`.
    fn begin(&self, seed: Seed, unix: Duration);

    /// This thread's wall clock now stands at `unix`, time since the Unix epoch, and its monotonic one at `elapsed` since
    /// the run began.
    fn stand_at(&self, unix: Duration, elapsed: Duration);

    /// How a runtime of this thread is kept from really sleeping; none where its clocks are not steered: then
    /// its runtime's own clock is paused and moved instead.
    fn naps(&self) -> Option<Naps> {
        None
    }
}

/// What an idle runtime asks the kernel for is the one place where it says when its next timer is due. Between
/// [`begin`](Self::begin) and [`end`](Self::end) the thread's timed waits return at once.
#[derive(Debug, Clone, Copy)]
pub struct Naps {
    /// The thread's next timed wait will be a runtime's that has nothing to do before its next timer.
    pub begin: fn(),
    /// How long it would have waited; none if it did not wait.
    pub end: fn() -> Option<Duration>,
}

/// Leaves entropy and clocks as they are: for tests of the world's parts, whose runs may differ in what
/// libraries draw for themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Untouched;

impl Ambient for Untouched {
    fn begin(&self, _seed: Seed, _unix: Duration) {}

    fn stand_at(&self, _unix: Duration, _elapsed: Duration) {}
}
