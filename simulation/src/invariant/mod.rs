//! What must hold, whatever breaks: one file each, citing its source.
//!
//! In: the [`History`] of a run. Out: every [`Violation`]. Each is a plain function over what was seen, so
//! that a test can hand it a history that is wrong.

mod agreement;
mod at_most_once;
mod availability;
mod convergence;
mod faults_happened;
mod isolation;
mod nothing_collapses;
mod planned_stops;
mod revocation;

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
}

/// Says each breach in a sentence.
type Check = fn(&History) -> Vec<String>;

/// Checks every invariant.
pub fn check(history: &History) -> Vec<Violation> {
    let checks: [(&'static str, Check); 9] = [
        ("agreement", agreement::check),
        ("availability", availability::check),
        ("at most once", at_most_once::check),
        ("convergence", convergence::check),
        ("revocation", revocation::check),
        ("isolation", isolation::check),
        ("nothing collapses", nothing_collapses::check),
        ("planned stops", planned_stops::check),
        ("faults happened", faults_happened::check),
    ];
    let mut violations = Vec::new();
    for (invariant, check) in checks {
        for says in check(history) {
            violations.push(Violation { invariant, says });
        }
    }
    violations
}
