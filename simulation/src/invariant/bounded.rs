//! Bounded (docs/design.md, invariant 9).
//!
//! Queues, memory and connections stay under their stated bounds: whatever a node holds is sampled through the run,
//! each amount beside its bound. What a healthy node holds must not grow with time, so a bound that is reached is a
//! leak, or a bound that is wrong.

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
        for sample in &history.samples[self.seen..] {
            for held in sample.held.iter().filter(|held| held.count > held.bound) {
                wrong.push(Breach {
                    at: sample.at,
                    says: format!(
                        "{} holds {} {}; the bound is {}",
                        sample.node, held.count, held.what, held.bound
                    ),
                });
            }
        }
        self.seen = history.samples.len();
        wrong
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::workload::{Held, Sample};

    #[test]
    fn an_amount_above_its_bound_is_told_and_one_at_it_is_not() {
        let at = Duration::from_secs(3);
        let held = |count| Held {
            what: "tasks",
            count,
            bound: 10,
        };
        let history = History {
            samples: vec![Sample {
                at,
                node: "a".to_owned(),
                held: vec![held(10), held(11)],
            }],
            ..History::default()
        };
        let says = "a holds 11 tasks; the bound is 10".to_owned();
        let mut watch = Watch::default();
        assert_eq!(watch.look(&history), [Breach { at, says }]);
        assert_eq!(watch.look(&history), []);
    }
}
