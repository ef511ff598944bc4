//! What must be true of a key's record, by sums of its own: docs/quota.md, "How the ledger knows a limit".
//!
//! In: how a key stands, and stood before the entry. Out: what is wrong with it. Shared by the model and the simulator.

use super::ledger::Standing;

/// Every token is in one place: the pool, a base share, a holder's hand, or cooling.
///
/// # Errors
/// The sum, where it is another than the limit.
pub fn sums_up(standing: &Standing) -> Result<(), String> {
    let extra: i64 = standing.extra.iter().map(|(_, extra)| extra).sum();
    let all = i128::from(standing.pool)
        + i128::from(standing.base)
        + i128::from(standing.cooling)
        + i128::from(extra);
    if all == i128::from(standing.terms.limit()) {
        return Ok(());
    }
    Err(format!(
        "{all} tokens of {}: {} in the pool, {} base, {} cooling, {extra} held beyond base",
        standing.terms.limit(),
        standing.pool,
        standing.base,
        standing.cooling,
    ))
}

/// Nobody is given what is not there: where the pool is less than nothing after an entry, no holder has more than before,
/// unless base grew by the entry, or a holder's debt went with its life. Nothing is said of a key that had no record before,
/// or whose terms are of a newer document after: the entry may have been made under several, one after the other, of which
/// one in the middle admitted more.
///
/// # Errors
/// Who was given how many.
pub fn gives_what_is_there(before: Option<&Standing>, after: &Standing) -> Result<(), String> {
    let Some(before) = before else {
        return Ok(());
    };
    let newer = after.as_of != before.as_of;
    let grown = after.base > before.base;
    if after.pool >= 0 || newer || grown {
        return Ok(());
    }
    for (node, extra) in &after.extra {
        let had = held(before, node);
        if *extra > had.max(0) {
            return Err(format!(
                "{node} has {extra} beyond base, {had} before, and {} more are given than there are",
                -after.pool
            ));
        }
    }
    Ok(())
}

/// What a node holds beyond its base; less than 0: what it has lent of it.
pub fn held(standing: &Standing, node: &meridian_config::name::NodeId) -> i64 {
    let mut rows = standing.extra.iter();
    rows.find_map(|(holder, extra)| (holder == node).then_some(*extra))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meridian_config::name::NodeId;

    use super::*;
    use crate::quota::terms::{Kind, OnLapse, Terms};

    fn standing(limit: u64, pool: i64, base: u64, cooling: u64, extra: i64) -> Standing {
        let second = Duration::from_secs(1);
        Standing {
            terms: Terms::new(limit, second, Kind::Sliding, OnLapse::Base).unwrap(),
            as_of: 1,
            pool,
            base,
            cooling,
            extra: vec![(NodeId::from("a"), extra)],
        }
    }

    #[test]
    fn each_token_is_in_one_place() {
        assert_eq!(sums_up(&standing(100, 30, 50, 5, 15)), Ok(()));
        assert_eq!(sums_up(&standing(100, -10, 50, 5, 55)), Ok(()));
        for lost_or_made in [29, 31] {
            let why = sums_up(&standing(100, lost_or_made, 50, 5, 15)).unwrap_err();
            assert!(why.contains("tokens of 100"), "{why}");
        }
    }

    #[test]
    fn a_deficit_comes_of_a_lowered_limit_or_of_more_base_and_of_no_gift() {
        let after = standing(100, -5, 50, 0, 55);
        let grown = |before| gives_what_is_there(Some(&before), &after);
        assert!(grown(standing(100, 10, 50, 0, 40)).is_err());
        assert_eq!(grown(standing(100, -5, 50, 0, 55)), Ok(()));
        let older = Standing {
            as_of: 0,
            ..standing(120, 30, 50, 0, 40)
        };
        assert_eq!(grown(older), Ok(()));
        assert_eq!(grown(standing(100, 20, 40, 0, 40)), Ok(()));
        let repaid = standing(100, -5, 50, 55, 0);
        assert_eq!(
            gives_what_is_there(Some(&standing(100, 10, 50, 55, -15)), &repaid),
            Ok(())
        );
    }
}
