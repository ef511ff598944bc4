//! A key that the node has met: its cell, and what requests and the keeper must know of it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use super::{
    super::{
        cell::Cell,
        charge::Account,
        clock::Now,
        key::KeyId,
        lease::{Contact, Validity},
        pace::Pace,
        params::Params,
        terms::{Kind, OnLapse, Terms},
    },
    holding::Bell,
    row::unit::differ,
    waiting::Waiting,
};

/// A key as a request charges it. Cheap to copy; to be kept for a request, not for longer: a key that nobody
/// uses is put away.
#[derive(Debug, Clone)]
pub struct KeyHandle(pub(super) Arc<Key>);

/// What becomes of a request that finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEmpty {
    /// It is denied.
    Deny,
    /// It may wait so long for a grant, or for tokens to cool off.
    Wait(Duration),
}

impl OnEmpty {
    fn milliseconds(self) -> u32 {
        match self {
            Self::Deny => 0,
            Self::Wait(time) => u32::try_from(time.as_millis()).unwrap_or(UNSAID - 1),
        }
    }
}

/// In the order in which a charge reads it: what stands before the cell fills the rest of a cache's line.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) form: Arc<Form>,
    /// The document that the following two are from, by its number.
    as_of: AtomicU64,
    /// The limit's amount; follows the newest document.
    limit: AtomicU32,
    /// Milliseconds that a request may wait, or [`UNSAID`].
    wait: AtomicU32,
    /// What the ledger has given, and what was handed back, as the messages have them. The keeper's.
    pub(super) given: AtomicU32,
    pub(super) returned: AtomicU32,
    pub(super) cell: Cell,
    /// Numbers the cells of an incarnation.
    pub(super) born: u32,
    /// Its base once what an earlier life spent of it has cooled off.
    pub(super) owed: AtomicU32,
    /// How many tokens of the base were handed back, and not given again. The keeper's.
    pub(super) lent: AtomicU32,
    /// Tokens that others are to have and that still cooled when they were taken out: they are handed back as others
    /// cool off. The keeper's.
    pub(super) withheld: AtomicU32,
    /// What had been spent, of the cell's traffic, when the key went out of use. The keeper's.
    pub(super) counted: AtomicU32,
    /// How many tokens a request takes, if all take about the same. The keeper's.
    pub(super) unit: AtomicU32,
    /// The most that one has taken since the last tick; nothing, where each took one.
    paid: AtomicU32,
    /// Hints of the last grant: tokens in the pool, and free at others.
    pub(super) pool: AtomicU32,
    pub(super) others: AtomicU32,
    pub(super) waiting: OnceLock<Box<Waiting>>,
    bell: Arc<Bell>,
}

/// What all keys of one shape have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) pace: Pace,
    pub(super) window: Duration,
    pub(super) kind: Kind,
    pub(super) params: Params,
    on_lapse: OnLapse,
    validity: Validity,
}

impl Form {
    pub(super) fn of(terms: &Terms, params: Params) -> Self {
        let window = terms.window();
        let base = match terms.on_lapse() {
            OnLapse::Base => None,
            OnLapse::Deny => Some(params.base_lease(window)),
        };
        Self {
            pace: match terms.kind() {
                Kind::Sliding => Pace::sliding_within(window, params.drift_ppm),
                Kind::Fixed => Pace::fixed(window),
            },
            window,
            kind: terms.kind(),
            params,
            on_lapse: terms.on_lapse(),
            validity: Validity::new(params.extra_lease(window), base),
        }
    }

    /// A planted mistake: each slot is free one slot too early.
    pub(super) fn one_slot_early(self) -> Self {
        Self {
            pace: self.pace.one_slot_early(),
            ..self
        }
    }
}

impl Form {
    /// Whether the extra is good after such a silence.
    pub(super) fn outlives(&self, silence: Contact) -> bool {
        self.validity.outlives(silence)
    }
}

/// A bit of the cell's marks: the keeper has a row for the key, or has been told to make one.
pub(super) const IN_USE: u32 = 1;

/// A bit of the cell's marks: the keeper knows that it has run low.
pub(super) const HUNGRY: u32 = 2;

/// A bit of the cell's marks: contact was lost for so long that the ledger may have taken the extra back, and
/// it has not said yet whether it did. Only the base is spent.
pub(super) const DOUBTED: u32 = 4;

/// A bit of the cell's marks: since the last tick requests of different costs found too little.
pub(super) const VARIOUS: u32 = 8;

/// Of the wait: no request has come yet to say it.
const UNSAID: u32 = u32::MAX;

/// Of the pool: nothing was heard of it lately. There may be something.
pub(super) const UNKNOWN: u32 = u32::MAX;

impl Key {
    pub(super) fn new(
        id: KeyId,
        terms: &Terms,
        on_empty: Option<OnEmpty>,
        as_of: u64,
        form: Arc<Form>,
        born: u32,
        bell: Arc<Bell>,
    ) -> Self {
        Self {
            id,
            cell: Cell::new(form.pace, terms.limit()),
            form,
            as_of: AtomicU64::new(as_of),
            limit: AtomicU32::new(terms.limit()),
            wait: AtomicU32::new(on_empty.map_or(UNSAID, OnEmpty::milliseconds)),
            given: AtomicU32::new(0),
            returned: AtomicU32::new(0),
            born,
            lent: AtomicU32::new(0),
            withheld: AtomicU32::new(0),
            counted: AtomicU32::new(0),
            unit: AtomicU32::new(1),
            paid: AtomicU32::new(0),
            pool: AtomicU32::new(terms.limit()),
            others: AtomicU32::new(0),
            owed: AtomicU32::new(0),
            waiting: OnceLock::new(),
            bell,
        }
    }

    /// Whether a document is newer than the one that its terms are from, or says of it for the first time whether requests wait.
    pub(super) fn is_behind(&self, as_of: u64) -> bool {
        let mine = self.as_of.load(Acquire);
        as_of > mine || as_of == mine && self.wait.load(Relaxed) == UNSAID
    }

    /// Takes over what a newer document says; for one thread at a time. True if it is another amount.
    pub(super) fn follow(&self, terms: &Terms, on_empty: OnEmpty, as_of: u64) -> bool {
        if !self.is_behind(as_of) {
            return false;
        }
        self.wait.store(on_empty.milliseconds(), Relaxed);
        if as_of <= self.as_of.load(Acquire) {
            return false;
        }
        let before = self.limit.swap(terms.limit(), Relaxed);
        // Last: whoever sees the number sees the amount.
        self.as_of.store(as_of, Release);
        before != terms.limit()
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// How long a request may wait.
    pub(super) fn wait(&self) -> Duration {
        match self.wait.load(Relaxed) {
            UNSAID => Duration::ZERO,
            ms => Duration::from_millis(ms.into()),
        }
    }

    /// The terms, and the number of the document that they are from; the amount may be of a newer one.
    pub(super) fn terms(&self) -> Option<(Terms, u64)> {
        let as_of = self.as_of.load(Acquire);
        let Form {
            window,
            kind,
            on_lapse,
            ..
        } = *self.form;
        let terms = Terms::new(self.limit().into(), window, kind, on_lapse).ok()?;
        Some((terms, as_of))
    }

    /// What it has beyond its base. Less than nothing, if it handed back tokens that the ledger took back at
    /// the same time because it had not been heard of.
    pub(super) fn extra(&self) -> i32 {
        let given = self.given.load(Relaxed);
        let returned = self.returned.load(Relaxed);
        given.wrapping_sub(returned).cast_signed()
    }

    /// What was given is given for what was lent, first of all.
    pub(super) fn repay(&self) {
        let missing = u32::try_from(-i64::from(self.extra())).unwrap_or(0);
        self.lent.fetch_min(missing, Relaxed);
    }

    /// The most that one request has taken since this was called last; nothing, where each took one.
    pub(super) fn take_paid(&self) -> u32 {
        match self.paid.load(Relaxed) {
            0 => 0,
            _ => self.paid.swap(0, Relaxed),
        }
    }

    /// How many units of cost requests wait for.
    pub(super) fn parked(&self) -> u32 {
        self.waiting.get().map_or(0, |waiting| waiting.cost())
    }
}

impl KeyHandle {
    /// Which key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The limit's amount, for the response's fields.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.0.limit()
    }

    /// What this node has free, and has seen of others: the first is promised, the sum is an estimate of what
    /// is left, at most the limit less what was spent here.
    #[must_use]
    pub fn remaining(&self) -> (u32, u32) {
        let held = self.0.cell.held();
        let own = u32::try_from(held.free).unwrap_or(0);
        // While nothing is known of others, all that was not spent here.
        let pool = self.0.pool.load(Relaxed);
        let elsewhere = pool.saturating_add(self.0.others.load(Relaxed));
        let most = self.0.limit().saturating_sub(held.cool).max(own);
        (own, own.saturating_add(elsewhere).min(most))
    }

    /// How much of the limit is used for certain: what is not left, or, while nothing is known of others, what was spent
    /// here within a window.
    #[must_use]
    pub fn used(&self) -> u32 {
        match self.0.pool.load(Relaxed) {
            UNKNOWN => self.0.cell.held().cool,
            _ => self.0.limit().saturating_sub(self.remaining().1),
        }
    }

    /// Whether this node has not what it should have of it soon after its own start: its base may not be spent yet, and
    /// it was not given as much in its place.
    #[must_use]
    pub fn lacks_base(&self) -> bool {
        let (base, owed) = (self.0.cell.base(), self.0.owed.load(Relaxed));
        let missing = owed
            .saturating_sub(base)
            .max(u32::from(owed == 0 && base == 0));
        i64::from(self.0.extra().max(0)) < i64::from(missing)
    }

    /// When the next token that cools here is free; none if none cools.
    #[must_use]
    pub fn frees_in(&self, now: Now) -> Option<Duration> {
        self.0.cell.until_cooled(self.0.form.pace, 1, now)
    }

    pub(super) fn note_use(&self) {
        if self.0.cell.mark(IN_USE) {
            self.0.bell.used(self.clone());
        }
    }

    fn note_hunger(&self) {
        if self.0.cell.mark(HUNGRY) {
            self.0.bell.ring();
        }
    }
}

impl Account for KeyHandle {
    fn cell(&self) -> &Cell {
        &self.0.cell
    }

    fn pace(&self) -> Pace {
        self.0.form.pace
    }

    fn validity(&self) -> Validity {
        let validity = self.0.form.validity;
        match self.0.cell.marks() & DOUBTED {
            0 => validity,
            _ => validity.base_only(),
        }
    }

    fn free_elsewhere(&self) -> bool {
        self.0.pool.load(Relaxed) > 0 || self.0.others.load(Relaxed) > 0
    }

    fn spent(&self, cost: u32, left: i32) {
        self.note_use();
        // Most of the time it is known.
        if cost > 1 && self.0.paid.load(Relaxed) < cost {
            self.0.paid.fetch_max(cost, Relaxed);
        }
        if self.0.cell.is_low(left) {
            self.note_hunger();
        }
    }

    fn denied(&self, cost: u32) {
        let most = self.0.cell.note_denied(cost);
        if most > 0 && differ(most, cost) {
            self.0.cell.mark(VARIOUS);
        }
        self.note_use();
        self.note_hunger();
    }
}
