//! The fast lane at this node, as metrics.
//!
//! In: how it stands, read when somebody asks. Out: families.

use meridian_cluster::facts::Facts;
use prometheus::{
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::family::{counter, description, family, gauge, level};

/// Name, help and labels of every family here.
const FAMILIES: [(&str, &str, &[&str]); 3] = [
    (
        "meridian_facts",
        "Revocations, blocks and removals that this node holds; unsettled: of these, no quorum is known to have agreed on.",
        &["state"],
    ),
    (
        "meridian_facts_bytes",
        "What they take together, against a bound of 32 MiB.",
        &[],
    ),
    (
        "meridian_facts_missed_total",
        "Facts that did not take the direct way: full (no room), left (a peer has to find it by comparing), unsound (a peer's that broke a bound).",
        &["reason"],
    ),
];

/// Collects how the fast lane stands.
pub struct FactsPage {
    facts: Facts,
    descriptions: Vec<Desc>,
}

impl FactsPage {
    /// A collector over the fast lane.
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            descriptions: FAMILIES
                .iter()
                .map(|(name, help, labels)| description(name, help, labels))
                .collect(),
        }
    }
}

impl Collector for FactsPage {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let standing = self.facts.standing();
        let size = |size: usize| level(u64::try_from(size).unwrap_or(u64::MAX));
        let [held, bytes, missed] = FAMILIES;
        let of = |(name, help, _): (&str, &str, &[&str]), kind, metrics| {
            family(name, help, kind, metrics)
        };
        vec![
            of(
                held,
                MetricType::GAUGE,
                vec![
                    gauge(&[("state", "held")], size(standing.held)),
                    gauge(&[("state", "unsettled")], size(standing.unsettled)),
                ],
            ),
            of(
                bytes,
                MetricType::GAUGE,
                vec![gauge(&[], size(standing.bytes))],
            ),
            of(
                missed,
                MetricType::COUNTER,
                vec![
                    counter(&[("reason", "full")], standing.refused),
                    counter(&[("reason", "left")], standing.left_to_digest),
                    counter(&[("reason", "unsound")], standing.unsound),
                ],
            ),
        ]
    }
}
