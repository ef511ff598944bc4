//! What may be wrong with one link for a while, and when it is so bad that nothing is promised over it.
//!
//! A core: troubles come in, their sum comes out. Its shell is [`Links`](super::Links).

use std::time::Duration;

use super::links::Capacity;

/// What is wrong with one link in one direction, on top of what every packet risks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trouble {
    /// Added to the latency.
    pub latency: Duration,
    /// Added as well, evenly drawn from zero to this for each packet: it reorders packets.
    pub jitter: Duration,
    /// Share of packets lost, 0 to 1. A lost piece of a stream comes late instead.
    pub loss: f64,
    /// Share of packets that arrive twice, 0 to 1.
    pub duplication: f64,
    /// All that the link carries.
    pub capacity: Option<Capacity>,
}

/// What the troubles of a link did to what passed over it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touched {
    /// Packets and pieces that were on their way for longer.
    pub slowed: u64,
    /// Packets and pieces that were lost or doubled.
    pub spoilt: u64,
    /// Packets and pieces that found a narrow link busy.
    pub queued: u64,
}

impl Trouble {
    /// Both at once.
    pub(super) fn and(&self, other: &Self) -> Self {
        let either = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
        let narrower = match (self.capacity, other.capacity) {
            (Some(a), Some(b)) if a.bytes_per_second <= b.bytes_per_second => Some(a),
            (a, b) => b.or(a),
        };
        Self {
            latency: self.latency + other.latency,
            jitter: self.jitter + other.jitter,
            loss: either(self.loss, other.loss),
            duplication: either(self.duplication, other.duplication),
            capacity: narrower,
        }
    }

    /// Whether it is so bad that nothing is promised over a link that is this long without it.
    pub(super) fn is_grave(&self, latency: Duration) -> bool {
        let narrow = |capacity: Capacity| capacity.bytes_per_second < NARROWEST;
        latency + self.latency + self.jitter > FARTHEST
            || self.loss > MOST_LOST
            || self.capacity.is_some_and(narrow)
    }
}

/// The longest one-way latency over which the promises stand: there and back is 300 ms, which leaves room below the
/// 350 ms of the profile `wan` in which a message of Raft's must be answered, and the 500 ms of a dial.
const FARTHEST: Duration = Duration::from_millis(150);

/// The most loss over which the promises stand: of a request's four packets or so one in five requests loses one, and
/// gets it again within the budget.
const MOST_LOST: f64 = 0.05;

/// The narrowest link, in bytes a second, over which the promises stand: about ten times what three nodes' gossip,
/// probes and heartbeats take.
const NARROWEST: f64 = 512.0 * 1024.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mild_trouble_leaves_the_promises_as_they_are() {
        let latency = Duration::from_millis(110);
        let mild = Trouble {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(20),
            loss: 0.02,
            duplication: 1.0,
            capacity: None,
        };
        assert!(!mild.is_grave(latency));
        assert!(mild.and(&mild).is_grave(latency));
        let narrow = Trouble {
            capacity: Some(Capacity {
                bytes_per_second: 1e5,
                queue: Duration::ZERO,
            }),
            ..Trouble::default()
        };
        assert!(narrow.is_grave(Duration::ZERO));
        assert_eq!(narrow.and(&mild).capacity, narrow.capacity);
    }
}
