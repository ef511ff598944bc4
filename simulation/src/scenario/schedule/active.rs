//! One fault that is under way: how each kind begins, goes on, ends, and by what it is known to have happened.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use super::{
    leader,
    round::Round,
    signs::{carried, count, percent},
    visit::Visit,
};
use crate::{
    scenario::{Fault, FaultKind, Rhythm, Scenario, Spot, Target, Whom, stage::Stage},
    workload::{BUDGET, DiskLost, FaultSeen},
    world::{Down, Drift, MachineId, Still, TICK},
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
    /// For [`FaultKind::Join`]; it lasts until the node has left.
    visit: Option<Visit>,
    flood: Option<Flood>,
    flap: Option<Flap>,
    /// Nodes that are started again once it is over, since nothing less brings them back.
    restarting: bool,
}

/// A link that comes and goes.
struct Flap {
    is_down: bool,
    /// When that changes.
    until: Duration,
    random: StdRng,
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
            .filter(|node| stage.nodes[*node].is_member() && covered(stage.nodes[*node].spot))
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
        let flap = what.rhythm().map(|_| {
            let label = format!("flap/{}", time.as_millis());
            let mut flap = Flap {
                is_down: false,
                until: time,
                random: stage.world.seed().stream(&label),
            };
            flap.turn(&what, time);
            flap
        });
        let round = matches!(what, FaultKind::Stop(_)).then(|| Round::new(&nodes, fault.lasts));
        let visit = match &what {
            FaultKind::Join(place) => Some(Visit::begin(stage, *place, fault.lasts)?),
            _ => None,
        };
        let accident = round.is_none() && visit.is_none();
        let seen = accident.then(|| {
            let mut history = stage.oracle.history();
            history.faults.push(FaultSeen {
                at: stage.world.now(),
                what: scenario.describe(&what),
                area: what.area(),
                signs,
                orderly: false,
                budget: budget(&what),
                ended: None,
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
            visit,
            flood,
            flap,
            restarting: false,
        })
    }

    /// Goes on; whether the world's shape changed.
    pub(super) fn advance(&mut self, stage: &mut Stage, time: Duration) -> bool {
        if let Some(visit) = &mut self.visit {
            return visit.advance(stage, time);
        }
        if let Some(round) = &mut self.round {
            return round.advance(stage, time);
        }
        if self.what.needs_restart() && time >= self.until && !self.restarting {
            self.restarting = true;
            for node in &self.nodes {
                stage.take_down_node(*node, Down::Kill);
            }
            let now = stage.world.now();
            stage.oracle.history().strikes.push(now);
            return true;
        }
        let Some(flap) = &mut self.flap else {
            return false;
        };
        if time < flap.until || time >= self.until {
            return false;
        }
        flap.turn(&self.what, time);
        if let FaultKind::UpstreamFlaps {
            whom: Target::Region(place),
            ..
        } = self.what
        {
            if flap.is_down {
                stage.take_down_upstream(place, Down::Kill);
            } else {
                stage.start_upstream(place);
            }
        }
        if flap.is_down {
            let now = stage.world.now();
            stage.oracle.history().strikes.push(now);
        }
        true
    }

    /// Whether what comes and goes is gone just now.
    pub(super) fn is_down(&self) -> bool {
        self.flap.as_ref().is_some_and(|flap| flap.is_down)
    }

    pub(super) fn is_over(&self, time: Duration) -> bool {
        if let Some(visit) = &self.visit {
            return visit.is_over();
        }
        match &self.round {
            Some(round) => round.is_over(),
            None if self.what.needs_restart() => self.restarting && self.until + RESTART <= time,
            None => self.until <= time,
        }
    }

    /// Whether a node stays down while this lasts.
    pub(super) fn holds_down(&self, node: usize) -> bool {
        // A round starts each of its nodes itself.
        let down = self.what.takes_down() || self.restarting;
        self.round.is_none() && down && self.nodes.contains(&node)
    }

    /// Ends it; `others` are still under way, and `free` says whether a node may come back.
    pub(super) fn end(
        self,
        stage: &mut Stage,
        time: Duration,
        others: &[&FaultKind],
        free: impl Fn(&usize) -> bool,
    ) {
        let mut signs = count(&self.what, &self.nodes, stage) - self.before;
        match &self.what {
            FaultKind::PowerOff(Target::Region(place))
            | FaultKind::KillUpstreams(Target::Region(place))
            | FaultKind::UpstreamFlaps {
                whom: Target::Region(place),
                ..
            } if !others.iter().any(|it| it.keeps_upstreams_down(*place)) => {
                stage.start_upstream(*place);
            }
            FaultKind::IssuerDown if !others.contains(&&FaultKind::IssuerDown) => {
                stage.start_issuer();
            }
            FaultKind::IssuerRotates => stage.issuer.retire(),
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
        if let FaultKind::Pause(_) | FaultKind::Suspend(_) = self.what {
            for node in &self.nodes {
                stage.world.release(stage.nodes[*node].machine);
            }
        }
        if let FaultKind::Clock { .. } = self.what {
            for node in &self.nodes {
                let machine = stage.nodes[*node].machine;
                stage.world.set_clocks(machine, 0, Drift(0));
            }
        }
        // Every node of a round is back.
        if (self.what.takes_down() || self.restarting) && self.round.is_none() {
            for node in self.nodes.iter().filter(|node| free(node)) {
                stage.start_node(*node);
            }
        }
        if let Some(seen) = self.seen {
            let now = stage.world.now();
            let fault = &mut stage.oracle.history().faults[seen];
            fault.signs += signs;
            fault.ended = Some(now);
        }
    }
}

impl Flap {
    /// Turns to the other side, for as long as the kind says.
    fn turn(&mut self, what: &FaultKind, time: Duration) {
        let Some(Rhythm { down, up, drawn }) = what.rhythm() else {
            return;
        };
        self.is_down = !self.is_down;
        let mut lasts = if self.is_down { down } else { up };
        if drawn {
            lasts = self.random.random_range(lasts / 2..=lasts + lasts / 2);
        }
        self.until = time + lasts.max(TICK);
    }
}

/// How long after it began requests may fail.
fn budget(what: &FaultKind) -> Duration {
    match what {
        // The kernel of a process that stands still takes connections, so that those who wait for it give up only by
        // themselves: a node that forwards after its response timeout.
        FaultKind::Pause(_) => RESPONSE + BUDGET,
        // What is asked of an upstream that hangs, errs or crawls until two health checks have failed may fail as well.
        _ if !what.upstream_ways().are_well() => UNHEALTHY + BUDGET,
        _ => BUDGET,
    }
}

/// What a fault does at once; how many machines it took down.
fn strike(what: &FaultKind, nodes: &[usize], stage: &mut Stage) -> u64 {
    let still = match what {
        FaultKind::Pause(_) => Some(Still::Process),
        FaultKind::Suspend(_) => Some(Still::Machine),
        _ => None,
    };
    if let Some(still) = still {
        let machines: Vec<MachineId> = nodes.iter().map(|it| stage.nodes[*it].machine).collect();
        let held = machines.into_iter().map(|it| stage.world.hold(it, still));
        return held.map(u64::from).sum();
    }
    if let FaultKind::Clock {
        offset_ms, drift, ..
    } = what
    {
        for node in nodes {
            let machine = stage.nodes[*node].machine;
            stage.world.set_clocks(machine, *offset_ms, *drift);
        }
        return nodes.len() as u64;
    }
    let down = match what {
        FaultKind::PowerOff(_) | FaultKind::DiskCorrupt { .. } => Down::PowerOff,
        FaultKind::Kill(_) | FaultKind::Wipe(_) | FaultKind::Upgrade(_) => Down::Kill,
        FaultKind::IssuerDown => return u64::from(stage.take_down_issuer()),
        FaultKind::IssuerRotates => return u64::from(stage.issuer.rotate()),
        FaultKind::KillUpstreams(Target::Region(place))
        | FaultKind::UpstreamFlaps {
            whom: Target::Region(place),
            ..
        } => {
            return u64::from(stage.take_down_upstream(*place, Down::Kill));
        }
        _ => return 0,
    };
    let mut taken = 0;
    for node in nodes {
        let mut was_on = stage.take_down_node(*node, down);
        let machine = stage.nodes[*node].machine;
        match what {
            FaultKind::Wipe(_) => stage.world.disk(machine).wipe(),
            // That it lost power is no sign of a flipped bit.
            FaultKind::DiskCorrupt { part, .. } => was_on &= stage.world.corrupt(machine, *part),
            _ => {}
        }
        taken += u64::from(was_on);
        if what.takes_a_vote() {
            let lost = DiskLost {
                node: stage.nodes[*node].name(),
                at: stage.world.now(),
                whole: matches!(what, FaultKind::Wipe(_)),
            };
            stage.oracle.history().disks_lost.push(lost);
        }
    }
    if let FaultKind::PowerOff(Target::Region(place)) = what {
        taken += u64::from(stage.take_down_upstream(*place, down));
    }
    taken
}

/// The region or node that is the leader's now.
fn resolve(target: Target, stage: &Stage) -> Option<Target> {
    Some(match target {
        Target::Leader => Target::Region(leader(stage)?.place),
        Target::LeaderNode => Target::Node(leader(stage)?),
        named => named,
    })
}

/// Until two health checks of a service have failed: they begin every 500 ms, and each waits for 250 ms
/// (`workload::document`).
const UNHEALTHY: Duration = Duration::from_millis(1_250);

/// The response timeout of the services that clients ask for (`workload::document`).
const RESPONSE: Duration = Duration::from_secs(2);

/// Between the end of a fault that a node does not get over by itself and its start: a supervisor's usual pause.
const RESTART: Duration = Duration::from_secs(1);
