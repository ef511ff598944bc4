//! What limits were before they became other ones.
//!
//! In: the limits of a place (a tenant, a route) before and after a change. Out: those whose count another one begins
//! anew, each until what was spent of it matters no more. A core. docs/quota.md, "A limit that becomes another one".

use std::collections::BTreeMap;

use meridian_config::document::{Limit, SMALL_MOST};

use super::item::terms;

/// A limit as it was, and until when it counts beside the one that has its id now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// As it was.
    pub limit: Limit,
    /// In ms since the Unix epoch, by the node's clock.
    pub until_ms: u64,
}

impl Former {
    /// What a change of limits leaves of those before, for the longer of both windows; what is left of earlier changes
    /// stays as long as it said. What is in force again counts as itself.
    pub fn after(known: &[Self], before: &[Limit], now: &[Limit], unix_ms: u64) -> Vec<Self> {
        let left = before.iter().map(|limit| {
            let next = now.iter().filter(|next| next.id == limit.id);
            let spans = next.map(|next| next.span).chain([limit.span]);
            let longest = spans.max().unwrap_or(limit.span).as_millis();
            let longest = u64::try_from(longest).unwrap_or(u64::MAX);
            Self {
                limit: limit.clone(),
                until_ms: unix_ms.saturating_add(longest),
            }
        });
        let mut all: BTreeMap<String, Self> = BTreeMap::new();
        for former in known.iter().cloned().chain(left) {
            let limit = &former.limit;
            let over = former.until_ms <= unix_ms;
            if over || limit.shadow || now.iter().any(|now| is_one_count(now, limit)) {
                continue;
            }
            let name = format!("{} {:?} {:?}", limit.id, shape(limit), limit.per);
            match all.get_mut(&name) {
                // Of two of one count the greater one, as long as either matters.
                Some(known) => {
                    let until_ms = known.until_ms.max(former.until_ms);
                    let greater = limit.amount > known.limit.amount;
                    if greater {
                        *known = former;
                    }
                    known.until_ms = until_ms;
                }
                None => {
                    all.insert(name, former);
                }
            }
        }
        all.into_values().collect()
    }

    /// Whether a request that pays these limits pays this one too.
    pub fn counts_beside(&self, limits: &[Limit], unix_ms: u64) -> bool {
        unix_ms < self.until_ms
            && self
                .next(limits)
                .is_some_and(|next| !is_raised_over_small(&self.limit, next))
    }

    /// By how much a window may pass the limit that has its id now: all that it admitted, where that one was raised over
    /// [`SMALL_MOST`] and is in force at once.
    pub fn passes(&self, limits: &[Limit], unix_ms: u64) -> u64 {
        let next = self.next(limits).filter(|_| unix_ms < self.until_ms);
        next.filter(|next| is_raised_over_small(&self.limit, next))
            .map_or(0, |_| self.limit.amount)
    }

    fn next<'a>(&self, limits: &'a [Limit]) -> Option<&'a Limit> {
        let mut limits = limits.iter();
        limits
            .find(|limit| limit.id == self.limit.id && limit.per == self.limit.per && !limit.shadow)
    }
}

/// Whether what is spent of one is spent of the other.
fn is_one_count(one: &Limit, other: &Limit) -> bool {
    one.id == other.id && one.per == other.per && shape(one) == shape(other)
}

fn shape(limit: &Limit) -> Option<meridian_cluster::quota::terms::Shape> {
    terms(limit).map(|terms| terms.shape())
}

/// Whether nothing but the amount is another, and it is more: a customer with a greater plan does not wait for a day.
fn is_raised_over_small(before: &Limit, now: &Limit) -> bool {
    let same =
        (before.span, before.window, before.on_lapse) == (now.span, now.window, now.on_lapse);
    same && before.amount <= SMALL_MOST && now.amount > SMALL_MOST
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meridian_config::document::{OnLapse, Per, Window};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: u64 = 3_600_000;

    fn limit(amount: u64) -> Limit {
        Limit::new("hourly", amount, HOUR)
    }

    fn left(before: &Limit, now: &[Limit]) -> Vec<Former> {
        Former::after(&[], std::slice::from_ref(before), now, 1000)
    }

    #[test]
    fn another_amount_is_the_same_count_and_another_form_is_not() {
        let before = limit(1000);
        assert_eq!(left(&before, &[limit(500)]), []);
        let fixed = Limit {
            window: Window::Fixed,
            ..limit(1000)
        };
        let daily = Limit::new("hourly", 1000, 24 * HOUR);
        let strict = Limit {
            on_lapse: OnLapse::Deny,
            ..limit(1000)
        };
        for (now, until_ms) in [
            (fixed, HOUR_MS),
            (daily, 24 * HOUR_MS),
            (strict, HOUR_MS),
            (limit(60), HOUR_MS),
        ] {
            let now = [now];
            let left = left(&before, &now);
            let expected = Former {
                limit: before.clone(),
                until_ms: until_ms + 1000,
            };
            assert_eq!(left, [expected], "{now:?}");
            assert!(left[0].counts_beside(&now, 1000));
            assert!(!left[0].counts_beside(&now, until_ms + 1000));
            assert_eq!(left[0].passes(&now, 1000), 0);
        }
    }

    #[test]
    fn what_is_raised_over_64_is_in_force_at_once_and_the_page_says_by_how_much_it_may_pass() {
        let now = [limit(100)];
        let left = left(&limit(60), &now);
        assert!(!left[0].counts_beside(&now, 1000));
        assert_eq!(left[0].passes(&now, 1000), 60);
        assert_eq!(left[0].passes(&now, HOUR_MS + 1000), 0);
        // With another window as well it is no raise.
        let daily = [Limit::new("hourly", 100, 24 * HOUR)];
        assert!(left[0].counts_beside(&daily, 1000));
    }

    #[test]
    fn what_was_taken_away_counts_again_if_it_comes_back_as_another_and_what_comes_back_as_it_was_is_itself()
     {
        let gone = left(&limit(1000), &[]);
        assert!(!gone[0].counts_beside(&[], 2000));
        let fixed = [Limit {
            window: Window::Fixed,
            ..limit(1000)
        }];
        let back = Former::after(&gone, &[], &fixed, 2000);
        assert_eq!(back, gone);
        assert!(back[0].counts_beside(&fixed, 2000));
        assert_eq!(Former::after(&back, &fixed, &[limit(900)], 3000).len(), 1);
        assert_eq!(Former::after(&gone, &[], &[limit(900)], 2000), []);
        assert_eq!(Former::after(&gone, &[], &fixed, HOUR_MS + 1000), []);
    }

    #[test]
    fn of_two_of_one_count_the_greater_stays_for_the_longer_time() {
        let gone = left(&limit(1000), &[]);
        let later = Former::after(&gone, &[limit(700)], &[], 5000);
        assert_eq!(later.len(), 1);
        assert_eq!(
            (later[0].limit.amount, later[0].until_ms),
            (1000, HOUR_MS + 5000)
        );
    }

    #[test]
    fn a_limit_that_turned_nobody_away_or_counted_others_is_none_before() {
        let shadow = Limit {
            shadow: true,
            ..limit(1000)
        };
        let fixed = [Limit {
            window: Window::Fixed,
            ..limit(1000)
        }];
        assert_eq!(left(&shadow, &fixed), []);
        let each = Limit {
            per: Per::Subject,
            ..limit(10)
        };
        assert!(!left(&each, &fixed)[0].counts_beside(&fixed, 1000));
    }
}
