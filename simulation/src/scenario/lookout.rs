//! What each node is like while a run goes on: whether it runs, whom it follows, whom it takes for dead.
//!
//! In: the stage, looked at from outside. Out: a [`Sight`] to the oracle for every node that has changed. Nothing here
//! touches the nodes, their tasks or the network: a run that is looked at goes on as one that is not.

use std::time::Duration;

use super::stage::Stage;
use crate::workload::{NodeKnown, Sight};

/// Remembers what it saw last.
pub(super) struct Lookout {
    next: Duration,
    /// By node.
    last: Vec<Option<Sight>>,
}

impl Lookout {
    /// Tells the oracle who the nodes are.
    pub(super) fn new(stage: &Stage) -> Self {
        let known = |node: &super::stage::Node| NodeKnown {
            name: node.name(),
            place: node.spot.place,
        };
        stage.oracle.history().nodes = stage.nodes.iter().map(known).collect();
        Self {
            next: Duration::ZERO,
            last: vec![None; stage.nodes.len()],
        }
    }

    /// Looks at every node, if it is time.
    pub(super) fn look(&mut self, stage: &Stage) {
        let now = stage.world.now();
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        for (node, last) in self.last.iter_mut().enumerate() {
            let sight = sight(stage, node, now);
            let is_news = last.as_ref().is_none_or(|last| {
                Sight {
                    at: last.at,
                    ..sight.clone()
                } != *last
            });
            if is_news {
                stage.oracle.history().sights.push(sight.clone());
                *last = Some(sight);
            }
        }
    }
}

fn sight(stage: &Stage, index: usize, at: Duration) -> Sight {
    let node = &stage.nodes[index];
    let on = stage.world.is_on(node.machine);
    let mut sight = Sight {
        at,
        node: index,
        on,
        term: 0,
        leader: None,
        revision: 0,
        others: Vec::new(),
    };
    if let Some(gateway) = node.gateway().filter(|_| on) {
        let (term, leader) = gateway.leadership();
        let view = gateway.view();
        let nodes = stage.nodes.iter();
        sight.term = term;
        sight.leader = leader.and_then(|leader| nodes.clone().position(|it| *it.id() == leader));
        sight.revision = gateway.revision();
        sight.others = nodes
            .map(|node| Some(view.members.get(node.id())?.liveness))
            .collect();
    }
    sight
}

/// Between two looks: a third of the time in which a silent node becomes a suspect.
const EVERY: Duration = Duration::from_millis(50);
