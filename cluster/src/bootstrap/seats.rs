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
pub const GRACE: Duration = Duration::from_secs(60);

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
    /// The leader itself.
    pub(super) own: NodeId,
    /// Every member of the group.
    pub(super) nodes: BTreeMap<NodeId, RegionName>,
    /// Those with a vote.
    pub(super) voters: BTreeSet<NodeId>,
    /// Learners that are up and have caught up: they may take a seat.
    pub(super) ready: BTreeSet<NodeId>,
    /// Voters that are down, and for how long.
    pub(super) down: BTreeMap<NodeId, Duration>,
    /// Nodes that are drained: they keep their vote only while nobody else is fit for it.
    pub(super) away: BTreeSet<NodeId>,
    /// Nodes that were removed: they lose their vote even if nobody takes it.
    pub(super) removed: BTreeSet<NodeId>,
}

/// The voters the cluster should have now, where that differs from those it has.
///
/// First empty seats are filled; then one voter at a time gives its seat up, since the next look sees the new
/// voters' own state: a removed one, one that is dead for longer than [`GRACE`], a drained one, and at last
/// one that stands in a crowded region while another region has none.
pub(super) fn better_voters(picture: &Picture) -> Option<BTreeSet<NodeId>> {
    let voters = fill(picture)?;
    if voters != picture.voters {
        return Some(voters);
    }
    let leaving = |set: &BTreeSet<NodeId>| {
        let mut leaving = voters.iter().filter(|voter| set.contains(*voter));
        // The leader goes last: it hands its lead over first.
        leaving.find(|voter| **voter != picture.own).cloned()
    };
    if let Some(removed) = leaving(&picture.removed) {
        return replace(picture, &removed).or_else(|| {
            let mut rest = voters.clone();
            rest.remove(&removed);
            // An even number survives no fewer losses than before: the removed one was lost already.
            (!rest.is_empty()).then_some(rest)
        });
    }
    let dead = picture
        .down
        .iter()
        .find(|(voter, since)| voters.contains(*voter) && **since >= GRACE);
    if let Some(better) = dead.and_then(|(voter, _)| replace(picture, voter)) {
        return Some(better);
    }
    if let Some(better) = leaving(&picture.away).and_then(|voter| replace(picture, &voter)) {
        return Some(better);
    }
    spread(picture)
}

/// The voters with empty seats filled, always to an odd number. `None`: a seat is empty and nobody is
/// fit.
fn fill(picture: &Picture) -> Option<BTreeSet<NodeId>> {
    let mut voters = picture.voters.clone();
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
    Some(voters)
}

/// The voters with another in this one's place: of its own region where one is fit.
fn replace(picture: &Picture, voter: &NodeId) -> Option<BTreeSet<NodeId>> {
    let mut voters = picture.voters.clone();
    voters.remove(voter);
    let region = picture.nodes.get(voter);
    let of_its_region = picture
        .ready
        .iter()
        .filter(|node| picture.nodes.get(*node) == region);
    let next = best(&picture.nodes, &voters, of_its_region)
        .or_else(|| best(&picture.nodes, &voters, picture.ready.iter()))?;
    voters.insert(next);
    Some(voters)
}

/// The voters spread better: a region that has at least two more votes than another, where somebody is fit,
/// gives it one. Two more, or the next look would move it back.
fn spread(picture: &Picture) -> Option<BTreeSet<NodeId>> {
    let votes = |node: &NodeId| {
        let region = picture.nodes.get(node);
        let voters = picture.voters.iter();
        voters
            .filter(|voter| picture.nodes.get(*voter) == region)
            .count()
    };
    let next = best(&picture.nodes, &picture.voters, picture.ready.iter())?;
    let crowded = picture
        .voters
        .iter()
        .filter(|voter| **voter != picture.own && votes(voter) >= votes(&next) + 2);
    let giver = crowded
        .max_by_key(|voter| (votes(voter), (*voter).clone()))?
        .clone();
    let mut voters = picture.voters.clone();
    voters.remove(&giver);
    voters.insert(next);
    Some(voters)
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
            ..Picture::default()
        };
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b1", "c1"])));
    }

    #[test]
    fn a_lone_voter_takes_two_others_at_once() {
        let mut picture = Picture {
            nodes: nodes(&[("a", "a"), ("b", "b"), ("c", "c")]),
            voters: ids(&["a"]),
            ready: ids(&["b"]),
            ..Picture::default()
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
            ..Picture::default()
        };
        assert_eq!(better_voters(&picture), None);
        picture.down = [("c1".into(), GRACE)].into();
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b1", "c2"])));
        picture.ready.clear();
        assert_eq!(better_voters(&picture), None);
    }

    /// Three regions with two nodes each, the first of each a voter; all others are fit.
    fn three_by_two() -> Picture {
        Picture {
            own: "a1".into(),
            nodes: nodes(&[
                ("a1", "a"),
                ("a2", "a"),
                ("b1", "b"),
                ("b2", "b"),
                ("c1", "c"),
                ("c2", "c"),
            ]),
            voters: ids(&["a1", "b1", "c1"]),
            ready: ids(&["a2", "b2", "c2"]),
            ..Picture::default()
        }
    }

    #[test]
    fn a_drained_voter_gives_its_seat_to_one_of_its_region_and_keeps_it_while_none_is_fit() {
        let mut picture = Picture {
            away: ids(&["c1"]),
            ..three_by_two()
        };
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b1", "c2"])));
        picture.ready = ids(&["b2"]);
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b1", "b2"])));
        picture.ready.clear();
        assert_eq!(better_voters(&picture), None);
    }

    #[test]
    fn a_drained_leader_keeps_its_seat_until_another_leads() {
        let mut picture = Picture {
            away: ids(&["a1"]),
            ..three_by_two()
        };
        assert_eq!(better_voters(&picture), None);
        picture.own = "b1".into();
        assert_eq!(better_voters(&picture), Some(ids(&["a2", "b1", "c1"])));
    }

    #[test]
    fn a_removed_voter_loses_its_seat_at_once_even_if_nobody_takes_it() {
        let mut picture = Picture {
            removed: ids(&["c1"]),
            away: ids(&["c1"]),
            ..three_by_two()
        };
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b1", "c2"])));
        picture.ready.clear();
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b1"])));
    }

    #[test]
    fn a_region_without_a_vote_gets_one_back_from_a_crowded_region() {
        let mut picture = Picture {
            voters: ids(&["a1", "b1", "b2"]),
            ready: ids(&["a2", "c1"]),
            ..three_by_two()
        };
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b1", "c1"])));
        // Not the leader's own seat.
        picture.own = "b2".into();
        assert_eq!(better_voters(&picture), Some(ids(&["a1", "b2", "c1"])));
        picture.ready = ids(&["a2"]);
        assert_eq!(
            better_voters(&picture),
            None,
            "two and one is as even as it gets"
        );
    }

    proptest! {
        #[test]
        fn the_number_of_voters_is_odd_and_they_are_members(
            regions in prop::collection::vec(0..7_u8, 1..12),
            voting in prop::collection::vec(any::<bool>(), 12),
            ready in prop::collection::vec(any::<bool>(), 12),
            away in prop::collection::vec(any::<bool>(), 12),
            dead in prop::collection::vec(any::<bool>(), 12),
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
            voters.insert(founder.clone());
            if voters.len().is_multiple_of(2) {
                voters.pop_last();
            }
            let away = pick(&away);
            let ready = pick(&ready).into_iter().filter(|node| !voters.contains(node) && !away.contains(node)).collect();
            let down = pick(&dead).into_iter().filter(|node| *node != founder).map(|node| (node, GRACE)).collect();
            let mut picture = Picture {
                own: founder.clone(),
                nodes: nodes.clone(),
                voters,
                ready,
                down,
                away,
                removed: BTreeSet::new(),
            };
            // However often the leader looks, it comes to an end, and every step is sound.
            for step in 0..40 {
                let Some(better) = better_voters(&picture) else { break };
                prop_assert!(step < 39, "the voters never settle");
                prop_assert_eq!(better.len() % 2, 1);
                prop_assert!(better.contains(&founder));
                prop_assert!(better.len() >= picture.voters.len());
                prop_assert!(better.iter().all(|voter| nodes.contains_key(voter)));
                let lost: Vec<NodeId> = picture.voters.difference(&better).cloned().collect();
                for voter in &lost {
                    if !picture.down.contains_key(voter) && !picture.away.contains(voter) {
                        picture.ready.insert(voter.clone());
                    }
                }
                picture.ready.retain(|node| !better.contains(node));
                picture.voters = better;
            }
        }
    }
}
