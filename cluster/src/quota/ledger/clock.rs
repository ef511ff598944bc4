//! Log time: how the entries of a log carry time without clocks that are set.
//!
//! In: an applied entry's time and when this node received it, by its own clock. Out: the time for its next
//! entry, should it lead. A core. It runs no faster than this node's clock, stands still while nobody leads, and
//! goes on where it stood after a change of the leader or a restart of all.
//!
//! While one leads, its entries are on one straight line, by its own clock: what it is to be agreed on for takes no
//! time away, or log time would stand still while entries are on their way. So of any two entries of the log that
//! count, the later says at most so much more as passed, by a clock within the drift, between the moments at which
//! they were stamped: on one line that is so, and another begins no earlier than its first entry was received, and is
//! taken up only if nothing that counts is between ([`Ledger`](super::Ledger) looks at that).

use meridian_config::name::NodeId;

use crate::quota::message::Line;

/// One voter's reading of log time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogClock {
    line: Line,
    log_ms: u64,
    received_ms: u64,
}

impl LogClock {
    /// A node's before the first entry.
    pub fn new(own: NodeId) -> Self {
        Self {
            line: Line { by: own, after: 0 },
            log_ms: 0,
            received_ms: 0,
        }
    }

    /// Takes the time of an entry that counted; `now_ms` is the node's monotonic clock when the entry was received, or
    /// any time after that. Of its own line it knows it already, unless a process before this one began the line.
    pub(crate) fn advance(&mut self, line: &Line, index: u64, log_ms: u64, now_ms: u64) {
        let own = *line == self.line;
        if !own || log_ms > self.read(now_ms) {
            let after = if own { self.line.after } else { index };
            self.begin(after, log_ms, now_ms);
        }
    }

    /// Tells time from this entry on, which was received then.
    pub(crate) fn begin(&mut self, after: u64, log_ms: u64, now_ms: u64) {
        self.line.after = after;
        if log_ms >= self.log_ms {
            (self.log_ms, self.received_ms) = (log_ms, now_ms);
        }
    }

    /// The log time to propose an entry with.
    pub fn read(&self, now_ms: u64) -> u64 {
        self.log_ms + now_ms.saturating_sub(self.received_ms)
    }

    /// The line that is on.
    pub(crate) fn line(&self) -> &Line {
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(by: &str, after: u64) -> Line {
        Line {
            by: by.into(),
            after,
        }
    }

    #[test]
    fn it_stands_still_without_a_leader_and_goes_on() {
        let mut clock = LogClock::new("a".into());
        assert_eq!(clock.read(50), 50);
        clock.advance(&line("b", 0), 1, 100, 1000);
        assert_eq!(clock.read(1250), 350);
        // A restarted process counts from its own start, and has the entry from its log.
        let mut restarted = LogClock::new("a".into());
        restarted.advance(&line("b", 0), 1, 100, 5);
        assert_eq!(restarted.read(25), 120);
        // An entry proposed by an earlier leader in its own time never turns it back.
        clock.advance(&line("c", 0), 2, 90, 1300);
        assert_eq!(clock.read(1300), 400);
        assert_eq!(*clock.line(), line("a", 2));
    }

    #[test]
    fn what_takes_long_to_be_agreed_on_takes_no_time_from_it() {
        let mut clock = LogClock::new("a".into());
        clock.advance(&line("b", 0), 7, 1000, 500);
        for index in 8..100 {
            // Proposed 80 ms ago.
            let now = 500 + 50 * index;
            let (log_ms, own) = (clock.read(now - 80), clock.line().clone());
            assert_eq!(own, line("a", 7));
            clock.advance(&own, index, log_ms, now);
        }
        assert_eq!(clock.read(10_500), 11_000);
    }

    #[test]
    fn a_line_that_a_process_before_began_is_not_known_by_this_one() {
        let mut clock = LogClock::new("a".into());
        clock.advance(&line("b", 0), 7, 1000, 50);
        clock.advance(&line("a", 7), 8, 90_000, 60);
        assert_eq!(clock.read(70), 90_010);
    }
}
