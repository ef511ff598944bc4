//! Residency (docs/design.md, invariant 5).
//!
//! No upstream outside a tenant's zones sees a byte of its requests: a request that is confined arrives at upstreams
//! of its regions, whatever the others could do for it, or at none.

use super::Breach;
use crate::workload::History;

/// How far the history was looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: usize,
}

impl Watch {
    pub(super) fn look(&mut self, history: &History) -> Vec<Breach> {
        let mut wrong = Vec::new();
        for arrival in &history.arrivals[self.seen..] {
            let allowed = history.confined.get(&arrival.id);
            if allowed.is_none_or(|allowed| allowed.contains(&arrival.region)) {
                continue;
            }
            let allowed = allowed.into_iter().flatten();
            let allowed: Vec<String> = allowed.map(|place| place.0.to_string()).collect();
            wrong.push(Breach {
                at: arrival.at,
                says: format!(
                    "request {} reached an upstream of region {}; its tenant's zones have regions {}",
                    arrival.id,
                    arrival.region.0,
                    allowed.join(", ")
                ),
            });
        }
        self.seen = history.arrivals.len();
        wrong
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::{workload::Arrival, world::Place};

    #[test]
    fn what_left_its_zones_is_told_and_what_has_none_may_go_anywhere() {
        let at = Duration::from_secs(7);
        let arrival = |id, region| Arrival {
            id,
            at,
            region: Place(region),
        };
        let history = History {
            confined: BTreeMap::from([(1, vec![Place(0), Place(2)]), (2, vec![Place(1)])]),
            arrivals: vec![arrival(1, 0), arrival(1, 2), arrival(2, 0), arrival(3, 1)],
            ..History::default()
        };
        let says = "request 2 reached an upstream of region 0; its tenant's zones have regions 1";
        let told = Watch::default().look(&history);
        assert_eq!(
            told,
            [Breach {
                at,
                says: says.to_owned()
            }]
        );
    }
}
