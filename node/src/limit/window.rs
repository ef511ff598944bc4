//! One limit's count for one payer.
//!
//! In: the limit as the document says it, and both clocks. Out: what is left and when more will be. A
//! core; [`super::account`] holds one for each limit.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_config::{
    document::{Limit, Window as Kind},
    name::RouteName,
};

use super::sliding::{Grain, Sliding};

/// The two clocks a charge is judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Monotonic: sliding windows.
    pub(super) instant: Instant,
    /// Since the Unix epoch: fixed windows, which are aligned to it on every node alike.
    pub(super) unix: Duration,
}

/// Where a limit stands. Ids are unique within a place only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the tenant's plan, or in `defaults.unidentified`. Not the plan's name: a tenant that changes its
    /// plan keeps what it has used.
    Standing,
    /// At a route.
    Route(RouteName),
}

/// One limit's count for one payer.
#[derive(Debug)]
pub(super) struct Window {
    place: Place,
    id: Arc<str>,
    span: Duration,
    amount: u64,
    count: Count,
}

#[derive(Debug)]
enum Count {
    Sliding(Sliding),
    Fixed { index: u128, used: u64 },
}

/// What one window says before anything is booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Places that are free.
    pub(super) free: u64,
    /// When to try again; zero where there is room.
    pub(super) wait: Duration,
}

impl Window {
    pub(super) fn new(place: Place, limit: &Limit, grain: Grain, now: Now) -> Self {
        Self {
            place,
            id: limit.id.as_str().into(),
            span: limit.span,
            amount: limit.amount,
            count: match limit.window {
                Kind::Sliding => {
                    Count::Sliding(Sliding::new(limit.span, limit.amount, grain, now.instant))
                }
                Kind::Fixed => Count::Fixed {
                    index: index(now, limit.span),
                    used: 0,
                },
            },
        }
    }

    /// Whether it counts the limit with this id at this place.
    pub(super) fn is(&self, place: &Place, id: &str) -> bool {
        *self.id == *id && self.place == *place
    }

    /// The limit's id.
    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Makes the window count what the limit says now.
    ///
    /// A new amount keeps what was used: raising a limit is no refund, lowering it no punishment beyond
    /// it. Another span or kind is another window and starts empty.
    pub(super) fn follow(&mut self, limit: &Limit, grain: Grain, now: Now) {
        let same_kind = matches!(
            (&self.count, limit.window),
            (Count::Sliding(_), Kind::Sliding) | (Count::Fixed { .. }, Kind::Fixed)
        );
        if !same_kind || self.span != limit.span {
            *self = Self::new(self.place.clone(), limit, grain, now);
        } else if self.amount != limit.amount {
            self.amount = limit.amount;
            if let Count::Sliding(sliding) = &mut self.count {
                sliding.adapt(limit.amount, grain);
            }
        }
    }

    /// What is free now.
    pub(super) fn read(&mut self, now: Now) -> Reading {
        let (amount, span) = (self.amount, self.span);
        match &mut self.count {
            Count::Sliding(sliding) => {
                let free = amount.saturating_sub(sliding.used(now.instant));
                let wait = match free {
                    0 => sliding.room_below(amount, now.instant),
                    _ => Duration::ZERO,
                };
                Reading { free, wait }
            }
            Count::Fixed {
                index: current,
                used,
            } => {
                let present = index(now, span);
                if present > *current {
                    (*current, *used) = (present, 0);
                } else if present + 1 < *current {
                    // The wall clock was set back by more than a window. What this window held before is
                    // forgotten, so nothing more is admitted in it; the next one is whole again.
                    (*current, *used) = (present, amount);
                }
                let free = amount.saturating_sub(*used);
                let wait = if free == 0 {
                    until_end(now, span)
                } else {
                    Duration::ZERO
                };
                Reading { free, wait }
            }
        }
    }

    /// Books one admission; the caller has seen that there is room.
    pub(super) fn admit(&mut self, now: Now) {
        match &mut self.count {
            Count::Sliding(sliding) => sliding.admit(now.instant),
            Count::Fixed { used, .. } => *used += 1,
        }
    }

    /// How long until more is free than now: the next place of a sliding window, the end of a fixed one.
    pub(super) fn reset(&self, now: Now) -> Duration {
        match &self.count {
            Count::Sliding(sliding) => sliding.next_free(now.instant).unwrap_or_default(),
            Count::Fixed { .. } => until_end(now, self.span),
        }
    }

    /// Whether it holds nothing that could refuse a later request.
    pub(super) fn idle(&mut self, now: Now) -> bool {
        self.read(now).free >= self.amount
    }
}

/// Which fixed window the wall clock is in.
fn index(now: Now, span: Duration) -> u128 {
    now.unix.as_nanos() / span.as_nanos().max(1)
}

/// Time to the end of the present fixed window.
fn until_end(now: Now, span: Duration) -> Duration {
    let past = now.unix.as_nanos() % span.as_nanos().max(1);
    let left = span.as_nanos() - past;
    Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAIN: Grain = Grain(1024);

    fn limit(amount: u64, seconds: u64, window: Kind) -> Limit {
        Limit {
            window,
            ..Limit::new("tenant-minute", amount, Duration::from_secs(seconds))
        }
    }

    fn at(start: Instant, unix: f64) -> Now {
        Now {
            instant: start + Duration::from_secs_f64(unix),
            unix: Duration::from_secs_f64(unix),
        }
    }

    #[test]
    fn a_fixed_window_is_whole_again_at_the_next_full_minute_of_unix_time() {
        let start = crate::limit::moment();
        let fixed = limit(2, 60, Kind::Fixed);
        let mut window = Window::new(Place::Standing, &fixed, GRAIN, at(start, 100.0));
        window.admit(at(start, 100.0));
        window.admit(at(start, 119.0));
        assert_eq!(
            window.read(at(start, 119.5)),
            Reading {
                free: 0,
                wait: Duration::from_millis(500)
            }
        );
        assert_eq!(
            window.read(at(start, 120.0)),
            Reading {
                free: 2,
                wait: Duration::ZERO
            }
        );
        assert_eq!(window.reset(at(start, 120.0)), Duration::from_secs(60));
    }

    #[test]
    fn a_wall_clock_set_back_by_an_hour_mints_nothing_and_recovers_with_the_next_window() {
        let start = crate::limit::moment();
        let mut window = Window::new(
            Place::Standing,
            &limit(2, 60, Kind::Fixed),
            GRAIN,
            at(start, 7200.0),
        );
        window.admit(at(start, 7200.0));
        assert_eq!(window.read(at(start, 3610.0)).free, 0);
        assert_eq!(window.read(at(start, 3661.0)).free, 2);
    }

    #[test]
    fn a_raised_amount_adds_the_difference_and_a_lowered_one_waits_for_what_was_used() {
        let start = crate::limit::moment();
        let mut window = Window::new(
            Place::Standing,
            &limit(3, 60, Kind::Sliding),
            GRAIN,
            at(start, 0.0),
        );
        for second in [0.0, 10.0, 20.0] {
            window.admit(at(start, second));
        }
        window.follow(&limit(5, 60, Kind::Sliding), GRAIN, at(start, 21.0));
        assert_eq!(window.read(at(start, 21.0)).free, 2);
        window.follow(&limit(2, 60, Kind::Sliding), GRAIN, at(start, 22.0));
        let reading = window.read(at(start, 22.0));
        assert_eq!(reading.free, 0);
        // Room comes when the first two have left, not when the first has.
        assert_eq!(reading.wait, Duration::from_millis(48_001));
    }

    #[test]
    fn another_span_or_kind_starts_an_empty_window() {
        let start = crate::limit::moment();
        let mut window = Window::new(
            Place::Standing,
            &limit(1, 60, Kind::Sliding),
            GRAIN,
            at(start, 0.0),
        );
        window.admit(at(start, 0.0));
        window.follow(&limit(1, 60, Kind::Fixed), GRAIN, at(start, 1.0));
        assert_eq!(window.read(at(start, 1.0)).free, 1);
        window.admit(at(start, 1.0));
        window.follow(&limit(1, 30, Kind::Fixed), GRAIN, at(start, 2.0));
        assert_eq!(window.read(at(start, 2.0)).free, 1);
    }
}
