//! Quota (docs/quota.md; docs/design.md, invariant 1).
//!
//! No window admits more than its limit: of a sliding one, charges within any span of its length by the world's clock;
//! of a fixed one, charges that nodes counted in one window. A limit that was lowered may be passed until those that
//! knew the old amount have heard, and their spends have cooled. A node that was started, or woke after it was suspended,
//! where no quorum could tell it what it may spend goes on with its base share, and the limit may be passed by that, once for each such start: what
//! it had lent before is with others until two windows after the ledger has answered it. And no node spends all of a
//! limit by itself once the cluster has a ledger, an empty disk or not.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::super::Breach;
use crate::workload::{Charge, History};

/// How far the history was looked at.
#[derive(Debug, Default)]
pub(in super::super) struct Watch {
    seen: usize,
    /// Sliding windows, by key.
    sliding: BTreeMap<String, Sliding>,
    /// Fixed windows, by key and number: admitted, and the greatest amount.
    fixed: BTreeMap<(String, u64), (u64, u64)>,
    /// Limits that seem passed, by key: a request that waited may be charged by tokens of a raise that its node has not
    /// shown yet.
    suspected: BTreeMap<String, Suspicion>,
    /// Charges of nodes that count alone, seen.
    alone: usize,
    /// Told once a key.
    told: BTreeMap<String, ()>,
}

/// A window that holds more than any node has shown yet that it may.
#[derive(Debug)]
struct Suspicion {
    at: Duration,
    sum: u64,
    /// What was allowed beside the limit.
    beside: u64,
    says: String,
}

/// How long a raised limit may be spent before a node shows it: a request waits 5 s at most, by the document it began
/// with.
const SHOWN: Duration = Duration::from_secs(5);

/// One limit's last window.
#[derive(Debug, Default)]
struct Sliding {
    charges: VecDeque<(Duration, u64)>,
    sum: u64,
    /// What nodes took the limit for, and when last.
    amounts: Vec<(u64, Duration)>,
    fullest: f64,
}

/// Until a lowered limit holds: for nodes to have the document, and extra that is out to come back.
const SETTLES: Duration = Duration::from_secs(60);

impl Sliding {
    /// A charge that was in the window is given back.
    fn give_back(&mut self, charge: &Charge) {
        let same = |(at, cost): &(Duration, u64)| *at == charge.at && *cost >= charge.cost;
        // One that has left the window is not in the sum any more.
        if let Some(nth) = self.charges.iter().rposition(same) {
            self.charges[nth].1 -= charge.cost;
            self.sum -= charge.cost;
        }
    }

    /// What is in the window with this charge, and the limit that holds.
    fn take(&mut self, charge: &Charge) -> (u64, u64) {
        self.charges.push_back((charge.at, charge.cost));
        self.sum += charge.cost;
        while let Some((at, cost)) = self.charges.front().copied() {
            if at + charge.span > charge.at {
                break;
            }
            self.sum -= cost;
            self.charges.pop_front();
        }
        self.amounts.retain(|(amount, seen)| {
            *amount != charge.amount && *seen + charge.span + SETTLES > charge.at
        });
        self.amounts.push((charge.amount, charge.at));
        let limit = self.amounts.iter().map(|(amount, _)| *amount).max();
        (self.sum, limit.unwrap_or(charge.amount))
    }
}

impl Watch {
    /// `now`: until when no further charge can come.
    pub(in super::super) fn look(&mut self, history: &History, now: Duration) -> Vec<Breach> {
        for charge in &history.charges[self.seen..] {
            if charge.back {
                match charge.window {
                    None => {
                        let sliding = self.sliding.entry(charge.key.clone());
                        sliding.or_default().give_back(charge);
                    }
                    Some(window) => {
                        let key = (charge.key.clone(), window);
                        let (sum, _) = self.fixed.entry(key).or_default();
                        *sum = sum.saturating_sub(charge.cost);
                    }
                }
                continue;
            }
            let raised = self.suspected.get(&charge.key).is_some_and(|suspicion| {
                let shown = charge.at <= suspicion.at + SHOWN;
                shown && charge.amount + suspicion.beside >= suspicion.sum
            });
            if raised {
                self.suspected.remove(&charge.key);
            }
            let (sum, limit) = match charge.window {
                None => {
                    let sliding = self.sliding.entry(charge.key.clone()).or_default();
                    let (sum, limit) = sliding.take(charge);
                    sliding.fullest = sliding.fullest.max(share(sum, limit));
                    (sum, limit)
                }
                Some(window) => {
                    let key = (charge.key.clone(), window);
                    let (sum, limit) = self.fixed.entry(key).or_default();
                    *sum += charge.cost;
                    *limit = charge.amount.max(*limit);
                    (*sum, *limit)
                }
            };
            let beside = assumed(history, charge, limit);
            let allowed = limit + beside;
            if sum > allowed && !self.told.contains_key(&charge.key) {
                let suspicion = self.suspected.entry(charge.key.clone());
                suspicion.or_insert_with(|| Suspicion {
                    at: charge.at,
                    sum,
                    beside,
                    says: format!(
                        "the limit {} admitted {sum} in {:?}; it is {limit}, and {allowed} with what nodes assumed that were started, or woke, without a quorum; the last at {}",
                        charge.key, charge.span, charge.node
                    ),
                });
            }
        }
        self.seen = history.charges.len();
        let sure = |suspicion: &Suspicion| now.saturating_sub(SHOWN) >= suspicion.at;
        let (sure, open): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.suspected)
            .into_iter()
            .partition(|(_, suspicion)| sure(suspicion));
        self.suspected = open;
        self.told.extend(sure.keys().map(|key| (key.clone(), ())));
        let passed = sure.into_values();
        let passed = passed.map(|Suspicion { at, says, .. }| Breach { at, says });
        let alone = history.alone[self.alone..].iter();
        let alone = alone.map(|(at, node)| Breach {
            at: *at,
            says: format!("{node} charged a request as if it had all of a limit for itself"),
        });
        let breaches = passed.chain(alone).collect();
        self.alone = history.alone.len();
        breaches
    }
}

/// What nodes may have spent a second time by such starts, until two windows after they are agreed with the ledger.
fn assumed(history: &History, charge: &Charge, limit: u64) -> u64 {
    let starts = history.assumed.iter();
    let over = |agreed: Duration| agreed + 2 * charge.span <= charge.at;
    let lately = starts.filter(|start| start.at <= charge.at && !start.agreed.is_some_and(over));
    lately
        .map(|start| (limit / 2).div_ceil(start.seats.max(1)))
        .sum()
}

fn share(sum: u64, limit: u64) -> f64 {
    sum as f64 * 100.0 / limit.max(1) as f64
}

/// How full the fullest window of any sliding limit was, in percent; none where nothing was charged.
pub(in super::super) fn fullest(history: &History) -> Option<f64> {
    let mut watch = Watch::default();
    watch.look(history, Duration::MAX);
    let sliding = watch.sliding.values().map(|sliding| sliding.fullest);
    let fixed = watch.fixed.values().map(|(sum, limit)| share(*sum, *limit));
    sliding.chain(fixed).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Assumed;

    fn charge(ms: u64, amount: u64, window: Option<u64>) -> Charge {
        Charge {
            at: Duration::from_millis(ms),
            node: "a".to_owned(),
            key: "k".to_owned(),
            limit: "tenant-second".to_owned(),
            cost: 1,
            amount,
            span: Duration::from_secs(1),
            window,
            back: false,
        }
    }

    fn breaches(charges: Vec<Charge>, assumed: Vec<Assumed>) -> usize {
        let history = History {
            charges,
            assumed,
            ..History::default()
        };
        Watch::default().look(&history, Duration::MAX).len()
    }

    #[test]
    fn a_window_holds_the_limit_and_no_more() {
        let at = |times: &[u64]| -> Vec<Charge> {
            times.iter().map(|ms| charge(*ms, 2, None)).collect()
        };
        assert_eq!(breaches(at(&[0, 500, 1000, 1500]), vec![]), 0);
        assert_eq!(breaches(at(&[0, 500, 999]), vec![]), 1);
        assert_eq!(breaches(at(&[0, 1, 2, 3]), vec![]), 1, "told once");
    }

    #[test]
    fn a_lowered_limit_settles_and_an_assumed_base_counts_once() {
        let mut lowered = vec![charge(0, 3, None), charge(1, 3, None), charge(2, 1, None)];
        assert_eq!(breaches(lowered.clone(), vec![]), 0);
        lowered.extend([charge(80_000, 1, None), charge(80_001, 1, None)]);
        assert_eq!(breaches(lowered, vec![]), 1);
        let start = |ms, agreed: Option<u64>| Assumed {
            at: Duration::from_millis(ms),
            node: "a".to_owned(),
            agreed: agreed.map(Duration::from_millis),
            seats: 2,
        };
        let three = |from: u64| (from..from + 3).map(|ms| charge(ms, 2, None)).collect();
        assert_eq!(breaches(three(0), vec![start(0, None)]), 0);
        assert_eq!(breaches(three(0), vec![start(500, None)]), 1);
        assert_eq!(breaches(three(60_000), vec![start(0, None)]), 0);
        assert_eq!(breaches(three(60_000), vec![start(0, Some(58_500))]), 0);
        assert_eq!(breaches(three(60_000), vec![start(0, Some(57_000))]), 1);
    }

    #[test]
    fn a_raise_that_a_node_shows_later_is_no_breach() {
        let raised = |shown: u64| {
            let spent = [
                charge(0, 1, None),
                charge(1, 1, None),
                charge(shown, 2, None),
            ];
            breaches(spent.to_vec(), vec![])
        };
        assert_eq!(raised(4000), 0);
        assert_eq!(raised(6000), 1);
    }

    #[test]
    fn what_is_given_back_was_not_admitted() {
        for window in [None, Some(1)] {
            let given_back = Charge {
                back: true,
                ..charge(1, 2, window)
            };
            let mut spent = vec![
                charge(0, 2, window),
                charge(1, 2, window),
                given_back,
                charge(2, 2, window),
            ];
            assert_eq!(breaches(spent.clone(), vec![]), 0);
            spent.push(charge(3, 2, window));
            assert_eq!(breaches(spent, vec![]), 1);
        }
    }

    #[test]
    fn fixed_windows_go_by_their_number() {
        let counted = |windows: &[u64]| -> Vec<Charge> {
            windows
                .iter()
                .map(|window| charge(0, 1, Some(*window)))
                .collect()
        };
        assert_eq!(breaches(counted(&[1, 2, 3]), vec![]), 0);
        assert_eq!(breaches(counted(&[1, 2, 1]), vec![]), 1);
    }
}
