//! When an issuer's keys are fetched, and what a token of an unknown key has to wait for.
//!
//! In: the present instant, ends of fetches, tokens with unknown keys. Out: when the next fetch is due,
//! and [`Want`]. A core; [`super::issuer`] holds it.
//!
//! Anybody can make up key ids, so they must not make us fetch at will: at most one fetch in
//! [`ASK_EVERY`] is begun on their behalf, and an id that a fetch has not brought is unknown without
//! another one for [`UNKNOWN_FOR`]. But a good token whose key is new must never be called bad: as long as
//! no fetch has ended well since its key was first asked for, there is no verdict on it.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

/// When an issuer's keys are fetched.
#[derive(Debug)]
pub(super) struct Schedule {
    refresh: Duration,
    /// A fetch (or the first load from disk) is under way.
    busy: bool,
    /// When the next fetch is due.
    next: Instant,
    /// Fetches that failed since the last that did not.
    failures: u32,
    /// Fetches that ended well.
    successes: u64,
    /// A token of an unknown key waits for the next fetch.
    asked: bool,
    /// When a fetch was last begun for such a token.
    answered: Option<Instant>,
    /// Keys that were asked for and not there.
    unknown: LruCache<[u8; 32], Missed>,
}

#[derive(Debug, Clone, Copy)]
struct Missed {
    since: Instant,
    /// Fetches that had ended well then.
    successes: u64,
}

/// What a token whose key is not known has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Nothing: a fetch since its key was first asked for has not brought the key.
    Nothing,
    /// The fetch that is under way or due within [`WAIT_MAX`].
    Fetch,
    /// Longer than a request may wait.
    TooLong,
}

impl Schedule {
    /// A schedule that begins busy: the first thing is to load what was saved.
    pub(super) fn new(refresh: Duration, now: Instant) -> Self {
        Self {
            refresh,
            busy: true,
            next: now,
            failures: 0,
            successes: 0,
            asked: false,
            answered: None,
            unknown: LruCache::new(UNKNOWN_MAX),
        }
    }

    /// The saved keys, if any, have been loaded; they have this age.
    pub(super) fn loaded(&mut self, age: Option<Duration>, now: Instant) {
        self.busy = false;
        self.next = now + age.map_or(Duration::ZERO, |age| self.refresh.saturating_sub(age));
    }

    /// When the next fetch is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Begins a fetch if one is due.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        if self.busy || now < self.next {
            return false;
        }
        self.busy = true;
        if std::mem::take(&mut self.asked) {
            self.answered = Some(now);
        }
        true
    }

    /// A fetch has ended. `spread` in 0..1 moves the next one by up to a tenth, so that nodes that started
    /// together do not ask together for ever.
    pub(super) fn end(&mut self, well: bool, spread: f64, now: Instant) {
        self.busy = false;
        self.next = now
            + if well {
                self.failures = 0;
                self.successes += 1;
                self.refresh.mul_f64(1.0 - 0.1 * spread.clamp(0.0, 1.0))
            } else {
                self.failures = self.failures.saturating_add(1);
                (RETRY_MIN * 2_u32.pow((self.failures - 1).min(5)))
                    .min(RETRY_MAX)
                    .min(self.refresh)
            };
    }

    /// A token's key, known by this digest, is not among the keys.
    pub(super) fn want(&mut self, key: [u8; 32], now: Instant) -> Want {
        let missed = Missed {
            since: now,
            successes: self.successes,
        };
        let first = *self.unknown.get_or_insert(key, || missed);
        if now.saturating_duration_since(first.since) >= UNKNOWN_FOR {
            self.unknown.put(key, missed);
        } else if self.successes > first.successes {
            return Want::Nothing;
        }
        if self.busy {
            return Want::Fetch;
        }
        self.asked = true;
        let due = self
            .answered
            .map_or(now, |answered| now.max(answered + ASK_EVERY));
        self.next = self.next.min(due);
        if self.next <= now + WAIT_MAX {
            Want::Fetch
        } else {
            Want::TooLong
        }
    }
}

/// Between two fetches that tokens with unknown keys ask for. Issuers publish a key well before they use
/// it, so this is how long a rotation without notice may hurt.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(10);

/// How long a request waits for keys. A round trip or two to any issuer takes less, and a client that
/// waits longer than this has given up.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(2);

/// How long a key that a fetch did not bring stays unknown without another fetch.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// Unknown keys remembered for an issuer; one that is forgotten counts as new. 20 kB.
const UNKNOWN_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// After a failed fetch: 1 s, then twice as long each time, up to half a minute. Known keys serve all the
/// while, so there is no hurry; an issuer that comes back should not meet a crowd.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const REFRESH: Duration = Duration::from_secs(600);

    fn moment() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn ready(now: Instant) -> Schedule {
        let mut schedule = Schedule::new(REFRESH, now);
        schedule.loaded(Some(Duration::ZERO), now);
        schedule
    }

    fn fetch(schedule: &mut Schedule, well: bool, now: Instant) {
        assert!(schedule.begin(now));
        schedule.end(well, 0.0, now);
    }

    #[test]
    fn saved_keys_are_fetched_again_when_their_own_refresh_is_due() {
        let now = moment();
        let mut schedule = Schedule::new(REFRESH, now);
        assert!(!schedule.begin(now), "busy until what was saved is loaded");
        schedule.loaded(Some(REFRESH / 4), now);
        assert_eq!(schedule.next(), now + REFRESH * 3 / 4);
        let mut without = Schedule::new(REFRESH, now);
        without.loaded(None, now);
        assert_eq!(without.next(), now);
    }

    #[test]
    fn a_storm_of_made_up_keys_makes_a_fetch_in_ten_seconds() {
        let start = moment();
        let mut schedule = ready(start);
        let mut fetches = 0;
        for step in 0..10_000_u32 {
            let now = start + Duration::from_millis(10) * step;
            let mut key = [0; 32];
            key[..4].copy_from_slice(&step.to_le_bytes());
            schedule.want(key, now);
            if schedule.begin(now) {
                fetches += 1;
                schedule.end(true, 0.0, now);
            }
        }
        assert_eq!(fetches, 10, "in 100 s");
    }

    #[test]
    fn the_first_unknown_key_is_asked_for_at_once_and_then_has_its_verdict() {
        let now = moment();
        let mut schedule = ready(now);
        assert_eq!(schedule.want([1; 32], now), Want::Fetch);
        assert_eq!(schedule.next(), now);
        fetch(&mut schedule, true, now);
        assert_eq!(schedule.want([1; 32], now), Want::Nothing);
        assert_eq!(schedule.want([1; 32], now + 30 * SECOND), Want::Nothing);
        assert_eq!(
            schedule.want([1; 32], now + 61 * SECOND),
            Want::Fetch,
            "worth another look"
        );
    }

    #[test]
    fn without_a_fetch_that_ended_well_there_is_no_verdict() {
        let now = moment();
        let mut schedule = ready(now);
        schedule.want([1; 32], now);
        fetch(&mut schedule, false, now);
        assert_eq!(
            schedule.want([1; 32], now),
            Want::Fetch,
            "the retry is a second away"
        );
        fetch(&mut schedule, true, now + SECOND);
        assert_eq!(schedule.want([1; 32], now + SECOND), Want::Nothing);
        // A key that nobody asked for before the last fetch may be newer than it.
        assert_eq!(schedule.want([2; 32], now + 2 * SECOND), Want::TooLong);
        assert_eq!(schedule.next(), now + SECOND + ASK_EVERY);
        assert_eq!(schedule.want([2; 32], now + 9 * SECOND), Want::Fetch);
    }

    #[test]
    fn a_fetch_under_way_is_joined() {
        let now = moment();
        let mut schedule = ready(now);
        schedule.want([1; 32], now);
        assert!(schedule.begin(now));
        assert_eq!(schedule.want([2; 32], now), Want::Fetch);
        schedule.end(true, 0.0, now + SECOND);
        assert_eq!(schedule.want([2; 32], now + SECOND), Want::Nothing);
        assert_eq!(
            schedule.next(),
            now + SECOND + REFRESH,
            "joining asks for nothing more"
        );
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_up_to_half_a_minute() {
        let mut now = moment();
        let mut schedule = ready(now);
        now += REFRESH;
        let mut waits = Vec::new();
        for _ in 0..8 {
            fetch(&mut schedule, false, now);
            waits.push((schedule.next() - now).as_secs());
            now = schedule.next();
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        fetch(&mut schedule, true, now);
        assert_eq!(schedule.next(), now + REFRESH);
    }

    #[test]
    fn refreshes_of_nodes_that_started_together_spread_over_a_tenth() {
        let now = moment();
        for (spread, expected) in [(0.0, 600), (0.5, 570), (1.0, 540), (7.0, 540)] {
            let mut schedule = ready(now);
            schedule.want([1; 32], now);
            assert!(schedule.begin(now));
            schedule.end(true, spread, now);
            assert_eq!(schedule.next(), now + Duration::from_secs(expected));
        }
    }
}
