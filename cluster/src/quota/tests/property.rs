//! Cells beside a limiter that remembers every spend for ever.

use proptest::prelude::*;

use super::*;
use crate::quota::charge::{Receipt, refund};

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Charge(u32, u32),
    Refund,
    Credit(u32),
    Withdraw(u32),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..200_000_000).prop_map(Step::Wait),
        1 => (0_u64..5_000_000_000).prop_map(Step::Wait),
        12 => (0_u32..4, 0_u32..4).prop_map(|(a, b)| Step::Charge(a, b)),
        1 => Just(Step::Refund),
        1 => (0_u32..5).prop_map(Step::Credit),
        1 => (0_u32..5).prop_map(Step::Withdraw),
        1 => Just(Step::Settle),
    ]
}

/// Every spend of one key, and when how much was held.
#[derive(Debug, Default)]
struct Naive {
    spends: Vec<(u64, u32)>,
}

impl Naive {
    /// What was spent within `window` before `now`, that instant included.
    fn within(&self, now: u64, window: u64) -> u64 {
        let counts = |at: u64| at + window > now;
        let spends = self.spends.iter().filter(|(at, _)| counts(*at));
        spends.map(|(_, cost)| u64::from(*cost)).sum()
    }

    fn labelled(&self, window: u64, number: u64) -> u64 {
        let spends = self.spends.iter().filter(|(at, _)| at / window == number);
        spends.map(|(_, cost)| u64::from(*cost)).sum()
    }
}

const WINDOW: u64 = 1_000_000_000;

/// A slot and the drift.
const SLOT: u64 = 25_205_001;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn for_any_charges_no_window_holds_more_than_is_held(
        start in 0_u64..10_000_000_000,
        few in 1_u32..12,
        many in 65_u32..90,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let clock = Hand::at(start);
        let lease = always();
        let keys = [
            Key::holding(few, Pace::sliding(SECOND)),
            Key::holding(many, Pace::sliding(SECOND)),
            Key::holding(few, Pace::fixed(SECOND)),
        ];
        let mut logs = [Naive::default(), Naive::default(), Naive::default()];
        let mut held = [few, many, few];
        // The most that was held at any time: tokens that come in may be spent besides those that cool.
        let mut most = held;
        let mut last: Option<(Receipt, [u32; 3])> = None;
        for step in steps {
            match step {
                Step::Wait(nanoseconds) => clock.forward(Duration::from_nanos(nanoseconds)),
                Step::Settle => {
                    for key in &keys {
                        key.cell.settle(key.pace, &clock);
                    }
                }
                Step::Credit(count) => {
                    for (key, held) in keys.iter().zip(&mut held) {
                        key.cell.credit(count);
                        *held += count;
                    }
                }
                Step::Withdraw(count) => {
                    for (key, held) in keys.iter().zip(&mut held) {
                        *held -= key.cell.withdraw(count, 0);
                    }
                }
                Step::Refund => {
                    let Some((receipt, costs)) = last.take() else { continue };
                    let before = keys.each_ref().map(|key| key.cell.held().cool);
                    let items: Vec<_> = keys.iter().zip(costs).collect();
                    refund(&items, receipt);
                    for (nth, key) in keys.iter().enumerate() {
                        let back = before[nth] - key.cell.held().cool;
                        prop_assert!(back <= costs[nth]);
                        let (_, cost) = logs[nth].spends.last_mut().expect("charged");
                        *cost -= back;
                    }
                }
                Step::Charge(a, b) => {
                    let costs = [a, b, a];
                    let items: Vec<_> = keys.iter().zip(costs).collect();
                    let bounds = Bounds { lease: &lease, share: WHOLE };
                    let now = clock.now().monotonic.0;
                    let before = keys.each_ref().map(|key| key.cell.held());
                    match charge(&items, bounds, &clock) {
                        Answer::Admit(receipt) => {
                            for (log, cost) in logs.iter_mut().zip(costs) {
                                log.spends.push((now, cost));
                            }
                            last = Some((receipt, costs));
                        }
                        Answer::Again => prop_assert!(false, "nothing was put away"),
                        Answer::Deny(denial) => {
                            // A token may rest a slot too long where slots are counted, else only the drift.
                            // A limit that was raised has more tokens than places: the rest are in slots.
                            let which = denial.which;
                            let few_late = if most[0] > few { SLOT } else { 200_001 };
                            let (late, fixed) = [(few_late, false), (SLOT, false), (0, true)][which];
                            let used = if fixed {
                                logs[which].labelled(WINDOW, now / WINDOW)
                            } else {
                                logs[which].within(now, WINDOW + late)
                            };
                            let room = u64::from(held[which]).saturating_sub(used);
                            prop_assert!(
                                room < u64::from(costs[which]),
                                "{which} denied {} with {room} of {}: {before:?}",
                                costs[which], held[which],
                            );
                        }
                    }
                }
            }
            for (most, held) in most.iter_mut().zip(held) {
                *most = held.max(*most);
            }
            for (key, held) in keys.iter().zip(held) {
                let here = key.cell.held();
                prop_assert_eq!(
                    i64::from(here.free) + i64::from(here.cool),
                    i64::from(held),
                    "conserved"
                );
            }
        }
        for (nth, log) in logs.iter().enumerate().take(2) {
            let over = overspent(&log.spends, SECOND, most[nth]);
            prop_assert!(over.is_none(), "{nth}: {over:?} of {}", most[nth]);
        }
        for (at, _) in &logs[2].spends {
            prop_assert!(logs[2].labelled(WINDOW, at / WINDOW) <= u64::from(most[2]));
        }
    }

    #[test]
    fn a_slot_freed_one_early_is_caught(
        start in 0_u64..10_000_000_000,
        gaps in prop::collection::vec(0_u64..60_000_000, 400..500),
    ) {
        let early = Pace::sliding(SECOND).one_slot_early();
        let clock = Hand::at(start);
        let key = Key::holding(100, early);
        let mut log = Vec::new();
        for gap in gaps {
            clock.forward(Duration::from_nanos(gap));
            let now = clock.now().monotonic.0;
            if matches!(key.charge(20, &always(), &clock), Answer::Admit(_)) {
                log.push((now, 20));
            }
        }
        prop_assert!(overspent(&log, SECOND, 100).is_some());
    }
}
