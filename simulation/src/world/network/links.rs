//! How long the way between two regions is, and what happens on it.
//!
//! A core: the regions at both ends and a generator come in, a [`Verdict`] for one packet or the delay of
//! one piece of a stream comes out. Its shell is the [`Network`](super::Network).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt, rngs::StdRng};

use super::trouble::{Touched, Trouble};

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
    /// Directed: what is wrong with single links.
    troubles: BTreeMap<(Place, Place), Trouble>,
    /// Directed: links that nothing is promised over.
    doubtful: BTreeSet<(Place, Place)>,
    /// Directed: what troubles did.
    touched: BTreeMap<(Place, Place), Touched>,
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
            troubles: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            touched: BTreeMap::new(),
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

    /// Mends every cut and ends every trouble.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.troubles.clear();
        self.doubtful.clear();
    }

    /// Adds to what is wrong with a link, in this direction alone.
    pub fn trouble(&mut self, from: Place, to: Place, trouble: &Trouble) {
        let known = self.troubles.entry((from, to)).or_default();
        *known = known.and(trouble);
        if known.is_grave(self.latency[from.0][to.0]) {
            self.doubtful.insert((from, to));
        }
    }

    /// From now on nothing is promised over this link, in this direction.
    pub fn doubt(&mut self, from: Place, to: Place) {
        self.doubtful.insert((from, to));
    }

    /// Whether nothing is promised over this link: it is cut, or in grave trouble.
    pub fn is_doubtful(&self, from: Place, to: Place) -> bool {
        self.is_cut(from, to) || self.doubtful.contains(&(from, to))
    }

    /// What troubles have done on this way since the start.
    pub fn touched(&self, from: Place, to: Place) -> Touched {
        self.touched.get(&(from, to)).copied().unwrap_or_default()
    }

    /// A link's trouble, if it has one. Few links have, and none most of the time.
    fn trouble_of(&self, from: Place, to: Place) -> Option<Trouble> {
        if self.troubles.is_empty() {
            return None;
        }
        self.troubles.get(&(from, to)).copied()
    }

    fn touch(&mut self, from: Place, to: Place, act: impl FnOnce(&mut Touched)) {
        act(self.touched.entry((from, to)).or_default());
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
        let trouble = self.trouble_of(from, to);
        let Some(queued) = self.queue(from, to, sent, trouble.as_ref()) else {
            return Verdict::Overflow;
        };
        let Conditions {
            loss, duplication, ..
        } = self.conditions;
        if loss > 0.0 && random.random_bool(loss) {
            return Verdict::Lose;
        }
        if self.spoils(
            random,
            from,
            to,
            trouble.map_or(0.0, |trouble| trouble.loss),
        ) {
            return Verdict::Lose;
        }
        let first = queued + self.delay(random, from, to, trouble.as_ref());
        let twice = duplication > 0.0 && random.random_bool(duplication);
        let doubles = trouble.map_or(0.0, |trouble| trouble.duplication);
        if self.spoils(random, from, to, doubles) || twice {
            return Verdict::Duplicate(
                first,
                queued + self.delay(random, from, to, trouble.as_ref()),
            );
        }
        Verdict::Deliver(first)
    }

    /// Whether a trouble that strikes this share of packets strikes this one.
    fn spoils(&mut self, random: &mut StdRng, from: Place, to: Place, share: f64) -> bool {
        let spoilt = share > 0.0 && random.random_bool(share);
        if spoilt {
            self.touch(from, to, |touched| touched.spoilt += 1);
        }
        spoilt
    }

    /// How long the packet waits for its link, and takes to get onto it; none where the queue is full.
    fn queue(
        &mut self,
        from: Place,
        to: Place,
        sent: Sent,
        trouble: Option<&Trouble>,
    ) -> Option<Duration> {
        let narrowed = trouble.and_then(|trouble| trouble.capacity);
        let Some(capacity) = narrowed.or(self.capacity).filter(|_| from != to) else {
            return Some(Duration::ZERO);
        };
        let free = self.busy.entry((from, to)).or_default();
        let begins = sent.at.max(*free);
        let waits = begins - sent.at;
        if narrowed.is_some() && !waits.is_zero() {
            self.touched.entry((from, to)).or_default().queued += 1;
        }
        if waits > capacity.queue {
            return None;
        }
        let bytes = u32::try_from(sent.length + HEADERS).unwrap_or(u32::MAX);
        let takes = Duration::from_secs_f64(f64::from(bytes) / capacity.bytes_per_second);
        *free = begins + takes;
        *self.carried.entry((from, to)).or_default() += u64::from(bytes);
        Some(waits + takes)
    }

    /// How long one piece of a stream is on its way: it shares the link's queue with the packets, and is sent again
    /// where chance says that it was lost, or the queue is full.
    pub fn stream_delay(
        &mut self,
        random: &mut StdRng,
        from: Place,
        to: Place,
        sent: Sent,
    ) -> Duration {
        let trouble = self.trouble_of(from, to);
        let queued = self.queue(from, to, sent, trouble.as_ref());
        let mut delay = self.delay(random, from, to, trouble.as_ref());
        let again = RETRANSMISSION.max(2 * self.latency(from, to));
        if self.conditions.loss > 0.0 && random.random_bool(self.conditions.loss) {
            delay += again;
        }
        if self.spoils(
            random,
            from,
            to,
            trouble.map_or(0.0, |trouble| trouble.loss),
        ) {
            delay += again;
        }
        delay + queued.unwrap_or(again)
    }

    fn delay(
        &mut self,
        random: &mut StdRng,
        from: Place,
        to: Place,
        trouble: Option<&Trouble>,
    ) -> Duration {
        let mut up_to = |jitter: Duration| {
            if jitter.is_zero() {
                Duration::ZERO
            } else {
                random.random_range(Duration::ZERO..=jitter)
            }
        };
        let mut delay = self.latency[from.0][to.0] + up_to(self.conditions.jitter);
        if let Some(Trouble {
            latency, jitter, ..
        }) = trouble
        {
            let extra = *latency + up_to(*jitter);
            delay += extra;
            if !extra.is_zero() {
                self.touch(from, to, |touched| touched.slowed += 1);
            }
        }
        delay
    }
}

/// Headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// Least time after which a kernel sends a lost segment again (Linux's minimum).
const RETRANSMISSION: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
