//! A scenario file as it may be written, and its check.
//!
//! In: the text. Out: a [`Scenario`], or mistakes with their places. What serde finds (an unknown key, a
//! missing one, a wrong type) ends the reading; what the check finds is all reported at once.
//!
//! - `network`: latencies and what packets risk;
//! - `drawn`: bounds for faults that the seed draws;
//! - `faults`: the schedule;
//! - `contradictions`: what cannot happen as it is listed there;
//! - `holds`: what must hold beside what always must;
//! - `options`: what stands beside a fault's kind;
//! - `units`: durations, shares, rates.

mod contradictions;
mod drawn;
mod faults;
mod holds;
mod network;
mod options;
mod units;

use std::{sync::Arc, time::Duration};

pub(super) use contradictions::{REJOIN, voters};

use drawn::RawDrawn;
use holds::RawHolds;
use meridian_config::diagnose::{Diagnostic, Source};
use network::RawNetwork;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::{
    Cluster, Scenario,
    fault::RawFault,
    operator::{Nodes, Operator},
    planted::{Planted, RawPlanted},
    tenants::RawTenant,
};
use crate::{workload::Kind, world::Place};

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
    repeats: Option<RawRepeats>,
    #[serde(default)]
    tenants: Vec<RawTenant>,
    planted: Option<RawPlanted>,
    #[serde(default)]
    faults: Vec<RawFault>,
    drawn: Option<Spanned<RawDrawn>>,
    seed: Option<u64>,
    calm: Spanned<String>,
    holds: Option<RawHolds>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTraffic {
    rate: Spanned<String>,
    /// Kinds of requests; all if it is not said.
    asks: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWrites {
    every: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRepeats {
    every: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRevocations {
    every: Spanned<String>,
}

pub(super) fn read(
    source: &Source,
    operator: Option<(Operator, &Nodes)>,
) -> Result<Scenario, Vec<Diagnostic>> {
    let raw: RawScenario = serde_saphyr::from_str(&source.text).map_err(|error| {
        let place = error.location().unwrap_or(Location::UNKNOWN);
        let message = error.without_snippet().to_string();
        vec![diagnostic(source, place, message)]
    })?;
    let mut check = Check {
        source,
        regions: Vec::new(),
        nodes_per_region: raw.nodes_per_region.value,
        operator: None,
        mistakes: Vec::new(),
    };
    if let Some((operator, nodes)) = operator {
        check.play_on(operator, nodes, &raw);
    }
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

pub(super) struct Check<'a> {
    source: &'a Source,
    /// As the scenario names them.
    regions: Vec<String>,
    nodes_per_region: usize,
    /// Whose regions take their parts.
    operator: Option<Operator>,
    mistakes: Vec<Diagnostic>,
}

impl Check<'_> {
    /// What clients ask for in every region.
    fn asked_for(&mut self, traffic: Option<&RawTraffic>) -> Vec<Kind> {
        let Some(names) = traffic.and_then(|traffic| traffic.asks.as_ref()) else {
            return Kind::USUAL.map(|(_, kind)| kind).to_vec();
        };
        let mut kinds = Vec::new();
        for name in names {
            match Kind::USUAL.iter().find(|(known, _)| *known == name.value) {
                Some((_, kind)) if kinds.contains(kind) => {
                    let message = format!("traffic.asks: {:?} stands here twice", name.value);
                    self.mistake(name.referenced, message);
                }
                Some((_, kind)) => kinds.push(kind.clone()),
                None => {
                    let known = Kind::USUAL.map(|(known, _)| known).join(", ");
                    let message = format!(
                        "traffic.asks: there is no kind {:?}; use some of {known}",
                        name.value
                    );
                    self.mistake(name.referenced, message);
                }
            }
        }
        if names.is_empty()
            && let Some(traffic) = traffic
        {
            let message = "traffic.asks: name at least one kind, or leave it out for all of them";
            self.mistake(traffic.rate.referenced, message.to_owned());
        }
        match &mut self.operator {
            Some(operator) => operator.notes.push(format!(
                "traffic.asks: not played: clients ask for the routes of {} instead",
                operator.name
            )),
            None if kinds == [Kind::Remote] && self.regions.len() == 1 => {
                let message = "traffic.asks: remote is what another region serves, and there is one region; add local or order";
                self.mistake(names[0].referenced, message.to_owned());
            }
            None => {}
        }
        kinds
    }

    /// Has an operator's regions take the parts of the scenario's.
    fn play_on(&mut self, mut operator: Operator, nodes: &Nodes, raw: &RawScenario) {
        let place = raw.nodes_per_region.referenced;
        if let Some(stranger) = nodes.stranger(&operator.regions) {
            let known = operator.regions.join(", ");
            let message = format!(
                "--nodes: {} has no region {stranger:?}; use one of {known}",
                operator.name
            );
            self.mistake(place, message);
        }
        let parts: Vec<String> = raw.regions.iter().map(|it| it.value.clone()).collect();
        operator.take_places(&parts, nodes, raw.nodes_per_region.value);
        let traffic = raw.traffic.as_ref();
        operator.settle(traffic.map(|traffic| self.interval(&traffic.rate)));
        let mut asks = operator.asks().iter();
        if raw.revocations.is_some() && !asks.any(crate::workload::ask::Ask::can_be_badge) {
            let message = format!(
                "revocations: {} has no route that a GET with a token reaches; nobody can present what is revoked",
                operator.name
            );
            self.mistake(place, message);
        }
        if traffic.is_some() && operator.asks().is_empty() {
            let message = format!(
                "traffic: {} has no route that clients can ask for; what they need: {}",
                operator.name,
                operator.notes.join("; ")
            );
            self.mistake(place, message);
        }
        self.operator = Some(operator);
    }

    fn scenario(&mut self, raw: &RawScenario) -> Scenario {
        self.regions(raw);
        let traffic = raw.traffic.as_ref();
        let every = traffic.map(|traffic| self.interval(&traffic.rate));
        let tenants = match &mut self.operator {
            None => self.tenants(&raw.tenants, every),
            Some(operator) => {
                if !raw.tenants.is_empty() {
                    let names: Vec<&str> = raw.tenants.iter().map(RawTenant::name).collect();
                    operator.notes.push(format!(
                        "tenants: the scenario's own are not played: {}; those of {} ask instead",
                        names.join(", "),
                        operator.name
                    ));
                }
                Vec::new()
            }
        };
        let (links, conditions) = (self.links(&raw.network), self.conditions(&raw.network));
        let faults = self.faults(&raw.faults);
        let cluster = self.cluster(every.is_some());
        Scenario {
            name: match &self.operator {
                Some(operator) => format!("{} on {}", raw.name, operator.name),
                None => raw.name.clone(),
            },
            says: raw.says.clone(),
            regions: match &self.operator {
                Some(operator) => operator.regions.clone(),
                None => self.regions.clone(),
            },
            nodes_per_region: raw.nodes_per_region.value,
            links,
            release_before: self.release_before(raw.release.as_ref()),
            conditions,
            request_every: every,
            kinds: self.asked_for(raw.traffic.as_ref()),
            tenants,
            write_every: self.span("writes.every", &raw.writes.every),
            revoke_every: self.revocations(raw),
            repeat_every: raw
                .repeats
                .as_ref()
                .map(|repeats| self.span("repeats.every", &repeats.every)),
            planted: raw
                .planted
                .as_ref()
                .map(|planted| Planted::check(planted, |name, place| self.region(name, place)))
                .unwrap_or_default(),
            faults,
            drawn: raw.drawn.as_ref().and_then(|drawn| {
                if !raw.faults.is_empty() {
                    let message =
                        "drawn: a scenario lists its faults or draws them, and does not do both";
                    self.mistake(drawn.referenced, message.to_owned());
                }
                self.drawn(&drawn.value, &cluster)
            }),
            cluster,
            seed: raw.seed,
            calm: self.span("calm", &raw.calm),
            holds: self.holds(raw.holds.as_ref()),
            operator: self.operator.take().map(Arc::new),
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
        let machines = match &self.operator {
            Some(operator) => {
                let places = (0..operator.regions.len()).map(Place);
                places.map(|place| operator.nodes(place) + 2).sum()
            }
            None => self.regions.len().saturating_mul(nodes.saturating_add(2)),
        };
        if machines == 0 || nodes == 0 || machines > MOST_MACHINES {
            let message = format!(
                "nodes_per_region: a scenario needs a region, a node in each, and at most {MOST_MACHINES} machines (each region also has its clients and an upstream)"
            );
            self.mistake(raw.nodes_per_region.referenced, message);
        }
    }

    /// What faults are drawn for: what a file of faults has names for, and somebody plays.
    fn cluster(&self, traffic: bool) -> Cluster {
        let played = self.places().min(self.regions.len());
        let nodes = (0..played).map(|place| self.nodes_in(Place(place)));
        Cluster {
            regions: self.regions[..played].to_vec(),
            nodes: nodes.collect(),
            traffic,
        }
    }

    /// How many places the run has.
    fn places(&self) -> usize {
        let operator = self.operator.as_ref();
        operator.map_or(self.regions.len(), |operator| operator.regions.len())
    }

    /// Nodes of a region.
    fn nodes_in(&self, place: Place) -> usize {
        let operator = self.operator.as_ref();
        operator.map_or(self.nodes_per_region, |operator| operator.nodes(place))
    }

    /// Whether somebody plays a region; a mistake where nobody does.
    fn is_played(&mut self, region: Place, place: Location) -> bool {
        let Some(operator) = &self.operator else {
            return true;
        };
        let (count, document) = (operator.regions.len(), &operator.name);
        if region.0 < count {
            return true;
        }
        let message = format!(
            "{} is the scenario's region {}, and {document} has only {count}; choose a scenario that needs no more",
            self.regions[region.0],
            region.0 + 1
        );
        self.mistake(place, message);
        false
    }

    /// A region by the scenario's name for it, which somebody must play.
    pub(super) fn region(&mut self, name: &str, place: Location) -> Option<Place> {
        let found = self.listed(name, place)?;
        self.is_played(found, place).then_some(found)
    }

    /// A region of the scenario's, played or not.
    fn listed(&mut self, name: &str, place: Location) -> Option<Place> {
        let found = self.regions.iter().position(|region| region == name);
        if found.is_none() {
            let known = self.regions.join(", ");
            let message = format!("there is no region {name:?}; use one of {known}");
            self.mistake(place, message);
        }
        found.map(Place)
    }

    /// Two regions that differ.
    fn two_regions(
        &mut self,
        (one, other): (&str, &str),
        place: Location,
    ) -> Option<(Place, Place)> {
        let (a, b) = (self.listed(one, place), self.listed(other, place));
        let (a, b) = a.zip(b)?;
        if a == b {
            let message =
                format!("{one} and {other} are one region, which has no link to itself; name two");
            self.mistake(place, message);
            return None;
        }
        Some((a, b))
    }

    pub(super) fn mistake(&mut self, place: Location, message: String) {
        self.mistakes.push(diagnostic(self.source, place, message));
    }
}

/// Machines are numbered in one byte of their address; a few are the world's own.
const MOST_MACHINES: usize = 250;
