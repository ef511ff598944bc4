//! The faults of a scenario file: read, and looked through for what contradicts itself.
//!
//! In: keys with values. Out: [`Fault`]s as plain data, or mistakes with their places.

use serde_saphyr::{Location, Spanned};

use super::Check;
use crate::{
    scenario::fault::{
        Fault, FaultKind, KINDS, Link, Options, RawFault, Share, Spot, Target, Value, Whom,
        node_name,
    },
    world::Place,
};

/// One fault being read.
pub(super) struct Reading<'a> {
    pub(super) raw: &'a RawFault,
    /// Its kind's key.
    pub(super) key: &'static str,
    pub(super) value: &'a Spanned<Value>,
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
            "kill" if self.flag(reading, "wipe") => FaultKind::Wipe(self.target(reading)?),
            "kill" => FaultKind::Kill(self.target(reading)?),
            "pause" => FaultKind::Pause(self.target(reading)?),
            "suspend" => FaultKind::Suspend(self.target(reading)?),
            "upgrade" => FaultKind::Upgrade(self.target(reading)?),
            "kill_upstreams" => FaultKind::KillUpstreams(self.whole_region(reading)?),
            "isolate" => FaultKind::Isolate(self.target(reading)?),
            "stop" => match &reading.value.value {
                Value::Text(text) if text == "each" => FaultKind::Stop(Whom::Each),
                _ => FaultKind::Stop(Whom::Of(self.target(reading)?)),
            },
            "upstream_slow" => FaultKind::UpstreamSlow {
                whom: self.whole_region(reading)?,
                latency: self.some_span(reading, "latency"),
            },
            "upstream_errors" => FaultKind::UpstreamErrors {
                whom: self.whole_region(reading)?,
                share: self.some_share(reading, "share"),
            },
            "upstream_hangs" => FaultKind::UpstreamHangs(self.whole_region(reading)?),
            "upstream_flaps" => FaultKind::UpstreamFlaps {
                whom: self.whole_region(reading)?,
                rhythm: self.rhythm(reading),
            },
            "issuer_down" => self.plainly(reading, FaultKind::IssuerDown)?,
            "issuer_errors" => FaultKind::IssuerErrors {
                share: self.own_share(reading)?,
            },
            "issuer_rotates" => self.plainly(reading, FaultKind::IssuerRotates)?,
            "disk_slow" => FaultKind::DiskSlow {
                whom: self.target(reading)?,
                latency: self.some_span(reading, "latency"),
            },
            "disk_stall" => FaultKind::DiskStall(self.target(reading)?),
            "disk_full" => FaultKind::DiskFull(self.target(reading)?),
            "disk_errors" => FaultKind::DiskErrors(self.target(reading)?),
            "disk_corrupt" => FaultKind::DiskCorrupt {
                whom: self.target(reading)?,
                part: self.part(reading),
            },
            "clock" => self.clock(reading)?,
            "join" => FaultKind::Join(self.one_region(reading)?),
            "cut" => FaultKind::Cut(self.link(reading)?),
            "flap" => FaultKind::Flap {
                link: self.link(reading)?,
                rhythm: self.rhythm(reading),
            },
            "slow" => FaultKind::Slow {
                link: self.link(reading)?,
                latency: self.some_span(reading, "latency"),
                jitter: self.any_span(reading, "jitter"),
            },
            "lossy" => self.lossy(reading)?,
            "narrow" => FaultKind::Narrow {
                link: self.link(reading)?,
                each_second: self.some_size(reading, "each_second"),
                queue: self.some_span(reading, "queue"),
            },
            "flood" => {
                let Link { from, to, .. } = self.link(reading)?;
                FaultKind::Flood { from, to }
            }
            other => unreachable!("{other} stands among the kinds and is read nowhere"),
        })
    }

    fn lossy(&mut self, reading: &Reading<'_>) -> Option<FaultKind> {
        let link = self.link(reading)?;
        let loss = self.any_share(reading, "loss");
        let duplication = self.any_share(reading, "duplication");
        let jitter = self.any_span(reading, "jitter");
        if loss == Share::NONE && duplication == Share::NONE && jitter.is_zero() {
            let message = "lossy: say what happens: loss, duplication, or jitter".to_owned();
            self.mistake(reading.value.referenced, message);
        }
        Some(FaultKind::Lossy {
            link,
            loss,
            duplication,
            jitter,
        })
    }

    /// A region, a node, or the leader's part.
    pub(super) fn target(&mut self, reading: &Reading<'_>) -> Option<Target> {
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
        if let Some(Target::Region(region)) = target
            && !self.is_played(region, place)
        {
            return None;
        }
        target
    }

    /// A region by its name.
    fn one_region(&mut self, reading: &Reading<'_>) -> Option<Place> {
        match self.target(reading)? {
            Target::Region(place) => Some(place),
            Target::Leader | Target::Node(_) | Target::LeaderNode => {
                let message = format!(
                    "{}: name a region, one of {}",
                    reading.key,
                    self.regions.join(", ")
                );
                self.mistake(reading.value.referenced, message);
                None
            }
        }
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

    pub(super) fn spots(&self) -> impl Iterator<Item = Spot> + use<> {
        let played = (0..self.places()).map(Place);
        let spots = played.flat_map(|place| {
            let numbers = 1..=self.nodes_in(place);
            numbers.map(move |number| Spot { place, number })
        });
        let spots: Vec<Spot> = spots
            .filter(|spot| spot.place.0 < self.regions.len())
            .collect();
        spots.into_iter()
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
        let place = reading.value.referenced;
        let (from, to) = self.two_regions((from, to), place)?;
        if !self.is_played(from, place) || !self.is_played(to, place) {
            return None;
        }
        let one_way = self.flag(reading, "one_way");
        Some(Link { from, to, one_way })
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
}
