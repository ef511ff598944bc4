//! Lives (docs/quota.md, "Time and leases", "On a running node").
//!
//! A life of a node spends nothing before the ledger has agreed on its begin, and no base for a window after it began, if the
//! node has lived before; but for one that began where no quorum could tell it what it may spend, and for base that an
//! earlier life, which ended in order, has not spent within a window. What an earlier life has spent, or a node that is gone,
//! others are given a window after it was spent at the earliest.

use std::time::Duration;

use meridian_cluster::quota::holder::Remains;

use super::{
    LIVES, Tried, Wrong,
    books::{Books, Charged, GRAIN},
    rests::Rests,
};
use crate::workload::AppliedSeen;

#[derive(Debug, Default)]
pub(super) struct Incarnation {
    rests: Rests,
}

/// What a life spends before it may.
pub(super) fn early(books: &Books, charge: &Charged<'_>, tried: &mut Tried) -> Option<Wrong> {
    let (life, begun) = books.life(charge.node)?;
    if charge.starts.iter().any(|start| *start >= begun) {
        return None;
    }
    let node = charge.node;
    let known = books.known(node).filter(|known| known.number == life);
    let Some(known) = known else {
        return Some(Wrong {
            name: LIVES,
            key: Some(charge.key),
            says: format!(
                "{node} spends of {:?} in life {life}, which the ledger does not know",
                charge.key
            ),
        });
    };
    if !known.later {
        return None;
    }
    tried.charged += 1;
    // The earlier life was over when this one began; when that was agreed on is when the entry was made, which is later.
    let rested = begun + charge.terms.window().saturating_sub(GRAIN);
    let base = u64::from(charge.holding.base);
    if !charge.slides() || charge.at >= rested || base == 0 {
        return None;
    }
    let free = match Remains::tells_of(&charge.terms, books.params()) {
        true => unspent_before(books, charge, life),
        false => 0,
    };
    (base > free).then(|| Wrong {
        name: LIVES,
        key: Some(charge.key),
        says: format!(
            "{node} has a base of {base} of {:?} {:?} after its life began, and earlier lives may have left {free} of it unspent within {:?}",
            charge.key,
            charge.at.saturating_sub(begun),
            charge.terms.window()
        ),
    })
}

/// How much of its base a node's earlier lives have left at most: what they have spent within a window is in its base, or
/// cools in the ledger.
fn unspent_before(books: &Books, charge: &Charged<'_>, life: u64) -> u64 {
    let after = charge
        .at
        .checked_sub(charge.terms.window().saturating_sub(GRAIN));
    // A life that assumed the share has spent it once more, and this one goes on with what it left.
    let after = after.max(charge.starts.iter().max().copied());
    let spent = books.spent_before(charge.node, life, &charge.key, after);
    let standing = books.standing(&charge.key);
    let cools = standing.map_or(0, |standing| standing.cooling);
    (u64::from(charge.holding.owed) + cools).saturating_sub(spent)
}

impl Incarnation {
    /// What an entry that begins or ends a life takes from the one before.
    pub(super) fn passed_on(
        &mut self,
        books: &Books,
        at: Duration,
        applied: &AppliedSeen,
        tried: &mut Tried,
    ) -> Vec<Wrong> {
        let of = applied.up.as_ref().map(|(node, _)| node);
        if let Some(over) = of.or(applied.gone.as_ref()) {
            let left = books.taken_back(applied);
            tried.lives += u64::from(!left.is_empty());
            let life = books.known(over).map_or(0, |life| life.number);
            for (key, terms, node, count) in left {
                if node == *over {
                    self.rests.add((key, &terms), (node, life), count, at);
                }
            }
        }
        let missing = self.rests.missing(books, at, applied).into_iter();
        let wrong = missing.map(|(key, cooling, must)| Wrong {
            name: LIVES,
            key: Some(key),
            says: format!(
                "after entry {} of the ledger {cooling} tokens of {key:?} cool, and {must} may have been spent less than a window ago by lives that are over",
                applied.index
            ),
        });
        wrong.collect()
    }
}
