//! How a key is divided while its holders want more than there is. A core.
//!
//! In: the limit and what each holder uses in a window. Out: how much each should hold at most; a hint, which no
//! promise rests on.

use std::{collections::BTreeMap, time::Duration};

use meridian_config::name::{NodeId, RegionName};

use crate::quota::rate::chance;

/// Who uses how much, by region.
pub(crate) type Uses = BTreeMap<RegionName, BTreeMap<NodeId, Use>>;

/// What a holder has to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    /// How many tokens it uses in a window.
    pub(crate) used: u64,
    /// How many of these one request takes; at least 1.
    pub(crate) unit: u64,
    /// Its base.
    pub(crate) base: u64,
}

impl Use {
    /// What it is to keep while there is plenty: room for chance, and its base, since clients may come to it at once that
    /// were another node's till now.
    fn with_room(self, window: Duration) -> u64 {
        let room = whole(chance(self.used as f64, window));
        self.base.max(self.used + room)
    }
}

/// The caps.
///
/// If all use fits, each has what it uses and the rest goes in proportion to its square root: chance makes a
/// demand vary by that much. If there is even room for chance and everybody's base, nobody has less than that. If not
/// all use fits, regions have equal parts, and the nodes of a region equal parts of its part,
/// but nobody more than it uses: what one does not use is the others'. These parts are of [whole requests](in_units); who has
/// what is left over goes by turns.
pub(crate) fn caps(limit: u32, window: Duration, uses: &Uses, turn: u64) -> BTreeMap<NodeId, u32> {
    let limit = u64::from(limit);
    let all = || uses.values().flatten();
    let sum = |of: &dyn Fn(&Use) -> u64| -> u64 { all().map(|(_, it)| of(it)).sum() };
    let with_room = |it: &Use| it.with_room(window);
    let least: &dyn Fn(&Use) -> u64 = match sum(&with_room) <= limit {
        true => &with_room,
        false => &|it| it.used,
    };
    if sum(least) <= limit {
        let roots: f64 = all().map(|(_, it)| root(it.used)).sum();
        let rest = (limit - sum(least)) as f64;
        let capped = all().map(|(node, it)| {
            let more = rest * root(it.used) / roots.max(1.0);
            (node.clone(), narrow(least(it) + whole(more)))
        });
        return capped.collect();
    }
    parts(narrow(limit), uses, turn)
}

/// Caps where nothing is kept for anybody who does not use it: equal parts for regions, and in them for nodes.
pub(crate) fn parts(limit: u32, uses: &Uses, turn: u64) -> BTreeMap<NodeId, u32> {
    let all = || uses.values().flatten();
    let used =
        |nodes: &BTreeMap<NodeId, Use>| -> Vec<u64> { nodes.values().map(|it| it.used).collect() };
    let regions: Vec<u64> = uses
        .values()
        .map(|nodes| used(nodes).iter().sum())
        .collect();
    let mut parts = Vec::new();
    for (nodes, part) in uses.values().zip(max_min(limit.into(), &regions)) {
        parts.extend(max_min(part, &used(nodes)));
    }
    in_units(
        &mut parts,
        &all().map(|(_, it)| *it).collect::<Vec<_>>(),
        turn,
    );
    let nodes = all().map(|(node, _)| node.clone());
    nodes.zip(parts.into_iter().map(narrow)).collect()
}

/// Makes parts of whole requests: what is too little for one at its node is put together, and goes to one node after another,
/// by turns, as far as each can use it.
fn in_units(parts: &mut [u64], uses: &[Use], turn: u64) {
    let mut left = 0;
    for (part, it) in parts.iter_mut().zip(uses) {
        let odd = *part % it.unit.max(1);
        *part -= odd;
        left += odd;
    }
    let nodes = u64::try_from(parts.len()).unwrap_or(1).max(1);
    let first = usize::try_from(turn % nodes).unwrap_or(0);
    let order: Vec<usize> = (first..parts.len()).chain(0..first).collect();
    // One each, while there is one; then as many as each can use.
    for most in [1, u64::MAX] {
        for at in &order {
            let (part, it) = (&mut parts[*at], uses[*at]);
            let room = left.min(it.used.saturating_sub(*part));
            let unit = it.unit.max(1);
            let takes = (room / unit).min(most) * unit;
            *part += takes;
            left -= takes;
        }
    }
}

/// Divides an amount so that the least part is as great as it can be, then the second least, and so on, none
/// greater than its wish.
fn max_min(amount: u64, wishes: &[u64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by_key(|at| wishes[*at]);
    let mut parts = vec![0; wishes.len()];
    let mut left = amount;
    for (done, at) in order.into_iter().enumerate() {
        let equal = left / (wishes.len() - done) as u64;
        parts[at] = wishes[at].min(equal);
        left -= parts[at];
    }
    parts
}

fn root(used: u64) -> f64 {
    // A holder that uses nothing may begin to.
    (used.max(1) as f64).sqrt()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is a part of a limit"
)]
fn whole(tokens: f64) -> u64 {
    tokens as u64
}

fn narrow(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn uses(regions: &[(&str, &[(&str, u64)])]) -> Uses {
        with_base(0, regions)
    }

    fn with_base(base: u64, regions: &[(&str, &[(&str, u64)])]) -> Uses {
        let nodes = |nodes: &[(&str, u64)]| {
            let nodes = nodes.iter();
            nodes
                .map(|(node, used)| {
                    (
                        NodeId::new(*node),
                        Use {
                            used: *used,
                            unit: 1,
                            base,
                        },
                    )
                })
                .collect()
        };
        let regions = regions.iter();
        regions
            .map(|(region, used)| (RegionName::new(*region), nodes(used)))
            .collect()
    }

    /// Limit, what is used and how much a request takes, turn; parts.
    #[test]
    fn what_is_too_little_for_a_request_is_put_together_and_goes_by_turns() {
        let cases = [
            (100, 60, 60, 0, [60, 0, 0, 0, 0, 0]),
            (100, 60, 60, 8, [0, 0, 60, 0, 0, 0]),
            (100, 49, 7, 0, [21, 21, 14, 14, 14, 14]),
            (100, 49, 7, 5, [21, 14, 14, 14, 14, 21]),
            (84, 49, 7, 5, [14; 6]),
            (99, 40, 1, 0, [16, 16, 16, 17, 17, 17]),
        ];
        for (limit, used, unit, turn, expected) in cases {
            let mut parts = max_min(limit, &[used; 6]);
            let it = Use {
                used,
                unit,
                base: 0,
            };
            in_units(&mut parts, &[it; 6], turn);
            assert_eq!(parts, expected, "{limit} of {used} by {unit}, turn {turn}");
        }
    }

    #[test]
    fn requests_of_one_token_have_what_makes_no_greater_one() {
        let great = Use {
            used: 60,
            unit: 60,
            base: 0,
        };
        let small = Use { unit: 1, ..great };
        let mut parts = vec![34, 33, 33];
        in_units(&mut parts, &[great, small, great], 0);
        assert_eq!(parts, [60, 40, 0]);
    }

    fn cap(caps: &BTreeMap<NodeId, u32>, node: &str) -> u32 {
        caps[&NodeId::new(node)]
    }

    #[test]
    fn what_fits_is_had_and_the_rest_follows_the_square_roots() {
        let uses = uses(&[("eu", &[("a", 400), ("b", 100)]), ("us", &[("c", 100)])]);
        let caps = caps(700, SECOND, &uses, 0);
        // 60 are left, and 30, 15 and 15 would be room for chance.
        assert_eq!(
            (cap(&caps, "a"), cap(&caps, "b"), cap(&caps, "c")),
            (450, 125, 125)
        );
    }

    #[test]
    fn where_there_is_plenty_a_node_that_uses_nothing_keeps_its_base() {
        let uses = with_base(25, &[("eu", &[("a", 60), ("b", 30)]), ("us", &[("c", 0)])]);
        let of = |limit| {
            let caps = caps(limit, SECOND, &uses, 0);
            (cap(&caps, "a"), cap(&caps, "b"), cap(&caps, "c"))
        };
        // 11 and 8 are room for chance.
        assert_eq!(of(134), (71, 38, 25));
        assert_eq!(of(133), (83, 46, 3), "what is used goes before what is not");
    }

    #[test]
    fn what_does_not_fit_is_divided_over_regions_and_then_over_nodes() {
        let wanted = uses(&[
            ("ap", &[("a", 20)]),
            ("eu", &[("b", 900), ("c", 900), ("d", 30)]),
            ("us", &[("e", 5000)]),
        ]);
        let caps = caps(200, SECOND, &wanted, 0);
        // 20 for ap, 90 each for the others, of which d takes 30.
        assert_eq!(cap(&caps, "a"), 20);
        assert_eq!(
            (cap(&caps, "b"), cap(&caps, "c"), cap(&caps, "d")),
            (30, 30, 30)
        );
        assert_eq!(cap(&caps, "e"), 90);
    }

    proptest! {
        #[test]
        fn nobody_is_promised_what_there_is_not(
            limit in 1..100_000_u32,
            wanted in prop::collection::btree_map(
                "[a-c]", prop::collection::btree_map("[a-z]{3}", (0..50_000_u64, 1..2000_u64), 1..5), 1..4,
            ),
            base in 0..1000_u64,
            turn: u64,
        ) {
            // A node is in one region.
            let wanted: Uses = wanted
                .into_iter()
                .map(|(region, nodes)| {
                    let named = nodes.into_iter().map(|(node, (used, unit))| {
                        (NodeId::new(format!("{region}{node}")), Use { used, unit, base })
                    });
                    (RegionName::new(region.clone()), named.collect())
                })
                .collect();
            let caps = caps(limit, SECOND, &wanted, turn);
            let sum: u64 = caps.values().map(|cap| u64::from(*cap)).sum();
            prop_assert!(sum <= u64::from(limit));
            let used: u64 = wanted.values().flat_map(BTreeMap::values).map(|it| it.used).sum();
            if used <= u64::from(limit) {
                for (node, it) in wanted.values().flatten() {
                    prop_assert!(u64::from(caps[node]) >= it.used);
                }
            }
            let all = || wanted.values().flatten();
            let with_room: u64 = all().map(|(_, it)| it.with_room(SECOND)).sum();
            if with_room <= u64::from(limit) {
                for (node, it) in all() {
                    prop_assert!(u64::from(caps[node]) >= it.base, "{node}");
                }
            }
        }
    }
}
