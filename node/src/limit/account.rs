//! All limits of one payer: admitted by all of them, or counted by none.
//!
//! In: the limits that apply to a request, and both clocks. Out: [`Outcome`]. A core; [`super::accounts`]
//! keeps one for each payer.

use std::{sync::Arc, time::Duration};

use meridian_config::{document::Limit, name::RouteName};

use super::{
    sliding::Grain,
    window::{Now, Place, Reading, Window},
};

/// What came of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every limit had room and has counted the request. The states are those after it, in the order of
    /// the charge.
    Admit(Vec<LimitState>),
    /// Some limit had no room, and none has counted the request.
    Refuse {
        /// The limit that keeps the client waiting longest.
        limit: Arc<str>,
        /// How long until every limit has room, if nobody else uses it.
        retry_after: Duration,
        /// All limits as they stand, in the order of the charge.
        states: Vec<LimitState>,
    },
}

/// Where one limit stands, for the response's rate-limit fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    /// The limit's id.
    pub id: Arc<str>,
    /// Requests per window.
    pub amount: u64,
    /// The window's length.
    pub span: Duration,
    /// What is left.
    pub remaining: u64,
    /// Until more is left than now: the next place of a sliding window, the end of a fixed one.
    pub reset: Duration,
}

/// The limits that apply to one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits<'a> {
    /// Those of the plan, or of unidentified clients.
    pub(super) standing: &'a [Limit],
    /// The route, and those that stand at it.
    pub(super) route: (&'a RouteName, &'a [Limit]),
}

impl<'a> Limits<'a> {
    fn iter(self) -> impl Iterator<Item = &'a Limit> {
        self.standing.iter().chain(self.route.1)
    }

    pub(super) fn is_empty(self) -> bool {
        self.standing.is_empty() && self.route.1.is_empty()
    }
}

/// Whether a request that passes is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Booking {
    Count,
    Look,
}

/// One payer's windows. A handful, so that a scan by id beats a map.
#[derive(Debug, Default)]
pub(super) struct Account {
    windows: Vec<Window>,
}

impl Account {
    /// Charges one request to all `limits`.
    pub(super) fn charge(&mut self, limits: Limits<'_>, grain: Grain, now: Now) -> Outcome {
        self.settle(limits, grain, now, Booking::Count)
    }

    /// What a charge would come to, with the states as they are before it.
    pub(super) fn peek(&mut self, limits: Limits<'_>, grain: Grain, now: Now) -> Outcome {
        self.settle(limits, grain, now, Booking::Look)
    }

    fn settle(&mut self, limits: Limits<'_>, grain: Grain, now: Now, booking: Booking) -> Outcome {
        let mut slots = Vec::with_capacity(limits.iter().count());
        let mut fullest: Option<(Duration, usize)> = None;
        let at_route = Place::Route(limits.route.0.clone());
        let places = [
            (&Place::Standing, limits.standing),
            (&at_route, limits.route.1),
        ];
        for (place, limits) in places {
            for limit in limits {
                let slot = self.slot(place, limit, grain, now);
                let Reading { free, wait } = self.windows[slot].read(now);
                if free == 0 && fullest.is_none_or(|(longest, _)| wait > longest) {
                    fullest = Some((wait, slot));
                }
                slots.push((slot, limit.amount, free));
            }
        }
        if fullest.is_none() && booking == Booking::Count {
            for (slot, _, free) in &mut slots {
                self.windows[*slot].admit(now);
                *free -= 1;
            }
        }
        let states = slots
            .iter()
            .zip(limits.iter())
            .map(|(&(slot, amount, remaining), limit)| LimitState {
                id: self.windows[slot].id().clone(),
                amount,
                span: limit.span,
                remaining,
                reset: self.windows[slot].reset(now),
            })
            .collect();
        match fullest {
            None => Outcome::Admit(states),
            Some((retry_after, slot)) => Outcome::Refuse {
                limit: self.windows[slot].id().clone(),
                retry_after,
                states,
            },
        }
    }

    /// Whether dropping it would change nothing. Windows that have emptied are dropped on the way, those
    /// of limits that no document names any more among them.
    pub(super) fn idle(&mut self, now: Now) -> bool {
        self.windows.retain_mut(|window| !window.idle(now));
        self.windows.is_empty()
    }

    /// Where the limit's window is, made or brought up to date.
    fn slot(&mut self, place: &Place, limit: &Limit, grain: Grain, now: Now) -> usize {
        match self
            .windows
            .iter()
            .position(|window| window.is(place, &limit.id))
        {
            Some(slot) => {
                self.windows[slot].follow(limit, grain, now);
                slot
            }
            None => {
                self.windows
                    .push(Window::new(place.clone(), limit, grain, now));
                self.windows.len() - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use meridian_config::document::Window as Kind;
    use proptest::prelude::*;

    use super::*;

    const GRAIN: Grain = Grain(1024);

    fn limit(id: &str, amount: u64, seconds: u64, window: Kind) -> Limit {
        Limit {
            window,
            ..Limit::new(id, amount, Duration::from_secs(seconds))
        }
    }

    fn on<'a>(standing: &'a [Limit], route: &'a [Limit]) -> Limits<'a> {
        static PLANTS: std::sync::LazyLock<RouteName> =
            std::sync::LazyLock::new(|| "plants".into());
        Limits {
            standing,
            route: (&PLANTS, route),
        }
    }

    fn remaining(outcome: &Outcome) -> Vec<u64> {
        let (Outcome::Admit(states) | Outcome::Refuse { states, .. }) = outcome;
        states.iter().map(|state| state.remaining).collect()
    }

    fn after(start: Instant, since: Duration) -> Now {
        Now {
            instant: start + since,
            unix: since,
        }
    }

    #[test]
    fn a_refused_request_is_counted_by_no_limit() {
        let start = crate::limit::moment();
        let plan = [
            limit("tenant-hour", 100, 3600, Kind::Sliding),
            limit("tenant-second", 2, 1, Kind::Sliding),
        ];
        let mut account = Account::default();
        for left in [[99, 1], [98, 0]] {
            let outcome = account.charge(on(&plan, &[]), GRAIN, after(start, Duration::ZERO));
            assert_eq!(remaining(&outcome), left);
        }
        for _ in 0..50 {
            let outcome = account.charge(on(&plan, &[]), GRAIN, after(start, Duration::ZERO));
            let Outcome::Refuse {
                limit,
                retry_after,
                states,
            } = outcome
            else {
                panic!("admitted past the limit");
            };
            assert_eq!(&*limit, "tenant-second");
            assert_eq!(retry_after, Duration::from_millis(1001));
            assert_eq!(states[0].remaining, 98);
        }
    }

    #[test]
    fn of_two_full_limits_the_one_that_lasts_longer_is_named() {
        let start = crate::limit::moment();
        let plan = [limit("tenant-second", 1, 1, Kind::Sliding)];
        let route = [limit("route.plants-minute", 1, 60, Kind::Sliding)];
        let mut account = Account::default();
        account.charge(on(&plan, &route), GRAIN, after(start, Duration::ZERO));
        let outcome = account.charge(
            on(&plan, &route),
            GRAIN,
            after(start, Duration::from_millis(500)),
        );
        let Outcome::Refuse {
            limit, retry_after, ..
        } = outcome
        else {
            panic!("admitted")
        };
        assert_eq!(&*limit, "route.plants-minute");
        assert_eq!(retry_after, Duration::from_millis(59_501));
    }

    #[test]
    fn limits_of_one_name_at_different_routes_are_different_limits() {
        let start = crate::limit::moment();
        let (slow, fast) = (
            [limit("burst", 1, 60, Kind::Sliding)],
            [limit("burst", 1, 1, Kind::Sliding)],
        );
        let (plants, seeds) = (RouteName::from("plants"), RouteName::from("seeds"));
        let mut account = Account::default();
        let mut passes = |route, limits| {
            let limits = Limits {
                standing: &[],
                route: (route, limits),
            };
            let outcome = account.charge(limits, GRAIN, after(start, Duration::ZERO));
            matches!(outcome, Outcome::Admit(_))
        };
        assert!(passes(&plants, &slow));
        assert!(passes(&seeds, &fast));
        assert!(!passes(&plants, &slow));
        assert!(!passes(&seeds, &fast));
    }

    #[test]
    fn a_look_says_what_a_charge_would_and_counts_nothing() {
        let start = crate::limit::moment();
        let plan = [limit("tenant-minute", 2, 60, Kind::Sliding)];
        let mut account = Account::default();
        let now = after(start, Duration::ZERO);
        for left in [2, 1] {
            for _ in 0..5 {
                assert_eq!(remaining(&account.peek(on(&plan, &[]), GRAIN, now)), [left]);
            }
            account.charge(on(&plan, &[]), GRAIN, now);
        }
        let refused = account.peek(on(&plan, &[]), GRAIN, now);
        assert_eq!(refused, account.charge(on(&plan, &[]), GRAIN, now));
        assert!(matches!(refused, Outcome::Refuse { .. }));
    }

    #[test]
    fn an_account_is_idle_once_all_its_windows_have_emptied() {
        let start = crate::limit::moment();
        let plan = [
            limit("tenant-second", 5, 1, Kind::Sliding),
            limit("tenant-minute", 5, 60, Kind::Fixed),
        ];
        let mut account = Account::default();
        account.charge(on(&plan, &[]), GRAIN, after(start, Duration::from_secs(30)));
        assert!(!account.idle(after(start, Duration::from_secs(32))));
        assert!(account.idle(after(start, Duration::from_secs(60))));
    }

    /// Counts by keeping every admission for ever.
    struct Naive {
        limits: Vec<Limit>,
        admitted: Vec<Duration>,
    }

    impl Naive {
        /// Admissions that count now; `late` is how much longer than the span a place may be held.
        fn used(&self, limit: &Limit, now: Duration, late: Duration) -> u64 {
            let window = |at: Duration| at.as_nanos() / limit.span.as_nanos();
            let counts = |at: &&Duration| match limit.window {
                Kind::Sliding => now - **at < limit.span + late,
                Kind::Fixed => window(**at) == window(now),
            };
            self.admitted.iter().filter(counts).count() as u64
        }
    }

    proptest! {
        #[test]
        fn for_any_arrivals_and_limits_all_admit_or_none_counts(
            first in (1_u64..20, 1_u64..20, any::<bool>()),
            second in (1_u64..20, 1_u64..20, any::<bool>()),
            gaps in prop::collection::vec(0_u64..1500, 1..200),
        ) {
            let make = |id: &str, (amount, seconds, fixed): (u64, u64, bool)| {
                limit(id, amount, seconds, if fixed { Kind::Fixed } else { Kind::Sliding })
            };
            let mut naive = Naive {
                limits: vec![make("a", first), make("b", second)],
                admitted: Vec::new(),
            };
            let limits = naive.limits.clone();
            let start = crate::limit::moment();
            let mut now = Duration::ZERO;
            let mut account = Account::default();
            for gap in gaps {
                now += Duration::from_millis(gap);
                let outcome = account.charge(on(&limits[..1], &limits[1..]), GRAIN, after(start, now));
                let used: Vec<u64> =
                    naive.limits.iter().map(|limit| naive.used(limit, now, Duration::ZERO)).collect();
                match &outcome {
                    Outcome::Admit(states) => {
                        for (limit, used) in limits.iter().zip(&used) {
                            prop_assert!(*used < limit.amount, "{} passed", limit.id);
                        }
                        naive.admitted.push(now);
                        for (state, used) in states.iter().zip(&used) {
                            // A place that the naive model gave back within the last tick may be counted still.
                            prop_assert!(state.remaining < state.amount - used);
                        }
                    }
                    Outcome::Refuse { limit: full, retry_after, .. } => {
                        let full = limits.iter().find(|limit| *limit.id == **full).expect("one of ours");
                        prop_assert!(*retry_after > Duration::ZERO);
                        prop_assert!(*retry_after <= full.span + Duration::from_millis(1));
                        // A place is given back one tick late at most.
                        let was = naive.used(full, now, Duration::from_millis(1));
                        prop_assert!(was >= full.amount, "refused with room");
                    }
                }
            }
        }
    }
}
