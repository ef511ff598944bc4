//! A node's two clocks, as charges read them.
//!
//! The monotonic one is read at each call. The wall clock is the monotonic one plus an offset that is taken anew each
//! tick, so that a charge reads one clock and no more.

use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use crate::quota::clock::{Clock, Monotonic, Now, Unix};

/// The clocks of a node.
#[derive(Debug)]
pub struct NodeClock {
    origin: Instant,
    /// Wall clock less monotonic, in ns.
    offset: AtomicI64,
}

impl NodeClock {
    /// Clocks whose wall clock stands there now.
    pub(crate) fn new(unix: Duration) -> Self {
        let clock = Self {
            origin: Instant::now(),
            offset: AtomicI64::new(0),
        };
        clock.set_wall(unix);
        clock
    }

    /// The wall clock stands there now.
    pub(crate) fn set_wall(&self, unix: Duration) {
        let unix = i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX);
        let monotonic = i64::try_from(self.monotonic()).unwrap_or(i64::MAX);
        self.offset.store(unix.saturating_sub(monotonic), Relaxed);
    }

    fn monotonic(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long until the monotonic clock stands there.
    #[must_use]
    pub fn until(&self, then: Monotonic) -> Duration {
        Duration::from_nanos(then.0.saturating_sub(self.monotonic()))
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Now {
        let monotonic = self.monotonic();
        let unix = monotonic.saturating_add_signed(self.offset.load(Relaxed));
        Now {
            monotonic: Monotonic(monotonic),
            unix: Unix(unix),
        }
    }
}
