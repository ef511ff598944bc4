//! What a limit is to the quota: how many tokens, in which window, and which part of them a node spends
//! without asking. A core.
//!
//! In: a limit of the compiled document. Out: [`Terms`], which travel with every ask, and a node's base.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The greatest amount of a limit: sums of a few of them fit the 32 bits of a counter.
pub const LIMIT_MOST: u32 = 1 << 30;

/// The least window.
pub const WINDOW_LEAST: Duration = Duration::from_millis(1);

/// The greatest window: a leap year, and then some.
pub const WINDOW_MOST: Duration = Duration::from_secs(400 * 24 * 3600);

/// Limits up to this amount are pooled: nobody has a base of them. Split over nodes they would be a few
/// tokens each, most of them where no request comes.
pub const POOLED_MOST: u32 = 64;

/// How a limit's window moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Any span of the window's length holds at most the amount.
    Sliding,
    /// Windows are aligned to the Unix epoch; each holds at most the amount.
    Fixed,
}

/// What a node out of contact does with its base when the base's lease is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OnLapse {
    /// It goes on; the ledger gives this base to nobody else until the node is declared gone.
    Base,
    /// It denies; the ledger takes the base back.
    Deny,
}

/// A limit as the quota sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Terms {
    limit: u32,
    window_ms: u64,
    kind: Kind,
    on_lapse: OnLapse,
}

/// A limit that the quota does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unkept {
    /// The amount is out of bounds.
    #[error(
        "a limit of {0} is out of bounds; a cluster-wide limit is from 1 to {LIMIT_MOST} per window"
    )]
    Limit(u64),
    /// The window is out of bounds, or no whole number of milliseconds.
    #[error(
        "a window of {0:?} is out of bounds; a window is a whole number of milliseconds, from 1 ms to 400 days"
    )]
    Window(Duration),
}

impl Terms {
    /// `limit` requests per `window`.
    ///
    /// # Errors
    /// What is out of bounds.
    pub fn new(
        limit: u64,
        window: Duration,
        kind: Kind,
        on_lapse: OnLapse,
    ) -> Result<Self, Unkept> {
        let amount = u32::try_from(limit).map_err(|_| Unkept::Limit(limit))?;
        let window_ms = u64::try_from(window.as_millis()).map_err(|_| Unkept::Window(window))?;
        if Duration::from_millis(window_ms) != window {
            return Err(Unkept::Window(window));
        }
        let terms = Self {
            limit: amount,
            window_ms,
            kind,
            on_lapse,
        };
        terms.check().map(|()| terms)
    }

    /// Whether they are within bounds: terms that came from another node may not be.
    pub(crate) fn check(&self) -> Result<(), Unkept> {
        if !(1..=LIMIT_MOST).contains(&self.limit) {
            return Err(Unkept::Limit(self.limit.into()));
        }
        if !(WINDOW_LEAST..=WINDOW_MOST).contains(&self.window()) {
            return Err(Unkept::Window(self.window()));
        }
        Ok(())
    }

    /// Tokens of a key: units of cost that are admitted per window.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The window's length.
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms())
    }

    /// The window's length in milliseconds.
    pub(crate) fn window_ms(&self) -> u64 {
        self.window_ms
    }

    /// How the window moves.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What becomes of the base of a node out of contact.
    pub fn on_lapse(&self) -> OnLapse {
        self.on_lapse
    }

    /// Whether all of it is in the pool, so that nobody has a base.
    pub fn pooled(&self) -> bool {
        self.limit <= POOLED_MOST
    }

    /// What can't change without making it another key: what a node still holds or has spent of one shape
    /// says nothing about another.
    pub fn shape(&self) -> Shape {
        Shape {
            window_ms: self.window_ms,
            kind: self.kind,
            on_lapse: self.on_lapse,
            pooled: self.pooled(),
        }
    }

    /// The base of the holder of a share, in tokens.
    pub fn base(&self, share: Share) -> u32 {
        if self.pooled() {
            0
        } else {
            share.of(self.limit / 2)
        }
    }
}

/// The part of a limit's terms that is part of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    pub(crate) window_ms: u64,
    pub(crate) kind: Kind,
    pub(crate) on_lapse: OnLapse,
    pub(crate) pooled: bool,
}

/// For which limits a node has its share of base: for all, or while it waits, for those with windows that are shorter than
/// those in deficit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Windows of at most so many ms.
    pub within_ms: u64,
    /// The same, of limits with `on_lapse: deny`, whose base was given to others while the node was out of contact.
    pub firm_ms: u64,
}

impl Scope {
    /// All limits.
    pub const WHOLE: Self = Self {
        within_ms: u64::MAX,
        firm_ms: u64::MAX,
    };

    /// None yet, of a node that nothing was given to others of.
    pub(crate) const AWAITED: Self = Self {
        within_ms: 0,
        ..Self::WHOLE
    };

    /// Whether a limit of these terms is one of them.
    #[must_use]
    pub fn covers(self, terms: &Terms) -> bool {
        let firm = terms.on_lapse() == OnLapse::Base || terms.window_ms() <= self.firm_ms;
        firm && self.reaches(terms)
    }

    /// The same, but for what may have been given to others while the node was out of contact.
    #[must_use]
    pub fn reaches(self, terms: &Terms) -> bool {
        terms.window_ms() <= self.within_ms
    }

    /// Whether all limits are.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self == Self::WHOLE
    }

    /// Whether limits of all windows are, but for what may have been given to others while the node was out of contact.
    #[must_use]
    pub fn reaches_all(self) -> bool {
        self.within_ms == u64::MAX
    }

    /// With those of windows of at most so many ms.
    pub(crate) fn and_within(self, ms: u64) -> Self {
        Self {
            within_ms: self.within_ms.max(ms),
            firm_ms: self.firm_ms.max(ms),
        }
    }
}

/// One of so many equal parts of every limit's base half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share {
    /// Which part: less than `seats`.
    pub seat: u16,
    /// How many parts there are; at least 1.
    pub seats: u16,
}

impl Share {
    /// Its part of so many tokens.
    ///
    /// The parts of all seats together are the whole, and no part of a lesser whole is greater. So, when a
    /// limit is lowered and some nodes have not heard of it, their old parts and the others' new ones are
    /// together no more than the old whole: with every token that the whole loses at most one part does.
    pub fn of(self, tokens: u32) -> u32 {
        let seats = u32::from(self.seats).max(1);
        tokens.saturating_add(u32::from(self.seat)) / seats
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hourly(limit: u64) -> Result<Terms, Unkept> {
        Terms::new(
            limit,
            Duration::from_secs(3600),
            Kind::Sliding,
            OnLapse::Base,
        )
    }

    #[test]
    fn limits_and_windows_out_of_bounds_are_refused_with_the_bounds() {
        assert!(hourly(1).is_ok() && hourly(1 << 30).is_ok());
        for limit in [0, (1 << 30) + 1, 1 << 40, u64::MAX] {
            let why = hourly(limit).unwrap_err();
            assert_eq!(why, Unkept::Limit(limit));
            assert!(why.to_string().contains("1073741824"), "{why}");
        }
        let per = |window| Terms::new(9, window, Kind::Fixed, OnLapse::Deny);
        assert!(per(WINDOW_LEAST).is_ok() && per(WINDOW_MOST).is_ok());
        for window in [
            Duration::ZERO,
            Duration::from_micros(1500),
            WINDOW_MOST + Duration::from_millis(1),
            Duration::MAX,
        ] {
            assert_eq!(per(window), Err(Unkept::Window(window)));
        }
    }

    #[test]
    fn a_small_limit_has_no_base_and_its_size_is_part_of_its_shape() {
        let share = Share { seat: 8, seats: 9 };
        assert_eq!(hourly(64).unwrap().base(share), 0);
        assert_eq!(hourly(65).unwrap().base(share), 4);
        assert_ne!(hourly(64).unwrap().shape(), hourly(65).unwrap().shape());
        assert_eq!(hourly(65).unwrap().shape(), hourly(900).unwrap().shape());
    }

    proptest! {
        #[test]
        fn all_parts_are_the_whole_and_grow_with_it(
            tokens in 0..=LIMIT_MOST, more in 0..1000_u32, seats in 1..200_u16,
        ) {
            let shares: Vec<_> = (0..seats).map(|seat| Share { seat, seats }).collect();
            let sum: u64 = shares.iter().map(|share| u64::from(share.of(tokens))).sum();
            prop_assert_eq!(sum, u64::from(tokens));
            let grown: u64 = shares
                .iter()
                .map(|share| u64::from(share.of(tokens + more).checked_sub(share.of(tokens)).unwrap()))
                .sum();
            prop_assert_eq!(grown, u64::from(more));
        }

        #[test]
        fn a_seat_of_more_seats_has_no_greater_part(
            tokens in 0..=LIMIT_MOST, seat in 0..100_u16, seats in 100..200_u16, more in 0..200_u16,
        ) {
            let now = Share { seat, seats }.of(tokens);
            let then = Share { seat, seats: seats + more }.of(tokens);
            prop_assert!(then <= now);
        }
    }
}
