//! The figures of a run, counted from its history.

use std::time::Duration;

use super::{
    FaultReport, Gap, PhaseReport, Reads, RegionReport, Requests, Revocations, Spread, Writes,
};
use crate::{
    invariant::{is_revoked, outages},
    scenario::Scenario,
    workload::{History, Outcome, Request},
    world::Place,
};

pub(super) fn phases(history: &History) -> Vec<PhaseReport> {
    let report = |step: &crate::workload::Progress| PhaseReport {
        at_ms: step.at.as_millis(),
        phase: step.phase,
        says: step.says.clone(),
    };
    history.progress.iter().map(report).collect()
}

/// How long the served ones took.
pub(super) fn latency<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Spread {
    let requests = requests.into_iter();
    let served = requests.filter(|request| matches!(request.outcome, Outcome::Served(_)));
    spread(served.map(|request| request.done - request.sent))
}

pub(super) fn regions(scenario: &Scenario, history: &History) -> Vec<RegionReport> {
    let report = |(index, region): (usize, &String)| {
        let from = Place(index);
        let theirs = || {
            history
                .requests
                .iter()
                .filter(move |it| it.flow.from == from)
        };
        RegionReport {
            region: region.clone(),
            requests: requests(theirs()),
            latency: latency(theirs()),
        }
    };
    scenario.regions.iter().enumerate().map(report).collect()
}

fn spread(took: impl Iterator<Item = Duration>) -> Spread {
    let mut took: Vec<u128> = took.map(|took| took.as_millis()).collect();
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).copied();
    Spread {
        count: took.len(),
        p50_ms: at(50).unwrap_or_default(),
        p99_ms: at(99).unwrap_or_default(),
        max_ms: took.last().copied().unwrap_or_default(),
    }
}

pub(super) fn requests<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Requests {
    let mut counts = Requests::default();
    for request in requests {
        counts.sent += 1;
        match request.outcome {
            Outcome::Served(_) => counts.served += 1,
            Outcome::Refused(..) => counts.refused += 1,
            Outcome::Failed(_) => counts.failed += 1,
        }
    }
    counts
}

pub(super) fn reads(scenario: &Scenario, history: &History) -> Option<Reads> {
    let serving = history.serving_since.filter(|_| history.only_floods)?;
    let is_flooded = |at: Duration| {
        let mut faults = scenario.faults.iter();
        faults.any(|fault| (fault.at..fault.at + fault.lasts).contains(&(at - serving)))
    };
    let took = |flooded: bool| {
        let reads = history.reads.iter();
        let of_these = reads.filter(|read| is_flooded(read.at) == flooded);
        spread(of_these.filter_map(|read| read.took))
    };
    Some(Reads {
        calm: took(false),
        flooded: took(true),
    })
}

pub(super) fn writes(history: &History) -> Writes {
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

pub(super) fn revocations(scenario: &Scenario, history: &History) -> Revocations {
    let mut counts = Revocations::default();
    let nodes = scenario.node_count();
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

pub(super) fn faults(scenario: &Scenario, history: &History) -> Vec<FaultReport> {
    let outages = outages(history);
    let report = |(index, fault): (usize, &crate::workload::FaultSeen)| {
        let of_this = outages.iter().filter(|outage| outage.fault == index);
        let gap = |outage: &crate::invariant::Outage| Gap {
            region: scenario.region(outage.flow.from).to_owned(),
            kind: outage.flow.kind.name().to_owned(),
            ms: outage.gap.as_millis(),
        };
        FaultReport {
            at_ms: fault.at.as_millis(),
            ended_ms: fault.ended.map(|ended| ended.as_millis()),
            what: fault.what.clone(),
            area: fault.area,
            signs: fault.signs,
            gaps: of_this.map(gap).collect(),
        }
    };
    history.faults.iter().enumerate().map(report).collect()
}
