//! The connections between nodes and the certificates they and clients rest on, as metrics.
//!
//! In: the fabric's counts and what is in force of certificate files, read when somebody asks. Out:
//! families.

use meridian_cluster::{fabric::Fabric, renewal::Renewals};
use prometheus::{
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::family::{counter, description, family, gauge, level};

/// Name, help and label of every family here.
const FAMILIES: [(&str, &str, &str); 3] = [
    (
        "meridian_fabric_refusals_total",
        "What this node refused of peers, or peers of it, by reason.",
        "reason",
    ),
    (
        "meridian_certificate_expiry_seconds",
        "When the first certificate of a file in force expires, as a Unix time.",
        "file",
    ),
    (
        "meridian_certificate_count",
        "Certificates of a file that are in force: two in a fabric.ca while CAs are changed.",
        "file",
    ),
];

/// Collects what the fabric counts and which certificates are in force.
pub struct FabricPage {
    fabric: Fabric,
    renewals: Renewals,
    descriptions: Vec<Desc>,
}

impl FabricPage {
    /// A collector over these parts.
    pub fn new(fabric: Fabric, renewals: Renewals) -> Self {
        Self {
            fabric,
            renewals,
            descriptions: FAMILIES
                .iter()
                .map(|(name, help, label)| description(name, help, &[label]))
                .collect(),
        }
    }
}

impl Collector for FabricPage {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let refusals = self.fabric.refused();
        let refusals = refusals
            .iter()
            .map(|(reason, count)| counter(&[("reason", reason)], *count))
            .collect();
        // One file may serve several purposes; the series is the file's.
        let mut expiries = std::collections::BTreeMap::new();
        for standing in self.renewals.standings().into_values() {
            for file in standing.files {
                let name = file.file.display().to_string();
                expiries.insert(name, (file.expires, file.certificates));
            }
        }
        let gauges = |value: &dyn Fn(i64, usize) -> u64| {
            expiries
                .iter()
                .map(|(file, (expires, count))| {
                    gauge(&[("file", file)], level(value(*expires, *count)))
                })
                .collect()
        };
        let [first, second, third] = FAMILIES;
        let of = |(name, help, _), kind, metrics| family(name, help, kind, metrics);
        [
            of(first, MetricType::COUNTER, refusals),
            of(
                second,
                MetricType::GAUGE,
                gauges(&|expires, _| u64::try_from(expires).unwrap_or(0)),
            ),
            of(
                third,
                MetricType::GAUGE,
                gauges(&|_, count| u64::try_from(count).unwrap_or(u64::MAX)),
            ),
        ]
        .into_iter()
        .filter(|family| !family.get_metric().is_empty())
        .collect()
    }
}
