//! The side of the requests: keys are looked up and charged, from any thread, without a lock.

use std::{
    collections::BTreeMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use futures_util::task::AtomicWaker;
use papaya::{Compute, HashMap, Operation};

use super::{
    super::{
        cell::{Bound, Reach, WHOLE},
        charge::{Account as _, Answer, Bounds, Receipt, charge, refund},
        clock::Clock,
        key::KeyId,
        lease::Lease,
        params::Params,
        terms::{Shape, Terms},
    },
    base::Base,
    key::{Form, Key, KeyHandle, OnEmpty, UNKNOWN},
};

/// What a node holds of all keys that it has met.
#[derive(Debug)]
pub struct Holder {
    pub(super) params: Params,
    keys: HashMap<KeyId, KeyHandle, BuildHasherDefault<First8>>,
    count: AtomicUsize,
    most: usize,
    pub(super) lease: Lease,
    draining: AtomicBool,
    as_of: AtomicU64,
    born: AtomicU32,
    /// Few, and looked up when a key is met.
    forms: Mutex<BTreeMap<Shape, Arc<Form>>>,
    pub(super) base: ArcSwap<Base>,
    pub(super) bell: Arc<Bell>,
}

/// There are as many keys as the node has memory for. Tenants of the document are to have a key of their
/// own; what clients can make up is then to be counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node counts {0} keys already")]
pub struct Crowded(pub usize);

/// How keys tell the keeper of themselves.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// Keys that have come into use since the keeper looked. Locked once for each, not for each charge.
    used: Mutex<Vec<KeyHandle>>,
    hungry: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    pub(super) fn used(&self, key: KeyHandle) {
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key);
    }

    pub(super) fn take_used(&self) -> Vec<KeyHandle> {
        self.hungry.store(false, Relaxed);
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn ring(&self) {
        if !self.hungry.swap(true, AcqRel) {
            self.waker.wake();
        }
    }
}

impl Holder {
    /// A holder of no keys yet, and at most of `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self::with(most, Params::DEFAULT)
    }

    /// The same with other times, for a cluster that has them.
    pub(in super::super) fn with(most: usize, params: Params) -> Self {
        Self {
            params,
            keys: HashMap::with_hasher(BuildHasherDefault::default()),
            count: AtomicUsize::new(0),
            most,
            lease: Lease::new(),
            draining: AtomicBool::new(false),
            as_of: AtomicU64::new(0),
            born: AtomicU32::new(0),
            forms: Mutex::default(),
            base: ArcSwap::from_pointee(Base::new(params)),
            bell: Arc::default(),
        }
    }

    /// The key of an id, made if it is new. Of two documents, the terms of the one with the greater `as_of`
    /// are right: requests that began under the older one may still come with its. A key takes over newer
    /// terms when it is looked up with them, and is never spent by older ones afterwards.
    ///
    /// # Errors
    /// If it is new and there are as many keys as may be.
    pub fn resolve(
        &self,
        id: KeyId,
        terms: &Terms,
        on_empty: OnEmpty,
        as_of: u64,
        clock: &impl Clock,
    ) -> Result<KeyHandle, Crowded> {
        if as_of > self.as_of.load(Relaxed) {
            self.as_of.fetch_max(as_of, Relaxed);
        }
        if let Some(key) = self.find(id) {
            if key.0.is_behind(as_of) {
                self.follow(&key, (terms, on_empty, as_of), clock);
            }
            return Ok(key);
        }
        self.meet(id, (terms, Some(on_empty), as_of), clock)
    }

    /// Charges a request to all of its keys, or to none. [`Answer::Again`]: resolve the keys again, and
    /// charge those.
    pub fn charge(&self, items: &[(&KeyHandle, u32)], clock: &impl Clock) -> Answer {
        self.charge_within(items, WHOLE, clock)
    }

    /// The same with a part of what is held, in 1/65 536: for a request that an overloaded node turns away sooner than
    /// others.
    pub fn charge_within(
        &self,
        items: &[(&KeyHandle, u32)],
        share: u32,
        clock: &impl Clock,
    ) -> Answer {
        let bounds = Bounds {
            lease: &self.lease,
            share,
        };
        let answer = charge(items, bounds, clock);
        if self.params.planted.denials_cost && matches!(answer, Answer::Deny(_)) {
            leave_what_was_taken(items, clock);
        }
        answer
    }

    /// Gives back what a charge took, for a request that has reached nothing. How many came back of each key, in their
    /// order: of a spend whose slot is over, none.
    pub fn refund(&self, items: &[(&KeyHandle, u32)], receipt: Receipt) -> Vec<u32> {
        refund(items, receipt)
    }

    /// Whether clients are to go elsewhere: what they need no more here is handed back at once.
    pub fn set_draining(&self, draining: bool) {
        if self.draining.swap(draining, Relaxed) != draining {
            self.bell.ring();
        }
    }

    pub(super) fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Ready when a key has run low since the last tick, so that the keeper should not wait for the next.
    /// For one task.
    pub fn poll_hungry(&self, context: &mut Context<'_>) -> Poll<()> {
        self.bell.waker.register(context.waker());
        match self.bell.hungry.load(Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Tokens of all keys that are free here, and that cool here. A look at every key.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let (mut free, mut cool) = (0_u64, 0_u64);
        self.for_each(|key| {
            let held = key.0.cell.held();
            free += u64::try_from(held.free).unwrap_or(0);
            cool += u64::from(held.cool);
        });
        (free, cool)
    }

    pub(super) fn as_of(&self) -> u64 {
        self.as_of.load(Relaxed)
    }

    /// The key, if it has been met and not put away.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<KeyHandle> {
        let keys = self.keys.pin();
        keys.get(&id).filter(|key| !key.0.cell.retired()).cloned()
    }

    /// Calls with every key, in no order.
    pub(super) fn for_each(&self, mut with: impl FnMut(&KeyHandle)) {
        for (_, key) in &self.keys.pin() {
            with(key);
        }
    }

    /// Takes out a key that was put away.
    pub(super) fn forget(&self, key: &KeyHandle) {
        let keys = self.keys.pin();
        let same = |_: &KeyId, there: &KeyHandle| Arc::ptr_eq(&there.0, &key.0);
        if let Ok(Some(_)) = keys.remove_if(&key.0.id, same) {
            self.count.fetch_sub(1, Relaxed);
        }
    }

    /// A key that no request has come for yet, and that others want the base of.
    pub(super) fn lend(
        &self,
        id: KeyId,
        terms: &Terms,
        as_of: u64,
        clock: &impl Clock,
    ) -> Result<KeyHandle, Crowded> {
        self.meet(id, (terms, None, as_of), clock)
    }

    fn follow(
        &self,
        key: &KeyHandle,
        (terms, on_empty, as_of): (&Terms, OnEmpty, u64),
        clock: &impl Clock,
    ) {
        // One at a time; once for a key and a document.
        let _forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        if key.0.follow(terms, on_empty, as_of) {
            // The base of a lowered limit is less from now on. That of a raised one is the keeper's to give, and requests
            // wait for it. What is left elsewhere was told by the old amount.
            let base = self.base.load();
            let spendable = base.of(&key.0.id, terms, clock.now());
            key.0.cell.lower_base(spendable);
            key.0.owed.store(base.in_time(terms), Relaxed);
            if spendable < terms.limit() {
                key.0.pool.store(UNKNOWN, Relaxed);
            }
            key.note_use();
        }
    }

    fn meet(
        &self,
        id: KeyId,
        (terms, on_empty, as_of): (&Terms, Option<OnEmpty>, u64),
        clock: &impl Clock,
    ) -> Result<KeyHandle, Crowded> {
        let form = self.form(terms);
        let born = self.born.fetch_add(1, Relaxed) + 1;
        let key = Key::new(id, terms, on_empty, as_of, form, born, self.bell.clone());
        let base = self.base.load().of(&id, terms, clock.now());
        if base == terms.limit() {
            // Nobody else has any.
            key.pool.store(0, Relaxed);
        }
        key.owed.store(self.base.load().in_time(terms), Relaxed);
        key.cell.credit(base);
        key.cell.set_base(base);
        let new = KeyHandle(Arc::new(key));
        let keys = self.keys.pin();
        let met = keys.compute(id, |there| match there {
            Some((_, key)) if !key.0.cell.retired() => Operation::Abort(Ok(key.clone())),
            Some(_) => Operation::Insert(new.clone()),
            None if self.count.load(Relaxed) >= self.most => {
                Operation::Abort(Err(Crowded(self.most)))
            }
            None => Operation::Insert(new.clone()),
        });
        match met {
            Compute::Inserted(..) => {
                self.count.fetch_add(1, Relaxed);
            }
            Compute::Aborted(other) => return other,
            Compute::Updated { .. } | Compute::Removed(..) => {}
        }
        // The base may have become another since it was looked up, and the keeper have looked at all keys that
        // were there: of a lesser one what is too much goes now, a greater one is the keeper's to give.
        new.0
            .cell
            .lower_base(self.base.load().of(&id, terms, clock.now()));
        new.note_use();
        Ok(new)
    }

    fn form(&self, terms: &Terms) -> Arc<Form> {
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        forms
            .entry(terms.shape())
            .or_insert_with(|| {
                let form = Form::of(terms, self.params);
                Arc::new(match self.params.planted.slot_early {
                    true => form.one_slot_early(),
                    false => form,
                })
            })
            .clone()
    }
}

/// A planted mistake: what a denied request took of the first of several limits stays taken.
fn leave_what_was_taken(items: &[(&KeyHandle, u32)], clock: &impl Clock) {
    if let [(first, cost), _, ..] = items {
        let bound = Bound {
            reach: Reach::Held,
            share: WHOLE,
        };
        let _ = first
            .cell()
            .take(first.pace(), *cost, bound, clock.now(), clock);
    }
}

/// Hashes a key by its first bytes: a key is a hash already, by a secret that clients don't know.
#[derive(Debug, Default)]
struct First8(u64);

impl Hasher for First8 {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // The array is written as its length and its bytes; the length is overwritten.
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}
