//! Spacing (docs/quota.md, "A request").
//!
//! A token that was spent is spent again a window later at the earliest. By what a node holds: after each charge at least
//! as many tokens of the limit cool there as it has spent within the window by the world's clock. A token is free or
//! cools, never both, and only free ones are handed back ([`booked`](super::booked)) or spent; so no token that was spent
//! within the window can have been spent a second time, here or elsewhere. What the ledger takes back from nodes that
//! cannot hand it back rests there ([`deadline`](super::deadline), [`incarnation`](super::incarnation)).

use super::{
    REST, Tried, Wrong,
    books::{Books, Charged, GRAIN},
};

pub(super) fn judge(books: &Books, charge: &Charged<'_>, tried: &mut Tried) -> Option<Wrong> {
    if !charge.slides() {
        return None;
    }
    tried.rested += 1;
    let window = charge.terms.window().saturating_sub(GRAIN);
    let after = charge.at.checked_sub(window);
    let spent = books.spent(charge.node, &charge.key, after)?;
    let cool = u64::from(charge.holding.held.cool);
    (cool < spent).then(|| Wrong {
        name: REST,
        key: Some(charge.key),
        says: format!(
            "{} has spent {spent} tokens of {:?} within {:?}, and {cool} cool there: others are spent a second time",
            charge.node,
            charge.key,
            charge.terms.window()
        ),
    })
}
