//! A key that the node has met: its cell, and what requests and the keeper must know of it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    super::{
        cell::Cell,
        charge::Account,
        key::KeyId,
        lease::{Contact, Validity},
        pace::Pace,
        params::Params,
        terms::{Kind, OnLapse, Terms},
    },
    holding::Bell,
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

/// In the order in which a charge reads it: what stands before the cell fills the rest of a cache's line.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) form: Arc<Form>,
    /// The limit's amount; follows the newest document.
    limit: AtomicU32,
    /// Milliseconds that a request may wait.
    wait: AtomicU32,
    /// What the ledger has given, and what was handed back, as the messages have them. The keeper's.
    pub(super) given: AtomicU32,
    pub(super) returned: AtomicU32,
    /// Numbers the cells of an incarnation.
    pub(super) born: u32,
    /// How the terms say it: [`OnLapse::Deny`] is 1.
    denies_lapsed: AtomicU32,
    pub(super) cell: Cell,
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
    lasting: Validity,
    ending: Validity,
}

impl Form {
    pub(super) fn of(terms: &Terms) -> Self {
        let window = terms.window();
        let params = Params::DEFAULT;
        let extra = params.extra_lease(window);
        Self {
            pace: match terms.kind() {
                Kind::Sliding => Pace::sliding(window),
                Kind::Fixed => Pace::fixed(window),
            },
            window,
            kind: terms.kind(),
            lasting: Validity::new(extra, None),
            ending: Validity::new(extra, Some(params.base_lease(window))),
        }
    }
}

impl Form {
    /// Whether the extra is good after such a silence.
    pub(super) fn outlives(&self, silence: Contact) -> bool {
        self.lasting.outlives(silence)
    }
}

/// A bit of the cell's marks: the keeper has a row for the key, or has been told to make one.
pub(super) const IN_USE: u32 = 1;

/// A bit of the cell's marks: the keeper knows that it has run low.
pub(super) const HUNGRY: u32 = 2;

/// A bit of the cell's marks: contact was lost for so long that the ledger may have taken the extra back, and
/// it has not said yet whether it did. Only the base is spent.
pub(super) const DOUBTED: u32 = 4;

impl Key {
    pub(super) fn new(
        id: KeyId,
        terms: &Terms,
        on_empty: OnEmpty,
        form: Arc<Form>,
        born: u32,
        bell: Arc<Bell>,
    ) -> Self {
        let key = Self {
            id,
            cell: Cell::new(form.pace, terms.limit()),
            form,
            limit: AtomicU32::new(0),
            wait: AtomicU32::new(0),
            given: AtomicU32::new(0),
            returned: AtomicU32::new(0),
            born,
            denies_lapsed: AtomicU32::new(0),
            pool: AtomicU32::new(terms.limit()),
            others: AtomicU32::new(0),
            waiting: OnceLock::new(),
            bell,
        };
        key.follow(terms, on_empty);
        key
    }

    /// Takes over what a newer document says. True if it is something else.
    pub(super) fn follow(&self, terms: &Terms, on_empty: OnEmpty) -> bool {
        let wait = match on_empty {
            OnEmpty::Deny => 0,
            OnEmpty::Wait(time) => u32::try_from(time.as_millis()).unwrap_or(u32::MAX),
        };
        let deny = u32::from(terms.on_lapse() == OnLapse::Deny);
        let mut changed = false;
        for (field, value) in [
            (&self.limit, terms.limit()),
            (&self.wait, wait),
            (&self.denies_lapsed, deny),
        ] {
            if field.load(Relaxed) != value {
                field.store(value, Relaxed);
                changed = true;
            }
        }
        changed
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// How long a request may wait.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait.load(Relaxed).into())
    }

    /// The terms as the newest document has them.
    pub(super) fn terms(&self) -> Option<Terms> {
        let on_lapse = match self.denies_lapsed.load(Relaxed) {
            0 => OnLapse::Base,
            _ => OnLapse::Deny,
        };
        let Form { window, kind, .. } = *self.form;
        Terms::new(self.limit().into(), window, kind, on_lapse).ok()
    }

    /// What it has beyond its base. Less than nothing, if it handed back tokens that the ledger took back at
    /// the same time because it had not been heard of.
    pub(super) fn extra(&self) -> i32 {
        let given = self.given.load(Relaxed);
        let returned = self.returned.load(Relaxed);
        given.wrapping_sub(returned).cast_signed()
    }

    /// How many requests wait.
    pub(super) fn parked(&self) -> usize {
        self.waiting.get().map_or(0, |waiting| waiting.len())
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
        let elsewhere = self
            .0
            .pool
            .load(Relaxed)
            .saturating_add(self.0.others.load(Relaxed));
        let most = self.0.limit().saturating_sub(held.cool).max(own);
        (own, own.saturating_add(elsewhere).min(most))
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
        let validity = match self.0.denies_lapsed.load(Relaxed) {
            0 => self.0.form.lasting,
            _ => self.0.form.ending,
        };
        match self.0.cell.marks() & DOUBTED {
            0 => validity,
            _ => validity.base_only(),
        }
    }

    fn free_elsewhere(&self) -> bool {
        self.0.pool.load(Relaxed) > 0 || self.0.others.load(Relaxed) > 0
    }

    fn spent(&self, _: u32, left: i32) {
        self.note_use();
        if self.0.cell.is_low(left) {
            self.note_hunger();
        }
    }

    fn denied(&self, cost: u32) {
        self.0.cell.note_denied(cost);
        self.note_use();
        self.note_hunger();
    }
}
