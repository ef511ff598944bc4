//! What a request has paid with, and how it gets it back.
//!
//! In: the keys of an admitted charge and when it was booked. Out: their tokens free again, where the request reached
//! nothing and the slot that they were spent in is still the newest; else nothing, and the spend stands.

use meridian_cluster::quota::{charge::Receipt, holder::KeyHandle, service::Charging};

use super::outcome::LimitState;

/// What a request has paid with. Dropped when the request has reached something.
#[derive(Debug, Default)]
pub struct Paid {
    bills: Vec<Bill>,
    cost: u32,
}

/// What was paid at once.
#[derive(Debug)]
pub(super) struct Bill {
    pub(super) keys: Vec<KeyHandle>,
    pub(super) receipt: Receipt,
    /// So many of the keys have a state, the first ones.
    pub(super) stated: usize,
}

impl Paid {
    /// Nothing but this: the bill of the limits that can refuse it first, in the order of their states.
    pub(super) fn of(bills: Vec<Bill>, cost: u32) -> Self {
        Self { bills, cost }
    }

    /// Gives it back, and says so in the states that the charge came to. Whether anything came back.
    pub(super) fn give_back(self, tokens: &Charging<'_>, states: &mut [LimitState]) -> bool {
        let mut any = false;
        for Bill {
            keys,
            receipt,
            stated,
        } in self.bills
        {
            let items: Vec<_> = keys.iter().map(|key| (key, self.cost)).collect();
            let back = tokens.holder.refund(&items, receipt);
            for (key, back) in keys.iter().zip(&back).filter(|(_, back)| **back > 0) {
                any = true;
                tracing::trace!(
                    target: "meridian::decision",
                    key = ?key.id(),
                    cost = back,
                    alone = tokens.alone,
                    "refunded"
                );
            }
            let stated = states.iter_mut().zip(&keys).zip(&back).take(stated);
            for ((state, key), _) in stated.filter(|(_, back)| **back > 0) {
                state.remaining = key.remaining().1.into();
            }
        }
        any
    }
}
