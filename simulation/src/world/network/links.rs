//! How long the way between two regions is, and what happens on it.
//!
//! A core: the regions at both ends and a generator come in, a [`Verdict`] for one packet or the delay of
//! one piece of a stream comes out. Its shell is the [`Network`](super::Network).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt, rngs::StdRng};

/// A region of the world, by its position in the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub usize);

/// Latencies and conditions of every link.
#[derive(Debug, Clone)]
pub struct Links {
    /// One way, in both directions alike; the diagonal is the way between two machines of a region.
    latency: Vec<Vec<Duration>>,
    conditions: Conditions,
    /// What every link between two regions carries; none: whatever is sent.
    capacity: Option<Capacity>,
    /// Directed: until when what was sent before keeps a link busy.
    busy: BTreeMap<(Place, Place), Duration>,
    /// Directed: bytes that a limited link has carried, headers included.
    carried: BTreeMap<(Place, Place), u64>,
    /// Directed: what goes from the first to the second is lost.
    cuts: BTreeSet<(Place, Place)>,
    /// Directed: packets that were lost to a cut.
    cut_off: BTreeMap<(Place, Place), u64>,
}

/// What every packet of the world risks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Added to each packet's latency, evenly drawn from zero to this: it also reorders packets.
    pub jitter: Duration,
    /// Share of packets lost, 0 to 1. A lost piece of a stream comes late instead.
    pub loss: f64,
    /// Share of packets that arrive twice, 0 to 1.
    pub duplication: f64,
}

/// What a link between two regions carries, in each direction. What comes faster waits in the router's queue,
/// all packets in one line; what finds the queue full is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// Bytes in a second, headers included.
    pub bytes_per_second: f64,
    /// How long a packet waits at most.
    pub queue: Duration,
}

/// A packet and when it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Since the world's start.
    pub at: Duration,
    /// Its payload's length.
    pub length: usize,
}

impl Conditions {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        jitter: Duration::ZERO,
        loss: 0.0,
        duplication: 0.0,
    };
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The link is cut.
    Cut,
    /// Lost by chance.
    Lose,
    /// Lost to a full queue.
    Overflow,
    /// It arrives after this long.
    Deliver(Duration),
    /// It arrives twice.
    Duplicate(Duration, Duration),
}

impl Links {
    /// Regions that are all `between` apart, and machines of one region `within`.
    pub fn even(regions: usize, within: Duration, between: Duration) -> Self {
        let row = |from| {
            (0..regions)
                .map(|to| if from == to { within } else { between })
                .collect()
        };
        Self {
            latency: (0..regions).map(row).collect(),
            conditions: Conditions::CALM,
            capacity: None,
            busy: BTreeMap::new(),
            carried: BTreeMap::new(),
            cuts: BTreeSet::new(),
            cut_off: BTreeMap::new(),
        }
    }

    /// Sets the one-way latency between two regions, in both directions.
    pub fn set_latency(&mut self, a: Place, b: Place, latency: Duration) {
        self.latency[a.0][b.0] = latency;
        self.latency[b.0][a.0] = latency;
    }

    /// Adds a region that is as far from itself as from all others.
    pub fn add(&mut self, latency: Duration) {
        for row in &mut self.latency {
            row.push(latency);
        }
        self.latency.push(vec![latency; self.latency.len() + 1]);
    }

    /// Sets what every packet risks from now on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Limits every link between two regions.
    pub fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = Some(capacity);
    }

    /// Bytes that a link has carried since the start, and those that it could carry in a second; none where links
    /// have no limit.
    pub fn load(&self, from: Place, to: Place) -> Option<(u64, f64)> {
        let carried = self.carried.get(&(from, to)).copied().unwrap_or(0);
        Some((carried, self.capacity?.bytes_per_second))
    }

    /// Loses everything that goes from one region to another, in this direction alone.
    pub fn cut(&mut self, from: Place, to: Place) {
        self.cuts.insert((from, to));
    }

    /// Mends every cut.
    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Whether what goes this way is lost.
    pub fn is_cut(&self, from: Place, to: Place) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Packets that this way has lost to cuts since the start.
    pub fn cut_off(&self, from: Place, to: Place) -> u64 {
        self.cut_off.get(&(from, to)).copied().unwrap_or(0)
    }

    pub(super) fn note_cut(&mut self, from: Place, to: Place) {
        *self.cut_off.entry((from, to)).or_default() += 1;
    }

    /// One-way latency without jitter.
    pub fn latency(&self, from: Place, to: Place) -> Duration {
        self.latency[from.0][to.0]
    }

    /// What becomes of one packet.
    pub fn packet(&mut self, random: &mut StdRng, from: Place, to: Place, sent: Sent) -> Verdict {
        if self.is_cut(from, to) {
            return Verdict::Cut;
        }
        let Some(queued) = self.queue(from, to, sent) else {
            return Verdict::Overflow;
        };
        let Conditions {
            loss, duplication, ..
        } = self.conditions;
        if loss > 0.0 && random.random_bool(loss) {
            return Verdict::Lose;
        }
        let first = queued + self.delay(random, from, to);
        if duplication > 0.0 && random.random_bool(duplication) {
            return Verdict::Duplicate(first, queued + self.delay(random, from, to));
        }
        Verdict::Deliver(first)
    }

    /// How long the packet waits for its link, and takes to get onto it; none where the queue is full.
    fn queue(&mut self, from: Place, to: Place, sent: Sent) -> Option<Duration> {
        let Some(capacity) = self.capacity.filter(|_| from != to) else {
            return Some(Duration::ZERO);
        };
        let free = self.busy.entry((from, to)).or_default();
        let begins = sent.at.max(*free);
        if begins - sent.at > capacity.queue {
            return None;
        }
        let bytes = u32::try_from(sent.length + HEADERS).unwrap_or(u32::MAX);
        let takes = Duration::from_secs_f64(f64::from(bytes) / capacity.bytes_per_second);
        *free = begins + takes;
        *self.carried.entry((from, to)).or_default() += u64::from(bytes);
        Some(begins + takes - sent.at)
    }

    /// How long one piece of a stream is on its way, lost and sent again where chance says so.
    pub fn stream_delay(&self, random: &mut StdRng, from: Place, to: Place) -> Duration {
        let mut delay = self.delay(random, from, to);
        if self.conditions.loss > 0.0 && random.random_bool(self.conditions.loss) {
            delay += RETRANSMISSION.max(2 * self.latency(from, to));
        }
        delay
    }

    fn delay(&self, random: &mut StdRng, from: Place, to: Place) -> Duration {
        let jitter = self.conditions.jitter;
        let extra = if jitter.is_zero() {
            Duration::ZERO
        } else {
            random.random_range(Duration::ZERO..=jitter)
        };
        self.latency(from, to) + extra
    }
}

/// Headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// Least time after which a kernel sends a lost segment again (Linux's minimum).
const RETRANSMISSION: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Seed;

    const A: Place = Place(0);
    const B: Place = Place(1);
    const SMALL: Sent = Sent {
        at: Duration::ZERO,
        length: 100,
    };

    fn links() -> Links {
        Links::even(2, Duration::from_millis(1), Duration::from_millis(40))
    }

    #[test]
    fn a_cut_is_one_way_until_it_heals() {
        let mut links = links();
        let mut random = Seed(1).stream("test");
        links.cut(A, B);
        assert_eq!(links.packet(&mut random, A, B, SMALL), Verdict::Cut);
        let back = Verdict::Deliver(Duration::from_millis(40));
        assert_eq!(links.packet(&mut random, B, A, SMALL), back);
        links.heal();
        assert_eq!(links.packet(&mut random, A, B, SMALL), back);
    }

    #[test]
    fn loss_and_duplication_happen_about_as_often_as_asked() {
        let mut links = links();
        links.set_conditions(Conditions {
            jitter: Duration::from_millis(20),
            loss: 0.1,
            duplication: 0.2,
        });
        let mut random = Seed(1).stream("test");
        let (mut lost, mut twice) = (0, 0);
        for _ in 0..10_000 {
            match links.packet(&mut random, A, B, SMALL) {
                Verdict::Lose => lost += 1,
                Verdict::Duplicate(..) => twice += 1,
                Verdict::Deliver(delay) => {
                    assert!(delay >= Duration::from_millis(40));
                    assert!(delay <= Duration::from_millis(60));
                }
                Verdict::Cut | Verdict::Overflow => panic!("nothing is cut or full"),
            }
        }
        assert!((900..1100).contains(&lost), "{lost}");
        assert!((1600..2000).contains(&twice), "{twice}");
    }

    #[test]
    fn a_full_link_delays_then_loses_and_neither_the_way_back_nor_a_region_within_is_touched() {
        let mut links = links();
        let mut random = Seed(1).stream("test");
        // A packet of 972 bytes takes a millisecond.
        links.set_capacity(Capacity {
            bytes_per_second: 1e6,
            queue: Duration::from_millis(3),
        });
        let sent = |at| Sent {
            at: Duration::from_millis(at),
            length: 1000 - HEADERS,
        };
        let after = |ms| Verdict::Deliver(Duration::from_millis(ms));
        for wait in 1..=4 {
            assert_eq!(links.packet(&mut random, A, B, sent(0)), after(40 + wait));
        }
        assert_eq!(links.packet(&mut random, A, B, sent(0)), Verdict::Overflow);
        assert_eq!(links.packet(&mut random, B, A, sent(0)), after(41));
        assert_eq!(links.packet(&mut random, A, A, sent(0)), after(1));
        assert_eq!(links.packet(&mut random, A, B, sent(2)), after(43));
        assert_eq!(links.packet(&mut random, A, B, sent(90)), after(41));
    }
}
