//! Until when an incarnation of a node may spend what it holds.
//!
//! In: confirmations from the ledger. Out: what may be spent at an instant. One number for all keys of a node:
//! when the last request was *sent* that the ledger has confirmed. It is the sending that counts, because
//! the ledger counts from the arrival, which is later. From it on, the extra that a node holds of a key is
//! good for a shorter time, its base share for a longer one; both grow with the key's window.

use std::time::Duration;

use super::{
    atomic::{Acquire, AtomicU64, Release},
    clock::Monotonic,
};

/// When the last confirmed request was sent. Read by every charge.
#[derive(Debug)]
pub struct Lease {
    /// One more than the nanoseconds; 0 if none ever was.
    confirmed: AtomicU64,
}

/// How long what is held of a key is good without contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    extra: u64,
    base: u64,
}

/// How a lease stands for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// In contact: all that is held may be spent.
    Valid,
    /// Out of contact for so long that the extra may be the ledger's again.
    BaseOnly,
    /// Out of contact for so long that the base share may be, too.
    Lapsed,
}

impl Validity {
    /// Extra for the one time, the base share for the other; none: for as long as the incarnation lives,
    /// whether it was ever in contact or not.
    #[must_use]
    pub fn new(extra: Duration, base: Option<Duration>) -> Self {
        Self {
            extra: nanoseconds(extra),
            base: base.map_or(FOREVER, nanoseconds),
        }
    }
}

impl Validity {
    /// The same without the extra.
    #[must_use]
    pub fn base_only(self) -> Self {
        Self { extra: 0, ..self }
    }

    /// Whether the extra outlives a silence of so many nanoseconds.
    pub(super) fn outlives(self, silence: Contact) -> bool {
        silence.0 < self.extra
    }
}

impl Lease {
    /// Of an incarnation that has not been confirmed yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            confirmed: AtomicU64::new(0),
        }
    }

    /// The ledger has confirmed a request sent at `sent`. An older confirmation changes nothing. For one
    /// thread at a time.
    pub fn confirm(&self, sent: Monotonic) {
        let confirmed = sent.0.saturating_add(1);
        if confirmed > self.confirmed.load(Acquire) {
            self.confirmed.store(confirmed, Release);
        }
    }

    /// The incarnation is over: what another will hold is its own.
    pub fn end(&self) {
        self.confirmed.store(0, Release);
    }

    /// How long ago it was confirmed. To be read before what is specific to a key: when contact is found again,
    /// the holder first marks the keys whose tokens may be the ledger's meanwhile and then confirms, so that
    /// whoever sees the confirmation sees the marks.
    pub fn contact(&self, now: Monotonic) -> Contact {
        Contact(match self.confirmed.load(Acquire).checked_sub(1) {
            Some(sent) => now.0.saturating_sub(sent),
            None => FOREVER,
        })
    }
}

/// How long ago a lease was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contact(u64);

impl Contact {
    /// Whether it is at least so long ago.
    pub(super) fn outlasts(self, span: Duration) -> bool {
        self.0 >= nanoseconds(span)
    }

    /// The same, if a request that was sent then is confirmed, too.
    pub(super) fn or_since(self, sent: Monotonic, now: Monotonic) -> Self {
        self.min(Self(now.0.saturating_sub(sent.0)))
    }

    /// How it stands for a key of that validity.
    #[must_use]
    pub fn standing(self, validity: Validity) -> Standing {
        if self.0 < validity.extra {
            Standing::Valid
        } else if self.0 < validity.base || validity.base == FOREVER {
            Standing::BaseOnly
        } else {
            Standing::Lapsed
        }
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self::new()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(FOREVER)
}

const FOREVER: u64 = u64::MAX;
