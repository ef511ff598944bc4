//! How many retries may there be? A share of the requests, and a small floor.
//!
//! In: requests and wishes to retry, each with `now`. Out: yes or no. Shell: [`super::Client`]. Without
//! this bound retries multiply the load of an upstream that already fails under it.

use std::time::Instant;

/// Counts requests and retries over the last [`WINDOW_SECONDS`].
#[derive(Debug)]
pub(crate) struct Budget {
    share: f64,
    origin: Instant,
    /// One slot a second, a ring over the window.
    slots: [Slot; WINDOW_SECONDS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    second: u64,
    requests: u32,
    retries: u32,
}

impl Budget {
    /// Retries may add at most `share` of the requests (0.2: one in five).
    pub(crate) fn new(share: f64, now: Instant) -> Self {
        Self {
            share,
            origin: now,
            slots: [Slot::default(); WINDOW_SECONDS],
        }
    }

    /// Counts a request's first try.
    pub(crate) fn request(&mut self, now: Instant) {
        let slot = self.slot(now);
        slot.requests = slot.requests.saturating_add(1);
    }

    /// Takes a retry out of the budget, or says that none is left.
    #[must_use]
    pub(crate) fn retry(&mut self, now: Instant) -> bool {
        let second = self.second(now);
        let (mut requests, mut retries) = (0_u64, 0_u64);
        for slot in &self.slots {
            if slot.second + WINDOW_SECONDS as u64 > second {
                requests += u64::from(slot.requests);
                retries += u64::from(slot.retries);
            }
        }
        #[allow(
            clippy::cast_precision_loss,
            reason = "counts of ten seconds lie far below 2^52"
        )]
        let allowed = f64::from(FLOOR) + self.share * requests as f64;
        #[allow(clippy::cast_precision_loss, reason = "as above")]
        if (retries + 1) as f64 > allowed {
            return false;
        }
        let slot = self.slot(now);
        slot.retries = slot.retries.saturating_add(1);
        true
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs()
    }

    fn slot(&mut self, now: Instant) -> &mut Slot {
        let second = self.second(now);
        let at =
            usize::try_from(second % WINDOW_SECONDS as u64).expect("it is below the ring's length");
        let slot = &mut self.slots[at];
        if slot.second != second {
            *slot = Slot {
                second,
                ..Slot::default()
            };
        }
        slot
    }
}

/// Long enough to smooth a burst, short enough that an old calm hour does not pay for a storm.
const WINDOW_SECONDS: usize = 10;

/// Retries a window that a quiet service may always use: one a second, so that a lone failed request is
/// still tried again.
const FLOOR: u32 = 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn a_quiet_service_may_retry_up_to_the_floor() {
        let now = start();
        let mut budget = Budget::new(0.2, now);
        budget.request(now);
        assert_eq!((0..100).filter(|_| budget.retry(now)).count(), 10);
    }

    #[test]
    fn a_busy_one_up_to_its_share() {
        let now = start();
        let mut budget = Budget::new(0.2, now);
        (0..1000).for_each(|_| budget.request(now));
        assert_eq!((0..1000).filter(|_| budget.retry(now)).count(), 210);
    }

    #[test]
    fn what_was_spent_comes_back_when_the_window_has_passed() {
        let now = start();
        let mut budget = Budget::new(0.2, now);
        while budget.retry(now) {}
        assert!(!budget.retry(now + Duration::from_secs(9)));
        assert!(budget.retry(now + Duration::from_secs(10)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_everything_that_happened(
            events in proptest::collection::vec((0..3_000_u64, any::<bool>()), 0..400),
            share in 0.0..1.0_f64,
        ) {
            let origin = start();
            let mut budget = Budget::new(share, origin);
            let mut at = Duration::ZERO;
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            for (gap, is_retry) in events {
                at += Duration::from_millis(gap / 10);
                let second = at.as_secs();
                if is_retry {
                    let recent = |times: &[u64]| {
                        let count = times.iter().filter(|time| **time + 10 > second).count();
                        f64::from(u32::try_from(count).expect("few events"))
                    };
                    let expected = recent(&retries) + 1.0 <= 10.0 + share * recent(&requests);
                    prop_assert_eq!(budget.retry(origin + at), expected);
                    if expected {
                        retries.push(second);
                    }
                } else {
                    budget.request(origin + at);
                    requests.push(second);
                }
            }
        }
    }
}
