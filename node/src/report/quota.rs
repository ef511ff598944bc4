//! Limits that all nodes share, at this node, as metrics.
//!
//! In: the quota as it stands, read when somebody asks: a look at every key that this node has met. Out: families.

use meridian_cluster::quota::service::{Offset, Quota, Stage};
use prometheus::{
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::family::{counter, description, family, gauge, level};

/// Name, help and labels of every family here.
const FAMILIES: [(&str, &str, &[&str]); 9] = [
    (
        "meridian_quota_tokens",
        "Tokens of all limits at this node: free, and cooling (spent less than a window ago).",
        &["state"],
    ),
    (
        "meridian_quota_keys",
        "Limits of tenants and clients that this node counts; in the ledger: that some node holds more of than its base share, as far as a voter has applied it.",
        &["place"],
    ),
    (
        "meridian_quota_answered",
        "Whether the ledger has answered this node within ten seconds, and has given it its base share: 1 yes, 0 no. A node goes on with the base share that it has while it does not.",
        &[],
    ),
    (
        "meridian_quota_asks_total",
        "Asks to the ledger's leader, by what came of them; seatless: answered, and the node, which has started, waits for its base share of limits with windows as long as that of one whose tokens others hold.",
        &["outcome"],
    ),
    (
        "meridian_quota_items_total",
        "Limits in asks and answers: asked for, given, and wanted back; lapsed: of which this node held tokens beyond its base share that had run out when it was answered again.",
        &["kind"],
    ),
    (
        "meridian_quota_lives_total",
        "Times that this node gave up what it held and began anew, because its clocks came apart.",
        &[],
    ),
    (
        "meridian_quota_clock_offset_seconds",
        "How far this node's wall clock is ahead of the ledger's leader's, less than 0: behind; NaN while the leader has not answered for half a minute. Limits with fixed windows begin these by as much apart.",
        &[],
    ),
    (
        "meridian_quota_clock_error_seconds",
        "By how much meridian_quota_clock_offset_seconds may be wrong at most: half of what an ask and its answer took on the way.",
        &[],
    ),
    (
        "meridian_quota_alone",
        "Whether this node shares limits with nobody, since its cluster has no ledger yet.",
        &[],
    ),
];

/// Collects how the quota stands.
pub struct QuotaPage {
    quota: Quota,
    descriptions: Vec<Desc>,
}

impl QuotaPage {
    /// A collector over the quota.
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            descriptions: FAMILIES
                .iter()
                .map(|(name, help, labels)| description(name, help, labels))
                .collect(),
        }
    }
}

impl Collector for QuotaPage {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let charging = self.quota.charging();
        let (free, cooling) = charging.holder.totals();
        let size = |size: usize| level(u64::try_from(size).unwrap_or(u64::MAX));
        let (ledger, _) = self.quota.size();
        let (tally, stage) = (self.quota.tally(), self.quota.stage());
        let others = tally.unanswered + tally.seatless;
        let answered = tally.asks.saturating_sub(others);
        let state = |state, value| gauge(&[("state", state)], level(value));
        let place = |place, keys| gauge(&[("place", place)], size(keys));
        let outcome = |outcome, value| counter(&[("outcome", outcome)], value);
        let kind = |kind, value| counter(&[("kind", kind)], value);
        let unknown = (f64::NAN, f64::NAN);
        let (offset, error) = tally.offset.map_or(unknown, Offset::seconds);
        let yes = |yes: bool| vec![gauge(&[], level(u64::from(yes)))];
        let metrics = [
            (
                MetricType::GAUGE,
                vec![state("free", free), state("cooling", cooling)],
            ),
            (
                MetricType::GAUGE,
                vec![
                    place("node", charging.holder.keys()),
                    place("ledger", ledger),
                ],
            ),
            (MetricType::GAUGE, yes(self.quota.is_answered())),
            (
                MetricType::COUNTER,
                vec![
                    outcome("answered", answered),
                    outcome("unanswered", tally.unanswered),
                    outcome("seatless", tally.seatless),
                ],
            ),
            (
                MetricType::COUNTER,
                vec![
                    kind("asked", tally.items),
                    kind("given", tally.grants),
                    kind("recalled", tally.recalls),
                    kind("lapsed", tally.lapses),
                ],
            ),
            (MetricType::COUNTER, vec![counter(&[], tally.lives)]),
            (MetricType::GAUGE, vec![gauge(&[], offset)]),
            (MetricType::GAUGE, vec![gauge(&[], error)]),
            (MetricType::GAUGE, yes(stage == Stage::Alone)),
        ];
        let families = metrics.into_iter().zip(FAMILIES);
        families
            .map(|((of, metrics), (name, help, _))| family(name, help, of, metrics))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use meridian_config::name::TenantId;

    use super::*;
    use crate::report::Metrics;

    #[test]
    fn every_metric_of_the_alerts_that_are_shipped_is_on_the_page() {
        let metrics = Metrics::new(1);
        let quota = Quota::alone(Duration::from_secs(1));
        let page = QuotaPage::new(quota);
        metrics.registry().register(Box::new(page)).unwrap();
        metrics.path().reached(&TenantId::from("acme"));
        let page = metrics.render();
        let shown: BTreeSet<&str> = page
            .lines()
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        let rules = include_str!("../../../deploy/prometheus/quota.rules.yaml");
        let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let named: BTreeSet<&str> = rules
            .lines()
            .flat_map(|line| line.split(|c| !of_name(c)))
            .filter(|word| word.starts_with("meridian_"))
            .collect();
        assert!(named.len() >= 5, "{named:?}");
        let missing: Vec<_> = named.difference(&shown).collect();
        assert!(missing.is_empty(), "{missing:?} are not on\n{page}");
        for level in crate::limit::Level::NAMES {
            assert!(rules.contains(&format!("level=\"{level}\"")));
        }
        for decision in ["lapsed", "overload", "crowded"] {
            assert!(page.contains(&format!("decision=\"{decision}\"")));
        }
    }
}
