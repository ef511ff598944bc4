//! The schedule of faults: when each begins, what it does, and how it is undone.
//!
//! In: the time since all nodes serve. Out: machines down and up, links cut and mended, and the signs by which
//! the oracle knows that a fault really happened.

use std::{collections::VecDeque, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Fault, FaultKind, Scenario, Target, Whom, stage::Stage};
use crate::{
    workload::FaultSeen,
    world::{Down, Place},
};

/// The faults of a run.
pub(super) struct Schedule {
    waiting: Vec<Fault>,
    active: Vec<Active>,
}

struct Active {
    until: Duration,
    what: FaultKind,
    /// Where, once `leader` is resolved.
    place: Option<Place>,
    /// Its position in the history.
    seen: usize,
    /// Packets lost to cuts before it began.
    cut_before: u64,
    /// For [`FaultKind::Stop`]; it lasts as long as the round does.
    round: Option<Round>,
    flood: Option<Flood>,
}

/// Nodes that are stopped and started again, one after another.
struct Round {
    to_stop: VecDeque<usize>,
    at: Option<(usize, Step)>,
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

/// A flood under way.
struct Flood {
    stop: CancellationToken,
    began: Duration,
    /// Bytes that its link had carried before.
    carried: u64,
}

impl Schedule {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut waiting = scenario.faults.clone();
        // The next one last, to be popped.
        waiting.sort_by_key(|fault| std::cmp::Reverse(fault.at));
        Self {
            waiting,
            active: Vec::new(),
        }
    }

    /// Whether every fault has begun and ended.
    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    /// Begins and ends what is due at `time` since serving began.
    pub(super) fn advance(&mut self, stage: &mut Stage, scenario: &Scenario, time: Duration) {
        let mut changed = false;
        for active in &mut self.active {
            if let Some(round) = &mut active.round {
                changed |= round.advance(stage, time);
            }
        }
        let due = |active: &Active| match &active.round {
            Some(round) => round.is_over(),
            None => active.until <= time,
        };
        let (over, active) = self.active.drain(..).partition(due);
        self.active = active;
        let over: Vec<Active> = over;
        changed |= !over.is_empty();
        for fault in over {
            fault.end(stage, time);
        }
        while let Some(next) = self.waiting.last()
            && next.at <= time
        {
            // A fault of the leader's region waits for a leader.
            let Some(begun) = begin(next, stage, scenario, time) else {
                break;
            };
            self.waiting.pop();
            self.active.push(begun);
            changed = true;
        }
        if changed {
            self.cut(stage);
            stage.survey();
        }
    }

    /// Makes the links what the active faults say.
    fn cut(&self, stage: &Stage) {
        let regions = stage.regions.len();
        stage.world.network().links(|links| {
            links.heal();
            for active in &self.active {
                match (&active.what, active.place) {
                    (FaultKind::Cut { from, to, one_way }, _) => {
                        links.cut(*from, *to);
                        if !one_way {
                            links.cut(*to, *from);
                        }
                    }
                    (FaultKind::Isolate(_), Some(place)) => {
                        for other in (0..regions).map(Place).filter(|other| *other != place) {
                            links.cut(place, other);
                            links.cut(other, place);
                        }
                    }
                    _ => {}
                }
            }
        });
    }
}

fn begin(fault: &Fault, stage: &mut Stage, scenario: &Scenario, time: Duration) -> Option<Active> {
    let place = match &fault.what {
        FaultKind::PowerOff(target)
        | FaultKind::Kill(target)
        | FaultKind::Upgrade(target)
        | FaultKind::KillUpstreams(target)
        | FaultKind::Isolate(target)
        | FaultKind::Stop(Whom::Of(target)) => Some(match target {
            Target::Region(place) => *place,
            Target::Leader => leader(stage)?,
        }),
        FaultKind::Cut { .. } | FaultKind::Flood { .. } | FaultKind::Stop(Whom::Each) => None,
    };
    let cut_before = stage.world.network().counts().packets_cut;
    let flood = match &fault.what {
        FaultKind::Flood { from, to } => Some(Flood {
            stop: stage.flood(*from, *to),
            began: time,
            carried: carried(stage, *from, *to).0,
        }),
        _ => None,
    };
    let signs = match (&fault.what, place) {
        (FaultKind::PowerOff(_), Some(place)) => {
            let nodes = stage.take_down_nodes(place, Down::PowerOff);
            nodes + stage.take_down_upstream(place, Down::PowerOff)
        }
        (FaultKind::Kill(_) | FaultKind::Upgrade(_), Some(place)) => {
            stage.take_down_nodes(place, Down::Kill)
        }
        (FaultKind::KillUpstreams(_), Some(place)) => stage.take_down_upstream(place, Down::Kill),
        _ => 0,
    };
    let round = matches!(fault.what, FaultKind::Stop(_)).then(|| Round {
        to_stop: (0..stage.nodes.len())
            .filter(|node| place.is_none_or(|place| stage.nodes[*node].place == place))
            .collect(),
        at: None,
        away: fault.lasts,
    });
    let mut history = stage.oracle.history();
    if round.is_none() {
        let mut what = scenario.describe(&fault.what);
        if let Some(place) = place {
            what = what.replace("the leader's region", scenario.region(place));
        }
        history.faults.push(FaultSeen {
            at: stage.world.now(),
            what,
            signs,
            orderly: false,
        });
    }
    Some(Active {
        until: time + fault.lasts,
        what: fault.what.clone(),
        place,
        seen: history.faults.len().saturating_sub(1),
        cut_before,
        round,
        flood,
    })
}

impl Active {
    fn end(self, stage: &mut Stage, time: Duration) {
        match (&self.what, self.place) {
            (FaultKind::PowerOff(_), Some(place)) => {
                stage.start_upstream(place);
                stage.start_nodes(place);
            }
            (FaultKind::Kill(_), Some(place)) => stage.start_nodes(place),
            (FaultKind::Upgrade(_), Some(place)) => {
                stage.upgrade(place);
                stage.start_nodes(place);
            }
            (FaultKind::KillUpstreams(_), Some(place)) => stage.start_upstream(place),
            // Every node of it is back.
            (FaultKind::Stop(_), _) => {}
            (FaultKind::Flood { from, to }, _) => {
                if let Some(flood) = self.flood {
                    flood.stop.cancel();
                    let (carried, each_second) = carried(stage, *from, *to);
                    let could = each_second * (time - flood.began).as_secs_f64();
                    let percent = percent(carried - flood.carried, could);
                    stage.oracle.history().faults[self.seen].signs += percent;
                }
            }
            _ => {
                let cut = stage.world.network().counts().packets_cut - self.cut_before;
                stage.oracle.history().faults[self.seen].signs += cut;
            }
        }
    }
}

impl Round {
    fn is_over(&self) -> bool {
        self.to_stop.is_empty() && self.at.is_none()
    }

    /// Goes on where it can; whether a machine went down or up.
    fn advance(&mut self, stage: &mut Stage, time: Duration) -> bool {
        let Some((node, step)) = &mut self.at else {
            // Each stop is a fault of its own in the history. A healthy cluster has a leader.
            if !stage.is_whole() || leader(stage).is_none() {
                return false;
            }
            let Some(node) = self.to_stop.pop_front() else {
                return false;
            };
            let signs = u64::from(stage.ask_to_stop(node));
            stage.oracle.history().faults.push(FaultSeen {
                at: stage.world.now(),
                what: format!("{} is stopped and started again", stage.nodes[node].name()),
                signs,
                orderly: true,
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
                stage.start_node(*node);
                *step = Step::Returning;
                true
            }
            Step::Returning if stage.is_whole() => {
                self.at = None;
                false
            }
            _ => false,
        }
    }
}

/// What a link has carried, and could carry in a second.
fn carried(stage: &Stage, from: Place, to: Place) -> (u64, f64) {
    let mut load = None;
    stage
        .world
        .network()
        .links(|links| load = links.load(from, to));
    load.unwrap_or((0, f64::INFINITY))
}

/// A share in whole percent.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a simulation's bytes are far below what a double counts exactly, and positive"
)]
fn percent(part: u64, whole: f64) -> u64 {
    (100.0 * part as f64 / whole) as u64
}

/// The region of the leader that most nodes name; the first in order where several are named equally.
fn leader(stage: &Stage) -> Option<Place> {
    let mut votes = vec![0_u32; stage.nodes.len()];
    for (_, gateway) in stage.gateways() {
        let leader = gateway.leader()?;
        let named = stage.nodes.iter().position(|node| node.name() == leader);
        votes[named?] += 1;
    }
    let most = votes.iter().max().filter(|most| **most > 0)?;
    let index = votes.iter().position(|count| count == most)?;
    Some(stage.nodes[index].place)
}
