//! A round of planned stops: one node after another is told to stop, ends, and is started again.
//!
//! In: the stage, tick after tick. Out: each stop as a fault of its own in the history.

use std::{collections::VecDeque, time::Duration};

use super::leader;
use crate::{
    scenario::stage::Stage,
    workload::{Area, BUDGET, FaultSeen},
};

/// Nodes that are stopped and started again, one after another.
pub(super) struct Round {
    to_stop: VecDeque<usize>,
    at: Option<(usize, Step)>,
    /// The position of its stop in the history.
    seen: usize,
    /// How long each is away.
    away: Duration,
}

/// How far the node is whose turn it is.
enum Step {
    /// Told to stop; it finishes what it has begun.
    Stopping,
    /// Gone until then.
    Away(Duration),
    /// Started again.
    Returning,
}

impl Round {
    /// `nodes` in turn, each `away` for that long.
    pub(super) fn new(nodes: &[usize], away: Duration) -> Self {
        Self {
            to_stop: nodes.iter().copied().collect(),
            at: None,
            seen: 0,
            away,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.to_stop.is_empty() && self.at.is_none()
    }

    /// Goes on where it can; whether a machine went down or up.
    pub(super) fn advance(&mut self, stage: &mut Stage, time: Duration) -> bool {
        let Some((node, step)) = &mut self.at else {
            // Each stop is a fault of its own in the history. A healthy cluster has a leader.
            if !stage.is_whole() || leader(stage).is_none() {
                return false;
            }
            let Some(node) = self.to_stop.pop_front() else {
                return false;
            };
            let signs = u64::from(stage.ask_to_stop(node));
            let mut history = stage.oracle.history();
            self.seen = history.faults.len();
            history.faults.push(FaultSeen {
                at: stage.world.now(),
                what: format!("{} is stopped and started again", stage.nodes[node].name()),
                area: Area::Nodes,
                signs,
                orderly: true,
                budget: BUDGET,
                ended: None,
            });
            self.at = Some((node, Step::Stopping));
            return false;
        };
        match step {
            Step::Stopping if stage.has_stopped(*node) => {
                *step = Step::Away(time + self.away);
                true
            }
            Step::Away(until) if *until <= time => {
                // With this release, whatever it ran before.
                stage.upgrade(*node);
                stage.start_node(*node);
                *step = Step::Returning;
                true
            }
            Step::Returning if stage.is_whole() => {
                self.at = None;
                let now = stage.world.now();
                stage.oracle.history().faults[self.seen].ended = Some(now);
                false
            }
            _ => false,
        }
    }
}
