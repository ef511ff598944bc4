//! What must hold, whatever breaks: one file each, citing its source.
//!
//! In: the [`History`] of a run. Out: every [`Violation`]. Each is a plain function over what was seen, so
//! that a test can hand it a history that is wrong.

mod agreement;
mod at_most_once;
mod availability;
mod bounded;
mod convergence;
mod faults_happened;
mod isolation;
mod linearizable;
mod nothing_collapses;
mod planned_stops;
mod residency;
mod revocation;

use std::time::Duration;

pub use availability::{BUDGET, Outage, outages};
pub use revocation::is_revoked;

use serde::Serialize;

use crate::workload::History;

/// Something that must never happen, and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// What happened.
    pub says: String,
    /// When, in simulated time, where one instant shows it; none: the whole run does.
    #[serde(rename = "at_ms", serialize_with = "as_ms")]
    pub at: Option<Duration>,
}

/// A breach that one instant shows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Breach {
    at: Duration,
    says: String,
}

/// Looks at a run while it goes on, for what no later event can excuse. It remembers how far it has looked, so that a
/// look costs what has come since.
#[derive(Debug, Default)]
pub struct Watch {
    agreement: agreement::Watch,
    at_most_once: at_most_once::Watch,
    revocation: revocation::Watch,
    residency: residency::Watch,
    bounded: bounded::Watch,
    linearizable: linearizable::Watch,
    collapses: nothing_collapses::Watch,
}

impl Watch {
    /// What broke since the last look. `now`: the simulated time; [`Duration::MAX`]: the run is over.
    pub fn look(&mut self, history: &History, now: Duration) -> Vec<Violation> {
        let found = [
            ("agreement", self.agreement.look(history)),
            ("at most once", self.at_most_once.look(history)),
            ("revocation", self.revocation.look(history)),
            ("residency", self.residency.look(history)),
            ("bounded", self.bounded.look(history)),
            ("linearizable admin", self.linearizable.look(history, now)),
            ("nothing collapses", self.collapses.look(history)),
        ];
        let mut violations = Vec::new();
        for (invariant, breaches) in found {
            violations.extend(breaches.into_iter().map(|breach| Violation {
                invariant,
                says: breach.says,
                at: Some(breach.at),
            }));
        }
        violations
    }
}

/// Says each breach in a sentence.
type Check = fn(&History) -> Vec<String>;

/// Checks every invariant over a run that has come to its end.
pub fn check(history: &History) -> Vec<Violation> {
    let checks: [(&'static str, Check); 7] = [
        ("agreement", agreement::check_end),
        ("availability", availability::check),
        ("at most once", at_most_once::check_end),
        ("convergence", convergence::check),
        ("isolation", isolation::check),
        ("planned stops", planned_stops::check),
        ("faults happened", faults_happened::check),
    ];
    let mut violations = Watch::default().look(history, Duration::MAX);
    for (invariant, check) in checks {
        for says in check(history) {
            violations.push(Violation {
                invariant,
                says,
                at: None,
            });
        }
    }
    violations
}

fn as_ms<S: serde::Serializer>(at: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.as_millis()).serialize(serializer)
}
