//! The [`View`], composed of gossip's slow truth and the detector's fast one. A core.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use meridian_config::name::{NodeId, RegionName};

use super::{Announced, Detector, Footing, Liveness, Member, RegionHealth, View};

/// Nodes that are probed in each other region: one could be the one that fails.
const PROBED_PER_REGION: usize = 2;

/// What gossip and fabric know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: NodeId,
    pub(super) region: RegionName,
    pub(super) incarnation: u64,
    pub(super) control: SocketAddr,
    pub(super) bulk: SocketAddr,
    /// Gossip's version of what it says of itself.
    pub(super) said: u64,
    pub(super) announced: Announced,
    pub(super) rtt: Option<Duration>,
    /// Gossip's own detector hears of it.
    pub(super) live: bool,
    /// It said that it stops.
    pub(super) left: bool,
}

/// Which nodes to probe: of each other region the first two by id that gossip hears of; else those that
/// were probed before, so that their return is seen.
pub(super) fn targets(
    own_region: &RegionName,
    known: &[Known],
    detector: &Detector,
) -> BTreeSet<NodeId> {
    let mut regions: BTreeMap<&RegionName, Vec<(bool, &NodeId)>> = BTreeMap::new();
    for node in known {
        let heard = node.live && !node.left;
        if node.region != *own_region && (heard || detector.verdict(&node.id).is_some()) {
            regions
                .entry(&node.region)
                .or_default()
                .push((!heard, &node.id));
        }
    }
    regions
        .into_values()
        .flat_map(|mut nodes| {
            nodes.sort();
            nodes.into_iter().take(PROBED_PER_REGION)
        })
        .map(|(_, id)| id.clone())
        .collect()
}

/// The picture that the node routes by. `own` stands first in no special place; `known` holds the others.
pub(super) fn compose(own: &Known, known: &[Known], detector: &Detector) -> View {
    let regions = probed_regions(known, detector);
    let shaky = shaky_regions(known, detector);
    let mut members =
        BTreeMap::from([(own.id.clone(), member(own, Liveness::Up, Footing::Steady))]);
    for node in known {
        let liveness = if node.left {
            Liveness::Down
        } else if let Some(verdict) = detector.verdict(&node.id) {
            verdict
        } else if node.live {
            // Where all that are probed are silent the others are too, though gossip has not noticed yet.
            let neighbours = regions.get(&node.region);
            neighbours.copied().unwrap_or(Liveness::Up)
        } else {
            Liveness::Down
        };
        let footing = match detector.is_steady(&node.id) {
            false => Footing::Shaky,
            true if shaky.contains(&node.region) => Footing::ShakyLink,
            true => Footing::Steady,
        };
        members.insert(node.id.clone(), member(node, liveness, footing));
    }
    let mut regions: BTreeMap<RegionName, RegionHealth> = BTreeMap::new();
    for member in members.values() {
        let health = regions
            .entry(member.region.clone())
            .or_insert(RegionHealth {
                liveness: Liveness::Down,
                rtt: None,
            });
        health.liveness = health.liveness.min(member.liveness);
        if member.liveness != Liveness::Down {
            let rtt = if member.region == own.region {
                Some(Duration::ZERO)
            } else {
                member.rtt
            };
            health.rtt = match (health.rtt, rtt) {
                (Some(least), Some(rtt)) => Some(least.min(rtt)),
                (least, rtt) => least.or(rtt),
            };
        }
    }
    View {
        own: own.id.clone(),
        own_region: own.region.clone(),
        members,
        regions,
    }
}

/// Which nodes that `view` takes for dead are so by their region alone, and were not `before`: gossip still hears them, and
/// nobody probes them.
pub(super) fn gone_with_their_region(
    before: &View,
    view: &View,
    known: &[Known],
    detector: &Detector,
) -> Vec<NodeId> {
    let down = |view: &View, id: &NodeId| {
        let member = view.members.get(id);
        member.is_some_and(|member| member.liveness == Liveness::Down)
    };
    let unprobed = known
        .iter()
        .filter(|node| node.live && !node.left && detector.verdict(&node.id).is_none());
    unprobed
        .filter(|node| down(view, &node.id) && !down(before, &node.id))
        .map(|node| node.id.clone())
        .collect()
}

/// Of each region the best verdict on a node that is probed.
fn probed_regions(known: &[Known], detector: &Detector) -> BTreeMap<RegionName, Liveness> {
    let mut regions = BTreeMap::new();
    for node in known {
        if let Some(verdict) = detector.verdict(&node.id) {
            let best = regions.entry(node.region.clone()).or_insert(verdict);
            *best = (*best).min(verdict);
        }
    }
    regions
}

/// Other regions that are behind a link which loses packets: one of the probed nodes was suspect or late too often of
/// late, or all are late now, and no other of them has answered without being late for as long. The luckier one is behind
/// the same link; one that is never late says that it is the node.
fn shaky_regions(known: &[Known], detector: &Detector) -> BTreeSet<RegionName> {
    let probed = known.iter().filter_map(|node| {
        let alive = detector.verdict(&node.id)? != Liveness::Down;
        alive.then_some((&node.region, &node.id))
    });
    let mut regions: BTreeMap<&RegionName, Vec<&NodeId>> = BTreeMap::new();
    for (region, id) in probed {
        regions.entry(region).or_default().push(id);
    }
    let shaky = regions.into_iter().filter(|(_, nodes)| {
        let on_probation = nodes.iter().any(|id| detector.is_on_probation(id));
        let none_steady = !nodes.iter().any(|id| detector.is_steady(id));
        (on_probation || none_steady) && !nodes.iter().any(|id| detector.vouches(id))
    });
    shaky.map(|(region, _)| region.clone()).collect()
}

/// Whether all nodes of a region that are probed are silent: another one that is to be probed in their place may have
/// gone with them.
pub(super) fn is_silent(region: &RegionName, known: &[Known], detector: &Detector) -> bool {
    let best = probed_regions(known, detector).remove(region);
    best.is_some_and(|best| best != Liveness::Up)
}

fn member(node: &Known, liveness: Liveness, footing: Footing) -> Member {
    Member {
        id: node.id.clone(),
        region: node.region.clone(),
        incarnation: node.incarnation,
        liveness,
        footing,
        control: node.control,
        bulk: node.bulk,
        announced: node.announced.clone(),
        rtt: node.rtt.map(rounded),
    }
}

/// The round trip to go on telling of a node: the one told before, as long as it is right to an eighth. Jitter moves
/// each sample, and what a node tells of it goes to every other node.
pub(super) fn settled(before: Option<Duration>, now: Option<Duration>) -> Option<Duration> {
    match (before, now) {
        (Some(before), Some(now)) if before.abs_diff(now) <= before / 8 => Some(before),
        _ => now,
    }
}

/// Rounds a round trip, so that the picture does not change with every sample.
fn rounded(rtt: Duration) -> Duration {
    let step = if rtt < Duration::from_millis(2) {
        100
    } else {
        1000
    };
    let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros.div_ceil(step).saturating_mul(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, live: bool) -> Known {
        Known {
            id: id.into(),
            region: id[..id.len() - 2].into(),
            incarnation: 1,
            control: ([127, 0, 0, 1], 7400).into(),
            bulk: ([127, 0, 0, 1], 7450).into(),
            said: 1,
            announced: Announced::default(),
            rtt: Some(Duration::from_millis(80)),
            live,
            left: false,
        }
    }

    fn names(ids: &BTreeSet<NodeId>) -> Vec<&str> {
        ids.iter().map(NodeId::as_str).collect()
    }

    fn silent(ids: &[&str]) -> Detector {
        let mut detector = Detector::default();
        let mut now = tokio::time::Instant::now().into_std();
        for id in ids {
            detector.watch(&(*id).into(), false, now);
            detector.met(&(*id).into(), now);
        }
        for _ in 0..40 {
            now += Duration::from_millis(25);
            detector.tick(now);
        }
        detector
    }

    #[test]
    fn a_round_trip_is_told_anew_when_it_has_moved_by_more_than_an_eighth() {
        let [none, at_70, at_80, at_88, at_91] =
            [None, Some(70), Some(80), Some(88), Some(91)].map(|ms| ms.map(Duration::from_millis));
        assert_eq!(settled(none, at_88), at_88);
        assert_eq!(settled(at_80, at_88), at_80);
        assert_eq!(settled(at_80, at_91), at_91);
        assert_eq!(settled(at_80, at_70), at_80);
        assert_eq!(settled(at_91, at_70), at_70);
        assert_eq!(settled(at_80, none), none);
    }

    #[test]
    fn two_nodes_of_every_other_region_are_probed() {
        let known = ["eu-2", "us-1", "us-2", "us-3", "ap-1"].map(|id| node(id, true));
        let targets = targets(&"eu".into(), &known, &Detector::default());
        assert_eq!(names(&targets), ["ap-1", "us-1", "us-2"]);
    }

    #[test]
    fn a_dead_node_makes_room_for_a_living_one_and_else_is_probed_on() {
        let known = [
            node("us-1", false),
            node("us-2", true),
            node("us-3", true),
            node("ap-1", false),
        ];
        let detector = silent(&["us-1", "ap-1"]);
        let targets = targets(&"eu".into(), &known, &detector);
        assert_eq!(names(&targets), ["ap-1", "us-2", "us-3"]);
    }

    #[test]
    fn a_region_whose_probed_nodes_are_silent_is_down_as_a_whole() {
        let known = ["us-1", "us-2", "us-3", "ap-1"].map(|id| node(id, true));
        let view = compose(&node("eu-1", true), &known, &silent(&["us-1", "us-2"]));
        let down = |id: &str| view.members[id].liveness == Liveness::Down;
        assert!(down("us-1") && down("us-2") && down("us-3") && !down("ap-1"));
        assert_eq!(view.regions["us"].liveness, Liveness::Down);
        assert_eq!(view.regions["us"].rtt, None);
        assert_eq!(view.regions["ap"].liveness, Liveness::Up);
        assert_eq!(view.regions["eu"].rtt, Some(Duration::ZERO));
    }

    #[test]
    fn nodes_that_nobody_probes_are_as_their_probed_neighbours_and_part_with_them() {
        let known = ["us-1", "us-2", "us-3"].map(|id| node(id, true));
        let own = node("eu-1", true);
        let mut detector = Detector::default();
        let began = tokio::time::Instant::now().into_std();
        for id in ["us-1", "us-2"] {
            detector.watch(&id.into(), false, began);
            detector.met(&id.into(), began);
        }
        let mut views = (0..=20).map(|step| {
            let now = began + Duration::from_millis(25) * step;
            if step < 8 {
                detector.heard(&"us-1".into(), now);
            }
            detector.tick(now);
            let view = compose(&own, &known, &detector);
            (view.members["us-3"].liveness, view)
        });
        assert_eq!(
            views.by_ref().take(16).map(|seen| seen.0).max(),
            Some(Liveness::Up)
        );
        let (silent, before) = views.by_ref().last().expect("there are more");
        assert_eq!(silent, Liveness::Suspect, "one of them was heard later");
        assert!(is_silent(&"us".into(), &known, &detector));
        for step in 21..40 {
            detector.tick(began + Duration::from_millis(25) * step);
        }
        let view = compose(&own, &known, &detector);
        let parted = gone_with_their_region(&before, &view, &known, &detector);
        assert_eq!(parted, ["us-3".into()], "a verdict parts from the others");
        assert!(gone_with_their_region(&view, &view, &known, &detector).is_empty());
    }

    /// What is seen of nodes that are not on a sure footing while one of two probed nodes misses every second echo for a
    /// second, and of the other's the `missed`.
    fn footings(missed: &[u32]) -> Vec<Vec<(NodeId, Footing)>> {
        let known = ["eu-2", "us-1", "us-2", "us-3", "ap-1"].map(|id| node(id, true));
        let own = node("eu-1", true);
        let mut detector = Detector::default();
        let began = tokio::time::Instant::now().into_std();
        let probed = ["us-1", "us-2", "ap-1"].map(NodeId::from);
        for id in &probed {
            detector.watch(id, false, began);
            detector.met(id, began);
        }
        let mut seen = Vec::new();
        for step in 0..200_u32 {
            let now = began + Duration::from_millis(25) * step;
            for id in &probed {
                let lost = match id.as_str() {
                    "us-1" => step < 40 && step % 8 != 0,
                    "us-2" => missed.contains(&step),
                    _ => false,
                };
                if step % 4 == 0 && !lost {
                    detector.heard(id, now);
                }
            }
            detector.tick(now);
            let view = compose(&own, &known, &detector);
            let members = view.members.into_values();
            let unsure = members.filter(|member| member.footing != Footing::Steady);
            let unsure: Vec<_> = unsure.map(|member| (member.id, member.footing)).collect();
            if seen.last() != Some(&unsure) {
                seen.push(unsure);
            }
        }
        seen
    }

    #[test]
    fn where_both_probed_nodes_are_late_the_link_is_shaky_once_one_is_late_too_often() {
        let alone = vec![("us-1".into(), Footing::Shaky)];
        let all = vec![
            ("us-1".into(), Footing::Shaky),
            ("us-2".into(), Footing::ShakyLink),
            ("us-3".into(), Footing::ShakyLink),
        ];
        let seen = footings(&[8]);
        assert!(seen.contains(&alone) && seen.contains(&all), "{seen:?}");
        assert!(seen.iter().flatten().all(|(id, _)| id.as_str() < "us-4"));
        assert_eq!(seen.last(), Some(&Vec::new()), "two good seconds later");
    }

    #[test]
    fn a_node_that_is_late_too_often_costs_its_region_nothing_while_another_is_never_late() {
        let seen = footings(&[]);
        assert_eq!(
            seen,
            [
                Vec::new(),
                vec![("us-1".into(), Footing::Shaky)],
                Vec::new(),
                vec![("us-1".into(), Footing::Shaky)],
                Vec::new(),
                vec![("us-1".into(), Footing::Shaky)],
                Vec::new(),
            ]
        );
    }

    #[test]
    fn one_silent_node_does_not_condemn_its_region() {
        let known = ["us-1", "us-2"].map(|id| node(id, true));
        let view = compose(&node("eu-1", true), &known, &silent(&["us-1"]));
        assert_eq!(view.members["us-1"].liveness, Liveness::Down);
        assert_eq!(
            view.members["us-2"].liveness,
            Liveness::Down,
            "nothing probed says otherwise"
        );

        let mut detector = silent(&["us-1"]);
        let now = tokio::time::Instant::now().into_std();
        detector.watch(&"us-2".into(), false, now);
        detector.met(&"us-2".into(), now);
        let view = compose(&node("eu-1", true), &known, &detector);
        assert_eq!(view.members["us-2"].liveness, Liveness::Up);
        assert_eq!(view.regions["us"].liveness, Liveness::Up);
    }

    #[test]
    fn a_node_that_left_is_down_whatever_gossip_says() {
        let mut gone = node("us-1", true);
        gone.left = true;
        let view = compose(&node("eu-1", true), &[gone], &Detector::default());
        assert_eq!(view.members["us-1"].liveness, Liveness::Down);
    }
}
