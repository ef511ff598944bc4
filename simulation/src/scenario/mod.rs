//! What a run does: regions, network, traffic, and a schedule of faults.
//!
//! In: a scenario file (YAML), shipped or the operator's own. Out: a checked [`Scenario`], or every mistake
//! found with its place.
//!
//! - `raw`: what may be written in the file;
//! - [`fault`]: what may go wrong, as plain data;
//! - `drawn`: faults that the seed draws instead;
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
mod planted;
mod raw;
mod sampler;
mod schedule;
mod stage;

use std::{fmt::Write as _, io, time::Duration};

pub use conductor::{Account, CutShort, Panics, play};
pub use drawn::{Bounds, Cluster, DrawnKind};
pub use fault::{Fault, FaultKind, Link, Names, Rhythm, Share, Spot, Target, Whom};
use meridian_config::{
    diagnose::{Diagnostic, Source},
    units::duration_text,
};
pub use planted::Planted;

use crate::world::{Conditions, Links, Place};

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
    /// The seed that the file is about.
    pub seed: Option<u64>,
    /// How long the half without faults lasts.
    pub calm: Duration,
}

/// Scenarios that are part of this program, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    (
        "region-loss",
        include_str!("../../scenarios/region-loss.yaml"),
    ),
    (
        "process-kill",
        include_str!("../../scenarios/process-kill.yaml"),
    ),
    ("partition", include_str!("../../scenarios/partition.yaml")),
    (
        "left-behind",
        include_str!("../../scenarios/left-behind.yaml"),
    ),
    (
        "rolling-upgrade",
        include_str!("../../scenarios/rolling-upgrade.yaml"),
    ),
    (
        "revocation",
        include_str!("../../scenarios/revocation.yaml"),
    ),
    (
        "rolling-restart",
        include_str!("../../scenarios/rolling-restart.yaml"),
    ),
    (
        "bulk-flood",
        include_str!("../../scenarios/bulk-flood.yaml"),
    ),
    ("chaos", include_str!("../../scenarios/chaos.yaml")),
];

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        raw::read(source)
    }

    /// What faults are drawn for.
    pub fn cluster(&self) -> Cluster<'_> {
        Cluster {
            regions: &self.regions,
            nodes_per_region: self.nodes_per_region,
        }
    }

    /// When the last fault ends at the latest, from the moment when all nodes serve.
    pub fn faults_end(&self) -> Duration {
        let ends = self.faults.iter().map(|fault| {
            let rounds = match fault.what {
                FaultKind::Stop(Whom::Each) => self.regions.len() * self.nodes_per_region,
                FaultKind::Stop(Whom::Of(Target::Region(_) | Target::Leader)) => {
                    self.nodes_per_region
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

    /// The scenario in words.
    pub fn explain(&self) -> String {
        let mut lines: Vec<(&str, String)> = Vec::new();
        let nodes = self.nodes_per_region;
        let regions = self.regions.join(", ");
        lines.push(("regions", format!("{regions}; {nodes} node(s) in each")));
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
