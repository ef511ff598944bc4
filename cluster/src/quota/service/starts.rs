//! Lives of this node that began without a quorum's word, and so spent the node's base share once more.
//!
//! In: when one begins so, and when the ledger has answered. Out: how many base shares a window of a limit may hold
//! beyond it because of them, and a text for the file in which they outlive the process. A core: the clock is an
//! argument, ms since the Unix epoch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quota::terms::{Share, Terms};

/// Lives that are remembered one by one; of more, the oldest two count as one in two places.
const MOST: usize = 64;

/// For so long an answered one may matter: the longest window, and then some.
const KEPT: Duration = Duration::from_secs(2 * 366 * 24 * 3600);

/// Drift and offset of clocks: a part of the window, and some time.
const SLACK: (u32, Duration) = (1000, Duration::from_secs(1));

/// Lives that began without a quorum's word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Starts(Vec<Start>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    /// When it began to spend.
    begun_ms: u64,
    /// When the ledger had answered; none: not yet.
    answered_ms: Option<u64>,
    count: u32,
}

/// What a node says of such lives of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alone {
    /// Its base share, now or before it was started.
    pub share: Option<Share>,
    /// Its lives that began without a quorum's word.
    pub lives: Vec<Life>,
}

/// Lives of a node that began without a quorum's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// How long ago the last of them began to spend, in ms.
    pub begun_ms: u64,
    /// How long ago the ledger had answered, in ms; none: not yet.
    pub answered_ms: Option<u64>,
    /// How many.
    pub count: u32,
}

impl Starts {
    /// A life goes on with the base share that the node had.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.0.push(Start {
            begun_ms: now_ms,
            answered_ms: None,
            count: 1,
        });
        if self.0.len() > MOST {
            let (first, second) = (self.0.remove(0), &mut self.0[0]);
            let later = |(one, other): (u64, u64)| one.max(other);
            second.answered_ms = first.answered_ms.zip(second.answered_ms).map(later);
            second.begun_ms = second.begun_ms.max(first.begun_ms);
            second.count = second.count.saturating_add(first.count);
        }
    }

    /// The ledger has answered. Whether that is news.
    pub(super) fn answer(&mut self, now_ms: u64) -> bool {
        let mut news = false;
        for start in &mut self.0 {
            if start.answered_ms.is_none() {
                start.answered_ms = Some(now_ms);
                news = true;
            }
        }
        let kept = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
        self.0.retain(|start| {
            let answered = start.answered_ms;
            answered.is_none_or(|at| at.saturating_add(kept) > now_ms)
        });
        news
    }

    /// The same as others are told of it.
    pub(super) fn tell(&self, share: Option<Share>, now_ms: u64) -> Alone {
        let lives = self.0.iter().map(|start| Life {
            begun_ms: now_ms.saturating_sub(start.begun_ms),
            answered_ms: start.answered_ms.map(|at| now_ms.saturating_sub(at)),
            count: start.count,
        });
        Alone {
            share,
            lives: lives.collect(),
        }
    }

    /// As the file has it: a line a start, when, how many, and when it was answered.
    pub(super) fn text(&self) -> String {
        let line = |start: &Start| match start.answered_ms {
            Some(at) => format!("{} {} {at}\n", start.begun_ms, start.count),
            None => format!("{} {}\n", start.begun_ms, start.count),
        };
        self.0.iter().map(line).collect()
    }

    /// What a file says; a damaged line is left out.
    pub(super) fn read(text: &str) -> Self {
        let start = |line: &str| {
            let mut numbers = line.split(' ').map(str::parse::<u64>);
            let begun_ms = numbers.next()?.ok()?;
            let count = u32::try_from(numbers.next()?.ok()?).ok()?;
            let answered_ms = numbers.next().transpose().ok()?;
            Some(Start {
                begun_ms,
                answered_ms,
                count,
            })
        };
        let lines = text.lines().take(MOST);
        Self(lines.filter_map(start).collect())
    }
}

impl Alone {
    /// How many tokens a window of such a limit may hold beyond it because of these lives.
    ///
    /// Each life that began within the window may have spent the share that the one before had spent already. Of those
    /// that began earlier, one share in all: what the node had lent, or what was given on when it counted as gone, is
    /// spent by others, until a window after the ledger has answered.
    pub fn overshoot(&self, terms: &Terms) -> u64 {
        if terms.on_lapse() == crate::quota::terms::OnLapse::Deny {
            return 0;
        }
        let base = self.share.map_or(0, |share| terms.base(share));
        u64::from(self.starts(terms.window())) * u64::from(base)
    }

    /// So many base shares.
    pub fn starts(&self, window: Duration) -> u32 {
        let (part, time) = SLACK;
        let window = window.saturating_add(window / part).saturating_add(time);
        let within = |ms: u64| Duration::from_millis(ms) <= window;
        let (lately, earlier): (Vec<&Life>, Vec<&Life>) =
            self.lives.iter().partition(|life| within(life.begun_ms));
        let matters = |life: &&Life| life.answered_ms.is_none_or(within);
        let before = u32::from(earlier.iter().any(matters));
        let counts = lately.iter().map(|life| life.count);
        counts.fold(before, u32::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::terms::{Kind, OnLapse};

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn told(starts: &Starts, now_ms: u64) -> Alone {
        starts.tell(Some(Share { seat: 0, seats: 2 }), now_ms)
    }

    #[test]
    fn each_start_counts_for_a_window_and_the_last_until_a_window_after_the_answer() {
        let mut starts = Starts::default();
        assert_eq!(told(&starts, 0).starts(HOUR), 0);
        starts.begin(1_000);
        starts.begin(31_000);
        assert_eq!(told(&starts, 40_000).starts(MINUTE), 2);
        // The first is over a minute ago, and counts with all that are: nobody has answered.
        assert_eq!(told(&starts, 70_000).starts(MINUTE), 2);
        assert_eq!(told(&starts, 600_000).starts(MINUTE), 1);
        assert_eq!(told(&starts, 600_000).starts(HOUR), 2);
        assert!(starts.answer(600_000));
        assert!(!starts.answer(601_000));
        assert_eq!(told(&starts, 650_000).starts(MINUTE), 1);
        assert_eq!(told(&starts, 670_000).starts(MINUTE), 0);
        assert_eq!(told(&starts, 670_000).starts(HOUR), 2);
        // A clock that was set back makes none of them forgotten.
        assert_eq!(told(&starts, 0).starts(MINUTE), 2);
    }

    #[test]
    fn the_bound_is_their_base_shares_and_nothing_where_there_is_no_base() {
        let mut starts = Starts::default();
        starts.begin(0);
        starts.begin(1);
        let terms = |limit, on_lapse| Terms::new(limit, HOUR, Kind::Sliding, on_lapse).unwrap();
        let alone = told(&starts, 10);
        assert_eq!(alone.overshoot(&terms(1000, OnLapse::Base)), 2 * 250);
        assert_eq!(alone.overshoot(&terms(1000, OnLapse::Deny)), 0);
        assert_eq!(alone.overshoot(&terms(64, OnLapse::Base)), 0);
        let shareless = starts.tell(None, 10);
        assert_eq!(shareless.overshoot(&terms(1000, OnLapse::Base)), 0);
    }

    #[test]
    fn a_file_reads_back_bounded_and_damage_is_left_out() {
        let mut starts = Starts::default();
        for ms in 0..200 {
            starts.begin(ms);
            if ms == 50 {
                starts.answer(60);
            }
        }
        let back = Starts::read(&starts.text());
        assert_eq!(back, starts);
        assert_eq!(back.0.len(), MOST);
        assert_eq!(told(&back, 1_000).starts(HOUR), 200);
        let damaged = "5 1\nx\n7\n8 -1\n9 1 z\n10 2 11\n\u{0}";
        assert_eq!(told(&Starts::read(damaged), 12).starts(HOUR), 3);
    }
}
