//! Log time: how the entries of a log carry time without clocks that are set.
//!
//! In: an applied entry's time and when this node received it, by its own clock. Out: the time for its next
//! entry, should it lead. A core. It runs no faster than this node's clock, stands still while nobody leads, and
//! goes on where it stood after a change of the leader or a restart of all.

/// One voter's reading of log time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogClock {
    log_ms: u64,
    received_ms: u64,
}

impl LogClock {
    /// Takes an entry's log time; `now_ms` is the node's monotonic clock when the entry was received, or any
    /// time after that.
    pub fn advance(&mut self, log_ms: u64, now_ms: u64) {
        if log_ms >= self.log_ms {
            *self = Self {
                log_ms,
                received_ms: now_ms,
            };
        }
    }

    /// The log time to propose an entry with.
    pub fn read(&self, now_ms: u64) -> u64 {
        self.log_ms + now_ms.saturating_sub(self.received_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_without_a_leader_and_goes_on() {
        let mut clock = LogClock::default();
        assert_eq!(clock.read(50), 50);
        clock.advance(100, 1000);
        assert_eq!(clock.read(1250), 350);
        // A restarted process counts from its own start, and has the entry from its log.
        let mut restarted = LogClock::default();
        restarted.advance(100, 5);
        assert_eq!(restarted.read(25), 120);
        // An entry proposed by an earlier leader in its own time never turns it back.
        clock.advance(90, 1300);
        assert_eq!(clock.read(1300), 400);
    }
}
