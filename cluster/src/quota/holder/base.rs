//! Which part of every limit a node may spend without asking, and since when.
//!
//! In: the base right that grants tell of, and what an earlier life has left. Out: the base of a key at an instant. A core.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        clock::Now,
        key::KeyId,
        message::{BaseRight, Past},
        params::Params,
        terms::{Kind, Scope, Share, Terms},
    },
    remains::Remains,
};

/// A node's base right, as far as it knows.
#[derive(Debug, Clone)]
pub(super) struct Base {
    params: Params,
    right: Option<Right>,
    before: Option<Before>,
    /// The node shares limits with nobody: its base is all of them.
    alone: bool,
}

#[derive(Debug, Clone, Copy)]
struct Right {
    share: Share,
    scope: Scope,
    /// When the node learnt the following.
    told: Now,
    /// For how long nobody else had spent of the share by then, in ms.
    unspent_ms: u64,
    /// When it last learnt how long ago the right was given after a wait, and how long, in ms.
    waited: (Now, u64),
}

/// The life before this one, which ended in order.
#[derive(Debug, Clone)]
struct Before {
    remains: Arc<Remains>,
    /// By when after its end nothing of it cools.
    lasts: Duration,
    /// When this life learnt how long ago it ended, and how long, in ms; none while it has not.
    ended: Option<(Now, u64)>,
}

impl Before {
    fn new(remains: Remains, ended: Option<(Now, u64)>) -> Self {
        Self {
            lasts: remains.lasts(),
            remains: Arc::new(remains),
            ended,
        }
    }

    /// All that it left has cooled: what of which key need not be kept.
    fn over(self) -> Self {
        match self.lasts.is_zero() {
            true => self,
            false => Self::new(self.remains.cooled(), self.ended),
        }
    }

    /// How long ago it ended; none while that is not known.
    fn passed(&self, now: Now) -> Option<Duration> {
        self.ended.map(|(told, ms)| passed(told, ms, now))
    }

    /// For how long nobody else has spent of the share.
    fn unspent(&self, now: Now) -> Option<Duration> {
        let then = Duration::from_millis(self.remains.unspent_ms);
        self.passed(now).map(|passed| then.saturating_add(passed))
    }
}

impl Base {
    /// None.
    pub(super) fn new(params: Params) -> Self {
        Self {
            params,
            right: None,
            before: None,
            alone: false,
        }
    }

    /// None yet, after a life that ended so.
    pub(super) fn after(params: Params, remains: Remains) -> Self {
        Self {
            before: Some(Before::new(remains, None)),
            ..Self::new(params)
        }
    }

    /// What this life leaves of its base as it ends, but for what it has spent itself; none if it has no share.
    pub(super) fn remains(&self, life: Past, now: Now) -> Option<Remains> {
        let right = self.right.filter(|_| !self.alone)?;
        let (mut unspent, mut left) = (right.unspent(now), None);
        if let Some(before) = &self.before {
            unspent = unspent.max(before.unspent(now)?);
            left = Some(before.remains.after(before.passed(now)?, &self.params));
        }
        let mut remains = Remains::new(life, right.share.seat, unspent);
        for (key, spans) in left.into_iter().flatten() {
            remains.add(key, spans);
        }
        Some(remains)
    }

    /// The right that a grant told of at `now`. Its time goes on from the earliest begin that is known, as
    /// long as the seat is the same.
    pub(super) fn told(&mut self, right: Option<BaseRight>, now: Now) {
        let Some(new) = right else {
            self.right = None;
            return;
        };
        // Another life has been since, or the seat is another: a window is to be waited for.
        self.before = self.before.take().and_then(|before| {
            let ended = before.remains.ended(&new)?;
            let ended = before.ended.or(Some((now, ended)));
            let before = Before { ended, ..before };
            let over = self.params.stretched(before.lasts) <= before.passed(now)?;
            Some(if over { before.over() } else { before })
        });
        let mut learnt = Right {
            share: new.share,
            scope: new.scope,
            told: now,
            unspent_ms: new.unspent_ms,
            waited: (now, new.waited_ms),
        };
        if let Some(old) = self.right
            && old.share.seat == new.share.seat
            && old.share.seats <= new.share.seats
            && old.unspent(now) > Duration::from_millis(new.unspent_ms)
        {
            learnt.told = old.told;
            learnt.unspent_ms = old.unspent_ms;
        }
        self.right = Some(learnt);
    }

    /// All of every limit, for a node that counts alone.
    pub(super) fn whole(params: Params) -> Self {
        Self {
            alone: true,
            ..Self::new(params)
        }
    }

    /// The right of a node that started where no quorum can tell it, with the share that it had before:
    /// limits that say `on_lapse: base` are spent at once, others not.
    pub(super) fn assumed(self, share: Share, now: Now) -> Self {
        let right = Some(Right {
            share,
            scope: Scope {
                firm_ms: 0,
                ..Scope::WHOLE
            },
            told: now,
            unspent_ms: u64::MAX,
            waited: (now, u64::MAX),
        });
        Self { right, ..self }
    }

    /// How many parts the share is one of; 0 without.
    pub(super) fn seats(&self) -> u16 {
        self.right.map_or(0, |right| right.share.seats)
    }

    /// The share, and of which keys: what the base of every key changes with.
    pub(super) fn kind(&self) -> Option<(Share, Scope)> {
        self.right.map(|right| (right.share, right.scope))
    }

    /// The share, if it is of all windows.
    pub(super) fn whole_share(&self) -> Option<Share> {
        let right = self.right.filter(|right| right.scope.reaches_all())?;
        Some(right.share)
    }

    /// What may be spent of a key of these terms once others' spending of it has cooled off.
    pub(super) fn in_time(&self, terms: &Terms) -> u32 {
        match self.alone {
            true => terms.limit(),
            false => {
                let right = self.right.filter(|right| right.scope.reaches(terms));
                right.map_or(0, |right| terms.base(right.share))
            }
        }
    }

    /// What may be spent of a key of these terms.
    pub(super) fn of(&self, key: &KeyId, terms: &Terms, now: Now) -> u32 {
        if self.alone {
            return terms.limit();
        }
        let Some(right) = self.right.filter(|right| right.scope.covers(terms)) else {
            return 0;
        };
        let base = terms.base(right.share);
        if self.params.planted.base_at_once || right.rested(terms, now, &self.params) {
            return base;
        }
        self.left_of(key, terms, now)
            .map_or(0, |cools| base.saturating_sub(cools))
    }

    /// How much of its base an earlier life has spent that still cools; none where that is not known, and a window is to
    /// be waited for.
    fn left_of(&self, key: &KeyId, terms: &Terms, now: Now) -> Option<u32> {
        let before = self.before.as_ref()?;
        let rested = before.unspent(now)? >= self.params.stretched(terms.window());
        if !rested || !Remains::tells_of(terms, &self.params) {
            return None;
        }
        if self.params.planted.forgets_remains {
            return Some(0);
        }
        let passed = before.passed(now)?;
        Some(before.remains.left(key, passed, &self.params))
    }
}

impl Right {
    /// For how long nobody else has spent of it.
    fn unspent(&self, now: Now) -> Duration {
        passed(self.told, self.unspent_ms, now)
    }

    /// Whether what others spent of it has cooled off.
    fn rested(&self, terms: &Terms, now: Now, params: &Params) -> bool {
        match terms.kind() {
            Kind::Sliding => self.unspent(now) >= params.stretched(terms.window()),
            Kind::Fixed => {
                let window = terms.window().as_nanos().max(1);
                let start = u128::from(now.unix.0) / window * window;
                let (learnt, waited_ms) = self.waited;
                [(self.told, self.unspent_ms), (learnt, waited_ms)]
                    .into_iter()
                    .all(|(told, ms)| {
                        start >= (begun(told, ms, params) + 2 * params.offset).as_nanos()
                    })
            }
        }
    }
}

/// How long something has lasted that at `told` had lasted so many ms.
fn passed(told: Now, ms: u64, now: Now) -> Duration {
    let since = now.monotonic.0.saturating_sub(told.monotonic.0);
    Duration::from_millis(ms).saturating_add(Duration::from_nanos(since))
}

/// The latest at which something may have begun that at `told` had lasted so many ms, by the wall clock: the clock
/// that counted may have been fast.
fn begun(told: Now, ms: u64, params: &Params) -> Duration {
    let drift = ms.saturating_mul(3 * u64::from(params.drift_ppm));
    let certain = ms - drift.div_ceil(1_000_000).min(ms);
    Duration::from_nanos(told.unix.0).saturating_sub(Duration::from_millis(certain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{
        clock::{Monotonic, Unix},
        terms::OnLapse,
    };

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: Monotonic(seconds * 1_000_000_000),
            unix: Unix((1_000_000 + seconds) * 1_000_000_000),
        }
    }

    const KEY: KeyId = KeyId([1; 16]);

    fn terms(kind: Kind, on_lapse: OnLapse) -> Terms {
        Terms::new(1000, Duration::from_secs(100), kind, on_lapse).unwrap()
    }

    fn right(seat: u16, seats: u16, unspent: u64, firm: bool) -> Option<BaseRight> {
        Some(BaseRight {
            share: Share { seat, seats },
            scope: Scope {
                firm_ms: if firm { u64::MAX } else { 0 },
                ..Scope::WHOLE
            },
            unspent_ms: unspent * 1000,
            waited_ms: u64::MAX,
            past: None,
        })
    }

    #[test]
    fn base_is_spent_once_what_others_spent_has_cooled_off() {
        let sliding = terms(Kind::Sliding, OnLapse::Base);
        let mut base = Base::new(Params::DEFAULT);
        assert_eq!(base.of(&KEY, &sliding, at(0)), 0);
        base.told(right(1, 4, 30, true), at(10));
        assert_eq!(base.of(&KEY, &sliding, at(80)), 0);
        assert_eq!(base.of(&KEY, &sliding, at(81)), 125);
        base.told(right(1, 4, 60, true), at(20));
        assert_eq!(base.of(&KEY, &sliding, at(61)), 125, "heard of more");
        base.told(right(1, 8, 0, true), at(62));
        assert_eq!(base.of(&KEY, &sliding, at(62)), 62, "a part of what it had");
        base.told(right(2, 8, 0, true), at(62));
        assert_eq!(base.of(&KEY, &sliding, at(162)), 0, "another seat");
        assert_eq!(base.of(&KEY, &sliding, at(163)), 62);
        base.told(None, at(200));
        assert_eq!(base.of(&KEY, &sliding, at(999)), 0);
    }

    #[test]
    fn of_fixed_windows_it_is_spent_from_the_first_that_begins_after() {
        let fixed = terms(Kind::Fixed, OnLapse::Base);
        let mut base = Base::new(Params::DEFAULT);
        base.told(right(1, 4, 3, true), at(3));
        assert_eq!(base.of(&KEY, &fixed, at(99)), 0);
        assert_eq!(base.of(&KEY, &fixed, at(100)), 125);
    }

    #[test]
    fn a_right_to_shorter_windows_is_none_to_longer_ones() {
        let of = |seconds: u64, on_lapse| {
            let window = Duration::from_secs(seconds);
            Terms::new(1000, window, Kind::Sliding, on_lapse).unwrap()
        };
        let mut base = Base::new(Params::DEFAULT);
        let part = right(1, 4, 9999, true).map(|right| BaseRight {
            scope: Scope {
                within_ms: 99_999,
                firm_ms: 49_999,
            },
            ..right
        });
        base.told(part, at(0));
        assert_eq!(base.whole_share(), None);
        for (terms, expected) in [
            (of(99, OnLapse::Base), 125),
            (of(100, OnLapse::Base), 0),
            (of(49, OnLapse::Deny), 125),
            (of(50, OnLapse::Deny), 0),
            (of(100, OnLapse::Deny), 0),
        ] {
            assert_eq!(base.of(&KEY, &terms, at(0)), expected, "{terms:?}");
            let in_time = if terms.window_ms() < 100_000 { 125 } else { 0 };
            assert_eq!(base.in_time(&terms), in_time);
        }
        let before = base.kind();
        base.told(right(1, 4, 9999, true), at(1));
        assert!(base.whole_share().is_some() && base.kind() != before);
        assert_eq!(base.of(&KEY, &of(100, OnLapse::Deny), at(1)), 125);
    }

    #[test]
    fn what_is_not_firm_is_spent_only_where_the_limit_says_so() {
        let deny = terms(Kind::Sliding, OnLapse::Deny);
        let mut base = Base::new(Params::DEFAULT).assumed(Share { seat: 1, seats: 4 }, at(0));
        assert_eq!(base.of(&KEY, &deny, at(1000)), 0);
        assert_eq!(
            base.of(&KEY, &terms(Kind::Sliding, OnLapse::Base), at(0)),
            125
        );
        assert_eq!(
            base.of(&KEY, &terms(Kind::Fixed, OnLapse::Base), at(0)),
            125
        );
        base.told(right(1, 4, 200, true), at(0));
        assert_eq!(base.of(&KEY, &deny, at(0)), 125);
    }
}
