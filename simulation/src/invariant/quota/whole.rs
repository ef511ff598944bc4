//! All or none (docs/quota.md, "A request").
//!
//! A request that is denied leaves every limit as before. By what a node holds, after its keeper has looked at the keys in
//! use: no more tokens cool than were charged within the time that one rests at most. What a denied request had taken and
//! not given back would cool for ever, or never again be there ([`booked`](super::booked)).

use std::time::Duration;

use meridian_cluster::quota::{holder::Holding, terms::Kind};
use meridian_config::name::NodeId;

use super::{
    Tried, WHOLE, Wrong,
    books::{Books, GRAIN, is_alone, rest_most},
};

pub(super) fn judge(
    books: &Books,
    at: Duration,
    node: &NodeId,
    holdings: &[Holding],
    tried: &mut Tried,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for holding in holdings.iter().filter(|it| it.in_use && !is_alone(it)) {
        let Some(terms) = holding.terms.filter(|it| it.kind() == Kind::Sliding) else {
            continue;
        };
        let after = at.checked_sub(rest_most(terms.window()) + GRAIN);
        // Of a limit that only watches nobody tells.
        let Some(spent) = books.spent(node, &holding.key, after) else {
            continue;
        };
        tried.settled += 1;
        let cool = u64::from(holding.held.cool);
        if cool > spent {
            wrong.push(Wrong {
                name: WHOLE,
                key: Some(holding.key),
                says: format!(
                    "{cool} tokens of {:?} cool at {node}, and requests have paid {spent}: the others were taken for none",
                    holding.key
                ),
            });
        }
    }
    wrong
}
