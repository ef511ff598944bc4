//! The cluster in this node's eyes, as metrics.
//!
//! In: the membership's view and the Raft groups, read when somebody asks. Out: families.

use meridian_cluster::{
    consensus::{GroupStatus, Role},
    directory::Directory,
    membership::{Liveness, Membership},
    quota::service::Quota,
};
use prometheus::{
    core::{Collector, Desc},
    proto::{Metric, MetricFamily, MetricType},
};

use super::family::{description, family, gauge, level};

/// Collects what the node knows of its cluster.
pub struct ClusterPage {
    membership: Membership,
    directory: Directory,
    quota: Quota,
    descriptions: Vec<Desc>,
}

/// Name, help and labels of every family here.
const FAMILIES: [(&str, &str, &[&str]); 7] = [
    (
        "meridian_region_up",
        "Whether this node takes the region for alive.",
        &["region"],
    ),
    (
        "meridian_fabric_rtt_seconds",
        "Smoothed round trip on the control connection.",
        &["peer"],
    ),
    (
        "meridian_gossip_live_nodes",
        "Nodes that this node takes for alive, itself included.",
        &[],
    ),
    ("meridian_raft_term", "The current term.", &["group"]),
    (
        "meridian_raft_leader",
        "Whether this node leads the group.",
        &["group"],
    ),
    (
        "meridian_raft_commit_index",
        "The last index that this node knows to be committed.",
        &["group"],
    ),
    (
        "meridian_raft_applied_index",
        "The last index that this node has applied.",
        &["group"],
    ),
];

impl ClusterPage {
    /// A collector over these parts.
    pub fn new(membership: Membership, directory: Directory, quota: Quota) -> Self {
        Self {
            membership,
            directory,
            quota,
            descriptions: FAMILIES
                .iter()
                .map(|(name, help, labels)| description(name, help, labels))
                .collect(),
        }
    }
}

impl Collector for ClusterPage {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let view = self.membership.view();
        let directory = Some(("directory", self.directory.status()));
        // A node without a part in the ledger has nothing to say of it.
        let ledger = self.quota.status().map(|status| ("ledger", status));
        let ledger = ledger.filter(|(_, status)| status.applied_index > 0);
        let groups: Vec<_> = directory.into_iter().chain(ledger).collect();
        let yes = |yes: bool| level(u64::from(yes));
        let regions = view
            .regions
            .iter()
            .map(|(region, health)| {
                let up = yes(health.liveness == Liveness::Up);
                gauge(&[("region", region.as_str())], up)
            })
            .collect();
        let trips = view
            .members
            .values()
            .filter_map(|member| {
                let trip = member.rtt?.as_secs_f64();
                Some(gauge(&[("peer", member.id.as_str())], trip))
            })
            .collect();
        let alive = view
            .members
            .values()
            .filter(|member| member.liveness == Liveness::Up)
            .count();
        let alive = u64::try_from(alive).unwrap_or(u64::MAX);
        let group = |value: &dyn Fn(&GroupStatus) -> f64| {
            let groups = groups.iter();
            groups
                .map(|(name, status)| gauge(&[("group", name)], value(status)))
                .collect()
        };
        let families: [Vec<Metric>; 7] = [
            regions,
            trips,
            vec![gauge(&[], level(alive))],
            group(&|status| level(status.term)),
            group(&|status| yes(status.role == Role::Leader)),
            group(&|status| level(status.commit_index)),
            group(&|status| level(status.applied_index)),
        ];
        families
            .into_iter()
            .zip(FAMILIES)
            .filter(|(metrics, _)| !metrics.is_empty())
            .map(|(metrics, (name, help, _))| family(name, help, MetricType::GAUGE, metrics))
            .collect()
    }
}
