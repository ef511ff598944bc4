//! Whether every kind of request succeeds: what a run waits for before anything goes wrong.

use std::{collections::BTreeMap, time::Duration};

use super::{End, Play, Stage};
use crate::workload::{Flow, Outcome, client::Line};

impl Play<'_> {
    /// Waits until every kind of request succeeds.
    pub(super) fn settle(&mut self) -> Result<(), End> {
        let what = "every kind of request succeeded steadily";
        self.until(SETTLE, what, |stage| unsteady(stage).is_empty())
            .map_err(|end| {
                let End::Stuck(stuck) = end else {
                    return end;
                };
                let mut left = unsteady(self.stage);
                let more = left.len().saturating_sub(TOLD);
                left.truncate(TOLD);
                let left = left.join("; ");
                End::Stuck(format!("{stuck}: {left}; and {more} more"))
            })
    }
}

/// The flows whose last requests did not all succeed, and what became of the last one.
fn unsteady(stage: &Stage) -> Vec<String> {
    let history = stage.oracle.history();
    let mut streaks: BTreeMap<&Flow, (u32, &Outcome)> = BTreeMap::new();
    for request in &history.requests {
        let (streak, last) = streaks
            .entry(&request.flow)
            .or_insert((0, &request.outcome));
        let served = matches!(request.outcome, Outcome::Served(_))
            || request.flow.is_limited() && matches!(request.outcome, Outcome::Refused(429, _));
        *streak = if served { *streak + 1 } else { 0 };
        *last = &request.outcome;
    }
    let tell = |line: &Line| {
        let (name, region) = (line.flow.kind.name(), &stage.regions[line.flow.from.0]);
        match streaks.get(&line.flow) {
            Some((streak, _)) if *streak >= STEADY => None,
            Some((_, Outcome::Served(_))) => Some(format!("{name} from {region}: not yet")),
            Some((_, outcome)) => Some(format!("{name} from {region}: {outcome:?}")),
            None => Some(format!("{name} from {region}: no answer")),
        }
    };
    stage.lines().iter().filter_map(tell).collect()
}

/// From the first request to steady service: keys are fetched, endpoints found healthy.
const SETTLE: Duration = Duration::from_secs(20);

/// Kinds of request that are told of when they do not succeed.
const TOLD: usize = 4;

/// Successes in a row that make a flow steady.
const STEADY: u32 = 10;
