//! A node that joins the running cluster, stays a while, and leaves it: drained, then removed, as an operator does.
//!
//! In: the time, and what the stage sees. Out: what the operator does next.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meridian_cluster::directory::Decision;

use crate::{
    scenario::stage::Stage,
    workload::{Area, BUDGET, FaultSeen},
    world::Place,
};

/// One node's visit.
pub(super) struct Visit {
    node: usize,
    /// How long it stays.
    stays: Duration,
    /// Its joining, then its leaving, in the history.
    seen: usize,
    step: Step,
}

/// How far it is.
enum Step {
    /// Started; it meets the others and takes the document.
    Joining,
    /// Serves until then.
    Staying(Duration),
    /// The operator asks for this decision, or asks again at that time.
    Asking(Decision, Answer),
    /// What runs at it may end until then.
    Drained(Duration),
    /// It has heard of its removal, or will.
    Removed,
    /// Its process has ended.
    Gone,
}

/// What became of a decision that was asked for.
type Answer = Arc<Mutex<Option<Result<(), String>>>>;

impl Visit {
    /// Starts a node that is no member yet; none where the scenario has no machine for it.
    pub(super) fn begin(stage: &mut Stage, place: Place, stays: Duration) -> Option<Self> {
        let node = stage.invite(place)?;
        let what = format!("{} joins", stage.nodes[node].name());
        Some(Self {
            node,
            stays,
            seen: note(stage, what),
            step: Step::Joining,
        })
    }

    /// Whether the node has left.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.step, Step::Gone)
    }

    /// Goes on where it can; whether a machine went down.
    pub(super) fn advance(&mut self, stage: &mut Stage, time: Duration) -> bool {
        match &self.step {
            Step::Joining if stage.is_whole() && stage.serves_newest(self.node) => {
                self.over(stage);
                stage.let_clients_know(self.node, true);
                self.step = Step::Staying(time + self.stays);
            }
            Step::Staying(until) if *until <= time => {
                // Clients are told first, as load balancers hear from a readiness probe.
                stage.let_clients_know(self.node, false);
                let name = stage.nodes[self.node].name();
                self.seen = note(stage, format!("{name} is drained and removed"));
                self.ask(stage, Decision::Drain);
            }
            Step::Asking(decision, answer) => {
                let answered = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
                match (decision, answered) {
                    (_, None) => {}
                    (Decision::Remove, Some(Ok(()))) => self.step = Step::Removed,
                    (_, Some(Ok(()))) => self.step = Step::Drained(time + DRAINED),
                    // Among accidents there may be no quorum for a while.
                    (decision, Some(Err(_))) => {
                        let decision = *decision;
                        self.ask(stage, decision);
                    }
                }
            }
            Step::Drained(until) if *until <= time => {
                stage.dismiss(self.node);
                self.ask(stage, Decision::Remove);
            }
            Step::Removed if stage.has_left(self.node) => {
                self.over(stage);
                self.step = Step::Gone;
                return true;
            }
            Step::Joining | Step::Staying(_) | Step::Drained(_) | Step::Removed | Step::Gone => {}
        }
        false
    }

    /// The step that is in the history has been taken.
    fn over(&self, stage: &Stage) {
        let now = stage.world.now();
        let mut history = stage.oracle.history();
        let step = &mut history.faults[self.seen];
        step.signs = 1;
        step.ended = Some(now);
    }

    fn ask(&mut self, stage: &mut Stage, decision: Decision) {
        let answer = Answer::default();
        let told = answer.clone();
        let asked = stage.decide(self.node, decision, move |outcome| {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        if !asked {
            // Nobody is there to be asked; the next turn looks again.
            let nobody = Err("no node runs".to_owned());
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(nobody);
        }
        self.step = Step::Asking(decision, answer);
    }
}

/// Puts a step into the history; planned, so that nothing may fail of it.
fn note(stage: &Stage, what: String) -> usize {
    let at = stage.world.now();
    let mut history = stage.oracle.history();
    history.faults.push(FaultSeen {
        at,
        ended: None,
        what,
        area: Area::Nodes,
        signs: 0,
        orderly: true,
        budget: BUDGET,
    });
    history.faults.len() - 1
}

/// Between a drain and the removal: what runs at the node ends, and the others have heard.
const DRAINED: Duration = Duration::from_secs(3);
