//! The search for a linear order of deeds. A core.
//!
//! It takes deeds one by one, each of those that no other one had to precede, and turns back where none fits. A
//! configuration (which deeds were taken, and the register after them) that has failed once is not tried again.

use std::{collections::BTreeSet, time::Duration};

use crate::workload::{Act, Deed, Written};

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none.
    None,
    /// It came to no end within the bound.
    TooMany,
}

/// The register: the newest revision, and the digest of its text.
type Register<'a> = (u64, &'a str);

/// Looks for an order; tries so many configurations at most.
pub(super) fn search(deeds: &[Deed], most: usize) -> Found {
    let mut deeds: Vec<&Deed> = deeds.iter().filter(|deed| says_something(deed)).collect();
    // What has no answer is tried last: as a rule it is not needed.
    deeds.sort_by_key(|deed| (deed.returned.is_none(), deed.called));
    let answered = deeds.iter().filter(|deed| deed.returned.is_some()).count();
    let mut path = Path {
        taken: vec![0; deeds.len().div_ceil(WORD)],
        left: answered,
        register: (0, ""),
        deeds,
    };
    let mut tried: BTreeSet<(Vec<u64>, Register<'_>)> = BTreeSet::new();
    let mut steps: Vec<(usize, Register<'_>)> = Vec::new();
    let mut from = 0;
    while path.left > 0 {
        if let Some((index, after)) = path.next(from) {
            let before = path.register;
            path.take(index, after);
            if tried.insert((path.taken.clone(), after)) {
                if tried.len() > most {
                    return Found::TooMany;
                }
                steps.push((index, before));
                from = 0;
            } else {
                path.put_back(index, before);
                from = index + 1;
            }
        } else if let Some((index, before)) = steps.pop() {
            path.put_back(index, before);
            from = index + 1;
        } else {
            return Found::None;
        }
    }
    Found::Order
}

/// Deeds taken so far, and what they made of the register.
struct Path<'a> {
    /// Those with an answer, in the order of their calls; then those without.
    deeds: Vec<&'a Deed>,
    /// One bit a deed.
    taken: Vec<u64>,
    /// Deeds with an answer that are not taken.
    left: usize,
    register: Register<'a>,
}

impl<'a> Path<'a> {
    /// The next deed from this position on that may come now, and the register after it.
    fn next(&self, from: usize) -> Option<(usize, Register<'a>)> {
        let mut first_answer = Duration::MAX;
        let mut candidate = None;
        for (index, deed) in self.deeds.iter().enumerate() {
            if self.is_taken(index) {
                continue;
            }
            // Another one had its answer before this one began.
            if deed.called > first_answer {
                continue;
            }
            if let Some(returned) = deed.returned {
                first_answer = first_answer.min(returned);
                if must_be(deed).is_some_and(|number| number < self.register.0) {
                    // The number never falls again.
                    return None;
                }
            }
            if index >= from && candidate.is_none() {
                candidate = apply(deed, self.register).map(|after| (index, after));
            }
        }
        candidate
    }

    fn is_taken(&self, index: usize) -> bool {
        self.taken[index / WORD] & (1 << (index % WORD)) != 0
    }

    fn take(&mut self, index: usize, after: Register<'a>) {
        self.taken[index / WORD] |= 1 << (index % WORD);
        self.left -= usize::from(self.deeds[index].returned.is_some());
        self.register = after;
    }

    fn put_back(&mut self, index: usize, before: Register<'a>) {
        self.taken[index / WORD] &= !(1 << (index % WORD));
        self.left += usize::from(self.deeds[index].returned.is_some());
        self.register = before;
    }
}

fn says_something(deed: &Deed) -> bool {
    match &deed.act {
        Act::Read(saw) => saw.is_some() && deed.returned.is_some(),
        Act::Write { outcome, .. } => *outcome != Written::Nothing,
    }
}

/// The register after a deed; none: it cannot come now.
pub(super) fn apply<'a>(deed: &'a Deed, register: Register<'a>) -> Option<Register<'a>> {
    let (number, text) = register;
    match &deed.act {
        Act::Read(saw) => {
            let (seen, digest) = saw.as_ref()?;
            (*seen == number && digest == text).then_some(register)
        }
        Act::Write {
            expect,
            digest,
            outcome,
        } => {
            let fits = expect.is_none_or(|expect| expect == number);
            let written = (number + 1, digest.as_str());
            match outcome {
                Written::Made(made) => (fits && *made == number + 1).then_some(written),
                Written::Unknown => fits.then_some(written),
                Written::Conflict(newest) => (!fits && *newest == number).then_some(register),
                Written::Nothing => None,
            }
        }
    }
}

/// The number that the register must have for this deed; none: any.
fn must_be(deed: &Deed) -> Option<u64> {
    match &deed.act {
        Act::Read(saw) => saw.as_ref().map(|saw| saw.0),
        Act::Write { outcome, .. } => match outcome {
            Written::Made(made) => made.checked_sub(1),
            Written::Conflict(newest) => Some(*newest),
            Written::Unknown | Written::Nothing => None,
        },
    }
}

/// Bits of a word.
const WORD: usize = 64;
