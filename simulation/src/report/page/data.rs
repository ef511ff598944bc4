//! What the page shows, as one object.

use std::time::Duration;

use serde::Serialize;

use super::{
    bins::Bins,
    events::{self, Event},
    limits::Limits,
    tracks::{self, CutTrack, NodeTrack, Reign, ms},
};
use crate::{
    invariant::outages,
    report::Finding,
    scenario::{Account, Scenario},
    workload::{ANSWERS_BIN, Flow, History},
};

/// All that the page shows. Regions, nodes and flows are named by position; times are ms since the run's start.
#[derive(Debug, Serialize)]
pub(super) struct Data<'a> {
    finding: &'a Finding,
    replay: &'a str,
    /// The scenario in its author's words.
    says: &'a str,
    /// The scenario in the program's words, a line each.
    explained: Vec<[String; 2]>,
    regions: &'a [String],
    nodes: Vec<NodeName<'a>>,
    flows: Vec<FlowName>,
    end: u64,
    serving: Option<u64>,
    calm: Option<u64>,
    equal: Option<u64>,
    /// How long a request may fail after a fault.
    budget: u64,
    requests: Bins,
    /// What each node answered.
    answers: Answers,
    limits: Limits,
    tracks: Vec<NodeTrack>,
    upstreams: Vec<Vec<[u64; 2]>>,
    cuts: Vec<CutTrack>,
    reigns: Vec<Reign>,
    gaps: Vec<GapTrack>,
    writes: Vec<WriteTrack<'a>>,
    revocations: Vec<RevocationTrack<'a>>,
    events: Vec<Event>,
    left_out: LeftOut,
}

#[derive(Debug, Serialize)]
struct NodeName<'a> {
    name: &'a str,
    region: usize,
}

#[derive(Debug, Serialize)]
struct FlowName {
    region: usize,
    kind: String,
}

/// Answers of nodes over time.
#[derive(Debug, Serialize)]
struct Answers {
    width_ms: u64,
    /// By node: `[bin, served, refused, failed]`.
    rows: Vec<Vec<[u64; 4]>>,
}

/// The longest time without a success of a flow around a fault.
#[derive(Debug, Serialize)]
struct GapTrack {
    fault: usize,
    flow: usize,
    from: u64,
    to: u64,
}

#[derive(Debug, Serialize)]
struct WriteTrack<'a> {
    node: &'a str,
    from: u64,
    to: Option<u64>,
    /// `acknowledged`, `refused`, `unknown`.
    outcome: &'static str,
    says: String,
}

#[derive(Debug, Serialize)]
struct RevocationTrack<'a> {
    node: &'a str,
    from: u64,
    to: Option<u64>,
    nodes: usize,
}

/// What is not on the page.
#[derive(Debug, Serialize)]
struct LeftOut {
    events: u64,
    steps: u64,
    writes: usize,
    revocations: usize,
}

impl<'a> Data<'a> {
    pub(super) fn new(scenario: &'a Scenario, account: &'a Account, replay: &'a str) -> Self {
        let Account { finding, history } = account;
        let regions = scenario.regions.len();
        let lines = scenario.lines().into_iter();
        let flows: Vec<Flow> = lines.map(|line| line.flow).collect();
        let end = history
            .progress
            .last()
            .map_or(Duration::ZERO, |last| last.at);
        let requests = Bins::count(&history.requests, &flows, end);
        let (tracks, steps) = tracks::nodes(history);
        let (events, left_out) = events::events(scenario, history);
        let node = |node: &'a crate::workload::NodeKnown| NodeName {
            name: &node.name,
            region: node.place.0,
        };
        let flow = |flow: &Flow| FlowName {
            region: flow.from.0,
            kind: flow.kind.name().to_owned(),
        };
        Self {
            finding,
            replay,
            says: scenario.says.trim(),
            explained: explained(scenario),
            regions: &scenario.regions,
            nodes: history.nodes.iter().map(node).collect(),
            end: ms(end),
            serving: history.serving_since.map(ms),
            calm: history.calm_since.map(ms),
            equal: history.equal_at.map(ms),
            budget: ms(crate::invariant::BUDGET),
            answers: answers(history, requests.width_ms),
            limits: Limits::new(&history.charges, &history.nodes, requests.width_ms.max(100)),
            requests,
            tracks,
            upstreams: tracks::upstreams(history, regions),
            cuts: tracks::cuts(history, regions, end),
            reigns: tracks::reigns(history, end),
            gaps: gaps(history, &flows),
            flows: flows.iter().map(flow).collect(),
            writes: writes(history),
            revocations: revocations(history),
            events,
            left_out: LeftOut {
                events: left_out,
                steps,
                writes: history.writes.len().saturating_sub(MOST_MARKS),
                revocations: history.revocations.len().saturating_sub(MOST_MARKS),
            },
        }
    }
}

/// What `explain` says, without the heading, which the page has elsewhere.
fn explained(scenario: &Scenario) -> Vec<[String; 2]> {
    let text = scenario.explain();
    let (_, lines) = text.split_once("\n\n").unwrap_or(("", &text));
    let line = |line: &str| {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        [name.to_owned(), value.trim().to_owned()]
    };
    lines.lines().map(line).collect()
}

/// In bins of about the width that requests have.
fn answers(history: &History, width_ms: u64) -> Answers {
    let grain = ms(ANSWERS_BIN);
    let together = width_ms.div_ceil(grain).max(1);
    let of_node = |node: &crate::workload::NodeKnown| {
        let bins = history.answers.get(&node.name);
        let chunks = bins.map_or(&[][..], Vec::as_slice);
        let chunks = chunks.chunks(usize::try_from(together).unwrap_or(usize::MAX));
        let sum = |chunk: &[[u32; 3]], class: usize| -> u64 {
            chunk.iter().map(|bin| u64::from(bin[class])).sum()
        };
        (0..)
            .zip(chunks)
            .map(|(bin, chunk)| [bin, sum(chunk, 0), sum(chunk, 1), sum(chunk, 2)])
            .filter(|row| row[1..] != [0, 0, 0])
            .collect()
    };
    Answers {
        width_ms: grain * together,
        rows: history.nodes.iter().map(of_node).collect(),
    }
}

fn gaps(history: &History, flows: &[Flow]) -> Vec<GapTrack> {
    let outages = outages(history);
    let track = |outage: &crate::invariant::Outage| {
        Some(GapTrack {
            fault: outage.fault,
            flow: flows.iter().position(|flow| *flow == outage.flow)?,
            from: ms(outage.since),
            to: ms(outage.since + outage.gap),
        })
    };
    outages.iter().filter_map(track).collect()
}

fn writes(history: &History) -> Vec<WriteTrack<'_>> {
    let track = |write: &'_ crate::workload::Write| {
        let (outcome, says) = match &write.outcome {
            Some(Ok(revision)) => ("acknowledged", format!("revision {revision}")),
            Some(Err(why)) => ("refused", why.clone()),
            None => ("unknown", String::new()),
        };
        (write.done.map(ms), outcome, says)
    };
    let writes = history.writes.iter().take(MOST_MARKS);
    writes
        .map(|write| {
            let (to, outcome, says) = track(write);
            WriteTrack {
                node: &write.node,
                from: ms(write.sent),
                to,
                outcome,
                says,
            }
        })
        .collect()
}

fn revocations(history: &History) -> Vec<RevocationTrack<'_>> {
    let revocations = history.revocations.iter().take(MOST_MARKS);
    revocations
        .map(|revoked| RevocationTrack {
            node: &revoked.node,
            from: ms(revoked.called),
            to: revoked.returned.map(ms),
            nodes: revoked.applied.len(),
        })
        .collect()
}

/// Of writes, and of revocations: a bound on the page's size.
const MOST_MARKS: usize = 3_000;
