//! What a run found, for people and for programs.
//!
//! In: the history and the violations. Out: a [`Finding`], printed as a screen of text or as JSON.

mod deeds;

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

pub use deeds::Deeds;
use serde::Serialize;

use crate::{
    invariant::{Violation, is_revoked, outages},
    scenario::Scenario,
    workload::{History, Outcome},
    world::{Counts, Seed},
};

/// What one run found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Whether every invariant held.
    pub passed: bool,
    /// What broke.
    pub violations: Vec<Violation>,
    /// The hash of the trace: equal for equal runs.
    pub trace_hash: String,
    /// Lines of the trace.
    pub trace_lines: u64,
    /// Simulated time.
    pub simulated_ms: u128,
    /// Requests that clients sent and whose outcome is known.
    pub requests: Requests,
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
    /// What.
    pub what: String,
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
    pub kind: &'static str,
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
        violations: Vec<Violation>,
    ) -> Self {
        let between =
            |since: Option<Duration>, until: Option<Duration>| Some((until? - since?).as_millis());
        Self {
            scenario: scenario.name.clone(),
            seed: seed.0,
            passed: violations.is_empty(),
            violations,
            trace_hash,
            trace_lines,
            simulated_ms: simulated.as_millis(),
            requests: requests(history),
            writes: writes(history),
            deeds: Deeds::of(history),
            revocations: revocations(scenario, history),
            faults: faults(scenario, history),
            reads: reads(scenario, history),
            converged_ms: between(history.calm_since, history.equal_at),
            network,
        }
    }

    /// The command that plays this run again.
    pub fn replay(&self, scenario: &str) -> String {
        format!("meridian-sim run {scenario} --seed {}", self.seed)
    }
}

fn requests(history: &History) -> Requests {
    let mut counts = Requests::default();
    for request in &history.requests {
        counts.sent += 1;
        match request.outcome {
            Outcome::Served(_) => counts.served += 1,
            Outcome::Refused(..) => counts.refused += 1,
            Outcome::Failed(_) => counts.failed += 1,
        }
    }
    counts
}

fn reads(scenario: &Scenario, history: &History) -> Option<Reads> {
    let serving = history.serving_since.filter(|_| history.only_floods)?;
    let is_flooded = |at: Duration| {
        let mut faults = scenario.faults.iter();
        faults.any(|fault| (fault.at..fault.at + fault.lasts).contains(&(at - serving)))
    };
    let took = |flooded: bool| {
        let reads = history.reads.iter();
        let mut took: Vec<u128> = reads
            .filter(|read| is_flooded(read.at) == flooded)
            .filter_map(|read| Some(read.took?.as_millis()))
            .collect();
        took.sort_unstable();
        let at = |share: usize| took.get(took.len() * share / 100).copied();
        Spread {
            count: took.len(),
            p50_ms: at(50).unwrap_or_default(),
            p99_ms: at(99).unwrap_or_default(),
            max_ms: took.last().copied().unwrap_or_default(),
        }
    };
    Some(Reads {
        calm: took(false),
        flooded: took(true),
    })
}

fn writes(history: &History) -> Writes {
    let mut counts = Writes::default();
    for write in &history.writes {
        counts.sent += 1;
        match &write.outcome {
            Some(Ok(_)) => {
                counts.acknowledged += 1;
                if history
                    .serving_since
                    .is_some_and(|since| write.sent >= since)
                {
                    let took = write.done.map_or(Duration::ZERO, |done| done - write.sent);
                    counts.slowest_ms = counts.slowest_ms.max(took.as_millis());
                }
            }
            Some(Err(_)) => counts.refused += 1,
            None => counts.unknown += 1,
        }
    }
    counts
}

fn revocations(scenario: &Scenario, history: &History) -> Revocations {
    let mut counts = Revocations::default();
    let nodes = scenario.regions.len() * scenario.nodes_per_region;
    for revoked in &history.revocations {
        counts.sent += 1;
        counts.acknowledged += usize::from(revoked.returned.is_some());
        if revoked.applied.len() == nodes {
            counts.everywhere += 1;
            counts.slowest_ms = counts.slowest_ms.max(revoked.slowest.as_millis());
        }
    }
    for presented in &history.presented {
        match &presented.outcome {
            Outcome::Served(_) => counts.admitted += 1,
            outcome if is_revoked(outcome) => counts.refused += 1,
            Outcome::Refused(..) | Outcome::Failed(_) => {}
        }
    }
    counts
}

fn faults(scenario: &Scenario, history: &History) -> Vec<FaultReport> {
    let outages = outages(history);
    let report = |(index, fault): (usize, &crate::workload::FaultSeen)| {
        let of_this = outages.iter().filter(|outage| outage.fault == index);
        let gap = |outage: &crate::invariant::Outage| Gap {
            region: scenario.region(outage.flow.from).to_owned(),
            kind: outage.flow.kind.name(),
            ms: outage.gap.as_millis(),
        };
        FaultReport {
            at_ms: fault.at.as_millis(),
            what: fault.what.clone(),
            signs: fault.signs,
            gaps: of_this.map(gap).collect(),
        }
    };
    history.faults.iter().enumerate().map(report).collect()
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "held" } else { "BROKE" };
        let (scenario, seed) = (&self.scenario, self.seed);
        writeln!(f, "{scenario}, seed {seed}: {verdict}")?;
        let simulated = seconds(self.simulated_ms);
        let hash = self.trace_hash.get(..16).unwrap_or(&self.trace_hash);
        let lines = self.trace_lines;
        writeln!(
            f,
            "  time      {simulated} simulated, {lines} events, trace {hash}"
        )?;
        let Requests {
            sent,
            served,
            refused,
            failed,
        } = self.requests;
        writeln!(
            f,
            "  requests  {sent}: {served} served, {refused} refused, {failed} unanswered"
        )?;
        let writes = &self.writes;
        writeln!(
            f,
            "  writes    {}: {} acknowledged (slowest {} ms), {} refused, {} unknown",
            writes.sent, writes.acknowledged, writes.slowest_ms, writes.refused, writes.unknown
        )?;
        let deeds = &self.deeds;
        writeln!(
            f,
            "  operators {} reads, {} writes made, {} lost a race, {} without a sure outcome",
            deeds.reads, deeds.made, deeds.conflicts, deeds.unsure
        )?;
        let revocations = &self.revocations;
        if revocations.sent > 0 {
            writeln!(
                f,
                "  revoked   {}: {} acknowledged, {} of them by every node (slowest {} ms); {} presentations admitted, {} refused as revoked",
                revocations.sent,
                revocations.acknowledged,
                revocations.everywhere,
                revocations.slowest_ms,
                revocations.admitted,
                revocations.refused
            )?;
        }
        for fault in &self.faults {
            writeln!(f, "  fault     {} {}", seconds(fault.at_ms), fault.what)?;
            writeln!(
                f,
                "            longest without success: {}",
                gaps(&fault.gaps)
            )?;
        }
        if let Some(Reads { calm, flooded }) = &self.reads {
            for (when, spread) in [("calm", calm), ("flooded", flooded)] {
                writeln!(
                    f,
                    "  reads     {when}: {}, half within {} ms, 99 % within {} ms, all within {} ms",
                    spread.count, spread.p50_ms, spread.p99_ms, spread.max_ms
                )?;
            }
        }
        match self.converged_ms {
            Some(ms) => writeln!(f, "  calm      all nodes equal after {ms} ms")?,
            None => writeln!(f, "  calm      the nodes did not become equal")?,
        }
        for violation in self.violations.iter().take(MOST_SHOWN) {
            let at = violation.at.map(|at| format!(" at {at:?}"));
            let at = at.unwrap_or_default();
            let Violation {
                invariant, says, ..
            } = violation;
            writeln!(f, "  broke     {invariant}{at}: {says}")?;
        }
        if let Some(more @ 1..) = self.violations.len().checked_sub(MOST_SHOWN) {
            writeln!(f, "            and {more} more; -o json shows all")?;
        }
        Ok(())
    }
}

fn seconds(ms: u128) -> String {
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

fn gaps(gaps: &[Gap]) -> String {
    let mut text = String::new();
    let mut region = "";
    for gap in gaps {
        if gap.region == region {
            text.push_str(", ");
        } else {
            let separator = if region.is_empty() { "" } else { "; " };
            region = &gap.region;
            write!(text, "{separator}{region} ").expect("formatting into a String cannot fail");
        }
        write!(text, "{} {} ms", gap.kind, gap.ms).expect("formatting into a String cannot fail");
    }
    text
}

/// Violations on the screen; one that repeats for every request would drown the rest.
const MOST_SHOWN: usize = 12;
