//! What a run found, for people and for programs.
//!
//! In: the history and how the invariants fared. Out: a [`Finding`], printed as a screen of text or as JSON
//! (docs/simulation-report.md).
//!
//! - `count`: the figures;
//! - `page`: all of it in a browser;
//! - `text`: the screen.

mod count;
mod deeds;
mod page;
mod text;

use std::time::Duration;

pub use deeds::Deeds;
pub use page::page;
use serde::Serialize;

use crate::{
    invariant::{Judged, Violation},
    scenario::Scenario,
    workload::{Area, History, Phase},
    world::{Counts, Seed},
};

/// What one run found. Its JSON is described in docs/simulation-report.md: a change of its form that a reader could
/// stumble over raises [`SCHEMA`], a new field does not.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The form of this object: [`SCHEMA`].
    pub schema: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Whether every invariant held.
    pub passed: bool,
    /// Every invariant and how it fared.
    pub invariants: Vec<Judged>,
    /// What broke; of each invariant the first 200.
    pub violations: Vec<Violation>,
    /// The hash of the trace: equal for equal runs.
    pub trace_hash: String,
    /// Lines of the trace.
    pub trace_lines: u64,
    /// Simulated time.
    pub simulated_ms: u128,
    /// How far the run was when.
    pub phases: Vec<PhaseReport>,
    /// Requests that clients sent and whose outcome is known.
    pub requests: Requests,
    /// How long the served ones took.
    pub latency: Spread,
    /// The same by the region of the clients.
    pub regions: Vec<RegionReport>,
    /// Documents that the operator applied.
    pub writes: Writes,
    /// What operators read and wrote, whoever races included.
    pub deeds: Deeds,
    /// Badges that the operator revoked.
    pub revocations: Revocations,
    /// What went wrong, and when.
    pub faults: Vec<FaultReport>,
    /// How long reads that must not be old took, before and while links were flooded; none without a flood.
    pub reads: Option<Reads>,
    /// From calm to equal.
    pub converged_ms: Option<u128>,
    /// What the network did.
    pub network: Counts,
}

/// The form of [`Finding`]'s JSON.
pub const SCHEMA: u32 = 1;

/// A step of a run.
#[derive(Debug, Clone, Serialize)]
pub struct PhaseReport {
    /// When.
    pub at_ms: u128,
    /// What began.
    pub phase: Phase,
    /// In words.
    pub says: String,
}

/// What the clients of one region saw.
#[derive(Debug, Clone, Serialize)]
pub struct RegionReport {
    /// The region.
    pub region: String,
    /// Their requests.
    pub requests: Requests,
    /// How long the served ones took.
    pub latency: Spread,
}

/// Requests by outcome.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Requests {
    /// All.
    pub sent: usize,
    /// Answered 2xx.
    pub served: usize,
    /// Answered otherwise.
    pub refused: usize,
    /// Not answered.
    pub failed: usize,
}

/// Documents by outcome.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Writes {
    /// All.
    pub sent: usize,
    /// Became a revision.
    pub acknowledged: usize,
    /// Refused.
    pub refused: usize,
    /// Unknown.
    pub unknown: usize,
    /// The longest wait for an acknowledgement, once all nodes served: a young cluster may take its time.
    pub slowest_ms: u128,
}

/// Badges by outcome.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Revocations {
    /// All.
    pub sent: usize,
    /// There was a receipt.
    pub acknowledged: usize,
    /// By the receipt every node had applied it.
    pub everywhere: usize,
    /// The longest time to any node, of those that got everywhere.
    pub slowest_ms: u128,
    /// Presentations of any badge that were admitted.
    pub admitted: usize,
    /// Presentations that were refused because the badge was revoked.
    pub refused: usize,
}

/// How long reads that must not be old took.
#[derive(Debug, Clone, Serialize)]
pub struct Reads {
    /// While links had room.
    pub calm: Spread,
    /// While bulk filled some of them.
    pub flooded: Spread,
}

/// Durations, in ms.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// The median.
    pub p50_ms: u128,
    /// The 99th percentile.
    pub p99_ms: u128,
    /// The longest.
    pub max_ms: u128,
}

/// A fault and what clients saw of it.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// When.
    pub at_ms: u128,
    /// When it was over; none: never in this run.
    pub ended_ms: Option<u128>,
    /// What.
    pub what: String,
    /// What it befell.
    pub area: Area,
    /// Signs that it happened.
    pub signs: u64,
    /// For each flow, the longest gap between two successes around it.
    pub gaps: Vec<Gap>,
}

/// The longest gap of a flow around a fault.
#[derive(Debug, Clone, Serialize)]
pub struct Gap {
    /// The region of the clients.
    pub region: String,
    /// The kind of request.
    pub kind: String,
    /// The gap.
    pub ms: u128,
}

impl Finding {
    #[allow(
        clippy::too_many_arguments,
        reason = "it gathers all that a run leaves behind, once, from one place"
    )]
    pub(crate) fn new(
        scenario: &Scenario,
        seed: Seed,
        simulated: Duration,
        network: Counts,
        trace_hash: String,
        trace_lines: u64,
        history: &History,
        invariants: Vec<Judged>,
        violations: Vec<Violation>,
    ) -> Self {
        let between =
            |since: Option<Duration>, until: Option<Duration>| Some((until? - since?).as_millis());
        Self {
            schema: SCHEMA,
            scenario: scenario.name.clone(),
            seed: seed.0,
            passed: violations.is_empty(),
            invariants,
            violations,
            trace_hash,
            trace_lines,
            simulated_ms: simulated.as_millis(),
            phases: count::phases(history),
            requests: count::requests(&history.requests),
            latency: count::latency(&history.requests),
            regions: count::regions(scenario, history),
            writes: count::writes(history),
            deeds: Deeds::of(history),
            revocations: count::revocations(scenario, history),
            faults: count::faults(scenario, history),
            reads: count::reads(scenario, history),
            converged_ms: between(history.calm_since, history.equal_at),
            network,
        }
    }
}
