//! The operator's own document in the place of the simulator's: regions, services, routes, tenants and limits.
//!
//! In: `gateway.yaml`, as `meridian apply` would take it. Out: an [`Operator`]: the document as the simulated nodes
//! run it, what clients ask for, and the regions as a scenario's places. What cannot be had in a false world is
//! replaced, and told:
//!
//! - an issuer's URL and algorithms: the simulator has its own keys;
//! - the addresses of endpoints: the upstream of their region answers, each endpoint on a port of its own;
//! - a limit that the traffic itself would exceed: this version counts limits on each node by itself, and no
//!   scenario judges them.
//!
//! - `asks`: a request for each route, of a tenant that may make it;
//! - `rewrite`: the document as the nodes run it;
//! - `topology`: the operator's regions as the places of a scenario.

mod asks;
mod rewrite;
mod topology;

use std::time::Duration;

use meridian_config::{
    diagnose::{Diagnostic, Source},
    document::{Document, Protocol},
    name::{RegionName, Zone},
};
use serde_json::Value;
pub use topology::Nodes;

use crate::{
    workload::ask::Ask,
    world::{Links, Place},
};

/// An operator's document, made ready for a run.
#[derive(Debug, Clone)]
pub struct Operator {
    /// What the operator calls it.
    pub name: String,
    /// Its regions, in the order of the scenario's places.
    pub regions: Vec<String>,
    /// What was replaced or left out, a sentence each.
    pub notes: Vec<String>,
    /// The document as written, checked.
    document: Document,
    /// The same as a tree.
    written: Value,
    /// What the nodes run, once the traffic is known.
    rewritten: Value,
    /// What clients ask for.
    asks: Vec<Ask>,
    /// What the upstream of each region speaks on its ports.
    ports: Vec<Vec<Protocol>>,
    /// Nodes of each region.
    nodes: Vec<usize>,
}

impl Operator {
    /// Reads a document, after `${ENV}` was expanded.
    ///
    /// # Errors
    /// Every mistake in it, with its place; a document without regions.
    pub fn read(sources: &[Source]) -> Result<Self, Vec<Diagnostic>> {
        let parsed = Document::parse(sources)?;
        let written = rewrite::tree(sources)?;
        let regions: Vec<String> = match &written["regions"] {
            Value::Object(regions) => regions.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let name = sources.first().map_or("", |source| &source.name);
        if regions.is_empty() {
            return Err(vec![Diagnostic {
                file: name.to_owned(),
                line: 1,
                column: 1,
                message: "regions: there are none; a simulation needs one, list them as in `meridian config example`".to_owned(),
            }]);
        }
        Ok(Self {
            name: name.to_owned(),
            nodes: vec![1; regions.len()],
            regions,
            notes: Vec::new(),
            document: parsed.document,
            rewritten: written.clone(),
            written,
            asks: Vec::new(),
            ports: Vec::new(),
        })
    }

    /// Gives the document's regions the places of a scenario's: one of the same name keeps its place, the others
    /// follow in the document's order.
    pub(super) fn take_places(&mut self, scenario: &[String], nodes: &Nodes, each: usize) {
        self.regions = topology::places(&self.regions, scenario);
        self.nodes = nodes.of(&self.regions, each);
        for (place, region) in self.regions.iter().enumerate() {
            let played = scenario.get(place).filter(|name| *name != region);
            if let Some(name) = played {
                let note = format!("regions: {region} takes the part of {name}");
                self.notes.push(note);
            }
        }
    }

    /// How far the regions lie apart: by their locations, else as in the scenario, else 50 ms.
    pub(super) fn links(&mut self, links: &mut Links, known: usize) {
        let (document, regions) = (&self.document, &self.regions);
        for from in 0..regions.len() {
            for to in from + 1..regions.len() {
                let location = |place: usize| {
                    let region = document.regions.get(regions[place].as_str());
                    region.and_then(|region| region.location)
                };
                if let (Some(a), Some(b)) = (location(from), location(to)) {
                    links.set_latency(Place(from), Place(to), topology::latency(a, b));
                } else if to >= known {
                    links.set_latency(Place(from), Place(to), topology::UNKNOWN);
                    let (a, b) = (&regions[from], &regions[to]);
                    self.notes.push(format!(
                        "regions: {a} or {b} has no location; they are taken to be {:?} apart, one way",
                        topology::UNKNOWN
                    ));
                }
            }
        }
    }

    /// Settles what clients ask for, at this pace a kind at most, and the document that goes with it.
    pub(super) fn settle(&mut self, every: Option<Duration>) {
        let (mut asks, mut notes) = asks::asks(&self.document, &self.regions);
        if let Some(every) = every {
            asks::pace(&mut asks, every, &mut notes);
        }
        self.asks = asks;
        let rewritten = rewrite::rewrite(&self.written, &self.document, &self.regions, &self.asks);
        notes.extend(rewritten.notes);
        self.notes.extend(notes);
        self.rewritten = rewritten.document;
        self.ports = rewritten.ports;
    }

    /// The document as the nodes run it; `change` tells one version from the next.
    pub fn document(&self, change: u64) -> Source {
        Source {
            name: "gateway.yaml".to_owned(),
            text: rewrite::version(&self.rewritten, change),
        }
    }

    /// What clients ask for.
    pub fn asks(&self) -> &[Ask] {
        &self.asks
    }

    /// What the upstream of each region speaks on its ports.
    pub fn ports(&self) -> &[Vec<Protocol>] {
        &self.ports
    }

    /// Nodes of a region.
    pub fn nodes(&self, place: Place) -> usize {
        self.nodes[place.0]
    }

    /// Whether the regions of these places lie in one of the zones that a residency names.
    fn places_in(document: &Document, regions: &[String], zones: &[Zone]) -> Vec<Place> {
        let inside = |(_, name): &(usize, &String)| {
            let region = document.regions.get(&RegionName::new(name.as_str()));
            region.is_some_and(|region| zones.contains(&region.zone))
        };
        let places = regions.iter().enumerate().filter(inside);
        places.map(|(place, _)| Place(place)).collect()
    }
}

#[cfg(test)]
mod tests;
