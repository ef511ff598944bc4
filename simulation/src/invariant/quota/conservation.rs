//! Conservation (docs/quota.md, "How the ledger knows a limit").
//!
//! After each entry each token of a key is in one place: the pool, a base share, a holder's hand or cooling. None is given
//! that is not there: the pool is less than nothing only where a limit was lowered or shares have grown. And every replica
//! is the same after the same entry.

use meridian_cluster::quota::audit;

use super::{LEDGER, Tried, Wrong, books::Books};
use crate::workload::AppliedSeen;

#[derive(Debug, Default)]
pub(super) struct Conservation;

impl Conservation {
    pub(super) fn judge(
        &self,
        books: &Books,
        applied: &AppliedSeen,
        tried: &mut Tried,
    ) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for (key, after) in &applied.changed {
            let Some(after) = after else { continue };
            tried.changes += 1;
            let sums = audit::sums_up(after);
            let gives = audit::gives_what_is_there(books.standing(key), after);
            wrong.extend(
                [sums, gives]
                    .into_iter()
                    .filter_map(Result::err)
                    .map(|why| Wrong {
                        name: LEDGER,
                        key: Some(*key),
                        says: format!(
                            "after entry {} of the ledger, {key:?}: {why}",
                            applied.index
                        ),
                    }),
            );
        }
        wrong
    }
}
