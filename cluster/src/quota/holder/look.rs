//! What a holder holds, for those who check it.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    super::{
        cell::Held,
        charge::Account,
        clock::{Monotonic, Now},
        key::KeyId,
        lease::{Contact, Standing},
        terms::Terms,
    },
    holding::Holder,
    key::{DOUBTED, IN_USE, KeyHandle},
};

/// What is held of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Which.
    pub key: KeyId,
    /// Its terms, as requests came with them.
    pub terms: Option<Terms>,
    /// What is free and what cools. Tokens that are to be handed back when they have cooled count until they are.
    pub held: Held,
    /// The node's own share.
    pub base: u32,
    /// The same once what an earlier life has spent of it has cooled.
    pub owed: u32,
    /// What it has beyond base; less than 0: what it has lent of it.
    pub extra: i32,
    /// The extra may be spent, as far as the node knows.
    pub valid: bool,
    /// The keeper looks at it each tick.
    pub in_use: bool,
}

impl Holder {
    /// How long ago the ledger has answered.
    pub(in super::super) fn contact(&self, now: Monotonic) -> Contact {
        self.lease.contact(now)
    }

    /// Everything that is held.
    #[must_use]
    pub fn holdings(&self, now: Now) -> Vec<Holding> {
        let mut holdings = Vec::new();
        let contact = self.lease.contact(now.monotonic);
        self.for_each(|handle| holdings.extend(handle.holding(contact)));
        holdings.sort_by_key(|holding| holding.key);
        holdings
    }

    /// What was spent of a key here within its window.
    pub fn spent(&self, id: KeyId) -> u32 {
        self.find(id).map_or(0, |handle| handle.0.cell.held().cool)
    }

    /// What of a key could be spent here now, of one that no request has come for yet too.
    pub fn free(&self, id: KeyId, terms: &Terms, now: Now) -> u32 {
        match self.find(id) {
            Some(handle) => handle.remaining().0,
            None => self.base.load().of(&id, terms, now),
        }
    }

    /// What is held of one key; none where there is nothing of it.
    #[must_use]
    pub fn holding(&self, id: KeyId, now: Now) -> Option<Holding> {
        let contact = self.lease.contact(now.monotonic);
        self.find(id)?.holding(contact)
    }
}

impl KeyHandle {
    fn holding(&self, contact: Contact) -> Option<Holding> {
        let key = &self.0;
        if key.cell.retired() {
            return None;
        }
        let marks = key.cell.marks();
        let held = key.cell.held();
        let withheld = key.withheld.load(Relaxed).cast_signed();
        let standing = contact.standing(self.validity());
        Some(Holding {
            key: key.id,
            terms: key.terms().map(|(terms, _)| terms),
            held: Held {
                free: held.free.saturating_add(withheld),
                ..held
            },
            base: key.cell.base(),
            owed: key.owed.load(Relaxed),
            extra: key.extra(),
            valid: standing == Standing::Valid && marks & DOUBTED == 0,
            in_use: marks & IN_USE != 0,
        })
    }

    /// The newest fixed window that it was spent in.
    #[cfg(test)]
    pub(in super::super) fn newest_window(&self) -> u64 {
        self.0.cell.newest_window()
    }
}
