//! How long the way between two regions is, and what happens on it.
//!
//! A core: the regions at both ends and a generator come in, a [`Verdict`] for one packet or the delay of
//! one piece of a stream comes out. Its shell is the [`Network`](super::Network).

use std::{collections::BTreeSet, time::Duration};

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
    /// Directed: what goes from the first to the second is lost.
    cuts: BTreeSet<(Place, Place)>,
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
            cuts: BTreeSet::new(),
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

    /// One-way latency without jitter.
    pub fn latency(&self, from: Place, to: Place) -> Duration {
        self.latency[from.0][to.0]
    }

    /// What becomes of one packet.
    pub fn packet(&self, random: &mut StdRng, from: Place, to: Place) -> Verdict {
        if self.is_cut(from, to) {
            return Verdict::Cut;
        }
        let Conditions {
            loss, duplication, ..
        } = self.conditions;
        if loss > 0.0 && random.random_bool(loss) {
            return Verdict::Lose;
        }
        let first = self.delay(random, from, to);
        if duplication > 0.0 && random.random_bool(duplication) {
            return Verdict::Duplicate(first, self.delay(random, from, to));
        }
        Verdict::Deliver(first)
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

/// Least time after which a kernel sends a lost segment again (Linux's minimum).
const RETRANSMISSION: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Seed;

    const A: Place = Place(0);
    const B: Place = Place(1);

    fn links() -> Links {
        Links::even(2, Duration::from_millis(1), Duration::from_millis(40))
    }

    #[test]
    fn a_cut_is_one_way_until_it_heals() {
        let mut links = links();
        let mut random = Seed(1).stream("test");
        links.cut(A, B);
        assert_eq!(links.packet(&mut random, A, B), Verdict::Cut);
        let back = Verdict::Deliver(Duration::from_millis(40));
        assert_eq!(links.packet(&mut random, B, A), back);
        links.heal();
        assert_eq!(links.packet(&mut random, A, B), back);
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
            match links.packet(&mut random, A, B) {
                Verdict::Lose => lost += 1,
                Verdict::Duplicate(..) => twice += 1,
                Verdict::Deliver(delay) => {
                    assert!(delay >= Duration::from_millis(40));
                    assert!(delay <= Duration::from_millis(60));
                }
                Verdict::Cut => panic!("nothing is cut"),
            }
        }
        assert!((900..1100).contains(&lost), "{lost}");
        assert!((1600..2000).contains(&twice), "{twice}");
    }
}
