//! How faults are written: read from a file, printed back, and said in words.
//!
//! A kind is a key with a region, a node or a link, and options beside it. A new kind gets a line in
//! [`KINDS`], an arm where the file's faults are read (`raw::faults`), one in [`Names::written`] and one in [`Names::says`]; a test prints
//! and reads every kind.

use std::collections::BTreeMap;

use meridian_config::units::duration_text;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Fault, FaultKind, Link, Spot, Target, Whom};
use crate::world::Place;

/// The kinds by their keys, and the options that each takes.
pub(in crate::scenario) const KINDS: &[(&str, Options)] = &[
    ("power_off", &[]),
    ("kill", &[]),
    ("upgrade", &[]),
    ("kill_upstreams", &[]),
    ("isolate", &[]),
    ("stop", &[]),
    ("cut", &["one_way"]),
    ("flood", &[]),
];

/// Names of options.
pub(in crate::scenario) type Options = &'static [&'static str];

/// A fault as it stands in a file: `at`, `for`, a kind, its options.
pub(in crate::scenario) type RawFault = Spanned<BTreeMap<String, Spanned<Value>>>;

/// What may stand behind a key of a fault.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(in crate::scenario) enum Value {
    /// `true`, `false`.
    Flag(bool),
    /// A name, a duration, a share.
    Text(String),
    /// `[one, other]`.
    Pair((String, String)),
    /// Nothing that any key takes.
    Other(serde::de::IgnoredAny),
}

/// The names that faults are written and told with.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The regions' names, in order.
    pub regions: &'a [String],
}

impl Names<'_> {
    /// A region's name.
    pub fn region(self, place: Place) -> String {
        self.regions[place.0].clone()
    }

    /// A node's name.
    pub fn node(self, spot: Spot) -> String {
        node_name(&self.regions[spot.place.0], spot.number)
    }

    /// A fault as a line of a scenario file's `faults`, without the dash: reading it gives the same fault.
    pub fn line(self, fault: &Fault) -> String {
        let mut pairs = vec![
            ("at", duration_text(fault.at)),
            ("for", duration_text(fault.lasts)),
        ];
        pairs.extend(self.written(&fault.what));
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        format!("{{ {} }}", pairs.join(", "))
    }

    /// A kind's key and options as they are written, with their values.
    pub fn written(self, what: &FaultKind) -> Vec<(&'static str, String)> {
        match what {
            FaultKind::PowerOff(at) => vec![("power_off", self.target(*at))],
            FaultKind::Kill(at) => vec![("kill", self.target(*at))],
            FaultKind::Upgrade(at) => vec![("upgrade", self.target(*at))],
            FaultKind::KillUpstreams(at) => vec![("kill_upstreams", self.target(*at))],
            FaultKind::Isolate(at) => vec![("isolate", self.target(*at))],
            FaultKind::Stop(Whom::Each) => vec![("stop", "each".to_owned())],
            FaultKind::Stop(Whom::Of(at)) => vec![("stop", self.target(*at))],
            FaultKind::Cut(link) => self.link("cut", *link),
            FaultKind::Flood { from, to } => vec![("flood", self.pair(*from, *to))],
        }
    }

    /// A fault in words.
    pub fn says(self, what: &FaultKind) -> String {
        match what {
            FaultKind::PowerOff(at) => format!("{} loses power", self.whole(*at)),
            FaultKind::Kill(at) => format!("{} killed", self.who(*at)),
            FaultKind::Upgrade(at) => format!("{} upgraded", self.who(*at)),
            FaultKind::KillUpstreams(at) => {
                format!("the upstreams of {} are killed", self.whole(*at))
            }
            FaultKind::Cut(link) => format!("the link {} is cut", self.way(*link)),
            FaultKind::Isolate(at) => format!("{} is cut off from all others", self.whole(*at)),
            FaultKind::Stop(Whom::Each) => {
                "the nodes of all regions are stopped and started again, one after another"
                    .to_owned()
            }
            FaultKind::Stop(Whom::Of(at)) => format!(
                "{} stopped and started again, one after another",
                self.who(*at)
            ),
            FaultKind::Flood { from, to } => {
                let (from, to) = (self.region(*from), self.region(*to));
                format!("{from} sends bulk to {to} at the link's limit")
            }
        }
    }

    fn target(self, target: Target) -> String {
        match target {
            Target::Region(place) => self.region(place),
            Target::Leader => "leader".to_owned(),
            Target::Node(spot) => self.node(spot),
            Target::LeaderNode => "leader-node".to_owned(),
        }
    }

    fn pair(self, from: Place, to: Place) -> String {
        format!("[{}, {}]", self.region(from), self.region(to))
    }

    fn link(self, key: &'static str, link: Link) -> Vec<(&'static str, String)> {
        let mut pairs = vec![(key, self.pair(link.from, link.to))];
        if link.one_way {
            pairs.push(("one_way", "true".to_owned()));
        }
        pairs
    }

    /// A link in words.
    fn way(self, link: Link) -> String {
        let way = if link.one_way { "to" } else { "–" };
        format!("{} {way} {}", self.region(link.from), self.region(link.to))
    }

    /// A region or node as a whole, in words.
    fn whole(self, target: Target) -> String {
        match target {
            Target::Region(place) => self.region(place),
            Target::Leader => "the leader's region".to_owned(),
            Target::Node(spot) => self.node(spot),
            Target::LeaderNode => "the leader".to_owned(),
        }
    }

    /// The nodes that are meant, with their verb.
    fn who(self, target: Target) -> String {
        match target {
            Target::Region(_) | Target::Leader => {
                format!("the nodes of {} are", self.whole(target))
            }
            Target::Node(_) | Target::LeaderNode => format!("{} is", self.whole(target)),
        }
    }
}

/// How a node of a region is called.
pub(in crate::scenario) fn node_name(region: &str, number: usize) -> String {
    format!("{region}-{number}")
}
