//! Deadlines (docs/quota.md, "The lease", "Time and leases").
//!
//! A lease is counted from the sending of the last ask that was answered. After its end a node spends at most its base
//! share in any window. The ledger takes back what it held beyond only after that end, by the world's clock, and gives none
//! of it that was spent less than a window ago. A machine that stood still, and its clock with it, finds out at its next
//! tick and is excused until then.

use std::time::Duration;

use super::{
    LEASES, Tried, Wrong,
    books::{Books, Charged, GRAIN},
    rests::Rests,
};
use crate::workload::AppliedSeen;

#[derive(Debug, Default)]
pub(super) struct Deadline {
    rests: Rests,
}

/// What a node spends after its deadline.
pub(super) fn late(books: &Books, charge: &Charged<'_>, tried: &mut Tried) -> Option<Wrong> {
    let (life, _) = books.life(charge.node)?;
    let lease = books.lease(&charge.terms);
    // By the slowest clock.
    let longest = lease + lease / 2000 + GRAIN;
    let contact = books.contact(charge.node, life)?;
    let silence = charge.at.saturating_sub(contact.at);
    if silence <= longest || !charge.slides() {
        return None;
    }
    if books.stood_still(charge.node, charge.at, charge.clock_ms) {
        return None;
    }
    tried.late += 1;
    let window = charge.terms.window().saturating_sub(GRAIN);
    let spent = books.spent(charge.node, &charge.key, charge.at.checked_sub(window))?;
    let base = u64::from(charge.holding.base);
    (spent > base).then(|| Wrong {
        name: LEASES,
        key: Some(charge.key),
        says: format!(
            "{} has spent {spent} of {:?} within {:?}, {silence:?} after it was last in contact: its base is {base}, and what it holds beyond was good for {lease:?}",
            charge.node,
            charge.key,
            charge.terms.window()
        ),
    })
}

impl Deadline {
    /// What an entry takes back from nodes that have not been heard of.
    pub(super) fn reclaimed(
        &mut self,
        books: &Books,
        at: Duration,
        applied: &AppliedSeen,
        tried: &mut Tried,
    ) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if applied.up.is_none() && applied.gone.is_none() {
            for (key, terms, node, count) in books.taken_back(applied) {
                tried.lapses += 1;
                let life = books.known(&node).map_or(0, |life| life.number);
                let contact = books.contact(&node, life);
                let Some(contact) = contact else { continue };
                let end = contact.at + books.lease(&terms);
                self.rests
                    .add((key, &terms), (node.clone(), life), count, end);
                if at < end {
                    wrong.push(Wrong {
                        name: LEASES,
                        key: Some(key),
                        says: format!(
                            "entry {} of the ledger takes back {count} tokens of {key:?} that {node} may spend for another {:?}",
                            applied.index,
                            end - at
                        ),
                    });
                }
            }
        }
        let missing = self.rests.missing(books, at, applied).into_iter();
        wrong.extend(missing.map(|(key, cooling, must)| Wrong {
            name: LEASES,
            key: Some(key),
            says: format!(
                "after entry {} of the ledger {cooling} tokens of {key:?} cool, and {must} may have been spent less than a window ago by nodes whose lease was over",
                applied.index
            ),
        }));
        wrong
    }
}
