//! What a holder holds, for those who check it.

use super::{
    super::{cell::Held, charge::Account, clock::Now, key::KeyId, lease::Standing},
    holding::Holder,
    key::{DOUBTED, KeyHandle},
};

/// What is held of a key.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Holding {
    pub(in super::super) key: KeyId,
    pub(in super::super) held: Held,
    pub(in super::super) base: u32,
    pub(in super::super) extra: i32,
    /// The extra may be spent, as far as the node knows.
    pub(in super::super) valid: bool,
}

impl Holder {
    /// Everything that is held.
    pub(in super::super) fn holdings(&self, now: Now) -> Vec<Holding> {
        let mut holdings = Vec::new();
        let contact = self.lease.contact(now.monotonic);
        self.for_each(|handle| {
            let key = &handle.0;
            if key.cell.retired() {
                return;
            }
            let standing = contact.standing(handle.validity());
            holdings.push(Holding {
                key: key.id,
                held: key.cell.held(),
                base: key.cell.base(),
                extra: key.extra(),
                valid: standing == Standing::Valid && key.cell.marks() & DOUBTED == 0,
            });
        });
        holdings.sort_by_key(|holding| holding.key);
        holdings
    }
}

impl KeyHandle {
    /// The newest fixed window that it was spent in.
    pub(in super::super) fn newest_window(&self) -> u64 {
        self.0.cell.newest_window()
    }
}
