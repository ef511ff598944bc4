//! How many tokens one request of a key takes: fewer at hand are of no use.
//!
//! In: what requests have taken, and asked for where they found too little, tick by tick. Out: that, where it is about the same;
//! 1 where it isn't, since any token is of use then. A hint: no promise rests on it. A core.

use std::time::Duration;

/// What is known of it at one node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    count: u32,
    /// When it was seen last.
    seen: u64,
    /// When requests asked for various amounts last.
    various: Option<u64>,
    /// For how long it is remembered.
    memory: Duration,
}

impl Unit {
    /// As it was when the key went out of use.
    pub(super) fn known(count: u32, window: Duration, now: u64) -> Self {
        Self {
            count: count.max(1),
            seen: now,
            various: None,
            memory: window.clamp(MEMORY.0, MEMORY.1),
        }
    }

    /// Looks at a tick: the most that a request has taken or wanted since the last, 0 for none, and whether there were some that
    /// found too little and wanted other amounts.
    pub(super) fn see(&mut self, wanted: u32, various: bool, now: u64) {
        let over = |then: u64| super::elapsed(then, now) >= self.memory;
        if over(self.seen) {
            self.count = 1;
        }
        self.various = self.various.filter(|then| !over(*then));
        if wanted == 0 {
            return;
        }
        if various || self.count > 1 && differ(self.count, wanted) {
            self.various = Some(now);
        }
        (self.count, self.seen) = (wanted, now);
    }

    /// At least 1.
    pub(super) fn count(&self) -> u32 {
        match self.various {
            Some(_) => 1,
            None => self.count,
        }
    }
}

/// Whether two requests ask for so different amounts that what is of no use to the one may serve the other.
pub(in super::super) fn differ(one: u32, other: u32) -> bool {
    one.max(other) / 2 >= one.min(other)
}

/// At least and at most; a window, else.
const MEMORY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn it_is_what_all_ask_for_and_one_where_they_differ() {
        let mut unit = Unit::known(1, Duration::from_secs(60), 0);
        unit.see(7, false, SECOND);
        assert_eq!(unit.count(), 7);
        unit.see(0, false, 2 * SECOND);
        unit.see(9, false, 3 * SECOND);
        assert_eq!(unit.count(), 9);
        unit.see(2, false, 4 * SECOND);
        assert_eq!(unit.count(), 1, "another tick's");
        unit.see(9, false, 64 * SECOND);
        assert_eq!(unit.count(), 9, "that was long ago");
        unit.see(9, true, 65 * SECOND);
        assert_eq!(unit.count(), 1, "the same tick's");
    }

    #[test]
    fn it_is_forgotten() {
        let mut unit = Unit::known(60, Duration::from_secs(1), 0);
        unit.see(0, false, 59 * SECOND);
        assert_eq!(unit.count(), 60);
        unit.see(0, false, 60 * SECOND);
        assert_eq!(unit.count(), 1);
    }
}
