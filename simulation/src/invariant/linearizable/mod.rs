//! Linearizable admin (docs/design.md, invariant 3).
//!
//! The history of acknowledged admin reads and writes has a linear order (Herlihy and Wing 1990): each deed takes
//! effect at one instant between its call and its answer. The document is one register of a number and a text; a
//! write adds one to the number, one with an expected revision (`If-Match`) only where that is the newest. A write
//! without an answer may have taken effect at any time after its call, or never; a read without an answer says
//! nothing. What was refused with "nothing was written" must not show up: it has no part in any order, so that a read
//! of it fits none.
//!
//! The checker is our own: stateright's tester, the one that a crate offers, tries all orders without a memory of
//! those that failed and without a bound, and brings a model checker and its web server along. `search` is the
//! algorithm of Wing and Gong (1993) with Lowe's memory (2017), as Knossos and Porcupine have it.

mod search;

use std::time::Duration;

use self::search::{Found, search};
use super::Breach;
use crate::workload::{Act, Deed, History, Written};

/// When the history was looked at last.
#[derive(Debug, Default)]
pub(super) struct Watch {
    looked: Option<(Duration, usize)>,
}

impl Watch {
    /// Looks at all of the history, once in [`EVERY`].
    pub(super) fn look(&mut self, history: &History, now: Duration) -> Vec<Breach> {
        let seen = history.deeds.len();
        if let Some((at, before)) = self.looked
            && (now < at + EVERY || before == seen)
        {
            return Vec::new();
        }
        self.looked = Some((now, seen));
        judge(&history.deeds)
    }
}

/// What is wrong with the whole history.
pub(super) fn judge(deeds: &[Deed]) -> Vec<Breach> {
    let end = Duration::MAX;
    match search(&known_by(deeds, end), CONFIGURATIONS) {
        Found::Order => return Vec::new(),
        Found::None => {}
        Found::TooMany => {
            let at = deeds.iter().filter_map(|deed| deed.returned).max();
            return vec![Breach {
                at: at.unwrap_or_default(),
                says: format!(
                    "the history of {} deeds is too tangled to be judged within {CONFIGURATIONS} configurations",
                    deeds.len()
                ),
            }];
        }
    }
    // A prefix of a linearizable history is one too, so the first answer that cannot be can be looked for by halves.
    let mut answers: Vec<&Deed> = deeds.iter().filter(|it| it.returned.is_some()).collect();
    answers.sort_by_key(|deed| deed.returned);
    let fits = |answer: &&Deed| {
        let until = answer.returned.unwrap_or(end);
        !matches!(search(&known_by(deeds, until), CONFIGURATIONS), Found::None)
    };
    let first = answers.partition_point(fits);
    let Some(last) = answers.get(first) else {
        // Cannot be: without an answer everything fits.
        return Vec::new();
    };
    vec![Breach {
        at: last.returned.unwrap_or_default(),
        says: format!(
            "{}: no order of the acknowledged reads and writes until then allows that; {}",
            tell(last),
            before(&answers[..first])
        ),
    }]
}

/// What was known of the deeds at that time: an answer that came later was none yet.
fn known_by(deeds: &[Deed], until: Duration) -> Vec<Deed> {
    let begun = deeds.iter().filter(|deed| deed.called <= until);
    let known = begun.map(|deed| {
        if deed.returned.is_some_and(|returned| returned <= until) {
            return deed.clone();
        }
        let act = match &deed.act {
            Act::Read(_) => Act::Read(None),
            Act::Write { expect, digest, .. } => Act::Write {
                expect: *expect,
                digest: digest.clone(),
                outcome: Written::Unknown,
            },
        };
        Deed {
            returned: None,
            act,
            ..deed.clone()
        }
    });
    known.collect()
}

fn tell(deed: &Deed) -> String {
    let (node, called) = (&deed.node, deed.called);
    let returned = deed.returned.unwrap_or_default();
    let what = match &deed.act {
        Act::Read(saw) => format!(
            "a read saw revision {}",
            saw.as_ref().map_or(0, |saw| saw.0)
        ),
        Act::Write {
            expect, outcome, ..
        } => {
            let expect = expect.map_or_else(String::new, |expect| format!(" on revision {expect}"));
            match outcome {
                Written::Made(number) => format!("a write{expect} became revision {number}"),
                Written::Conflict(number) => {
                    format!("a write{expect} was told that {number} is the newest")
                }
                Written::Nothing | Written::Unknown => format!("a write{expect} was not made"),
            }
        }
    };
    format!("through {node}, from {called:?} to {returned:?}, {what}")
}

/// The newest revision that was known of when the answer came.
fn before(answers: &[&Deed]) -> String {
    let number = |deed: &&Deed| match &deed.act {
        Act::Read(saw) => saw.as_ref().map(|saw| saw.0),
        Act::Write {
            outcome: Written::Made(number) | Written::Conflict(number),
            ..
        } => Some(*number),
        Act::Write { .. } => None,
    };
    let newest = answers
        .iter()
        .filter_map(|deed| Some((number(deed)?, deed)))
        .max_by_key(|(number, _)| *number);
    newest.map_or_else(
        || "nothing was known before".to_owned(),
        |(_, deed)| format!("before, {}", tell(deed)),
    )
}

/// Between two looks at a run that goes on: the whole history is judged each time.
const EVERY: Duration = Duration::from_secs(2);

/// Configurations that a search may try: a run of some hundred deeds, four or five at once, needs as many as it has
/// deeds and a few; so many take a second and some 50 MB.
const CONFIGURATIONS: usize = 200_000;

#[cfg(test)]
mod tests;
