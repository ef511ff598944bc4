//! What a run does: regions, network, traffic, and a schedule of faults.
//!
//! In: a scenario file (YAML), shipped or the operator's own. Out: a checked [`Scenario`], or every mistake
//! found with its place.
//!
//! - `shipped`: the files that are part of this program;
//! - `words`: a scenario in words;
//! - `raw`: what may be written in the file;
//! - [`fault`]: what may go wrong, as plain data;
//! - `drawn`: faults that the seed draws instead;
//! - `operator`: an operator's own document in the place of the simulator's;
//! - `tenants`: who asks for what, where, how often;
//! - `stage`: the machines of a run;
//! - `lookout`: what the nodes are like meanwhile;
//! - `schedule`: makes it go wrong, and undoes it;
//! - `planted`: mistakes on purpose;
//! - `sampler`: what nodes hold;
//! - `editors`: who reads and writes the document;
//! - `conductor`: plays the whole and judges it.

mod conductor;
mod drawn;
mod editors;
pub mod fault;
mod lookout;
pub mod operator;
mod planted;
mod raw;
mod sampler;
mod schedule;
mod shipped;
mod stage;
mod tenants;
mod words;

use std::{sync::Arc, time::Duration};

pub use conductor::{Account, CutShort, Panics, play};
pub use drawn::{Bounds, Cluster, DrawnKind};
pub use fault::{Fault, FaultKind, Link, Names, Rhythm, Share, Spot, Target, Whom};
use meridian_cluster::version::Versions;
use meridian_config::{
    diagnose::{Diagnostic, Source},
    document::Protocol,
};
pub use planted::Planted;
pub use shipped::{SHIPPED, UnknownScenario, find, list};

use operator::{Nodes, Operator};
pub use tenants::{Set, Tenant};

use crate::{
    invariant::Wanted,
    workload::{Flow, Kind, ask::Ask, client::Line, document},
    world::{Conditions, Links, Place},
};

/// A checked scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it does, in words.
    pub says: String,
    /// Its regions, in order; a [`Place`] is an index into them.
    pub regions: Vec<String>,
    /// Nodes in each region, at least 1.
    pub nodes_per_region: usize,
    /// Latencies between the regions.
    pub links: Links,
    /// The nodes begin with the release before this one.
    pub release_before: bool,
    /// What packets risk until the calm half begins.
    pub conditions: Conditions,
    /// Between two requests of one kind in one region; none: no clients.
    pub request_every: Option<Duration>,
    /// What is asked for.
    pub kinds: Vec<Kind>,
    /// Tenants beside the one that every run has.
    pub tenants: Vec<Tenant>,
    /// Between two documents that the operator applies.
    pub write_every: Duration,
    /// Between two badges that the operator revokes; none: he revokes none.
    pub revoke_every: Option<Duration>,
    /// Between two messages about limits that a node says or hears again; none: none is.
    pub repeat_every: Option<Duration>,
    /// Mistakes on purpose, to see whether they are noticed.
    pub planted: Planted,
    /// What goes wrong, as the file lists it.
    pub faults: Vec<Fault>,
    /// Within what the seed draws what goes wrong, in the place of a list; see [`Bounds::draw`].
    pub drawn: Option<Bounds>,
    /// What they are drawn for.
    cluster: Cluster,
    /// The seed that the file is about.
    pub seed: Option<u64>,
    /// How long the half without faults lasts.
    pub calm: Duration,
    /// What must hold beside what always must.
    pub holds: Wanted,
    /// The operator's own document, whose regions these are; none: the simulator's.
    pub operator: Option<Arc<Operator>>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        raw::read(source, None)
    }

    /// Reads a scenario and plays it on an operator's document: in its regions, with its services, routes and
    /// tenants. The scenario's regions are parts that the operator's take.
    ///
    /// # Errors
    /// Every mistake, with its place: also what the operator's regions have no room for.
    pub fn parse_for(
        source: &Source,
        operator: Operator,
        nodes: &Nodes,
    ) -> Result<Self, Vec<Diagnostic>> {
        raw::read(source, Some((operator, nodes)))
    }

    /// Has the nodes begin as ones of the release that speaks this version of the messages.
    ///
    /// # Errors
    /// When this release cannot be upgraded from it.
    pub fn begin_with(&mut self, version: u8) -> Result<(), String> {
        let (this, before) = (Versions::THIS_RELEASE, Versions::RELEASE_BEFORE);
        self.release_before = match version {
            _ if version == before.newest => true,
            _ if version == this.newest => false,
            _ => {
                return Err(format!(
                    "version {version} is not one that this release can be upgraded from; it speaks {}, and reads {this}",
                    this.newest
                ));
            }
        };
        Ok(())
    }

    /// Nodes of a region when the run begins.
    pub fn nodes_in(&self, place: Place) -> usize {
        match &self.operator {
            Some(operator) => operator.nodes(place),
            None => self.nodes_per_region,
        }
    }

    /// Nodes of all regions when the run begins.
    pub fn node_count(&self) -> usize {
        (0..self.regions.len())
            .map(|place| self.nodes_in(Place(place)))
            .sum()
    }

    /// Nodes that join while the run goes on, in the order of the file: each has a machine of its own.
    pub(crate) fn guests(&self) -> Vec<Spot> {
        let mut numbers: Vec<usize> = (0..self.regions.len())
            .map(|place| self.nodes_in(Place(place)))
            .collect();
        let mut guests = Vec::new();
        for fault in &self.faults {
            if let FaultKind::Join(place) = fault.what {
                numbers[place.0] += 1;
                let number = numbers[place.0];
                guests.push(Spot { place, number });
            }
        }
        guests
    }

    /// What all clients ask for; nothing without traffic.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let Some(every) = self.request_every else {
            return Vec::new();
        };
        let places = (0..self.regions.len()).map(Place);
        let Some(operator) = &self.operator else {
            let mut lines: Vec<Line> = places
                .flat_map(|from| document::lines(from, &self.regions, every, &self.kinds))
                .collect();
            lines.extend(asked(document::asks(&self.regions, &self.tenants)));
            return lines;
        };
        asked(operator.asks().to_vec())
    }

    /// The simulator's own document; `change` tells one version from the next.
    pub(crate) fn document(&self, change: u64) -> Source {
        match &self.operator {
            Some(operator) => operator.document(change),
            None => document::document(&self.regions, &self.tenants, change),
        }
    }

    /// What holders of badges ask for; none where nothing is revoked.
    pub(crate) fn badge(&self) -> Option<Arc<Ask>> {
        self.revoke_every?;
        match &self.operator {
            None => {
                let every = self.request_every?;
                Some(Arc::new(document::badge(Place(0), &self.regions, every)))
            }
            Some(operator) => {
                let mut asks = operator.asks().iter();
                asks.find(|ask| ask.can_be_badge())
                    .map(|ask| Arc::new(ask.clone()))
            }
        }
    }

    /// What the upstream of each region speaks on its ports.
    pub(crate) fn ports(&self) -> Vec<Vec<Protocol>> {
        match &self.operator {
            Some(operator) => operator.ports().to_vec(),
            None => vec![vec![Protocol::Http1]; self.regions.len()],
        }
    }

    /// What faults are drawn for.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// When the last fault ends at the latest, from the moment when all nodes serve.
    pub fn faults_end(&self) -> Duration {
        let ends = self.faults.iter().map(|fault| {
            let rounds = match fault.what {
                FaultKind::Join(_) => return fault.at + fault.lasts + 2 * ROUND,
                FaultKind::Stop(Whom::Each) => self.node_count(),
                FaultKind::Stop(Whom::Of(Target::Region(_) | Target::Leader)) => {
                    let places = (0..self.regions.len()).map(Place);
                    let nodes = places.map(|place| self.nodes_in(place));
                    nodes.max().unwrap_or_default()
                }
                FaultKind::Stop(Whom::Of(_)) => 1,
                _ => return fault.at + fault.lasts,
            };
            let rounds = u32::try_from(rounds).expect("a scenario has at most 250 machines");
            fault.at + (fault.lasts + ROUND) * rounds
        });
        ends.max().unwrap_or_default()
    }

    /// Whether nothing goes wrong but floods: then no node may be taken for dead, nor any message be late.
    pub fn only_floods(&self) -> bool {
        let mut faults = self.faults.iter();
        faults.all(|fault| matches!(fault.what, FaultKind::Flood { .. }))
    }

    /// A region's name.
    pub fn region(&self, place: Place) -> &str {
        &self.regions[place.0]
    }

    /// What an operator's document replaced or left out of the scenario, a sentence each.
    pub fn notes(&self) -> &[String] {
        self.operator
            .as_ref()
            .map_or(&[], |operator| &operator.notes)
    }
}

/// What is asked for, by the clients of each region that it comes from.
fn asked(asks: Vec<Ask>) -> Vec<Line> {
    let mut lines = Vec::new();
    for ask in asks.into_iter().map(Arc::new) {
        lines.extend(ask.from.iter().map(|from| Line {
            flow: Flow {
                from: *from,
                kind: Kind::Asked(ask.clone()),
            },
            ask: ask.clone(),
        }));
    }
    lines
}

/// For a node that is told to stop to end, and for one that is started again to serve and to see all others:
/// 30 s of draining, 4 s of meeting the others, a dial that is lost and repeated.
const ROUND: Duration = Duration::from_secs(45);

#[cfg(test)]
mod tests;
