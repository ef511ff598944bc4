//! At most once (DESIGN section 8, invariant 7).
//!
//! A request neither idempotent by method nor keyed reaches upstreams at most once (RFC 9110 section 9.2.2).

use std::collections::BTreeMap;

use crate::workload::{History, Kind, Outcome, Request};

pub(super) fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut arrivals: BTreeMap<u64, u32> = BTreeMap::new();
    for arrival in &history.arrivals {
        *arrivals.entry(arrival.id).or_default() += 1;
    }
    // The client itself never sends an order again once it may have left, so every second arrival is ours.
    let is_order = |request: &&Request| request.flow.kind == Kind::Order;
    for (id, count) in &arrivals {
        if history.orders.contains(id) && *count > 1 {
            wrong.push(format!("order {id} reached upstreams {count} times"));
        }
    }
    for request in history.requests.iter().filter(is_order) {
        let served = matches!(request.outcome, Outcome::Served(_));
        if served && !arrivals.contains_key(&request.id) {
            wrong.push(format!(
                "order {} was acknowledged and reached no upstream",
                request.id
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::{workload::Arrival, world::Place};

    fn arrival(id: u64) -> Arrival {
        Arrival {
            id,
            at: Duration::ZERO,
            region: Place(0),
        }
    }

    #[test]
    fn an_order_that_arrives_twice_is_told_and_a_get_is_not() {
        let history = History {
            orders: BTreeSet::from([1]),
            arrivals: vec![arrival(1), arrival(2), arrival(1), arrival(2)],
            ..History::default()
        };
        assert_eq!(check(&history), ["order 1 reached upstreams 2 times"]);
    }
}
