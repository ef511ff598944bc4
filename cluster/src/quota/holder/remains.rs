//! What of a node's base still cools when a life ends in order: the next life waits for that, and not for a whole window.
//!
//! In: how each key's spends cool at the end, and how long ago the ledger says that was. Out: what of a key's base is not
//! to be spent yet. A core; the shell keeps it in a file between two lives.
//!
//! Of keys that are not named here nothing cooled, of those that are [told of](Remains::tells_of).

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::super::{
    key::KeyId,
    message::{BaseRight, Past, RESTS, Span},
    params::Params,
    terms::{Kind, OnLapse, Terms},
};
use crate::wire::{self, Unreadable};

/// How a life left the base of its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// Which life ended.
    pub(super) incarnation: u64,
    /// Its last ask: it means something only where the ledger has heard all of them.
    pub(super) seq: u64,
    /// The part of base that was its own.
    pub(super) seat: u16,
    /// For how long, in ms, nobody else had spent of that.
    pub(super) unspent_ms: u64,
    /// How it had spent of each key: by when after the end that is free, in ms of its clock.
    keys: BTreeMap<KeyId, Vec<Span>>,
}

impl Remains {
    /// Nothing cools of any key.
    pub(in super::super) fn new(past: Past, seat: u16, unspent: Duration) -> Self {
        Self {
            incarnation: past.incarnation,
            seq: past.seq,
            seat,
            unspent_ms: unspent.as_millis().try_into().unwrap_or(u64::MAX),
            keys: BTreeMap::new(),
        }
    }

    /// Of which keys it tells: of those with windows that are long beside a restart, and whose base stays a node's own
    /// while it is away. The others wait for a window.
    #[must_use]
    pub fn tells_of(terms: &Terms, params: &Params) -> bool {
        terms.kind() == Kind::Sliding
            && terms.on_lapse() == OnLapse::Base
            && terms.window() >= 2 * params.extra_lease_least
            && !terms.pooled()
    }

    /// So much of a key cools.
    pub(in super::super) fn add(&mut self, key: KeyId, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        match self.keys.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(spans);
            }
            Entry::Occupied(entry) => {
                let all = entry.into_mut();
                all.extend(spans);
                all.sort_by_key(|span| span.ms);
                *all = fewer(all);
            }
        }
    }

    /// What is left of all that when so much time has passed.
    pub(super) fn after(&self, passed: Duration, params: &Params) -> BTreeMap<KeyId, Vec<Span>> {
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let left = self.keys.iter().map(|(key, spans)| {
            let spans = spans.iter().map(|span| Span {
                ms: params.stretched_ms(span.ms).saturating_sub(passed),
                count: span.count,
            });
            (*key, spans.filter(|span| span.ms > 0).collect())
        });
        left.collect()
    }

    /// How many tokens of a key cool still when so much time has passed.
    pub(super) fn left(&self, key: &KeyId, passed: Duration, params: &Params) -> u32 {
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let spans = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        let cools = spans
            .iter()
            .filter(|span| params.stretched_ms(span.ms) > passed);
        cools.fold(0, |sum, span| sum.saturating_add(span.count))
    }

    /// By when after the end nothing of any key cools, by the clock of the life that ended.
    pub(super) fn lasts(&self) -> Duration {
        let spans = self.keys.values().flatten();
        Duration::from_millis(spans.map(|span| span.ms).max().unwrap_or(0))
    }

    /// The same when all that has cooled.
    pub(super) fn cooled(&self) -> Self {
        Self {
            keys: BTreeMap::new(),
            ..*self
        }
    }

    /// How long ago that was, in ms of log time, if the ledger knows of no later life of the node and has heard all that
    /// this one said, and its part of base is the same.
    pub(super) fn ended(&self, right: &BaseRight) -> Option<u64> {
        let past = right.past?;
        let same = past.incarnation == self.incarnation
            && past.seq >= self.seq
            && right.share.seat == self.seat;
        same.then_some(past.ended_ms)
    }

    /// As a file.
    pub(in super::super) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Of a file.
    pub(in super::super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        wire::decode_state(crate::version::FIRST, bytes)
    }
}

/// As many spans as may be kept at most: what is put together is free with the last.
fn fewer(spans: &[Span]) -> Vec<Span> {
    let of_each = spans.len().div_ceil(RESTS).max(1);
    let together = spans.chunks(of_each).map(|chunk| Span {
        ms: chunk.last().map_or(0, |last| last.ms),
        count: chunk
            .iter()
            .fold(0, |sum, span| u32::saturating_add(sum, span.count)),
    });
    together.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::terms::{Scope, Share};

    const KEY: KeyId = KeyId([1; 16]);

    fn remains() -> Remains {
        let past = Past {
            incarnation: 7,
            seq: 40,
            ended_ms: 0,
        };
        let mut remains = Remains::new(past, 2, Duration::MAX);
        let span = |ms, count| Span { ms, count };
        remains.add(KEY, vec![span(1000, 5), span(60_000, 7)]);
        remains
    }

    #[test]
    fn what_cools_is_less_as_time_passes_by_every_clock() {
        let (remains, params) = (remains(), Params::DEFAULT);
        let left = |ms| remains.left(&KEY, Duration::from_millis(ms), &params);
        assert_eq!([left(0), left(1000), left(1003)], [12, 12, 7]);
        assert_eq!([left(60_037), left(60_038)], [7, 0]);
        assert_eq!(remains.left(&KeyId([2; 16]), Duration::ZERO, &params), 0);
        assert_eq!(remains.lasts(), Duration::from_secs(60));
        assert_eq!(remains.cooled().lasts(), Duration::ZERO);
        let after = remains.after(Duration::from_millis(1003), &params);
        let span = Span {
            ms: 59_035,
            count: 7,
        };
        assert_eq!(after[&KEY], [span]);
    }

    #[test]
    fn it_counts_after_that_life_only_and_with_all_that_it_said() {
        let remains = remains();
        let right = |incarnation, seq, seat| BaseRight {
            share: Share { seat, seats: 4 },
            scope: Scope::WHOLE,
            unspent_ms: 0,
            waited_ms: 0,
            past: Some(Past {
                incarnation,
                seq,
                ended_ms: 900,
            }),
        };
        assert_eq!(remains.ended(&right(7, 40, 2)), Some(900));
        for other in [
            right(8, 40, 2),
            right(6, 40, 2),
            right(7, 39, 2),
            right(7, 40, 1),
        ] {
            assert_eq!(remains.ended(&other), None, "{other:?}");
        }
        let first = BaseRight {
            past: None,
            ..right(7, 40, 2)
        };
        assert_eq!(remains.ended(&first), None);
    }

    #[test]
    fn a_key_has_few_spans_and_none_is_free_early() {
        let mut remains = remains();
        let spans = (1..=40).map(|at| Span {
            ms: at * 1500,
            count: 1,
        });
        remains.add(KEY, spans.collect());
        assert!(remains.keys[&KEY].len() <= RESTS);
        let params = Params::DEFAULT;
        for at in 0..=70 {
            let ms = at * 1000;
            let own = u32::from(ms < 1003) * 5 + u32::from(ms < 60_038) * 7;
            let others = (1..=40).filter(|at| params.stretched_ms(at * 1500) > ms);
            let must = own + u32::try_from(others.count()).unwrap();
            assert!(remains.left(&KEY, Duration::from_millis(ms), &params) >= must);
        }
        assert_eq!(remains.left(&KEY, Duration::from_secs(61), &params), 0);
    }

    #[test]
    fn a_file_of_it_reads_back_and_damage_is_told() {
        let bytes = remains().encode();
        assert_eq!(Remains::decode(&bytes), Ok(remains()));
        assert!(Remains::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
