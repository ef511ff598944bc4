//! A scenario file as it may be written, and its check.
//!
//! In: the text. Out: a [`Scenario`], or mistakes with their places. What serde finds (an unknown key, a
//! missing one, a wrong type) ends the reading; what the check finds is all reported at once.

use std::time::Duration;

use meridian_config::{
    diagnose::{Diagnostic, Source},
    units,
};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::{Fault, FaultKind, Scenario, Target, Whom};
use crate::world::{Capacity, Conditions, Links, Place};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScenario {
    name: String,
    says: String,
    regions: Vec<Spanned<String>>,
    nodes_per_region: Spanned<usize>,
    /// `before`: the nodes begin with the release before this one.
    release: Option<Spanned<String>>,
    network: RawNetwork,
    traffic: Option<RawTraffic>,
    writes: RawWrites,
    revocations: Option<RawRevocations>,
    planted: Option<RawPlanted>,
    #[serde(default)]
    faults: Vec<RawFault>,
    calm: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetwork {
    within: Spanned<String>,
    between: Vec<RawBetween>,
    capacity: Option<RawCapacity>,
    jitter: Option<Spanned<String>>,
    loss: Option<Spanned<String>>,
    duplication: Option<Spanned<String>>,
}

/// What a link between two regions carries in a second, and how long a packet waits for it at most.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCapacity {
    each_second: Spanned<String>,
    queue: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBetween {
    regions: Spanned<(String, String)>,
    latency: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTraffic {
    rate: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWrites {
    every: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRevocations {
    every: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlanted {
    deaf_to_revocations: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    at: Spanned<String>,
    #[serde(rename = "for")]
    lasts: Spanned<String>,
    power_off: Option<Spanned<String>>,
    kill: Option<Spanned<String>>,
    kill_upstreams: Option<Spanned<String>>,
    upgrade: Option<Spanned<String>>,
    isolate: Option<Spanned<String>>,
    stop: Option<Spanned<String>>,
    cut: Option<Spanned<(String, String)>>,
    flood: Option<Spanned<(String, String)>>,
    #[serde(default)]
    one_way: bool,
}

pub(super) fn read(source: &Source) -> Result<Scenario, Vec<Diagnostic>> {
    let raw: RawScenario = serde_saphyr::from_str(&source.text).map_err(|error| {
        let place = error.location().unwrap_or(Location::UNKNOWN);
        let message = error.without_snippet().to_string();
        vec![diagnostic(source, place, message)]
    })?;
    let mut check = Check {
        source,
        regions: Vec::new(),
        mistakes: Vec::new(),
    };
    let scenario = check.scenario(&raw);
    if check.mistakes.is_empty() {
        Ok(scenario)
    } else {
        Err(check.mistakes)
    }
}

fn diagnostic(source: &Source, place: Location, message: String) -> Diagnostic {
    Diagnostic {
        file: source.name.clone(),
        line: u32::try_from(place.line()).unwrap_or(u32::MAX),
        column: u32::try_from(place.column()).unwrap_or(u32::MAX),
        message,
    }
}

struct Check<'a> {
    source: &'a Source,
    regions: Vec<String>,
    mistakes: Vec<Diagnostic>,
}

type TargetedKind = fn(Target) -> FaultKind;

impl Check<'_> {
    fn scenario(&mut self, raw: &RawScenario) -> Scenario {
        self.regions(raw);
        let mut faults = Vec::new();
        let (links, conditions) = (self.links(&raw.network), self.conditions(&raw.network));
        for (index, fault) in raw.faults.iter().enumerate() {
            faults.extend(self.fault(index, fault));
        }
        Scenario {
            name: raw.name.clone(),
            says: raw.says.clone(),
            regions: self.regions.clone(),
            nodes_per_region: raw.nodes_per_region.value,
            links,
            release_before: self.release_before(raw.release.as_ref()),
            conditions,
            request_every: raw
                .traffic
                .as_ref()
                .map(|traffic| self.interval(&traffic.rate)),
            write_every: self.span("writes.every", &raw.writes.every),
            revoke_every: self.revocations(raw),
            deaf: raw.planted.as_ref().and_then(|planted| {
                let region = &planted.deaf_to_revocations;
                self.region(&region.value, region.referenced)
            }),
            faults,
            calm: self.span("calm", &raw.calm),
        }
    }

    fn release_before(&mut self, release: Option<&Spanned<String>>) -> bool {
        let Some(release) = release else {
            return false;
        };
        if release.value != "before" {
            let message = format!(
                "release: {:?} is none; write \"before\", or leave it out for this one",
                release.value
            );
            self.mistake(release.referenced, message);
        }
        true
    }

    fn revocations(&mut self, raw: &RawScenario) -> Option<Duration> {
        let every = &raw.revocations.as_ref()?.every;
        if raw.traffic.is_none() {
            let message = "revocations.every: without traffic nobody presents what is revoked";
            self.mistake(every.referenced, message.to_owned());
        }
        Some(self.span("revocations.every", every))
    }

    fn regions(&mut self, raw: &RawScenario) {
        for region in &raw.regions {
            if self.regions.contains(&region.value) {
                let message = format!("regions: {} stands here twice", region.value);
                self.mistake(region.referenced, message);
            }
            self.regions.push(region.value.clone());
        }
        let nodes = raw.nodes_per_region.value;
        let machines = self.regions.len().saturating_mul(nodes.saturating_add(2));
        if machines == 0 || nodes == 0 || machines > MOST_MACHINES {
            let message = format!(
                "nodes_per_region: a scenario needs a region, a node in each, and at most {MOST_MACHINES} machines (each region also has its clients and an upstream)"
            );
            self.mistake(raw.nodes_per_region.referenced, message);
        }
    }

    fn links(&mut self, network: &RawNetwork) -> Links {
        let count = self.regions.len();
        let within = self.duration("network.within", &network.within);
        let mut links = Links::even(count, within, Duration::ZERO);
        let mut missing: Vec<(usize, usize)> = (0..count)
            .flat_map(|a| (a + 1..count).map(move |b| (a, b)))
            .collect();
        for between in &network.between {
            let latency = self.duration("network.between.latency", &between.latency);
            let place = between.regions.referenced;
            let (a, b) = &between.regions.value;
            if let (Some(a), Some(b)) = (self.region(a, place), self.region(b, place)) {
                links.set_latency(a, b, latency);
                missing.retain(|pair| *pair != (a.0.min(b.0), a.0.max(b.0)));
            }
        }
        if let Some(capacity) = &network.capacity {
            let (size, queue) = (&capacity.each_second, &capacity.queue);
            let queue = self.duration("network.capacity.queue", queue);
            match units::size(&size.value) {
                Ok(bytes @ 1..) => links.set_capacity(Capacity {
                    #[allow(clippy::cast_precision_loss, reason = "a link's speed is round")]
                    bytes_per_second: bytes as f64,
                    queue,
                }),
                Ok(0) => {
                    let message = "network.capacity.each_second: nothing would pass".to_owned();
                    self.mistake(size.referenced, message);
                }
                Err(wrong) => {
                    let message = format!("network.capacity.each_second: {wrong}");
                    self.mistake(size.referenced, message);
                }
            }
        }
        for (a, b) in missing {
            let (a, b) = (&self.regions[a], &self.regions[b]);
            let message = format!("network.between: no latency between {a} and {b}");
            self.mistake(network.within.referenced, message);
        }
        links
    }

    fn conditions(&mut self, network: &RawNetwork) -> Conditions {
        let jitter = network.jitter.as_ref();
        Conditions {
            jitter: jitter.map_or(Duration::ZERO, |text| self.duration("network.jitter", text)),
            loss: self.share("network.loss", network.loss.as_ref()),
            duplication: self.share("network.duplication", network.duplication.as_ref()),
        }
    }

    fn fault(&mut self, index: usize, fault: &RawFault) -> Option<Fault> {
        let targeted: [(&Option<Spanned<String>>, TargetedKind); 5] = [
            (&fault.power_off, FaultKind::PowerOff),
            (&fault.kill, FaultKind::Kill),
            (&fault.kill_upstreams, FaultKind::KillUpstreams),
            (&fault.upgrade, FaultKind::Upgrade),
            (&fault.isolate, FaultKind::Isolate),
        ];
        let mut kinds = Vec::new();
        for (target, kind) in targeted {
            if let Some(target) = target {
                kinds.push(self.target(target).map(kind));
            }
        }
        if let Some(stop) = &fault.stop {
            let whom = if stop.value == "each" {
                Some(Whom::Each)
            } else {
                self.target(stop).map(Whom::Of)
            };
            kinds.push(whom.map(FaultKind::Stop));
        }
        if let Some(flood) = &fault.flood {
            let (from, to) = &flood.value;
            let from = self.region(from, flood.referenced);
            let to = self.region(to, flood.referenced);
            kinds.push(from.zip(to).map(|(from, to)| FaultKind::Flood { from, to }));
        }
        if let Some(cut) = &fault.cut {
            let (from, to) = &cut.value;
            let from = self.region(from, cut.referenced);
            let to = self.region(to, cut.referenced);
            let one_way = fault.one_way;
            let kind = |(from, to)| FaultKind::Cut { from, to, one_way };
            kinds.push(from.zip(to).map(kind));
        }
        if kinds.len() != 1 {
            let message = format!(
                "faults[{index}]: name exactly one of power_off, kill, kill_upstreams, upgrade, isolate, stop, cut, flood"
            );
            self.mistake(fault.at.referenced, message);
        }
        Some(Fault {
            at: self.duration("faults.at", &fault.at),
            lasts: self.span("faults.for", &fault.lasts),
            what: kinds.pop()??,
        })
    }

    fn target(&mut self, name: &Spanned<String>) -> Option<Target> {
        if name.value == "leader" {
            return Some(Target::Leader);
        }
        let region = self.region(&name.value, name.referenced);
        region.map(Target::Region)
    }

    fn region(&mut self, name: &str, place: Location) -> Option<Place> {
        let found = self.regions.iter().position(|region| region == name);
        if found.is_none() {
            let known = self.regions.join(", ");
            let message = format!("there is no region {name:?}; use one of {known}");
            self.mistake(place, message);
        }
        found.map(Place)
    }

    fn duration(&mut self, path: &str, text: &Spanned<String>) -> Duration {
        units::duration(&text.value).unwrap_or_else(|wrong| {
            self.mistake(text.referenced, format!("{path}: {wrong}"));
            Duration::from_secs(1)
        })
    }

    /// A duration that is not zero.
    fn span(&mut self, path: &str, text: &Spanned<String>) -> Duration {
        let span = self.duration(path, text);
        if span.is_zero() {
            let message = format!("{path}: no time at all; write a duration above 0s");
            self.mistake(text.referenced, message);
        }
        span
    }

    fn interval(&mut self, text: &Spanned<String>) -> Duration {
        let wrong = match units::rate(&text.value) {
            Ok(rate) => {
                let interval = rate.span / u32::try_from(rate.amount).unwrap_or(u32::MAX);
                if interval >= Duration::from_millis(1) {
                    return interval;
                }
                "at most 1000/second: the world's clock has a grain of 1 ms".to_owned()
            }
            Err(wrong) => wrong,
        };
        self.mistake(text.referenced, format!("traffic.rate: {wrong}"));
        Duration::from_secs(1)
    }

    fn share(&mut self, path: &str, text: Option<&Spanned<String>>) -> f64 {
        let Some(text) = text else {
            return 0.0;
        };
        let percent = text.value.strip_suffix('%');
        let share = percent.and_then(|number| number.trim().parse::<f64>().ok());
        if let Some(share) = share
            && (0.0..=100.0).contains(&share)
        {
            return share / 100.0;
        }
        let message = format!("{path}: {:?} is not a share; write \"0.5%\"", text.value);
        self.mistake(text.referenced, message);
        0.0
    }

    fn mistake(&mut self, place: Location, message: String) {
        self.mistakes.push(diagnostic(self.source, place, message));
    }
}

/// Machines are numbered in one byte of their address; a few are the world's own.
const MOST_MACHINES: usize = 250;
