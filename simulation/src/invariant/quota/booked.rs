//! Booked (docs/quota.md, "Messages").
//!
//! A node has lost and made no token: free and cooling ones are its base and what it was given beyond. And it acts on no
//! more than the ledger books for the life that it leads, by the first replica: what the ledger has taken back since it
//! was last heard of it does not spend, nor can it have lent less than is booked. A machine that stood still does not know
//! of the time that has passed until its next tick.

use meridian_cluster::quota::holder::Holding;
use meridian_config::name::NodeId;

use super::{
    BOOKED, Tried, Wrong,
    books::{Books, is_alone},
};

pub(super) fn judge(
    books: &Books,
    node: &NodeId,
    holdings: &[Holding],
    tried: &mut Tried,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for holding in holdings.iter().filter(|holding| !is_alone(holding)) {
        tried.compared += 1;
        let here = i64::from(holding.held.free) + i64::from(holding.held.cool);
        let due = i64::from(holding.base) + i64::from(holding.extra);
        let booked = books.booked(node, &holding.key);
        let extra = i64::from(holding.extra);
        let (extra, may) = match holding.valid {
            true => (extra, booked),
            false => (extra.min(0), booked.min(0)),
        };
        let says = if here != due {
            format!(
                "{node} has {here} tokens of {:?}, and should have {due}: {} base, {} beyond",
                holding.key, holding.base, holding.extra
            )
        } else if extra > may {
            format!(
                "{node} acts on {} tokens of {:?} beyond its base, and is booked {booked}",
                holding.extra, holding.key
            )
        } else {
            continue;
        };
        wrong.push(Wrong {
            name: BOOKED,
            key: Some(holding.key),
            says,
        });
    }
    wrong
}
