//! Who runs a revision, from what the nodes say by gossip.
//!
//! In: the nodes as one of them sees them, and a revision. Out: a [`Rollout`]. A core.

use std::collections::BTreeMap;

use meridian_cluster::membership::Liveness;
use serde::Serialize;

use super::body::Node;
use crate::cli::outcome::Exit;

/// Who runs a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Rollout {
    /// Nodes that run it or a newer one.
    pub(crate) running: Vec<String>,
    /// Reachable nodes that have not said.
    pub(crate) waiting: Vec<String>,
    /// Nodes that could not compile it, and why.
    pub(crate) rejected: BTreeMap<String, String>,
    /// Nodes that are down.
    pub(crate) unreachable: Vec<String>,
}

/// Judges every node. One that is `Down` counts as out of reach, whatever it said before.
pub(crate) fn judge(nodes: &[Node], revision: u64) -> Rollout {
    let mut rollout = Rollout::default();
    for node in nodes {
        let rejected = node
            .rejected
            .as_ref()
            .filter(|rejected| rejected.revision == revision);
        if node.state == Liveness::Down {
            rollout.unreachable.push(node.id.clone());
        } else if node.revision >= revision {
            rollout.running.push(node.id.clone());
        } else if let Some(rejected) = rejected {
            rollout
                .rejected
                .insert(node.id.clone(), rejected.reason.clone());
        } else {
            rollout.waiting.push(node.id.clone());
        }
    }
    rollout
}

impl Rollout {
    /// Whether every reachable node has said something.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The exit of `apply --wait`: a rejection weighs more than a silence.
    pub(crate) fn exit(&self) -> Exit {
        if !self.rejected.is_empty() {
            Exit::Failed
        } else if !self.waiting.is_empty() {
            Exit::Unreachable
        } else {
            Exit::Done
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::body::Rejected;

    fn node(id: &str, state: Liveness, revision: u64, rejected: Option<u64>) -> Node {
        Node {
            id: id.into(),
            region: "r".into(),
            state,
            incarnation: 1,
            revision,
            rejected: rejected.map(|revision| Rejected {
                revision,
                reason: "no such key".into(),
            }),
            load: 0,
            draining: false,
            drained_by: None,
            rtt_ms: None,
            latencies_ms: BTreeMap::new(),
            services: BTreeMap::new(),
            addresses: BTreeMap::new(),
        }
    }

    #[test]
    fn the_exit_follows_the_worst_reachable_node() {
        use Liveness::{Down, Suspect, Up};
        let done = judge(&[node("a", Up, 3, None), node("b", Down, 2, None)], 3);
        assert_eq!((done.exit(), done.is_settled()), (Exit::Done, true));
        assert_eq!(done.unreachable, ["b"]);

        let late = judge(&[node("a", Up, 3, None), node("b", Suspect, 2, None)], 3);
        assert_eq!((late.exit(), late.is_settled()), (Exit::Unreachable, false));

        let refused = judge(&[node("a", Up, 2, Some(3)), node("b", Up, 2, None)], 3);
        assert_eq!(refused.exit(), Exit::Failed);
        assert_eq!(refused.rejected["a"], "no such key");
    }

    #[test]
    fn an_old_rejection_and_a_newer_revision_do_not_count_against_it() {
        let up = Liveness::Up;
        let rollout = judge(&[node("a", up, 2, Some(1)), node("b", up, 4, Some(3))], 3);
        assert_eq!(rollout.waiting, ["a"]);
        assert_eq!(rollout.running, ["b"]);
        assert!(rollout.rejected.is_empty());
    }
}
