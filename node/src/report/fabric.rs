//! The connections between nodes, as metrics: what was refused, and why.
//!
//! In: the fabric's counts, read when somebody asks. Out: families.

use meridian_cluster::fabric::Fabric;
use prometheus::{
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::family::{counter, description, family};

const REFUSALS: (&str, &str) = (
    "meridian_fabric_refusals_total",
    "What this node refused of peers, or peers of it, by reason.",
);

/// Collects what the fabric counts.
pub struct FabricPage {
    fabric: Fabric,
    description: Desc,
}

impl FabricPage {
    /// A collector over this fabric.
    pub fn new(fabric: Fabric) -> Self {
        Self {
            fabric,
            description: description(REFUSALS.0, REFUSALS.1, &["reason"]),
        }
    }
}

impl Collector for FabricPage {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let refusals = self.fabric.refused();
        let metrics = refusals
            .iter()
            .map(|(reason, count)| counter(&[("reason", reason)], *count))
            .collect();
        vec![family(REFUSALS.0, REFUSALS.1, MetricType::COUNTER, metrics)]
    }
}
