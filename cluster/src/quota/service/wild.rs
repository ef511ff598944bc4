//! Hints that mean nothing, where a simulation looks whether anything that is promised rests on them.
//!
//! In: an ask or a grant. Out: the same with other numbers in every hint: which, follows from the message. A core.

use crate::quota::message::{QuotaAsk, QuotaGrant};

/// Rate, free tokens and how many a request takes of what a node asks.
pub(super) fn scramble_ask(ask: &mut QuotaAsk) {
    let mut number = Number(ask.seq ^ (ask.incarnation << 32));
    for item in &mut ask.items {
        item.rate = number.below(1_000_000);
        item.free = number.below(200);
        item.given = number.below(200);
        item.unit = number.below(100);
        item.waits_ms = number.below(2000);
    }
}

/// Cap, pool and what others have free of what a node is told.
pub(super) fn scramble_grant(grant: &mut QuotaGrant) {
    let mut number = Number(grant.index);
    for item in &mut grant.items {
        item.cap = (number.below(10) < 3).then(|| number.below(100));
        item.pool = number.below(100);
        item.others_free = number.below(100);
    }
    for recall in &mut grant.recalls {
        recall.cap = number.below(100);
        recall.owed = number.below(2) == 0;
    }
}

/// Numbers that look like chance (splitmix64).
struct Number(u64);

impl Number {
    fn below(&mut self, bound: u64) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((word ^ (word >> 31)) % bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{
        message::AskItem,
        samples::{ask, grant},
    };

    #[test]
    fn hints_and_only_hints_change_and_the_same_message_gives_the_same() {
        let (mut once, mut twice) = (grant(), grant());
        scramble_grant(&mut once);
        scramble_grant(&mut twice);
        assert_eq!(once, twice);
        assert_ne!(once, grant());
        for (item, before) in once.items.iter_mut().zip(grant().items) {
            (item.cap, item.pool, item.others_free) = (before.cap, before.pool, before.others_free);
        }
        for (recall, before) in once.recalls.iter_mut().zip(grant().recalls) {
            recall.cap = before.cap;
        }
        assert_eq!(once, grant());
        let mut said = ask();
        scramble_ask(&mut said);
        let same = |(item, before): (AskItem, AskItem)| AskItem {
            rate: before.rate,
            free: before.free,
            given: before.given,
            unit: before.unit,
            waits_ms: before.waits_ms,
            ..item
        };
        said.items = said.items.into_iter().zip(ask().items).map(same).collect();
        assert_eq!(said, ask());
    }
}
