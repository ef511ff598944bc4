//! Tokens that the ledger has taken back and must not give yet.
//!
//! In: which were taken back, and until when they may have been spent less than a window ago. Out: which of them do not
//! cool in the ledger, as they must. A core.

use std::{collections::BTreeMap, time::Duration};

use meridian_cluster::quota::{
    key::KeyId,
    terms::{Kind, Terms},
};

use super::books::{Books, GRAIN};
use crate::workload::AppliedSeen;

#[derive(Debug, Default)]
pub(super) struct Rests(BTreeMap<KeyId, Vec<(Duration, u64)>>);

impl Rests {
    /// So many may have been spent until `spent`. Of fixed windows nothing is noted: when one is over is for nodes'
    /// clocks to say.
    pub(super) fn add(&mut self, key: KeyId, terms: &Terms, count: u64, spent: Duration) {
        if terms.kind() == Kind::Sliding {
            let until = spent + terms.window();
            self.0.entry(key).or_default().push((until, count));
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
            rests.retain(|(until, _)| *until > at + GRAIN);
            let must: u64 = rests.iter().map(|(_, count)| count).sum();
            let changed = applied.changed.iter().find(|(changed, _)| changed == key);
            let standing = match changed {
                Some((_, after)) => after.as_ref(),
                None => books.standing(key),
            };
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
