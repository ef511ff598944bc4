//! What a scenario says must hold, beside what always must.

use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Check;
use crate::invariant::{self, Wanted};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHolds {
    /// Invariants that the run must put to the test.
    #[serde(default)]
    tries: Vec<Spanned<String>>,
    /// 99 % of outages are shorter.
    outages: Option<Spanned<String>>,
    /// After the last fault.
    equal: Option<Spanned<String>>,
    /// Of requests that no limit turns away.
    served: Option<Spanned<String>>,
    /// Of the operator's documents.
    written: Option<Spanned<String>>,
    /// Lives of nodes that go on with their share of limits because no quorum answers.
    unanswered: Option<usize>,
}

impl Check<'_> {
    pub(super) fn holds(&mut self, raw: Option<&RawHolds>) -> Wanted {
        let Some(raw) = raw else {
            return Wanted::default();
        };
        let mut tries = Vec::new();
        for name in &raw.tries {
            match invariant::names().find(|known| *known == name.value) {
                Some(known) => tries.push(known),
                None => {
                    let known: Vec<&str> = invariant::names().collect();
                    let message = format!(
                        "holds.tries: there is no invariant {:?}; use one of {}",
                        name.value,
                        known.join(", ")
                    );
                    self.mistake(name.referenced, message);
                }
            }
        }
        // What an operator's document puts to the test, and what share of it can be served, is that document's affair.
        let own = self.operator.is_none();
        Wanted {
            tries: if own { tries } else { Vec::new() },
            outages: self.tighter("holds.outages", raw.outages.as_ref(), OUTAGES),
            equal: self.tighter("holds.equal", raw.equal.as_ref(), EQUAL),
            served: self
                .at_least("holds.served", raw.served.as_ref())
                .filter(|_| own),
            written: self.at_least("holds.written", raw.written.as_ref()),
            unanswered: raw.unanswered,
        }
    }

    /// A bound that is no wider than the promise.
    fn tighter(
        &mut self,
        path: &str,
        text: Option<&Spanned<String>>,
        promised: Duration,
    ) -> Option<Duration> {
        let text = text?;
        let bound = self.span(path, text);
        if bound > promised {
            let message =
                format!("{path}: every run is held to {promised:?}; write less, or leave it out");
            self.mistake(text.referenced, message);
        }
        Some(bound)
    }

    fn at_least(&mut self, path: &str, text: Option<&Spanned<String>>) -> Option<f64> {
        text.map(|_| self.share(path, text))
    }
}

/// What is promised of outages.
const OUTAGES: Duration = invariant::BUDGET;

/// What is promised of convergence.
const EQUAL: Duration = invariant::EQUAL;
