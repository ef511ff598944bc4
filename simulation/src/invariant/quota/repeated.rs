//! Repeats (docs/quota.md, "Messages").
//!
//! Of a life's asks only newer ones count, and none of another life: no ask is answered twice, nor one after a later one.
//! What a node hears a second time, or what is meant for another life of it, changes nothing that it holds beyond its base.

use std::collections::BTreeMap;

use meridian_cluster::quota::key::KeyId;
use meridian_config::name::NodeId;

use super::{REPEATS, Tried, Wrong, books::Books};
use crate::workload::AppliedSeen;

#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// The last ask that was answered: of which life, and its number.
    last: BTreeMap<NodeId, (u64, u64)>,
}

impl Repeated {
    /// Asks that an entry answers.
    pub(super) fn answered(
        &mut self,
        books: &Books,
        applied: &AppliedSeen,
        tried: &mut Tried,
    ) -> Vec<Wrong> {
        if let Some(gone) = &applied.gone {
            // If it comes back, it is as somebody new.
            self.last.remove(gone);
        }
        let mut wrong = Vec::new();
        for (node, life, seq) in &applied.answered {
            tried.answered += 1;
            let known = books.known(node).map_or(0, |known| known.number);
            let last = self.last.insert(node.clone(), (*life, *seq));
            let old = last.is_some_and(|last| last >= (*life, *seq));
            if old || *life != known {
                wrong.push(Wrong {
                    name: REPEATS,
                    key: None,
                    says: format!(
                        "entry {} of the ledger heeds ask {seq} of life {life} of {node}, which leads life {known}; the last one that was heeded is {last:?}",
                        applied.index
                    ),
                });
            }
        }
        wrong
    }
}

/// What a node has heard before.
pub(super) fn heard(node: &NodeId, changes: &[(KeyId, i32, i32)], tried: &mut Tried) -> Vec<Wrong> {
    tried.again += 1;
    let changes = changes.iter();
    let wrong = changes.map(|(key, before, after)| Wrong {
        name: REPEATS,
        key: Some(*key),
        says: format!(
            "{node} held {before} tokens of {key:?} beyond its base, and holds {after} after it has heard what it had heard before"
        ),
    });
    wrong.collect()
}
