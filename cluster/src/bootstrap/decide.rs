//! What a node without a log does: found the cluster, join it, or wait.
//!
//! In: what `node.yaml` says and how the reachable nodes stand. Out: a [`Step`]. A core; shell:
//! [`super::founding`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meridian_config::name::{NodeId, RegionName};

use super::{message::Standing, seats};

/// How long a node that stands ready for a founding waits before it joins a cluster that was founded
/// without it: longer than an election of the slowest profile.
const READY_PATIENCE: Duration = Duration::from_secs(15);

/// This node, as far as founding goes.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) id: NodeId,
    pub(super) region: RegionName,
    /// The founders that `node.yaml` names.
    pub(super) bootstrap: BTreeSet<NodeId>,
    /// The cluster's id from an earlier life whose log is gone.
    pub(super) cluster_id: Option<String>,
    /// It was started to wait for a backup.
    pub(super) awaits_restore: bool,
    /// Its identity was damaged: it may have been a member.
    pub(super) lost_identity: bool,
    /// How long it has stood ready to vote in a founding, where it does.
    pub(super) ready_for: Option<Duration>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Found the cluster with these voters.
    Found {
        voters: BTreeSet<NodeId>,
        nodes: BTreeMap<NodeId, RegionName>,
    },
    /// Ask this node to be taken in.
    Join { through: NodeId },
    /// Look again later; the reason is for the operator.
    Wait(Reason),
}

/// Why a node waits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error(
        "the cluster is not founded yet: {} of `cluster.bootstrap` cannot be reached; start them, or check `fabric.join` and the certificates",
        join(.0)
    )]
    Missing(Vec<NodeId>),
    #[error(
        "the cluster is not founded yet: {0} names other nodes in `cluster.bootstrap` than this node does; make the lists equal"
    )]
    ListsDiffer(NodeId),
    #[error("the cluster is about to be founded by {0}")]
    Founder(NodeId),
    #[error("the cluster is about to be founded: {0} has begun")]
    Begun(NodeId),
    #[error(
        "this node is not named in `cluster.bootstrap` and reaches no node of a founded cluster; start the founders, or check `fabric.join`"
    )]
    NotNamed,
    #[error(
        "{0} belongs to another cluster than this node's data_dir (id {1}); check `fabric.join`, or move data_dir aside"
    )]
    OtherCluster(NodeId, String),
    #[error(
        "this node belongs to the cluster {0}, holds no log of it any more and reaches no node of it; start one of them, or, if all are lost, restore a backup"
    )]
    Alone(String),
    #[error(
        "the file `identity` of this node was damaged (it lies beside its place in data_dir), so it may have belonged to a cluster, of which it reaches no node; start one of them, or empty data_dir if it is a new node"
    )]
    LostIdentity,
    #[error("an operator is to run `meridian restore FILE` at this node")]
    Restore,
    #[error(
        "this node was started to wait for a restore, but {0} can be reached and belongs to a cluster; stop {0} and move its data_dir aside if that cluster is lost, or start this node without --await-restore: it joins"
    )]
    RestoreElsewhere(NodeId),
}

fn join(nodes: &[NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    names.join(", ")
}

/// Decides, given how every reachable node stands.
pub(super) fn decide(own: &Own, others: &BTreeMap<NodeId, Standing>) -> Step {
    let member = others
        .iter()
        .find_map(|(node, standing)| Some((node, standing.cluster_id.as_ref()?)));
    if own.awaits_restore {
        let began = others.iter().find(|(_, standing)| standing.has_log);
        let there = member.map(|(node, _)| node).or(began.map(|(node, _)| node));
        return Step::Wait(there.map_or(Reason::Restore, |node| {
            Reason::RestoreElsewhere(node.clone())
        }));
    }
    if let Some((through, cluster_id)) = member {
        if let Some(old) = own.cluster_id.as_ref().filter(|old| *old != cluster_id) {
            return Step::Wait(Reason::OtherCluster(through.clone(), old.clone()));
        }
        // The founding that it stands ready for may be this one, its log only not here yet.
        if own.ready_for.is_some_and(|since| since < READY_PATIENCE) {
            return Step::Wait(Reason::Begun(through.clone()));
        }
        return Step::Join {
            through: through.clone(),
        };
    }
    let elsewhere = others
        .values()
        .find_map(|standing| standing.elsewhere.as_ref().filter(|node| **node != own.id));
    if let Some(through) = elsewhere {
        return Step::Join {
            through: through.clone(),
        };
    }
    if let Some(cluster_id) = &own.cluster_id {
        return Step::Wait(Reason::Alone(cluster_id.clone()));
    }
    if own.lost_identity {
        return Step::Wait(Reason::LostIdentity);
    }
    if !own.bootstrap.contains(&own.id) {
        return Step::Wait(Reason::NotNamed);
    }
    let named = own.bootstrap.iter().filter(|node| **node != own.id);
    let missing: Vec<NodeId> = named
        .clone()
        .filter(|node| !others.contains_key(*node))
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Step::Wait(Reason::Missing(missing));
    }
    let mut nodes = BTreeMap::from([(own.id.clone(), own.region.clone())]);
    for node in named {
        let standing = &others[node];
        if standing.bootstrap != own.bootstrap {
            return Step::Wait(Reason::ListsDiffer(node.clone()));
        }
        if standing.has_log {
            return Step::Wait(Reason::Begun(node.clone()));
        }
        nodes.insert(node.clone(), standing.region.clone());
    }
    match own.bootstrap.first() {
        Some(founder) if *founder != own.id => Step::Wait(Reason::Founder(founder.clone())),
        _ => Step::Found {
            voters: seats::first_voters(&nodes, &own.id),
            nodes,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(id: &str) -> Own {
        Own {
            id: id.into(),
            region: RegionName::new(format!("region of {id}")),
            bootstrap: ["a", "b", "c"].map(NodeId::from).into(),
            cluster_id: None,
            awaits_restore: false,
            lost_identity: false,
            ready_for: None,
        }
    }

    fn standing(id: &str) -> Standing {
        Standing {
            region: RegionName::new(format!("region of {id}")),
            bootstrap: ["a", "b", "c"].map(NodeId::from).into(),
            cluster_id: None,
            elsewhere: None,
            has_log: false,
        }
    }

    fn others(ids: &[&str]) -> BTreeMap<NodeId, Standing> {
        ids.iter()
            .map(|id| (NodeId::from(*id), standing(id)))
            .collect()
    }

    #[test]
    fn the_lowest_named_node_founds_once_all_named_are_there() {
        assert_eq!(
            decide(&own("a"), &others(&["b"])),
            Step::Wait(Reason::Missing(vec!["c".into()]))
        );
        let Step::Found { voters, .. } = decide(&own("a"), &others(&["b", "c", "d"])) else {
            panic!("it should found");
        };
        assert_eq!(voters, ["a", "b", "c"].map(NodeId::from).into());
        assert_eq!(
            decide(&own("b"), &others(&["a", "c"])),
            Step::Wait(Reason::Founder("a".into()))
        );
    }

    #[test]
    fn a_cluster_that_any_node_knows_is_joined_and_none_is_founded() {
        let mut all = others(&["b", "c", "d"]);
        all.get_mut("d").unwrap().cluster_id = Some("id".to_owned());
        let join = Step::Join {
            through: "d".into(),
        };
        assert_eq!(decide(&own("a"), &all), join);
        all.get_mut("d").unwrap().cluster_id = None;
        all.get_mut("b").unwrap().elsewhere = Some("e".into());
        let join = Step::Join {
            through: "e".into(),
        };
        assert_eq!(decide(&own("a"), &all), join);
    }

    #[test]
    fn a_node_that_has_begun_stops_a_second_founding() {
        let mut all = others(&["b", "c"]);
        all.get_mut("b").unwrap().has_log = true;
        assert_eq!(
            decide(&own("a"), &all),
            Step::Wait(Reason::Begun("b".into()))
        );
    }

    #[test]
    fn a_node_that_waits_for_a_restore_neither_founds_nor_joins() {
        let mut own = own("a");
        own.awaits_restore = true;
        let mut all = others(&["b", "c"]);
        assert_eq!(decide(&own, &all), Step::Wait(Reason::Restore));
        all.get_mut("b").unwrap().cluster_id = Some("id".to_owned());
        assert_eq!(
            decide(&own, &all),
            Step::Wait(Reason::RestoreElsewhere("b".into()))
        );
    }

    #[test]
    fn lists_that_differ_found_nothing() {
        let mut all = others(&["b", "c"]);
        all.get_mut("c").unwrap().bootstrap.remove("a");
        assert_eq!(
            decide(&own("a"), &all),
            Step::Wait(Reason::ListsDiffer("c".into()))
        );
    }

    #[test]
    fn a_node_that_is_not_named_waits_for_a_cluster() {
        assert_eq!(
            decide(&own("d"), &others(&["a", "b", "c"])),
            Step::Wait(Reason::NotNamed)
        );
    }

    #[test]
    fn a_node_that_stands_ready_gives_the_founding_time() {
        let mut all = others(&["a", "c"]);
        all.get_mut("a").unwrap().cluster_id = Some("id".to_owned());
        let mut own = own("b");
        own.ready_for = Some(Duration::from_secs(1));
        assert_eq!(decide(&own, &all), Step::Wait(Reason::Begun("a".into())));
        own.ready_for = Some(READY_PATIENCE);
        let join = Step::Join {
            through: "a".into(),
        };
        assert_eq!(decide(&own, &all), join);
    }

    #[test]
    fn a_node_that_lost_its_log_neither_founds_nor_joins_another_cluster() {
        let mut own = own("a");
        own.cluster_id = Some("old".to_owned());
        let mut all = others(&["b", "c"]);
        let alone = Reason::Alone("old".to_owned());
        assert_eq!(decide(&own, &all), Step::Wait(alone));
        all.get_mut("b").unwrap().cluster_id = Some("new".to_owned());
        let other = Reason::OtherCluster("b".into(), "old".to_owned());
        assert_eq!(decide(&own, &all), Step::Wait(other));
    }
}
