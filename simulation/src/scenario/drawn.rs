//! Faults that the file does not list: the seed draws them, within bounds.
//!
//! In: [`Bounds`] of a checked file, and a seed. Out: faults as a file lists them. A core.
//!
//! What is drawn can always be played, and every fault of it leaves a sign: two faults at one time never befall the
//! same machine or the same link, and no link is cut whose end is down.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use meridian_config::units::duration_text;
use rand::{RngExt, rngs::StdRng};
use serde_json::{Map, Value, json};

use crate::world::{Place, Seed};

/// Within what the seed draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// How many faults; fewer where no more find room.
    pub count: RangeInclusive<u32>,
    /// How many at the same time at most.
    pub at_once: u32,
    /// Of which kinds, each as often as the others.
    pub kinds: Vec<DrawnKind>,
    /// How long one lasts; of [`DrawnKind::Stop`], each node is away for the shortest of it.
    pub lasts: RangeInclusive<Duration>,
    /// From one's beginning to the next one's.
    pub apart: RangeInclusive<Duration>,
    /// By when all have ended.
    pub within: Duration,
}

/// A kind of fault that can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrawnKind {
    /// `power_off`, of a region or a node.
    PowerOff,
    /// `kill`, of a region or a node.
    Kill,
    /// `kill_upstreams`.
    KillUpstreams,
    /// `isolate`, of a region or a node.
    Isolate,
    /// `cut`, both ways.
    Cut,
    /// `cut`, with `one_way`.
    CutOneWay,
    /// `stop`, of a region's nodes or of one.
    Stop,
}

/// The cluster on which faults befall.
#[derive(Debug, Clone, Copy)]
pub struct Cluster<'a> {
    /// Its regions.
    pub regions: &'a [String],
    /// Nodes in each.
    pub nodes_per_region: usize,
}

impl Cluster<'_> {
    /// In half of the cases one node of a region, by its number, where a kind may befall one and the region has more.
    fn some_node(&self, random: &mut StdRng, kind: DrawnKind) -> Option<usize> {
        let may = !matches!(
            kind,
            DrawnKind::KillUpstreams | DrawnKind::Cut | DrawnKind::CutOneWay
        );
        if !may || self.nodes_per_region < 2 || random.random_bool(WHOLE_REGIONS) {
            return None;
        }
        Some(random.random_range(1..=self.nodes_per_region))
    }
}

impl DrawnKind {
    /// All, with their names in files.
    pub const ALL: [(&'static str, Self); 7] = [
        ("power_off", Self::PowerOff),
        ("kill", Self::Kill),
        ("kill_upstreams", Self::KillUpstreams),
        ("isolate", Self::Isolate),
        ("cut", Self::Cut),
        ("cut_one_way", Self::CutOneWay),
        ("stop", Self::Stop),
    ];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, kind)| *kind == self);
        found.map_or("unnamed", |(name, _)| name)
    }

    /// Whether it befalls a link, which takes two regions.
    pub fn takes_two_regions(self) -> bool {
        matches!(self, Self::Isolate | Self::Cut | Self::CutOneWay)
    }
}

impl Bounds {
    /// The faults of a seed, in the order in which they begin, each as a file lists it.
    pub fn draw(&self, cluster: Cluster<'_>, seed: Seed) -> Vec<Value> {
        let mut random = seed.stream("schedule");
        let count = random.random_range(self.count.clone());
        let mut drawn: Vec<Drawn> = Vec::new();
        let mut at = self.pause(&mut random);
        while drawn.len() < usize::try_from(count).unwrap_or(usize::MAX) {
            let active: Vec<&Drawn> = drawn.iter().filter(|fault| fault.ends > at).collect();
            let room = active.len() < usize::try_from(self.at_once).unwrap_or(usize::MAX);
            let next = if room {
                self.propose(&mut random, cluster, at, &drawn)
            } else {
                None
            };
            if let Some(next) = next {
                drawn.push(next);
                at += self.pause(&mut random);
            } else if let Some(ends) = active.iter().map(|fault| fault.ends).min() {
                // There is more room when one of them is over.
                at = ends;
            } else {
                break;
            }
        }
        drawn.iter().map(Drawn::value).collect()
    }

    /// The bounds in words.
    pub fn says(&self) -> String {
        let span = |range: &RangeInclusive<Duration>| {
            let (least, most) = (duration_text(*range.start()), duration_text(*range.end()));
            format!("{least} to {most}")
        };
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        format!(
            "{} to {} faults, at most {} at a time, each for {}, one after {}, all within {}: {}",
            self.count.start(),
            self.count.end(),
            self.at_once,
            span(&self.lasts),
            span(&self.apart),
            duration_text(self.within),
            names.join(", ")
        )
    }

    /// How long a fault of a kind may take.
    pub fn longest(&self, kind: DrawnKind, nodes_per_region: usize) -> Duration {
        match kind {
            DrawnKind::Stop => round(*self.lasts.start(), nodes_per_region),
            _ => *self.lasts.end(),
        }
    }

    fn pause(&self, random: &mut StdRng) -> Duration {
        between(random, &self.apart)
    }

    /// A fault that begins then, fits, and clashes with none of those drawn before; none where none was found.
    fn propose(
        &self,
        random: &mut StdRng,
        cluster: Cluster<'_>,
        at: Duration,
        drawn: &[Drawn],
    ) -> Option<Drawn> {
        (0..TRIES).find_map(|_| {
            let kind = *pick(random, &self.kinds);
            let next = self.one(random, cluster, at, kind);
            let fits = next.ends <= self.within;
            let clashes = drawn.iter().any(|other| next.clashes(other));
            (fits && !clashes).then_some(next)
        })
    }

    fn one(
        &self,
        random: &mut StdRng,
        cluster: Cluster<'_>,
        at: Duration,
        kind: DrawnKind,
    ) -> Drawn {
        let lasts = between(random, &self.lasts);
        let region = random.random_range(0..cluster.regions.len());
        let mut fault = Drawn {
            at,
            lasts,
            ends: at + lasts,
            held_until: at + lasts,
            key: kind.name(),
            argument: json!(cluster.regions[region]),
            one_way: false,
            touches: BTreeSet::new(),
            needs_up: BTreeSet::new(),
            takes_down: BTreeSet::new(),
            alone: false,
        };
        let place = Place(region);
        let node = cluster.some_node(random, kind);
        if let Some(number) = node {
            fault.argument = json!(format!("{}-{number}", cluster.regions[region]));
        }
        let nodes = match node {
            Some(number) => number..=number,
            None => 1..=cluster.nodes_per_region,
        };
        let nodes = nodes.map(|number| Thing::Node(place, number));
        match kind {
            DrawnKind::PowerOff | DrawnKind::Kill => {
                fault.touches.extend(nodes);
                if node.is_none() {
                    fault.takes_down.insert(place);
                    if kind == DrawnKind::PowerOff {
                        fault.touches.insert(Thing::Upstreams(place));
                    }
                }
                fault.perhaps_of_the_leader(random, node.is_some());
            }
            DrawnKind::KillUpstreams => {
                fault.touches.insert(Thing::Upstreams(place));
            }
            DrawnKind::Stop => {
                let count = if node.is_some() {
                    1
                } else {
                    cluster.nodes_per_region
                };
                fault.lasts = *self.lasts.start();
                fault.ends = at + round(fault.lasts, count);
                // The next node's turn comes when the cluster is whole, whatever else keeps it from being so.
                fault.held_until = Duration::MAX;
                fault.touches.extend(nodes);
                if node.is_none() {
                    fault.takes_down.insert(place);
                }
            }
            DrawnKind::Isolate => {
                match node {
                    // It would be cut off from nobody if it were down, and from fewer if its region were.
                    Some(_) => fault.touches.extend(nodes),
                    None => fault.needs_up = BTreeSet::from([place]),
                }
                for other in (0..cluster.regions.len()).map(Place) {
                    fault.touches.insert(Thing::Way(place, other));
                    fault.touches.insert(Thing::Way(other, place));
                }
                fault.perhaps_of_the_leader(random, node.is_some());
            }
            DrawnKind::Cut | DrawnKind::CutOneWay => {
                let step = random.random_range(1..cluster.regions.len());
                let to = (region + step) % cluster.regions.len();
                fault.key = "cut";
                fault.argument = json!([cluster.regions[region], cluster.regions[to]]);
                fault.one_way = kind == DrawnKind::CutOneWay;
                let to = Place(to);
                fault.touches.insert(Thing::Way(place, to));
                if !fault.one_way {
                    fault.touches.insert(Thing::Way(to, place));
                }
                fault.needs_up = BTreeSet::from([place, to]);
            }
        }
        fault
    }
}

/// A fault that was drawn, and what it befalls.
#[derive(Debug)]
struct Drawn {
    at: Duration,
    lasts: Duration,
    /// When it is over, as far as can be known before.
    ends: Duration,
    /// Until when no other may befall what it befalls.
    held_until: Duration,
    key: &'static str,
    argument: Value,
    one_way: bool,
    touches: BTreeSet<Thing>,
    /// Regions without which it would leave no sign.
    needs_up: BTreeSet<Place>,
    /// Regions that do nothing meanwhile.
    takes_down: BTreeSet<Place>,
    /// What it befalls is only known when it begins, so nothing else may be going on.
    alone: bool,
}

/// What a fault may befall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    /// By its number in its region.
    Node(Place, usize),
    Upstreams(Place),
    Way(Place, Place),
}

impl Drawn {
    fn perhaps_of_the_leader(&mut self, random: &mut StdRng, is_node: bool) {
        if random.random_bool(LEADERS) {
            self.argument = json!(if is_node { "leader-node" } else { "leader" });
            self.alone = true;
        }
    }

    /// Whether the two befall the same thing at the same time, or one leaves the other nothing to befall.
    fn clashes(&self, other: &Self) -> bool {
        let together = self.at < other.held_until && other.at < self.held_until;
        let silences = |one: &Self, other: &Self| !one.takes_down.is_disjoint(&other.needs_up);
        together
            && (self.alone
                || other.alone
                || !self.touches.is_disjoint(&other.touches)
                || silences(self, other)
                || silences(other, self))
    }

    fn value(&self) -> Value {
        let mut value = Map::new();
        value.insert("at".to_owned(), json!(duration_text(self.at)));
        value.insert("for".to_owned(), json!(duration_text(self.lasts)));
        value.insert(self.key.to_owned(), self.argument.clone());
        if self.one_way {
            value.insert("one_way".to_owned(), json!(true));
        }
        Value::Object(value)
    }
}

/// How long it takes to stop and start the nodes of a region one after another, each away for so long.
fn round(away: Duration, nodes_per_region: usize) -> Duration {
    let nodes = u32::try_from(nodes_per_region).unwrap_or(u32::MAX);
    away.saturating_add(TURN).saturating_mul(nodes)
}

fn pick<'a, T>(random: &mut StdRng, of: &'a [T]) -> &'a T {
    &of[random.random_range(0..of.len())]
}

/// At the grain of a file's durations.
fn between(random: &mut StdRng, range: &RangeInclusive<Duration>) -> Duration {
    let millis = |span: &Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let range = millis(range.start())..=millis(range.end());
    Duration::from_millis(random.random_range(range))
}

/// Proposals before one gives up: clashes are common where two of three regions are busy.
const TRIES: u32 = 64;

/// The share of faults that befall a whole region where they could befall one node of it.
const WHOLE_REGIONS: f64 = 0.5;

/// The share of faults that befall the leader's region, or the leader, whichever that is: elections are where most goes wrong.
const LEADERS: f64 = 0.25;

/// For a node that is told to stop to end, and for one that is started again to serve and see all others: SEEN 2 to 5 s.
const TURN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
