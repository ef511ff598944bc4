//! What operators have decided about nodes: which are drained, which were removed.
//!
//! In: decisions in the log's order. Out: [`Marks`], the same on every node, and whether a decision is in
//! order. A core, part of the directory's state.
//!
//! A removal is remembered with its place in the log. A node that is taken in later has a seat with a
//! greater number ([`crate::consensus::GroupStatus`] counts by the same log), so that its old self on an
//! old disk is told apart from its new one.

use std::collections::{BTreeMap, BTreeSet};

use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use crate::membership::{Liveness, View};

/// Marks of each kind that are kept: as many as the fabric knows nodes. The oldest makes room.
const MOST: usize = 1024;

/// An operator's decision about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// It takes no new work and stays a member.
    Drain,
    /// It takes work again.
    Undrain,
    /// It is no member any more.
    Remove,
}

/// Who decided, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where in the log the decision stands.
    pub index: u64,
    /// Who decided (the admin token's name).
    pub by: String,
    /// When: ms since the Unix epoch, by the clock of the node that was asked.
    pub unix_ms: u64,
}

/// All decisions that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Drained nodes.
    pub drained: BTreeMap<NodeId, Mark>,
    /// Removed nodes. One that was taken in again since keeps its entry; its seat is newer.
    pub removed: BTreeMap<NodeId, Mark>,
}

/// Why a decision about a node is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum MarkError {
    /// Nobody knows it.
    #[error("no node {0} is known here; `meridian status` lists the nodes")]
    Unknown(NodeId),
    /// It lives and serves.
    #[error(
        "{0} is alive and serves; run `meridian drain {0}` first, and remove it when `meridian status` shows that it drains"
    )]
    Serving(NodeId),
    /// Nothing would be left.
    #[error(
        "{0} is the cluster's only node; to end the cluster, stop the node and delete its data_dir"
    )]
    Only(NodeId),
    /// Nobody else could lead.
    #[error(
        "{0} has the only vote, and no other node is fit to take it over; start one, wait until `meridian status` shows that it is up and holds the log, and remove {0} then"
    )]
    LastVoter(NodeId),
}

/// What is known of the cluster where a decision is checked.
pub(crate) struct Scene<'a> {
    /// Who is alive.
    pub(crate) view: &'a View,
    /// Every node of the group.
    pub(crate) seats: &'a BTreeSet<NodeId>,
    /// Those with a vote.
    pub(crate) voters: &'a [NodeId],
    /// What was decided before.
    pub(crate) marks: &'a Marks,
}

/// Whether a decision is in order as things are. Asked where it is accepted and by the leader; `apply` carries out
/// whatever was agreed on.
pub(crate) fn check(decision: Decision, node: &NodeId, scene: &Scene<'_>) -> Result<(), MarkError> {
    let member = scene.view.members.get(node);
    let marked = scene.marks.drained.contains_key(node);
    if member.is_none() && !scene.seats.contains(node) && !marked {
        return Err(MarkError::Unknown(node.clone()));
    }
    if decision != Decision::Remove {
        return Ok(());
    }
    let alive = member.is_some_and(|member| member.liveness != Liveness::Down);
    if alive && !marked {
        return Err(MarkError::Serving(node.clone()));
    }
    if scene.seats.iter().all(|seat| seat == node) {
        return Err(MarkError::Only(node.clone()));
    }
    if scene.voters == [node.clone()] {
        return Err(MarkError::LastVoter(node.clone()));
    }
    Ok(())
}

impl Decision {
    /// By the name of the operator's command.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Remove => "remove",
        }
    }
}

impl Marks {
    /// Takes a decision in.
    pub(crate) fn apply(&mut self, decision: Decision, node: NodeId, mark: Mark) {
        match decision {
            Decision::Drain => {
                // The first one stays: it says since when.
                self.drained.entry(node).or_insert(mark);
                forget_oldest(&mut self.drained);
            }
            Decision::Undrain => {
                self.drained.remove(&node);
            }
            Decision::Remove => {
                self.drained.remove(&node);
                self.removed.insert(node, mark);
                forget_oldest(&mut self.removed);
            }
        }
    }

    /// Whether the node takes no new work.
    pub fn is_drained(&self, node: &NodeId) -> bool {
        self.drained.contains_key(node)
    }

    /// Whether the node that was taken in under this seat number was removed since.
    pub fn is_removed(&self, node: &NodeId, seat: u64) -> bool {
        self.removed.get(node).is_some_and(|mark| seat < mark.index)
    }
}

fn forget_oldest(marks: &mut BTreeMap<NodeId, Mark>) {
    while marks.len() > MOST {
        let oldest = marks.iter().min_by_key(|(_, mark)| mark.index);
        let Some(oldest) = oldest.map(|(node, _)| node.clone()) else {
            return;
        };
        marks.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{Announced, Footing, Member};

    fn mark(index: u64) -> Mark {
        Mark {
            index,
            by: "alice".to_owned(),
            unix_ms: 1,
        }
    }

    fn view(members: &[(&str, Liveness)]) -> View {
        let member = |(id, liveness): &(&str, Liveness)| {
            let member = Member {
                id: (*id).into(),
                region: "eu".into(),
                incarnation: 1,
                liveness: *liveness,
                footing: Footing::Steady,
                control: ([127, 0, 0, 1], 1).into(),
                bulk: ([127, 0, 0, 1], 2).into(),
                announced: Announced::default(),
                rtt: None,
            };
            (NodeId::from(*id), member)
        };
        View {
            own: "a".into(),
            own_region: "eu".into(),
            members: members.iter().map(member).collect(),
            regions: BTreeMap::new(),
        }
    }

    fn checked(
        decision: Decision,
        node: &str,
        view: &View,
        seats: &[&str],
        marks: &Marks,
    ) -> Result<(), MarkError> {
        let seats: BTreeSet<NodeId> = seats.iter().map(|id| NodeId::from(*id)).collect();
        let voters: Vec<NodeId> = seats.iter().take(1).cloned().collect();
        let scene = Scene {
            view,
            seats: &seats,
            voters: &voters,
            marks,
        };
        check(decision, &node.into(), &scene)
    }

    #[test]
    fn a_living_node_is_drained_before_it_is_removed() {
        let view = view(&[
            ("a", Liveness::Up),
            ("b", Liveness::Up),
            ("c", Liveness::Suspect),
        ]);
        let mut marks = Marks::default();
        let seats = ["a", "b", "c"];
        for alive in ["b", "c"] {
            assert_eq!(
                checked(Decision::Remove, alive, &view, &seats, &marks),
                Err(MarkError::Serving(alive.into()))
            );
        }
        assert_eq!(checked(Decision::Drain, "b", &view, &seats, &marks), Ok(()));
        marks.apply(Decision::Drain, "b".into(), mark(5));
        assert_eq!(
            checked(Decision::Remove, "b", &view, &seats, &marks),
            Ok(())
        );
    }

    #[test]
    fn a_dead_node_is_removed_at_once_though_gossip_may_have_forgotten_it() {
        let marks = Marks::default();
        let seats = ["a", "b"];
        let dead = view(&[("a", Liveness::Up), ("b", Liveness::Down)]);
        assert_eq!(
            checked(Decision::Remove, "b", &dead, &seats, &marks),
            Ok(())
        );
        let forgotten = view(&[("a", Liveness::Up)]);
        assert_eq!(
            checked(Decision::Remove, "b", &forgotten, &seats, &marks),
            Ok(())
        );
        assert_eq!(
            checked(Decision::Remove, "x", &forgotten, &seats, &marks),
            Err(MarkError::Unknown("x".into()))
        );
    }

    #[test]
    fn neither_the_only_node_nor_the_only_vote_is_removed() {
        let mut marks = Marks::default();
        marks.apply(Decision::Drain, "a".into(), mark(5));
        let view = view(&[("a", Liveness::Up), ("b", Liveness::Up)]);
        assert_eq!(
            checked(Decision::Remove, "a", &view, &["a"], &marks),
            Err(MarkError::Only("a".into()))
        );
        assert_eq!(
            checked(Decision::Remove, "a", &view, &["a", "b"], &marks),
            Err(MarkError::LastVoter("a".into()))
        );
    }

    #[test]
    fn a_seat_given_after_the_removal_is_not_removed_by_it() {
        let mut marks = Marks::default();
        marks.apply(Decision::Drain, "b".into(), mark(5));
        marks.apply(Decision::Drain, "b".into(), mark(6));
        assert_eq!(marks.drained["b"].index, 5, "since when it drains");
        marks.apply(Decision::Remove, "b".into(), mark(9));
        assert!(!marks.is_drained(&"b".into()));
        assert!(marks.is_removed(&"b".into(), 0) && marks.is_removed(&"b".into(), 8));
        assert!(!marks.is_removed(&"b".into(), 9) && !marks.is_removed(&"a".into(), 0));
    }

    #[test]
    fn marks_are_bounded_and_the_oldest_goes_first() {
        let mut marks = Marks::default();
        for index in 0..2000_u64 {
            marks.apply(
                Decision::Remove,
                NodeId::new(format!("n{index}")),
                mark(index),
            );
        }
        assert_eq!(marks.removed.len(), MOST);
        assert!(marks.removed.contains_key("n1999") && !marks.removed.contains_key("n975"));
    }
}
