//! One key's record: who holds extra tokens of it, and which are cooling. A core.
//!
//! In: what a node says, what a lease's end or a life's end takes back. Out: how many tokens the pool has.

use serde::{Deserialize, Serialize};

use crate::quota::{
    message::{Rests, Span, Stamp},
    params::Params,
    terms::{Kind, Terms},
};

/// Cooling tokens of a key are gathered in so many spans of its window.
const SLOTS: u64 = 40;

/// One node's tokens beyond its base: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Total given, less what was taken back.
    pub(super) given: u32,
    /// Total handed back.
    pub(super) returned: u32,
    /// The node's cell that both count from.
    pub(super) born: u32,
    /// The node, by its place in the roster.
    pub(super) holder: u16,
    /// By its last word it has lent of its base. It may have that again by now and not know it, and say so once more.
    pub(super) lent: bool,
}

impl Row {
    /// Tokens that the node holds beyond its base; less than 0: what it has handed back of its base.
    pub(super) fn extra(&self) -> i64 {
        self.given.wrapping_sub(self.returned).cast_signed().into()
    }
}

/// Tokens of a key that are booked as base: of all nodes, and of each that has handed some back.
#[derive(Debug, Clone, Default)]
pub(super) struct Booked {
    pub(super) sum: u64,
    /// By holder.
    pub(super) lenders: Vec<(u16, u64)>,
}

impl Booked {
    /// What a node holds beyond what is booked as its base. It can't have lent more than that: the lease of its
    /// base may be over, or the limit have become less.
    pub(super) fn held_beyond(&self, holder: u16, extra: i64) -> i64 {
        if extra >= 0 {
            return extra;
        }
        let base = self.lenders.iter().find(|(lender, _)| *lender == holder);
        let base = base.map_or(0, |(_, base)| i64::try_from(*base).unwrap_or(i64::MAX));
        extra.max(-base)
    }
}

/// Tokens that are free from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cooling {
    /// Log time in ms; for a fixed window the first window.
    pub(super) when: u64,
    pub(super) count: u32,
}

/// How what a node holds cools, by its last word on that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resting {
    /// The node, by its place in the roster.
    pub(super) holder: u16,
    /// When it was sent, in ms of the node's clock.
    sent_ms: u64,
    /// Log time at which it was heard.
    heard_ms: u64,
    /// See [`Rests`].
    spans: Vec<Span>,
}

/// A key that somebody has asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    pub(super) terms: Terms,
    pub(super) as_of: u64,
    /// For a fixed window: the newest that anybody has counted in; no token of the pool was spent in it.
    pub(super) window: u64,
    /// Log time of the last word on it.
    pub(super) touched: u64,
    /// By holder, each once.
    pub(super) rows: Vec<Row>,
    /// By time, each once.
    pub(super) cooling: Vec<Cooling>,
    /// By holder, of those that have a row, hold something and have said it.
    pub(super) resting: Vec<Resting>,
}

impl Book {
    pub(super) fn new(terms: Terms, as_of: u64) -> Self {
        Self {
            terms,
            as_of,
            window: 0,
            touched: 0,
            rows: Vec::new(),
            cooling: Vec::new(),
            resting: Vec::new(),
        }
    }

    /// Tokens that nobody holds, with so many booked as base; less than 0 is a deficit.
    pub(super) fn pool(&self, base: &Booked, now: Stamp) -> i64 {
        let extra: i64 = self
            .rows
            .iter()
            .map(|row| base.held_beyond(row.holder, row.extra()))
            .sum();
        let taken = base.sum + self.cooling_sum(now);
        i64::from(self.terms.limit()) - i64::try_from(taken).unwrap_or(i64::MAX / 2) - extra
    }

    /// Whether a node has handed back of its base.
    pub(super) fn has_lent(&self, holder: u16) -> bool {
        let found = self.rows.iter().find(|row| row.holder == holder);
        found.is_some_and(|row| row.extra() < 0)
    }

    /// Tokens that are cooling here.
    pub(super) fn cooling_sum(&self, now: Stamp) -> u64 {
        let cooling = &self.cooling[self.cooled_spans(now)..];
        cooling.iter().map(|span| u64::from(span.count)).sum()
    }

    fn cooled_spans(&self, now: Stamp) -> usize {
        let reached = match self.terms.kind() {
            Kind::Sliding => now.log_ms,
            Kind::Fixed => self.window,
        };
        self.cooling.partition_point(|span| span.when <= reached)
    }

    /// Units against the bound on the ledger's size.
    pub(super) fn size(&self) -> usize {
        let resting = self.resting.iter().map(|resting| resting.spans.len());
        self.rows.len() + self.cooling.len() + resting.sum::<usize>()
    }

    /// Takes down how what a node holds cools, from an ask sent at `sent_ms` of its clock.
    pub(super) fn note(&mut self, holder: u16, rests: &Rests, sent_ms: u64, now: Stamp) {
        if self.terms.kind() == Kind::Fixed {
            return;
        }
        let noted = Resting {
            holder,
            sent_ms,
            heard_ms: now.log_ms,
            spans: rests.spans.clone(),
        };
        match self.resting_of(holder) {
            Ok(at) => self.resting[at] = noted,
            Err(at) => {
                self.resting.reserve_exact(1);
                self.resting.insert(at, noted);
            }
        }
    }

    fn resting_of(&self, holder: u16) -> Result<usize, usize> {
        self.resting
            .binary_search_by_key(&holder, |resting| resting.holder)
    }

    /// Forgets how what a node holds cools: it holds nothing any more.
    pub(super) fn forget(&mut self, holder: u16) -> Option<Resting> {
        let at = self.resting_of(holder).ok()?;
        Some(self.resting.remove(at))
    }

    /// Cools what a node held beyond its base that stopped spending that at `then` for certain, and when its clock was at
    /// `deadline_ms`. What it may have spent until then is free a window later. What it has said cools beyond its
    /// deadline it has not spent again, so that it is free when it has cooled. Of all that cools, base has what cools
    /// longest: a window holds no more of a node than its base and what cools of the rest.
    pub(super) fn take_back(&mut self, row: Row, deadline_ms: u64, then: Stamp, params: &Params) {
        let Ok(mut left) = u32::try_from(row.extra()) else {
            return;
        };
        let latest = then
            .log_ms
            .saturating_add(params.stretched_ms(self.terms.window_ms()));
        if let Some(resting) = self.forget(row.holder) {
            let mut since = 0;
            for span in resting.spans {
                // The end of a span is told in whole ms, rounded up.
                let least = resting.sent_ms.saturating_add(since);
                if least >= deadline_ms || params.planted.rests_without_deadline {
                    let count = span.count.min(left);
                    left -= count;
                    let when = resting
                        .heard_ms
                        .saturating_add(params.stretched_ms(span.ms));
                    self.cool_until(count, when.min(latest));
                }
                since = span.ms.saturating_sub(1);
            }
        }
        self.cool(left, then, params);
    }

    /// Whether what was spent until `then` may be spent again.
    pub(super) fn cooled(&self, then: Stamp, now: Stamp, params: &Params) -> bool {
        match self.terms.kind() {
            Kind::Sliding => {
                let rest = params.stretched_ms(self.terms.window_ms());
                now.log_ms >= then.log_ms.saturating_add(rest)
            }
            Kind::Fixed => self.window >= self.window_after(then, params),
        }
    }

    /// The first fixed window that begins after all clocks are past this moment.
    fn window_after(&self, then: Stamp, params: &Params) -> u64 {
        let past = then.unix_ms.saturating_add(2 * offset_ms(params));
        past / self.terms.window_ms() + 1
    }

    /// Cools tokens that may have been spent until `then`.
    pub(super) fn cool(&mut self, count: u32, then: Stamp, params: &Params) {
        let when = match self.terms.kind() {
            Kind::Sliding => {
                let rest = params.stretched_ms(self.terms.window_ms());
                then.log_ms.saturating_add(rest)
            }
            Kind::Fixed => self.window_after(then, params),
        };
        self.cool_until(count, when);
    }

    /// Cools tokens until this log time, or window.
    pub(super) fn cool_until(&mut self, count: u32, when: u64) {
        if count == 0 {
            return;
        }
        let when = match self.terms.kind() {
            Kind::Sliding => when.next_multiple_of((self.terms.window_ms() / SLOTS).max(1)),
            Kind::Fixed => when,
        };
        match self.cooling.binary_search_by_key(&when, |span| span.when) {
            Ok(at) => self.cooling[at].count = self.cooling[at].count.saturating_add(count),
            Err(at) => self.cooling.insert(at, Cooling { when, count }),
        }
    }

    /// Forgets what has cooled.
    pub(super) fn free(&mut self, now: Stamp) {
        self.cooling.drain(..self.cooled_spans(now));
    }

    /// Takes note of a fixed window that somebody counts in.
    pub(super) fn reach(&mut self, window: u64) {
        if self.terms.kind() == Kind::Fixed {
            self.window = self.window.max(window);
        }
    }

    /// Whether nothing would be lost with it: idle keys have no record. A fixed window must be over by every
    /// clock, lest a slow one spend again what was spent in it.
    pub(super) fn idle(&self, now: Stamp, params: &Params) -> bool {
        let nothing = self.rows.is_empty() && self.cooling.is_empty();
        nothing
            && match self.terms.kind() {
                Kind::Sliding => true,
                Kind::Fixed => {
                    let span = self.terms.window_ms() + 2 * offset_ms(params);
                    now.log_ms >= self.touched.saturating_add(params.stretched_ms(span))
                }
            }
    }
}

/// How far a wall clock may be off.
pub(super) fn offset_ms(params: &Params) -> u64 {
    params.offset.as_millis().try_into().unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::quota::terms::OnLapse;

    fn book(kind: Kind) -> Book {
        let window = Duration::from_secs(60);
        let terms = Terms::new(1000, window, kind, OnLapse::Base).unwrap();
        Book::new(terms, 1)
    }

    fn at(log_ms: u64, unix_ms: u64) -> Stamp {
        Stamp { log_ms, unix_ms }
    }

    #[test]
    fn a_row_takes_sixteen_bytes() {
        assert_eq!(size_of::<Row>(), 16);
    }

    #[test]
    fn sliding_tokens_are_free_a_stretched_window_later() {
        let (mut book, params) = (book(Kind::Sliding), Params::DEFAULT);
        book.cool(10, at(0, 0), &params);
        assert_eq!(book.pool(&Booked::default(), at(60_000, 0)), 990);
        assert_eq!(
            book.pool(&Booked::default(), at(60_038, 0)),
            990,
            "its slot is not over"
        );
        assert_eq!(book.pool(&Booked::default(), at(61_500, 0)), 1000);
        book.free(at(61_500, 0));
        assert!(book.idle(at(61_500, 0), &params));
    }

    #[test]
    fn fixed_tokens_are_free_in_the_next_window_that_somebody_counts_in() {
        let (mut book, params) = (book(Kind::Fixed), Params::DEFAULT);
        // 400 ms before the end of window 4: a clock that is late would still be in it.
        book.cool(10, at(0, 299_600), &params);
        book.reach(5);
        assert_eq!(book.pool(&Booked::default(), at(0, 0)), 990);
        book.reach(6);
        assert_eq!(book.pool(&Booked::default(), at(0, 0)), 1000);
        book.free(at(0, 0));
        assert!(!book.idle(at(60_000, 0), &params));
        assert!(book.idle(at(60_600, 0), &params));
    }

    proptest! {
        #[test]
        fn cooling_tokens_are_few_spans_and_all_come_back(
            spends in prop::collection::vec((0..60_000_u64, 1..9_u32), 0..400),
        ) {
            let (mut book, params) = (book(Kind::Sliding), Params::DEFAULT);
            for (when, count) in &spends {
                book.cool(*count, at(*when, 0), &params);
            }
            prop_assert!(book.cooling.len() <= 41);
            let sum: u64 = spends.iter().map(|(_, count)| u64::from(*count)).sum();
            prop_assert_eq!(book.cooling_sum(at(0, 0)), sum);
            prop_assert_eq!(book.pool(&Booked::default(), at(125_000, 0)), 1000);
        }
    }
}
