//! One fault that is under way: how each kind begins, goes on, ends, and by what it is known to have happened.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{leader, round::Round};
use crate::{
    scenario::{Fault, FaultKind, Scenario, Spot, Target, Whom, stage::Stage},
    workload::{BUDGET, FaultSeen},
    world::{Down, Place},
};

/// A fault under way.
pub(super) struct Active {
    until: Duration,
    /// With the leader's part resolved to a region or node.
    pub(super) what: FaultKind,
    /// The nodes it befalls, by position.
    pub(super) nodes: Vec<usize>,
    /// Its position in the history; none: its steps stand there for themselves.
    seen: Option<usize>,
    /// What the world had counted when it began.
    before: u64,
    /// For [`FaultKind::Stop`]; it lasts as long as the round does.
    round: Option<Round>,
    flood: Option<Flood>,
}

/// A flood under way.
struct Flood {
    stop: CancellationToken,
    began: Duration,
    /// Bytes that its link had carried before.
    carried: u64,
}

impl Active {
    /// Begins a fault; none where it is the leader's and there is none.
    pub(super) fn begin(
        fault: &Fault,
        stage: &mut Stage,
        scenario: &Scenario,
        time: Duration,
    ) -> Option<Self> {
        let mut what = fault.what.clone();
        if let Some(target) = what.target_mut() {
            *target = resolve(*target, stage)?;
        }
        let covered = |spot: Spot| match what.target() {
            Some(target) => target.covers(spot) == Some(true),
            None => matches!(what, FaultKind::Stop(Whom::Each)),
        };
        let nodes: Vec<usize> = (0..stage.nodes.len())
            .filter(|node| covered(stage.nodes[*node].spot))
            .collect();
        let before = count(&what, &nodes, stage);
        let signs = strike(&what, &nodes, stage);
        let flood = match &what {
            FaultKind::Flood { from, to } => Some(Flood {
                stop: stage.flood(*from, *to),
                began: time,
                carried: carried(stage, *from, *to).0,
            }),
            _ => None,
        };
        let round = matches!(what, FaultKind::Stop(_)).then(|| Round::new(&nodes, fault.lasts));
        let seen = round.is_none().then(|| {
            let mut history = stage.oracle.history();
            history.faults.push(FaultSeen {
                at: stage.world.now(),
                what: scenario.describe(&what),
                signs,
                orderly: false,
                budget: BUDGET,
            });
            history.faults.len() - 1
        });
        Some(Self {
            until: time + fault.lasts,
            what,
            nodes,
            seen,
            before,
            round,
            flood,
        })
    }

    /// Goes on; whether the world's shape changed.
    pub(super) fn advance(&mut self, stage: &mut Stage, time: Duration) -> bool {
        match &mut self.round {
            Some(round) => round.advance(stage, time),
            None => false,
        }
    }

    pub(super) fn is_over(&self, time: Duration) -> bool {
        match &self.round {
            Some(round) => round.is_over(),
            None => self.until <= time,
        }
    }

    /// Whether a node stays down while this lasts.
    pub(super) fn holds_down(&self, node: usize) -> bool {
        // A round starts each of its nodes itself.
        self.round.is_none() && self.what.takes_down() && self.nodes.contains(&node)
    }

    /// Ends it; `free` says whether a node may come back.
    pub(super) fn end(self, stage: &mut Stage, time: Duration, free: impl Fn(&usize) -> bool) {
        let mut signs = count(&self.what, &self.nodes, stage) - self.before;
        match &self.what {
            FaultKind::PowerOff(Target::Region(place))
            | FaultKind::KillUpstreams(Target::Region(place)) => {
                stage.start_upstream(*place);
            }
            FaultKind::Upgrade(_) => {
                for node in &self.nodes {
                    stage.upgrade(*node);
                }
            }
            FaultKind::Flood { from, to } => {
                if let Some(flood) = self.flood {
                    flood.stop.cancel();
                    let (carried, each_second) = carried(stage, *from, *to);
                    let could = each_second * (time - flood.began).as_secs_f64();
                    signs += percent(carried - flood.carried, could);
                }
            }
            _ => {}
        }
        // Every node of a round is back.
        if self.what.takes_down() && self.round.is_none() {
            for node in self.nodes.iter().filter(|node| free(node)) {
                stage.start_node(*node);
            }
        }
        if let Some(seen) = self.seen {
            stage.oracle.history().faults[seen].signs += signs;
        }
    }
}

/// What a fault does at once; how many machines it took down.
fn strike(what: &FaultKind, nodes: &[usize], stage: &mut Stage) -> u64 {
    let down = match what {
        FaultKind::PowerOff(_) => Down::PowerOff,
        FaultKind::Kill(_) | FaultKind::Upgrade(_) => Down::Kill,
        FaultKind::KillUpstreams(Target::Region(place)) => {
            return u64::from(stage.take_down_upstream(*place, Down::Kill));
        }
        _ => return 0,
    };
    let mut taken = 0;
    for node in nodes {
        taken += u64::from(stage.take_down_node(*node, down));
    }
    if let FaultKind::PowerOff(Target::Region(place)) = what {
        taken += u64::from(stage.take_down_upstream(*place, down));
    }
    taken
}

/// What the world has counted so far of what such a fault does.
fn count(what: &FaultKind, nodes: &[usize], stage: &Stage) -> u64 {
    let network = stage.world.network();
    let regions = stage.regions.len();
    let mut counted = 0;
    match what {
        FaultKind::Cut(link) => network.links(|links| {
            counted = link.ways().map(|(from, to)| links.cut_off(from, to)).sum();
        }),
        FaultKind::Isolate(Target::Region(place)) => network.links(|links| {
            let others = (0..regions).map(Place).filter(|other| other != place);
            counted = others
                .map(|other| links.cut_off(*place, other) + links.cut_off(other, *place))
                .sum();
        }),
        FaultKind::Isolate(_) => {
            let machines = nodes.iter().map(|node| stage.nodes[*node].machine);
            counted = machines.map(|machine| network.kept_off(machine)).sum();
        }
        _ => {}
    }
    counted
}

/// The region or node that is the leader's now.
fn resolve(target: Target, stage: &Stage) -> Option<Target> {
    Some(match target {
        Target::Leader => Target::Region(leader(stage)?.place),
        Target::LeaderNode => Target::Node(leader(stage)?),
        named => named,
    })
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
