//! The schedule of faults: when each begins, and how it is undone.
//!
//! In: the time since all nodes serve. Out: machines down and up, links and machines in the state that the active
//! faults give them, and the signs by which the oracle knows that a fault really happened.
//!
//! - `active`: one fault that is under way;
//! - `round`: planned stops, one node after another;
//! - `signs`: by what it is known to have happened;
//! - `visit`: a node that joins, stays and leaves.

mod active;
mod round;
mod signs;
mod visit;

use std::{collections::BTreeSet, time::Duration};

use active::Active;

use super::{Fault, FaultKind, Scenario, Spot, Target, stage::Stage};
use crate::{
    workload::manner::Ways,
    world::{DiskTrouble, Place},
};

/// The faults of a run.
pub(super) struct Schedule {
    waiting: Vec<Fault>,
    active: Vec<Active>,
    /// Nodes that came back without what they knew, and have no document to serve yet.
    empty: Vec<usize>,
}

impl Schedule {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut waiting = scenario.faults.clone();
        // The next one last, to be popped.
        waiting.sort_by_key(|fault| std::cmp::Reverse(fault.at));
        Self {
            waiting,
            active: Vec::new(),
            empty: Vec::new(),
        }
    }

    /// Whether every fault has begun and ended, and every node has something to serve.
    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty() && self.empty.is_empty()
    }

    /// Begins and ends what is due at `time` since serving began.
    pub(super) fn advance(&mut self, stage: &mut Stage, scenario: &Scenario, time: Duration) {
        let mut changed = false;
        for active in &mut self.active {
            changed |= active.advance(stage, time);
        }
        let (over, active): (Vec<Active>, _) = self
            .active
            .drain(..)
            .partition(|active| active.is_over(time));
        self.active = active;
        changed |= !over.is_empty();
        let before = self.empty.len();
        self.empty.retain(|node| stage.nodes[*node].is_empty());
        changed |= self.empty.len() != before;
        for fault in over {
            if fault.what.takes_a_vote() {
                self.empty.extend(&fault.nodes);
            }
            // Another fault may hold a node of this one down.
            let free = |node: &usize| !self.active.iter().any(|other| other.holds_down(*node));
            let others: Vec<&FaultKind> = self.active.iter().map(|other| &other.what).collect();
            fault.end(stage, time, &others, free);
        }
        while let Some(next) = self.waiting.last()
            && next.at <= time
        {
            // A fault of the leader waits for a leader.
            let Some(begun) = Active::begin(next, stage, scenario, time) else {
                break;
            };
            // Those after it come as much later: what was to follow its end would else befall what it still holds.
            let late = time - next.at;
            self.waiting.pop();
            self.waiting.iter_mut().for_each(|fault| fault.at += late);
            self.active.push(begun);
            changed = true;
        }
        if changed {
            self.shape(stage);
            stage.survey(&self.flapping(), &self.empty);
        }
    }

    /// Regions whose upstreams come and go.
    fn flapping(&self) -> BTreeSet<Place> {
        let place = |active: &Active| match active.what {
            FaultKind::UpstreamFlaps {
                whom: Target::Region(place),
                ..
            } => Some(place),
            _ => None,
        };
        self.active.iter().filter_map(place).collect()
    }

    /// Makes links and machines what the active faults say.
    fn shape(&self, stage: &mut Stage) {
        let regions = stage.regions.len();
        let network = stage.world.network().clone();
        network.links(|links| {
            links.heal();
            for active in &self.active {
                match &active.what {
                    FaultKind::Cut(link) => {
                        for (from, to) in link.ways() {
                            links.cut(from, to);
                        }
                    }
                    FaultKind::Flap { link, .. } => {
                        for (from, to) in link.ways() {
                            links.doubt(from, to);
                            if active.is_down() {
                                links.cut(from, to);
                            }
                        }
                    }
                    FaultKind::Slow { link, .. }
                    | FaultKind::Lossy { link, .. }
                    | FaultKind::Narrow { link, .. } => {
                        let trouble = active.what.trouble();
                        for (from, to) in link.ways() {
                            links.trouble(from, to, &trouble);
                        }
                    }
                    FaultKind::Isolate(Target::Region(place)) => {
                        let others = (0..regions).map(Place).filter(|other| other != place);
                        for other in others {
                            links.cut(*place, other);
                            links.cut(other, *place);
                        }
                    }
                    _ => {}
                }
            }
        });
        for node in 0..stage.nodes.len() {
            let machine = stage.nodes[node].machine;
            let mut unplugged = false;
            let mut trouble = DiskTrouble::default();
            for active in self.active.iter().filter(|it| it.nodes.contains(&node)) {
                unplugged |= matches!(active.what, FaultKind::Isolate(Target::Node(_)));
                trouble = trouble.and(active.what.disk_trouble());
            }
            network.set_unplugged(machine, unplugged);
            stage.world.disk(machine).set_trouble(trouble);
        }
        for (place, manner) in stage.manners.iter().enumerate() {
            let here = Some(Target::Region(Place(place)));
            let faults = self.active.iter().filter(|it| it.what.target() == here);
            let ways = faults.fold(Ways::default(), |ways, it| {
                ways.and(it.what.upstream_ways())
            });
            manner.set(ways);
        }
        let mut ways = Ways::default();
        for active in &self.active {
            if let FaultKind::IssuerErrors { share } = active.what {
                ways.errors = share.ratio().max(ways.errors);
            }
        }
        stage.issuer.manner.set(ways);
    }
}

/// The node that most nodes name as their leader; the first in order where several are named equally.
fn leader(stage: &Stage) -> Option<Spot> {
    let mut votes = vec![0_u32; stage.nodes.len()];
    for leader in stage.leaders() {
        let leader = leader?;
        let named = stage.nodes.iter().position(|node| node.name() == leader);
        votes[named?] += 1;
    }
    let most = votes.iter().max().filter(|most| **most > 0)?;
    let index = votes.iter().position(|count| count == most)?;
    Some(stage.nodes[index].spot)
}
