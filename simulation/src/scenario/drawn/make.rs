//! One fault, with all that its kind leaves open: whom it befalls, how long, how badly.
//!
//! A core: a kind, a time and randomness come in, a [`Drawn`] comes out.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use meridian_config::units::duration_text;
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    Bounds, Cluster, DrawnKind,
    beside::{Drawn, Thing},
    kind::{ASKED, RESTART, round},
};
use crate::{scenario::Spot, world::Place};

impl Bounds {
    /// A fault of a kind that begins then, or two that belong together; none where it has no room.
    pub(super) fn make(
        &self,
        random: &mut StdRng,
        cluster: &Cluster,
        at: Duration,
        kind: DrawnKind,
    ) -> Option<Vec<Drawn>> {
        if kind == DrawnKind::IssuerErrors {
            return self.errors_and_a_key(random, at);
        }
        let fault = self.blank(random, at, kind, kind.least())?;
        let region = random.random_range(0..cluster.regions.len());
        let place = Place(region);
        Some(vec![if kind.is_of_a_link() {
            of_a_link(fault, random, cluster, place, kind)
        } else if kind.is_of_upstreams() {
            of_upstreams(fault, random, cluster, place, kind)
        } else if kind.is_of_the_issuer() {
            of_the_issuer(fault, kind)
        } else {
            self.of_nodes(fault, random, cluster, place, kind)
        }])
    }

    /// A fault of that kind that befalls nothing yet; none where it cannot last for `least`.
    fn blank(
        &self,
        random: &mut StdRng,
        at: Duration,
        kind: DrawnKind,
        least: Duration,
    ) -> Option<Drawn> {
        let (shortest, longest) = (least.max(*self.lasts.start()), *self.lasts.end());
        if shortest > longest {
            return None;
        }
        let lasts = between(random, shortest..=longest);
        Some(Drawn {
            at,
            lasts,
            ends: at + lasts,
            held_until: at + lasts,
            key: kind.key(),
            argument: Value::Bool(true),
            options: Vec::new(),
            touches: BTreeSet::new(),
            needs_up: BTreeSet::new(),
            silences: BTreeSet::new(),
            needs_writes: false,
            forgets: kind.forgets(),
            alone: false,
        })
    }

    /// What befalls the nodes of a region, or one of them.
    fn of_nodes(
        &self,
        mut fault: Drawn,
        random: &mut StdRng,
        cluster: &Cluster,
        place: Place,
        kind: DrawnKind,
    ) -> Drawn {
        let region = &cluster.regions[place.0];
        let node = some_node(cluster, random, place, kind);
        fault.argument = match node {
            Some(number) => json!(format!("{region}-{number}")),
            None => json!(region),
        };
        let numbers = node.map_or(cluster.numbers(place), |number| number..=number);
        let nodes: BTreeSet<Spot> = numbers.map(|number| Spot { place, number }).collect();
        fault.touches.extend(nodes.iter().copied().map(Thing::Node));
        if kind.silences() {
            fault.silences.clone_from(&nodes);
        }
        match kind {
            DrawnKind::PowerOff if node.is_none() => {
                fault.touches.insert(Thing::Upstreams(place));
            }
            DrawnKind::Stop => {
                fault.lasts = *self.lasts.start();
                fault.ends = fault.at + round(fault.lasts, nodes.len());
                // The next node's turn comes when the cluster is whole, whatever else keeps it from being so.
                fault.held_until = Duration::MAX;
                return fault;
            }
            DrawnKind::Isolate => {
                match node {
                    // It says nothing to anybody.
                    Some(_) => fault.silences = nodes,
                    None => {
                        fault.touches.clear();
                        fault.needs_up = BTreeSet::from([place]);
                    }
                }
                fault.touches.extend(ways_of(cluster, place));
            }
            DrawnKind::Wipe => fault.options.push(("wipe", json!(true))),
            DrawnKind::DiskCorrupt => {
                let part = ["log", "files"][random.random_range(0..2)];
                fault.options.push(("part", json!(part)));
            }
            DrawnKind::DiskSlow => {
                fault.options.push(("latency", millis(random, 5..=200)));
            }
            DrawnKind::Clock => fault.options.extend(wrong_clock(random)),
            _ => {}
        }
        if kind.is_of_a_disk() {
            // What is written elsewhere must reach it.
            fault.touches.extend(ways_of(cluster, place));
            fault.needs_up = cluster.places().collect();
            fault.needs_writes = true;
        }
        if let DrawnKind::DiskFull | DrawnKind::DiskErrors = kind {
            fault.ends += RESTART;
            fault.held_until = fault.ends;
        }
        if random.random_bool(LEADERS) {
            let one = node.is_some() || kind.forgets();
            fault.argument = json!(if one { "leader-node" } else { "leader" });
            fault.alone = true;
        }
        fault
    }

    /// An issuer that errs, and a new key for which it is asked meanwhile.
    fn errors_and_a_key(&self, random: &mut StdRng, at: Duration) -> Option<Vec<Drawn>> {
        let kind = DrawnKind::IssuerErrors;
        let mut errors = self.blank(random, at, kind, self.shortest_errors())?;
        errors.argument = percent(random, 80..=100);
        errors.touches.insert(Thing::Issuer);
        let latest = (*self.apart.end()).min(errors.lasts - ASKED);
        let after = between(random, *self.apart.start()..=latest);
        let kind = DrawnKind::IssuerRotates;
        let key = self.blank(random, at + after, kind, kind.least())?;
        Some(vec![errors, of_the_issuer(key, kind)])
    }
}

fn of_a_link(
    mut fault: Drawn,
    random: &mut StdRng,
    cluster: &Cluster,
    from: Place,
    kind: DrawnKind,
) -> Drawn {
    let step = random.random_range(1..cluster.regions.len());
    let to = Place((from.0 + step) % cluster.regions.len());
    fault.argument = json!([cluster.regions[from.0], cluster.regions[to.0]]);
    fault.touches.insert(Thing::Way(from, to));
    fault.needs_up = BTreeSet::from([from, to]);
    let one_way = match kind {
        DrawnKind::Cut => false,
        DrawnKind::CutOneWay => true,
        _ => random.random_bool(ONE_WAY),
    };
    if one_way {
        fault.options.push(("one_way", json!(true)));
    } else {
        fault.touches.insert(Thing::Way(to, from));
    }
    // So little that all promises stand, or so much that none does over this link (`network::trouble`).
    let mild = random.random_bool(MILD);
    match kind {
        DrawnKind::Flap => fault.options.extend(rhythm(random, 300..=3_000)),
        DrawnKind::Slow => {
            let more = if mild { 5..=40 } else { 41..=400 };
            fault.options.push(("latency", millis(random, more)));
            fault.options.push(("jitter", millis(random, 0..=50)));
        }
        DrawnKind::Lossy => {
            let loss = if mild { 2..=5 } else { 6..=40 };
            fault.options.push(("loss", percent(random, loss)));
            fault.options.push(("duplication", percent(random, 2..=10)));
            fault.options.push(("jitter", millis(random, 0..=60)));
        }
        DrawnKind::Narrow => {
            let size = random.random_range(16..=128_u32);
            fault
                .options
                .push(("each_second", json!(format!("{size}KiB"))));
            fault.options.push(("queue", millis(random, 50..=300)));
        }
        _ => {}
    }
    fault
}

fn of_upstreams(
    mut fault: Drawn,
    random: &mut StdRng,
    cluster: &Cluster,
    place: Place,
    kind: DrawnKind,
) -> Drawn {
    fault.argument = json!(cluster.regions[place.0]);
    fault.touches.insert(Thing::Upstreams(place));
    match kind {
        DrawnKind::UpstreamSlow => {
            let more = if random.random_bool(MILD) {
                20..=150
            } else {
                300..=3_000
            };
            fault.options.push(("latency", millis(random, more)));
        }
        DrawnKind::UpstreamErrors => fault.options.push(("share", percent(random, 60..=100))),
        DrawnKind::UpstreamFlaps => fault.options.extend(rhythm(random, 500..=3_000)),
        _ => {}
    }
    if let DrawnKind::UpstreamSlow | DrawnKind::UpstreamErrors | DrawnKind::UpstreamHangs = kind {
        // Somebody must ask.
        fault.needs_up = BTreeSet::from([place]);
    }
    fault
}

fn of_the_issuer(mut fault: Drawn, kind: DrawnKind) -> Drawn {
    if kind == DrawnKind::IssuerRotates {
        fault.touches.insert(Thing::Keys);
        fault.held_until = fault.ends.max(fault.at + ASK_AGAIN);
    } else {
        fault.touches.insert(Thing::Issuer);
    }
    fault
}

/// In half of the cases one node of a region, by its number, where the region has more; of what a region's nodes cannot
/// all bear, always one.
fn some_node(
    cluster: &Cluster,
    random: &mut StdRng,
    place: Place,
    kind: DrawnKind,
) -> Option<usize> {
    let numbers = cluster.numbers(place);
    let all = *numbers.end() < 2 || (!kind.forgets() && random.random_bool(WHOLE_REGIONS));
    (!all).then(|| random.random_range(numbers))
}

/// All ways from and to a region.
fn ways_of(cluster: &Cluster, place: Place) -> impl Iterator<Item = Thing> + use<> {
    let others = cluster.places().filter(move |other| *other != place);
    others.flat_map(move |other| [Thing::Way(place, other), Thing::Way(other, place)])
}

/// Seconds ahead or behind, now and then more than an issuer's leeway forgives; and a drift that a bad crystal has, or ten
/// times that.
fn wrong_clock(random: &mut StdRng) -> [(&'static str, Value); 2] {
    let far = random.random_bool(FAR_OFF);
    let seconds = random.random_range(if far { 30..=90 } else { 1..=20_u32 });
    let sign = ["", "-"][random.random_range(0..2)];
    let drift = random.random_range(-2_000..=2_000_i32);
    [
        ("offset", json!(format!("{sign}{seconds}s"))),
        ("drift", json!(format!("{drift}ppm"))),
    ]
}

fn rhythm(random: &mut StdRng, up: RangeInclusive<u64>) -> [(&'static str, Value); 3] {
    [
        ("down", millis(random, 300..=1_500)),
        ("up", millis(random, up)),
        ("drawn", json!(random.random_bool(0.5))),
    ]
}

fn millis(random: &mut StdRng, range: RangeInclusive<u64>) -> Value {
    json!(duration_text(Duration::from_millis(
        random.random_range(range)
    )))
}

fn percent(random: &mut StdRng, range: RangeInclusive<u32>) -> Value {
    json!(format!("{}%", random.random_range(range)))
}

/// At the grain of a file's durations.
pub(super) fn between(random: &mut StdRng, range: RangeInclusive<Duration>) -> Duration {
    let millis = |span: &Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let range = millis(range.start())..=millis(range.end());
    Duration::from_millis(random.random_range(range))
}

/// The share of faults that befall a whole region where they could befall one node of it.
const WHOLE_REGIONS: f64 = 0.5;

/// The share of faults that befall the leader's region, or the leader, whichever that is: elections are where most goes wrong.
const LEADERS: f64 = 0.25;

/// The share of a link's troubles that befall one direction of it.
const ONE_WAY: f64 = 0.25;

/// The share of troubles that leave all promises as they are.
const MILD: f64 = 0.5;

/// The share of wrong clocks by which good tokens may be refused.
const FAR_OFF: f64 = 0.25;

/// Between two new keys: nodes ask for an unknown one every 10 s at most, and an answer takes a moment
/// (`identity::schedule` in the node).
const ASK_AGAIN: Duration = Duration::from_secs(12);
