//! The receipt of what was stopped, as an operator reads it: by region.
//!
//! In: what the fast lane knows of one fact's way, or of several that belong together. Out: one receipt, with the
//! worst of each node. A core.

use std::{collections::BTreeMap, time::Duration};

use meridian_cluster::facts::{Reached, Receipt};

use crate::admin::{
    body::{self, Fate, NodeReceipt, RegionReceipt, Waiting},
    moment,
};

/// One receipt of these, of which there is at least one.
pub(super) fn of(
    made: &[Receipt],
    what: String,
    waited: Waiting,
    warnings: Vec<String>,
) -> body::Receipt {
    let mut nodes: BTreeMap<String, NodeReceipt> = BTreeMap::new();
    for receipt in made {
        for node in &receipt.nodes {
            let (state, after, saved) = state(node.state, waited);
            let fresh = NodeReceipt {
                node: node.node.to_string(),
                region: node.region.to_string(),
                state,
                after_ms: after.map(milliseconds),
                saved,
            };
            nodes
                .entry(fresh.node.clone())
                .and_modify(|known| {
                    known.state = known.state.max(fresh.state);
                    known.after_ms = later(known.after_ms, fresh.after_ms);
                    known.saved &= fresh.saved;
                })
                .or_insert(fresh);
        }
    }
    let nodes: Vec<NodeReceipt> = nodes.into_values().collect();
    let expires_ms = made.iter().map(|receipt| receipt.fact.expires_ms).max();
    body::Receipt {
        ids: made
            .iter()
            .map(|receipt| receipt.fact.id.to_string())
            .collect(),
        what,
        expires: moment::text(expires_ms.unwrap_or_default()),
        durable: made.iter().all(|receipt| receipt.durable),
        regions: regions(&nodes),
        nodes,
        warnings,
    }
}

fn regions(nodes: &[NodeReceipt]) -> Vec<RegionReceipt> {
    let mut regions: BTreeMap<&str, RegionReceipt> = BTreeMap::new();
    for node in nodes {
        let applied = node.state == Fate::Applied;
        let region = regions
            .entry(&node.region)
            .or_insert_with(|| RegionReceipt {
                region: node.region.clone(),
                state: node.state,
                nodes: 0,
                applied: 0,
                after_ms: None,
            });
        region.nodes += 1;
        region.applied += usize::from(applied);
        region.after_ms = later(region.after_ms, node.after_ms);
        region.state = match (region.state, node.state) {
            // A node that is away says nothing of the region's others.
            (Fate::OutOfReach, other) | (other, Fate::OutOfReach) => other,
            (one, other) => one.max(other),
        };
    }
    regions.into_values().collect()
}

fn state(reached: Reached, waited: Waiting) -> (Fate, Option<Duration>, bool) {
    match reached {
        Reached::Applied { after, saved } => (Fate::Applied, Some(after), saved),
        Reached::Full => (Fate::Full, None, false),
        Reached::Expired => (Fate::Expired, None, false),
        Reached::Late if waited == Waiting::All => (Fate::Late, None, false),
        Reached::Late => (Fate::Pending, None, false),
        Reached::OutOfReach => (Fate::OutOfReach, None, false),
    }
}

fn later(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

/// To a tenth of a millisecond.
fn milliseconds(after: Duration) -> f64 {
    (after.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use meridian_cluster::{
        directory::Actor,
        facts::{Claim, Fact, FactId, NodeReceipt as Known},
    };

    use super::*;

    fn receipt(states: &[(&str, &str, Reached)]) -> Receipt {
        Receipt {
            fact: Arc::new(Fact {
                id: FactId::FIRST,
                claim: Claim::Cancel(FactId::LAST),
                expires_ms: 1000,
                made_ms: 0,
                node: "eu-1".into(),
                actor: Actor::system(),
                reason: String::new(),
            }),
            nodes: states
                .iter()
                .map(|(node, region, state)| Known {
                    node: (*node).into(),
                    region: (*region).into(),
                    state: *state,
                })
                .collect(),
            durable: true,
        }
    }

    fn applied(ms: u64) -> Reached {
        Reached::Applied {
            after: Duration::from_millis(ms),
            saved: true,
        }
    }

    #[test]
    fn a_region_tells_the_worst_of_its_nodes_that_can_be_reached() {
        let made = receipt(&[
            ("eu-1", "eu", applied(1)),
            ("eu-2", "eu", applied(7)),
            ("eu-3", "eu", Reached::OutOfReach),
            ("us-1", "us", Reached::OutOfReach),
            ("ap-1", "ap", Reached::Late),
            ("ap-2", "ap", applied(9)),
        ]);
        let told = |waited| {
            let receipt = of(
                std::slice::from_ref(&made),
                String::new(),
                waited,
                Vec::new(),
            );
            let regions = receipt.regions.into_iter();
            let told = regions.map(|r| (r.region, r.state, r.applied, r.nodes, r.after_ms));
            told.collect::<Vec<_>>()
        };
        let expected = |late| {
            vec![
                ("ap".to_owned(), late, 1, 2, Some(9.0)),
                ("eu".to_owned(), Fate::Applied, 2, 3, Some(7.0)),
                ("us".to_owned(), Fate::OutOfReach, 0, 1, None),
            ]
        };
        assert_eq!(told(Waiting::All), expected(Fate::Late));
        assert_eq!(told(Waiting::None), expected(Fate::Pending));
    }

    #[test]
    fn of_several_each_nodes_worst_counts() {
        let both = of(
            &[
                receipt(&[("a", "eu", applied(1)), ("b", "eu", applied(5))]),
                receipt(&[("a", "eu", applied(3)), ("b", "eu", Reached::Full)]),
            ],
            String::new(),
            Waiting::All,
            Vec::new(),
        );
        assert_eq!(both.ids.len(), 2);
        assert_eq!(both.nodes[0].after_ms, Some(3.0));
        assert_eq!(both.nodes[1].state, Fate::Full);
        assert_eq!(both.regions[0].state, Fate::Full);
    }
}
