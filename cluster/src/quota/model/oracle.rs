//! What must hold whatever happens, by true time: no window admits more than the limit.

use std::collections::{BTreeMap, VecDeque};

use crate::quota::{
    key::KeyId,
    params::Params,
    terms::{Kind, Terms},
};

/// The documents so far, and until when each was in somebody's use.
#[derive(Debug, Clone, Default)]
pub(super) struct Oracle {
    documents: Vec<BTreeMap<KeyId, Terms>>,
    /// By document: true time, in microseconds, when the oldest in use was this or an older one.
    in_use: Vec<u64>,
    /// By key and document: when it was in deficit and this document was in use within a window.
    sliding: BTreeMap<KeyId, VecDeque<(u64, u32)>>,
    labelled: BTreeMap<(KeyId, u64), u64>,
    pub(super) admitted: u64,
    pub(super) most_used: f64,
}

impl Oracle {
    /// A new document; its number counts from 1.
    pub(super) fn publish(&mut self, limits: BTreeMap<KeyId, Terms>) -> u64 {
        self.documents.push(limits);
        self.in_use.push(0);
        self.documents.len() as u64
    }

    pub(super) fn document(&self, as_of: u64) -> BTreeMap<KeyId, Terms> {
        let at = usize::try_from(as_of).expect("few documents");
        self.documents[at - 1].clone()
    }

    pub(super) fn newest(&self) -> u64 {
        self.documents.len() as u64
    }

    /// The oldest document that anybody uses now.
    pub(super) fn uses(&mut self, oldest: u64, now: u64) {
        for (number, used) in (1..).zip(&mut self.in_use) {
            if number >= oldest {
                *used = now;
            }
        }
    }

    /// The oldest document that was in use within the last window of a key.
    pub(super) fn oldest_within(&self, span: u64, now: u64) -> u64 {
        let used = (1..).zip(&self.in_use);
        let mut used = used.filter(|(_, used)| **used + span >= now);
        used.next().map_or(self.newest(), |(number, _)| number)
    }

    fn bound(&self, key: &KeyId, span: u64, now: u64) -> u64 {
        let used = self.in_use.iter().map(|used| used + span >= now);
        let newest = self.documents.len().saturating_sub(1);
        let documents = self.documents.iter().enumerate();
        let counting = documents
            .zip(used)
            .filter(|((at, _), used)| *used || *at == newest);
        let limits = counting.filter_map(|((_, limits), _)| limits.get(key));
        limits
            .map(|terms| u64::from(terms.limit()))
            .max()
            .unwrap_or(0)
    }

    /// Notes an admission, or says which promise it breaks.
    pub(super) fn admit(
        &mut self,
        key: KeyId,
        terms: &Terms,
        cost: u32,
        window: u64,
        now: u64,
        params: &Params,
    ) -> Result<(), String> {
        self.admitted += u64::from(cost);
        let span = terms.window_ms() * 1000;
        // What is spent under an old limit just before it is out of use counts for a window more, by a slow clock.
        let settles = span + span * u64::from(params.drift_ppm) / 250_000 + 10_000;
        let settles = match terms.kind() {
            Kind::Sliding => settles,
            Kind::Fixed => settles + 2 * super::micros(params.offset),
        };
        let bound = self.bound(&key, settles, now);
        let sum = match terms.kind() {
            Kind::Sliding => {
                let spends = self.sliding.entry(key).or_default();
                spends.push_back((now, cost));
                while spends.front().is_some_and(|(at, _)| at + span <= now) {
                    spends.pop_front();
                }
                spends.iter().map(|(_, cost)| u64::from(*cost)).sum()
            }
            Kind::Fixed => {
                let sum = self.labelled.entry((key, window)).or_default();
                *sum += u64::from(cost);
                *sum
            }
        };
        self.most_used = self.most_used.max(sum as f64 / bound.max(1) as f64);
        if sum <= bound {
            Ok(())
        } else {
            Err(format!(
                "{now}: {sum} admitted in a window of {key:?} ({terms:?}), of which {bound} may be"
            ))
        }
    }
}
