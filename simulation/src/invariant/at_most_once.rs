//! At most once (docs/design.md, invariant 7).
//!
//! A request neither idempotent by method nor keyed reaches upstreams at most once (RFC 9110 section 9.2.2).

use std::collections::{BTreeMap, BTreeSet};

use super::Breach;
use crate::workload::{History, Outcome, Request};

/// How often each order has arrived, and how far the history was looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    arrived: BTreeMap<u64, u32>,
    seen: usize,
}

impl Watch {
    pub(super) fn look(&mut self, history: &History) -> Vec<Breach> {
        let mut wrong = Vec::new();
        // The client itself never sends an order again once it may have left, so every second arrival is ours.
        for arrival in &history.arrivals[self.seen..] {
            if !history.orders.contains(&arrival.id) {
                continue;
            }
            let count = self.arrived.entry(arrival.id).or_default();
            *count += 1;
            if *count > 1 {
                let says = format!("order {} reached upstreams {count} times", arrival.id);
                let at = arrival.at;
                wrong.push(Breach { at, says });
            }
        }
        self.seen = history.arrivals.len();
        wrong
    }
}

/// What only the end shows.
pub(super) fn check_end(history: &History) -> Vec<String> {
    let arrived: BTreeSet<u64> = history.arrivals.iter().map(|arrival| arrival.id).collect();
    // What a node answers by itself reaches no upstream.
    let is_order =
        |request: &&Request| !request.flow.kind.repeatable() && request.flow.regions(1).is_some();
    let acknowledged = history.requests.iter().filter(is_order);
    acknowledged
        .filter(|order| matches!(order.outcome, Outcome::Served(_)))
        .filter(|order| !arrived.contains(&order.id))
        .map(|order| {
            format!(
                "order {} was acknowledged and reached no upstream",
                order.id
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        workload::{Arrival, Flow, Kind},
        world::Place,
    };

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
        let told = Watch::default().look(&history);
        let says: Vec<&str> = told.iter().map(|breach| &*breach.says).collect();
        assert_eq!(says, ["order 1 reached upstreams 2 times"]);
    }

    #[test]
    fn an_order_that_was_acknowledged_and_never_arrived_is_told() {
        let request = |kind| Request {
            id: 1,
            flow: Flow {
                from: Place(0),
                kind,
            },
            sent: Duration::ZERO,
            done: Duration::ZERO,
            tries: 1,
            outcome: Outcome::Served("a".to_owned()),
        };
        let mut history = History {
            requests: vec![request(Kind::Order), request(Kind::Local)],
            ..History::default()
        };
        assert_eq!(check_end(&history).len(), 1);
        history.arrivals.push(arrival(1));
        assert_eq!(check_end(&history), Vec::<String>::new());
    }
}
