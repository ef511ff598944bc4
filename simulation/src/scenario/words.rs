//! A scenario in words, for `explain`, and its faults, for whoever tells of them.

use std::fmt::Write as _;

use meridian_config::units::duration_text;

use super::{FaultKind, Names, Scenario};
use crate::{
    workload::{
        Kind,
        ask::{self, Ask},
    },
    world::{Conditions, Place},
};

impl Scenario {
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
                    match self.kinds.len() == Kind::USUAL.len() {
                        true => format!("one request of each kind every {every} in each region"),
                        false => {
                            let known = Kind::USUAL.into_iter();
                            let asked = known.filter(|(_, kind)| self.kinds.contains(kind));
                            let asked: Vec<&str> = asked.map(|(name, _)| name).collect();
                            format!(
                                "one request every {every} in each region, of each of: {}",
                                asked.join(", ")
                            )
                        }
                    }
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
        if let Some(every) = self.repeat_every {
            let every = duration_text(every);
            lines.push((
                "repeats",
                format!("every {every} a node says or hears again what it has said or heard about limits, in this life or before"),
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
        lines.extend(self.describe_holds().map(|holds| ("holds", holds)));
        let mut text = format!("{}: {}\n\n", self.name, self.says.trim());
        for (name, value) in lines {
            writeln!(text, "{name:<9}{value}").expect("formatting into a String cannot fail");
        }
        text
    }

    /// What must hold beside what always must.
    fn describe_holds(&self) -> Option<String> {
        let wanted = &self.holds;
        let percent = |part: f64| format!("{} %", part * 100.0);
        let tries = (!wanted.tries.is_empty())
            .then(|| format!("these are put to the test: {}", wanted.tries.join(", ")));
        let outages = wanted.outages.map(duration_text);
        let equal = wanted.equal.map(duration_text);
        let (served, written) = (wanted.served.map(percent), wanted.written.map(percent));
        let told = [
            tries,
            outages.map(|bound| format!("99 % of outages are shorter than {bound}")),
            equal.map(|bound| format!("all nodes are equal {bound} after the last fault")),
            served.map(|part| format!("{part} of requests are served")),
            written.map(|part| format!("{part} of documents are acknowledged")),
            wanted.unanswered.map(|count| {
                format!("{count} lives at most go on with their share of limits without a quorum's answer")
            }),
        ];
        let told: Vec<String> = told.into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join("; "))
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
            ask.path.replace(ask::NUMBER, "N")
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
