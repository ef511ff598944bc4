//! The faults of a scenario file: read, and looked through for what contradicts itself.
//!
//! In: keys with values. Out: [`Fault`]s as plain data, or mistakes with their places.

use serde_saphyr::{Location, Spanned};

use super::Check;
use crate::{
    scenario::fault::{
        Fault, FaultKind, KINDS, Link, Names, Options, RawFault, Spot, Target, Value, Whom,
        node_name,
    },
    world::Place,
};

/// One fault being read.
struct Reading<'a> {
    raw: &'a RawFault,
    /// Its kind's key.
    key: &'static str,
    value: &'a Spanned<Value>,
}

impl Check<'_> {
    pub(super) fn faults(&mut self, raw: &[RawFault]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (index, raw) in raw.iter().enumerate() {
            if let Some(fault) = self.fault(index, raw) {
                faults.push((index, raw.referenced, fault));
            }
        }
        self.contradictions(&faults);
        faults.into_iter().map(|(_, _, fault)| fault).collect()
    }

    fn fault(&mut self, index: usize, raw: &RawFault) -> Option<Fault> {
        let at = self.required(index, raw, "at");
        let lasts = self.required(index, raw, "for");
        let at = at.map(|(text, place)| self.duration_at("faults.at", text, place));
        let lasts = lasts.map(|(text, place)| self.span_at("faults.for", text, place));
        let mut kinds = Vec::new();
        for (key, options) in KINDS {
            if let Some(value) = raw.value.get(*key) {
                kinds.push((*key, *options, value));
            }
        }
        let [(key, options, value)] = kinds[..] else {
            let all: Vec<&str> = KINDS.iter().map(|(key, _)| *key).collect();
            let message = format!("faults[{index}]: name exactly one of {}", all.join(", "));
            self.mistake(raw.referenced, message);
            return None;
        };
        self.strangers(raw, key, options);
        let what = self.kind(&Reading { raw, key, value });
        Some(Fault {
            at: at?,
            lasts: lasts?,
            what: what?,
        })
    }

    /// What the kind's key and options say.
    fn kind(&mut self, reading: &Reading<'_>) -> Option<FaultKind> {
        Some(match reading.key {
            "power_off" => FaultKind::PowerOff(self.target(reading)?),
            "kill" => FaultKind::Kill(self.target(reading)?),
            "upgrade" => FaultKind::Upgrade(self.target(reading)?),
            "kill_upstreams" => FaultKind::KillUpstreams(self.whole_region(reading)?),
            "isolate" => FaultKind::Isolate(self.target(reading)?),
            "stop" => match &reading.value.value {
                Value::Text(text) if text == "each" => FaultKind::Stop(Whom::Each),
                _ => FaultKind::Stop(Whom::Of(self.target(reading)?)),
            },
            "cut" => FaultKind::Cut(self.link(reading)?),
            "flood" => {
                let Link { from, to, .. } = self.link(reading)?;
                FaultKind::Flood { from, to }
            }
            other => unreachable!("{other} stands among the kinds and is read nowhere"),
        })
    }

    /// A region, a node, or the leader's part.
    fn target(&mut self, reading: &Reading<'_>) -> Option<Target> {
        let place = reading.value.referenced;
        let Value::Text(name) = &reading.value.value else {
            let message = format!("{}: name one region or node", reading.key);
            self.mistake(place, message);
            return None;
        };
        let target = self.named(name);
        if target.is_none() {
            let message = format!(
                "{}: there is neither a region nor a node {name:?}; use leader, leader-node, or one of {}",
                reading.key,
                self.known()
            );
            self.mistake(place, message);
        }
        target
    }

    /// The same for what befalls regions alone.
    fn whole_region(&mut self, reading: &Reading<'_>) -> Option<Target> {
        let target = self.target(reading)?;
        if let Target::Region(_) | Target::Leader = target {
            return Some(target);
        }
        let message = format!(
            "{}: a region has this, not a node; use leader, or one of {}",
            reading.key,
            self.regions.join(", ")
        );
        self.mistake(reading.value.referenced, message);
        None
    }

    fn named(&self, name: &str) -> Option<Target> {
        match name {
            "leader" => return Some(Target::Leader),
            "leader-node" => return Some(Target::LeaderNode),
            _ => {}
        }
        if let Some(region) = self.regions.iter().position(|region| region == name) {
            return Some(Target::Region(Place(region)));
        }
        let spot = self.spots().find(|spot| {
            let region = &self.regions[spot.place.0];
            node_name(region, spot.number) == name
        });
        spot.map(Target::Node)
    }

    fn spots(&self) -> impl Iterator<Item = Spot> + use<> {
        let numbers = self.nodes_per_region;
        (0..self.regions.len()).flat_map(move |place| {
            (1..=numbers).map(move |number| Spot {
                place: Place(place),
                number,
            })
        })
    }

    /// The names that a target may have.
    fn known(&self) -> String {
        let mut names = self.regions.clone();
        for region in &self.regions {
            names.push(match self.nodes_per_region {
                1 => node_name(region, 1),
                last => format!("{} to {}", node_name(region, 1), node_name(region, last)),
            });
        }
        names.join(", ")
    }

    fn link(&mut self, reading: &Reading<'_>) -> Option<Link> {
        let Value::Pair((from, to)) = &reading.value.value else {
            let message = format!(
                "{}: name two regions, as [{}]",
                reading.key,
                self.regions
                    .iter()
                    .take(2)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            self.mistake(reading.value.referenced, message);
            return None;
        };
        let (from, to) = self.two_regions((from, to), reading.value.referenced)?;
        let one_way = self.flag(reading, "one_way");
        Some(Link { from, to, one_way })
    }

    fn flag(&mut self, reading: &Reading<'_>, option: &str) -> bool {
        match reading.raw.value.get(option) {
            None => false,
            Some(Spanned {
                value: Value::Flag(flag),
                ..
            }) => *flag,
            Some(other) => {
                let message = format!("{option}: write true or false");
                self.mistake(other.referenced, message);
                false
            }
        }
    }

    /// A key that every fault has.
    fn required<'a>(
        &mut self,
        index: usize,
        raw: &'a RawFault,
        key: &str,
    ) -> Option<(&'a str, Location)> {
        let (place, message) = match raw.value.get(key) {
            Some(Spanned {
                value: Value::Text(text),
                referenced,
                ..
            }) => return Some((text, *referenced)),
            Some(other) => (
                other.referenced,
                format!("faults.{key}: write a duration, as 5s"),
            ),
            None => (
                raw.referenced,
                format!("faults[{index}]: {key} is missing; write a duration, as 5s"),
            ),
        };
        self.mistake(place, message);
        None
    }

    /// Keys that no fault has, and options of other kinds.
    fn strangers(&mut self, raw: &RawFault, kind: &str, options: Options) {
        for (key, value) in &raw.value {
            let known = ["at", "for", kind].contains(&&**key) || options.contains(&&**key);
            if known {
                continue;
            }
            let takes = if options.is_empty() {
                "it takes no option".to_owned()
            } else {
                format!("its options are {}", options.join(", "))
            };
            let message = format!("{kind}: {key} says nothing here; {takes}");
            self.mistake(value.referenced, message);
        }
    }

    /// Faults that cannot happen as they are listed.
    fn contradictions(&mut self, faults: &[(usize, Location, Fault)]) {
        for (later, (index, place, fault)) in faults.iter().enumerate() {
            for (before, _, other) in &faults[..later] {
                if let Some(node) = self.down_twice(other, fault) {
                    let name = node_name(&self.regions[node.place.0], node.number);
                    let message = format!(
                        "faults[{index}]: {name} does not run then: \"{}\" (faults[{before}]) takes it down from {:?} to {:?}; let one begin when the other is over",
                        Names {
                            regions: &self.regions
                        }
                        .says(&other.what),
                        other.at,
                        other.at + other.lasts,
                    );
                    self.mistake(*place, message);
                }
            }
        }
    }

    /// A node that both would have to take down at once.
    fn down_twice(&self, one: &Fault, other: &Fault) -> Option<Spot> {
        let together = overlap(one, other);
        let both = one.what.takes_down() && other.what.takes_down();
        if !together || !both {
            return None;
        }
        let befalls = |fault: &Fault, spot| match fault.what.target() {
            Some(target) => target.covers(spot) == Some(true),
            None => true,
        };
        self.spots()
            .find(|spot| befalls(one, *spot) && befalls(other, *spot))
    }
}

/// Whether two faults have a moment in common.
fn overlap(one: &Fault, other: &Fault) -> bool {
    let end = |fault: &Fault| fault.at.saturating_add(fault.lasts);
    one.at < end(other) && other.at < end(one)
}
