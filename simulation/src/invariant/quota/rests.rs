//! Tokens that the ledger has taken back and must not give yet.
//!
//! In: what was taken back from which life of a node. Out: what of it does not cool in the ledger, as it must: as many as
//! that life has spent within the window beyond its base and what it holds anew, by the charges that were seen and the
//! world's clock. What it has said to have cooled, or what it never spent, the ledger may give (docs/quota.md, "What
//! nodes say of how tokens cool"). A core.

use std::{collections::BTreeMap, time::Duration};

use meridian_cluster::quota::{
    audit,
    key::KeyId,
    terms::{Kind, Terms},
};
use meridian_config::name::NodeId;

use super::books::{Books, GRAIN};
use crate::workload::AppliedSeen;

#[derive(Debug, Default)]
pub(super) struct Rests(BTreeMap<KeyId, Vec<Rest>>);

#[derive(Debug)]
struct Rest {
    node: NodeId,
    life: u64,
    count: u64,
    window: Duration,
    /// Until then at most.
    until: Duration,
}

impl Rests {
    /// So many that a node's life held may have been spent until `spent`. Of fixed windows nothing is noted: when one is
    /// over is for nodes' clocks to say.
    pub(super) fn add(
        &mut self,
        (key, terms): (KeyId, &Terms),
        (node, life): (NodeId, u64),
        count: u64,
        spent: Duration,
    ) {
        if terms.kind() == Kind::Sliding {
            let window = terms.window();
            self.0.entry(key).or_default().push(Rest {
                node,
                life,
                count,
                window,
                until: spent + window,
            });
        }
    }

    /// Keys of which fewer tokens cool than must, after an entry: how many do, and how many must.
    pub(super) fn missing(
        &mut self,
        books: &Books,
        at: Duration,
        applied: &AppliedSeen,
    ) -> Vec<(KeyId, u64, u64)> {
        let mut missing = Vec::new();
        self.0.retain(|key, rests| {
            rests.retain(|rest| rest.until > at + GRAIN);
            let changed = applied.changed.iter().find(|(changed, _)| changed == key);
            let standing = match changed {
                Some((_, after)) => after.as_ref(),
                None => books.standing(key),
            };
            // A life that is heard of again spends what it is given anew, too.
            let anew = |node: &NodeId, life: u64| {
                let lives = books.known(node).map(|life| life.number) == Some(life);
                let held = standing.filter(|_| lives);
                let held = held.map_or(0, |standing| audit::held(standing, node));
                u64::try_from(held).unwrap_or(0)
            };
            // Of a life that lost its lease twice, both times together: what it has spent is spent once.
            let mut lives: BTreeMap<(&NodeId, u64), (u64, Duration)> = BTreeMap::new();
            for rest in rests.iter() {
                let of_life = lives.entry((&rest.node, rest.life)).or_default();
                *of_life = (of_life.0 + rest.count, rest.window);
            }
            let must = lives.into_iter().map(|((node, life), (count, window))| {
                let after = at.checked_sub(window.saturating_sub(GRAIN));
                let beyond = books.spent_beyond_base(node, life, key, after);
                beyond.saturating_sub(anew(node, life)).min(count)
            });
            let must: u64 = must.sum();
            let cooling = standing.map_or(0, |standing| standing.cooling);
            if cooling < must {
                missing.push((*key, cooling, must));
                rests.clear();
            }
            !rests.is_empty()
        });
        missing
    }
}
