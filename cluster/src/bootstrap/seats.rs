//! Who votes: an odd number of nodes, spread over as many regions as possible.
//!
//! In: the nodes with their regions, who is up and how far. Out: the voters to begin with, and changes
//! while the cluster lives. A core; shells: [`super::founding`] and [`super::steward`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meridian_config::name::{NodeId, RegionName};

/// How long a voter must be down before another takes its seat: longer than a reboot, so that a node
/// that merely restarts keeps its vote.
pub(super) const GRACE: Duration = Duration::from_secs(60);

/// How many voters a cluster of these nodes has.
fn wanted(regions: &BTreeMap<NodeId, RegionName>) -> usize {
    let distinct: BTreeSet<&RegionName> = regions.values().collect();
    match (distinct.len(), regions.len()) {
        (5.., _) => 5,
        (_, 3..) => 3,
        // Two voters would be lost with either of them; one is lost with one.
        _ => 1,
    }
}

/// The voters a new cluster begins with; `founder` is one of them.
pub(super) fn first_voters(
    nodes: &BTreeMap<NodeId, RegionName>,
    founder: &NodeId,
) -> BTreeSet<NodeId> {
    let mut voters: BTreeSet<NodeId> = nodes
        .contains_key(founder)
        .then(|| founder.clone())
        .into_iter()
        .collect();
    while voters.len() < wanted(nodes) {
        let Some(next) = best(nodes, &voters, nodes.keys()) else {
            break;
        };
        voters.insert(next);
    }
    voters
}

/// The candidate whose region has the fewest voters; of equals the one with the least id.
fn best<'a>(
    nodes: &BTreeMap<NodeId, RegionName>,
    voters: &BTreeSet<NodeId>,
    candidates: impl Iterator<Item = &'a NodeId>,
) -> Option<NodeId> {
    let in_region = |candidate: &NodeId| {
        voters
            .iter()
            .filter(|voter| nodes.get(*voter) == nodes.get(candidate))
            .count()
    };
    candidates
        .filter(|candidate| !voters.contains(*candidate))
        .min_by_key(|candidate| (in_region(candidate), (*candidate).clone()))
        .cloned()
}

/// A living cluster as its leader sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Picture {
    /// Every member of the group.
    pub(super) nodes: BTreeMap<NodeId, RegionName>,
    /// Those with a vote.
    pub(super) voters: BTreeSet<NodeId>,
    /// Learners that are up and have caught up: they may take a seat.
    pub(super) ready: BTreeSet<NodeId>,
    /// Voters that are down, and for how long.
    pub(super) down: BTreeMap<NodeId, Duration>,
}

/// The voters the cluster should have now, where that differs from those it has.
pub(super) fn better_voters(picture: &Picture) -> Option<BTreeSet<NodeId>> {
    let mut voters = picture.voters.clone();
    // Seats that stand empty, always to an odd number.
    let wanted = wanted(&picture.nodes);
    let reachable = picture.voters.len() + picture.ready.len();
    let size = if reachable >= wanted {
        wanted
    } else {
        reachable - (reachable + 1) % 2
    };
    while voters.len() < size {
        let next = best(&picture.nodes, &voters, picture.ready.iter())?;
        voters.insert(next);
    }
    // One seat at a time: the next look sees the new voters' own state.
    if voters == picture.voters {
        let dead = picture
            .down
            .iter()
            .find(|(voter, since)| voters.contains(*voter) && **since >= GRACE)?
            .0;
        voters.remove(dead);
        let of_its_region = picture
            .ready
            .iter()
            .filter(|node| picture.nodes.get(*node) == picture.nodes.get(dead));
        let next = best(&picture.nodes, &voters, of_its_region)
            .or_else(|| best(&picture.nodes, &voters, picture.ready.iter()))?;
        voters.insert(next);
    }
    (voters != picture.voters).then_some(voters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(list: &[(&str, &str)]) -> BTreeMap<NodeId, RegionName> {
        list.iter()
            .map(|(node, region)| (NodeId::from(*node), RegionName::from(*region)))
            .collect()
    }

    fn ids(list: &[&str]) -> BTreeSet<NodeId> {
        list.iter().map(|id| NodeId::from(*id)).collect()
    }

    #[test]
    fn voters_are_spread_over_regions() {
        let nodes = nodes(&[
            ("a1", "a"),
            ("a2", "a"),
            ("b1", "b"),
            ("b2", "b"),
            ("c1", "c"),
        ]);
        let voters = first_voters(&nodes, &"a1".into());
        assert_eq!(voters, ids(&["a1", "b1", "c1"]));
    }

    #[test]
    fn five_regions_have_five_voters() {
        let nodes = nodes(&[
            ("a", "a"),
            ("b", "b"),
            ("c", "c"),
            ("d", "d"),
            ("e", "e"),
            ("f", "e"),
        ]);
        let voters = first_voters(&nodes, &"a".into());
        assert_eq!(voters, ids(&["a", "b", "c", "d", "e"]));
    }

    #[test]
    fn two_nodes_have_one_voter() {
        let nodes = nodes(&[("a", "a"), ("b", "b")]);
        assert_eq!(first_voters(&nodes, &"a".into()), ids(&["a"]));
    }

    #[test]
    fn an_empty_seat_goes_to_a_region_without_a_vote() {
        let picture = Picture {
            nodes: nodes(&[("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c")]),
            voters: ids(&["a1", "b1"]),
            ready: ids(&["a2", "c1"]),
            down: BTreeMap::new(),
        };
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b1", "c1"])));
    }

    #[test]
    fn a_lone_voter_takes_two_others_at_once() {
        let mut picture = Picture {
            nodes: nodes(&[("a", "a"), ("b", "b"), ("c", "c")]),
            voters: ids(&["a"]),
            ready: ids(&["b"]),
            down: BTreeMap::new(),
        };
        assert_eq!(better_voters(&picture), None);
        picture.ready = ids(&["b", "c"]);
        assert_eq!(better_voters(&picture), Some(ids(&["a", "b", "c"])));
    }

    #[test]
    fn a_dead_voter_is_replaced_after_the_grace_by_its_own_region() {
        let mut picture = Picture {
            nodes: nodes(&[
                ("a1", "a"),
                ("b1", "b"),
                ("c1", "c"),
                ("a2", "a"),
                ("c2", "c"),
            ]),
            voters: ids(&["a1", "b1", "c1"]),
            ready: ids(&["a2", "c2"]),
            down: [("c1".into(), GRACE - Duration::from_millis(1))].into(),
        };
        assert_eq!(better_voters(&picture), None);
        picture.down = [("c1".into(), GRACE)].into();
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b1", "c2"])));
        picture.ready.clear();
        assert_eq!(better_voters(&picture), None);
    }

    proptest! {
        #[test]
        fn the_number_of_voters_is_odd_and_they_are_members(
            regions in prop::collection::vec(0..7_u8, 1..12),
            voting in prop::collection::vec(any::<bool>(), 12),
            ready in prop::collection::vec(any::<bool>(), 12),
        ) {
            let nodes: BTreeMap<NodeId, RegionName> = regions
                .iter()
                .enumerate()
                .map(|(node, region)| {
                    let region = RegionName::new(format!("r{region}"));
                    (NodeId::new(format!("n{node:02}")), region)
                })
                .collect();
            let founder = nodes.keys().next().unwrap().clone();
            let first = first_voters(&nodes, &founder);
            prop_assert!(first.contains(&founder));
            prop_assert_eq!(first.len() % 2, 1);
            let pick = |flags: &[bool]| -> BTreeSet<NodeId> {
                nodes.keys().zip(flags).filter(|(_, flag)| **flag).map(|(id, _)| id.clone()).collect()
            };
            let mut voters = pick(&voting);
            voters.insert(founder);
            let ready = pick(&ready).difference(&voters).cloned().collect();
            let picture = Picture { nodes: nodes.clone(), voters: voters.clone(), ready, down: BTreeMap::new() };
            if let Some(better) = better_voters(&picture) {
                prop_assert_eq!(better.len() % 2, 1);
                prop_assert!(better.is_superset(&voters));
                prop_assert!(better.iter().all(|voter| nodes.contains_key(voter)));
            }
        }
    }
}
