//! What a run does: regions, network, traffic, and a schedule of faults.
//!
//! In: a scenario file (YAML), shipped or the operator's own. Out: a checked [`Scenario`], or every mistake
//! found with its place.
//!
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
mod stage;
mod tenants;

use std::{fmt::Write as _, io, sync::Arc, time::Duration};

pub use conductor::{Account, CutShort, Panics, play};
pub use drawn::{Bounds, Cluster, DrawnKind};
pub use fault::{Fault, FaultKind, Link, Names, Rhythm, Share, Spot, Target, Whom};
use meridian_cluster::version::Versions;
use meridian_config::{
    diagnose::{Diagnostic, Source},
    document::Protocol,
    units::duration_text,
};
pub use planted::Planted;

use operator::{Nodes, Operator};
pub use tenants::Tenant;

use crate::{
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
    /// Tenants beside the one that every run has.
    pub tenants: Vec<Tenant>,
    /// Between two documents that the operator applies.
    pub write_every: Duration,
    /// Between two badges that the operator revokes; none: he revokes none.
    pub revoke_every: Option<Duration>,
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
    /// The operator's own document, whose regions these are; none: the simulator's.
    pub operator: Option<Arc<Operator>>,
}

/// Scenarios that are part of this program, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    (
        "region-loss",
        include_str!("../../scenarios/region-loss.yaml"),
    ),
    (
        "region-return",
        include_str!("../../scenarios/region-return.yaml"),
    ),
    ("power-cut", include_str!("../../scenarios/power-cut.yaml")),
    (
        "change-during-loss",
        include_str!("../../scenarios/change-during-loss.yaml"),
    ),
    (
        "thundering-return",
        include_str!("../../scenarios/thundering-return.yaml"),
    ),
    (
        "quota-storm",
        include_str!("../../scenarios/quota-storm.yaml"),
    ),
    ("quota-sun", include_str!("../../scenarios/quota-sun.yaml")),
    (
        "quota-change",
        include_str!("../../scenarios/quota-change.yaml"),
    ),
    (
        "quota-restarts",
        include_str!("../../scenarios/quota-restarts.yaml"),
    ),
    (
        "residency-loss",
        include_str!("../../scenarios/residency-loss.yaml"),
    ),
    (
        "process-kill",
        include_str!("../../scenarios/process-kill.yaml"),
    ),
    (
        "left-behind",
        include_str!("../../scenarios/left-behind.yaml"),
    ),
    ("partition", include_str!("../../scenarios/partition.yaml")),
    (
        "split-in-two",
        include_str!("../../scenarios/split-in-two.yaml"),
    ),
    (
        "minority-writes",
        include_str!("../../scenarios/minority-writes.yaml"),
    ),
    (
        "one-way-cut",
        include_str!("../../scenarios/one-way-cut.yaml"),
    ),
    (
        "flapping-link",
        include_str!("../../scenarios/flapping-link.yaml"),
    ),
    ("slow-disk", include_str!("../../scenarios/slow-disk.yaml")),
    (
        "clock-drift",
        include_str!("../../scenarios/clock-drift.yaml"),
    ),
    (
        "key-rotation",
        include_str!("../../scenarios/key-rotation.yaml"),
    ),
    (
        "revocation",
        include_str!("../../scenarios/revocation.yaml"),
    ),
    (
        "bulk-flood",
        include_str!("../../scenarios/bulk-flood.yaml"),
    ),
    (
        "rolling-restart",
        include_str!("../../scenarios/rolling-restart.yaml"),
    ),
    (
        "rolling-upgrade",
        include_str!("../../scenarios/rolling-upgrade.yaml"),
    ),
    (
        "orderly-upgrade",
        include_str!("../../scenarios/orderly-upgrade.yaml"),
    ),
    (
        "join-and-leave",
        include_str!("../../scenarios/join-and-leave.yaml"),
    ),
    ("chaos", include_str!("../../scenarios/chaos.yaml")),
];

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
                .flat_map(|from| document::lines(from, &self.regions, every))
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

    /// The scenario in words.
    pub fn explain(&self) -> String {
        let mut lines: Vec<(&str, String)> = Vec::new();
        let nodes = (0..self.regions.len()).map(Place);
        let nodes = nodes.map(|place| match self.nodes_in(place) {
            1 => format!("{} with 1 node", self.region(place)),
            count => format!("{} with {count} nodes", self.region(place)),
        });
        lines.push(("regions", nodes.collect::<Vec<_>>().join(", ")));
        if let Some(operator) = &self.operator {
            for ask in operator.asks() {
                lines.push(("asked", self.describe_ask(ask)));
            }
            let notes = self.notes().iter();
            lines.extend(notes.map(|note| ("note", note.clone())));
        }
        if self.release_before {
            lines.push(("release", "before: all nodes begin with it".to_owned()));
        }
        for from in 0..self.regions.len() {
            for to in from + 1..self.regions.len() {
                let (from, to) = (Place(from), Place(to));
                let latency = duration_text(self.links.latency(from, to));
                let (from, to) = (self.region(from), self.region(to));
                lines.push(("latency", format!("{from} – {to}: {latency} one way")));
            }
        }
        let Conditions {
            jitter,
            loss,
            duplication,
        } = self.conditions;
        lines.push((
            "network",
            format!(
                "jitter up to {}, {:.2} % of packets lost, {:.2} % doubled",
                duration_text(jitter),
                loss * 100.0,
                duplication * 100.0
            ),
        ));
        lines.push((
            "traffic",
            self.request_every.map_or_else(
                || "none".to_owned(),
                |every| {
                    let every = duration_text(every);
                    format!("one request of each kind every {every} in each region")
                },
            ),
        ));
        for tenant in &self.tenants {
            let words = tenant.describe(|place| self.region(place).to_owned());
            lines.push(("tenant", words));
        }
        let every = duration_text(self.write_every);
        lines.push(("writes", format!("a new document every {every}")));
        if let Some(every) = self.revoke_every {
            let every = duration_text(every);
            lines.push((
                "revokes",
                format!("a badge every {every}; holders present them at every node"),
            ));
        }
        let planted = self.planted.tell(|place| self.region(place).to_owned());
        lines.extend(planted.into_iter().map(|told| ("planted", told)));
        if let Some(bounds) = &self.drawn {
            lines.push(("drawn", bounds.says()));
        }
        if let Some(seed) = self.seed {
            lines.push(("seed", seed.to_string()));
        }
        for fault in &self.faults {
            let at = duration_text(fault.at);
            let lasts = duration_text(fault.lasts);
            let what = self.describe(&fault.what);
            lines.push(("fault", format!("after {at}, for {lasts}: {what}")));
        }
        let calm = duration_text(self.calm);
        lines.push(("calm", format!("{calm} without faults")));
        let mut text = format!("{}: {}\n\n", self.name, self.says.trim());
        for (name, value) in lines {
            writeln!(text, "{name:<9}{value}").expect("formatting into a String cannot fail");
        }
        text
    }

    /// A kind of request in words.
    fn describe_ask(&self, ask: &Ask) -> String {
        let names = |places: &[Place]| {
            let names = places.iter().map(|place| self.region(*place));
            names.collect::<Vec<_>>().join(", ")
        };
        let every = duration_text(ask.every);
        let served = match (&ask.served_in, ask.status) {
            (Some(places), _) => format!("served in {}", names(places)),
            (None, Some(status)) => format!("answered {status} by the gateway"),
            (None, None) => "answered by the gateway".to_owned(),
        };
        format!(
            "{} of {}{}, every {every} in each region; {served}",
            ask.name,
            ask.host,
            ask.path.replace(crate::workload::ask::NUMBER, "N")
        )
    }

    /// A fault in words.
    pub fn describe(&self, what: &FaultKind) -> String {
        self.names().says(what)
    }

    /// The names of regions and nodes.
    pub fn names(&self) -> Names<'_> {
        Names {
            regions: &self.regions,
        }
    }
}

/// The shipped scenarios by what goes wrong in them, a name and a sentence each.
pub fn list() -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        let space = if text.is_empty() { "" } else { "\n" };
        writeln!(text, "{space}{title}").expect("formatting into a String cannot fail");
        for name in *names {
            let says = says(name);
            let sentence = says.find(". ").map_or(&*says, |end| &says[..=end]);
            for (index, line) in wrap(sentence, SCREEN - INDENT).into_iter().enumerate() {
                let name = if index == 0 { name } else { "" };
                writeln!(text, "  {name:<width$}{line}", width = INDENT - 2)
                    .expect("formatting into a String cannot fail");
            }
        }
    }
    text
}

/// What a shipped scenario says of itself.
fn says(name: &str) -> String {
    let source = find(name, |_| Err(io::ErrorKind::NotFound.into()));
    match source.map(|source| Scenario::parse(&source)) {
        Ok(Ok(scenario)) => scenario.says.trim().to_owned(),
        // A test reads every one of them.
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

/// The shipped scenarios as `list` shows them.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Regions are lost, and return",
        &[
            "region-loss",
            "region-return",
            "power-cut",
            "change-during-loss",
            "quota-storm",
            "quota-sun",
            "quota-change",
            "quota-restarts",
            "residency-loss",
            "thundering-return",
        ],
    ),
    ("Anything, as the seed draws it", &["chaos"]),
    (
        "Nodes and what they stand on fail",
        &[
            "process-kill",
            "left-behind",
            "slow-disk",
            "clock-drift",
            "key-rotation",
        ],
    ),
    (
        "The network fails",
        &[
            "partition",
            "split-in-two",
            "minority-writes",
            "one-way-cut",
            "flapping-link",
            "revocation",
            "bulk-flood",
        ],
    ),
    (
        "Nothing fails: what operators do",
        &[
            "rolling-restart",
            "rolling-upgrade",
            "orderly-upgrade",
            "join-and-leave",
        ],
    ),
];

/// Breaks a text into lines of at most so many characters, between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How wide the list is, in characters.
const SCREEN: usize = 100;

/// Where its sentences begin.
const INDENT: usize = 22;

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

/// A shipped scenario's text, or that of a file which `read` can read.
///
/// # Errors
/// When it is neither.
pub fn find(
    name: &str,
    read: impl FnOnce(&str) -> io::Result<String>,
) -> Result<Source, UnknownScenario> {
    let shipped = SHIPPED.iter().find(|(known, _)| *known == name);
    if let Some((known, text)) = shipped {
        return Ok(Source {
            name: format!("{known}.yaml"),
            text: (*text).to_owned(),
        });
    }
    match read(name) {
        Ok(text) => Ok(Source {
            name: name.to_owned(),
            text,
        }),
        Err(cause) => Err(UnknownScenario {
            name: name.to_owned(),
            cause: cause.to_string(),
        }),
    }
}

/// Neither a shipped scenario nor a file that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} is no shipped scenario (`meridian-sim list` shows them) and cannot be read as a file: {cause}"
)]
pub struct UnknownScenario {
    name: String,
    cause: String,
}

#[cfg(test)]
mod tests;
