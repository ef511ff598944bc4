//! Counts what a node says about quotas and hears, for metrics.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::offset::Offset;

/// So long a comparison of clocks holds: nodes ask each second.
const HOLDS: Duration = Duration::from_secs(30);

/// What was counted since the node's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Asks that were sent, those with nothing in them included.
    pub asks: u64,
    /// Keys in them.
    pub items: u64,
    /// Asks that the ledger did not answer in time.
    pub unanswered: u64,
    /// Asks that it answered without a share of base, or with one of some limits only.
    pub seatless: u64,
    /// Keys that the ledger gave tokens of, or confirmed.
    pub grants: u64,
    /// Keys that it wanted tokens back of.
    pub recalls: u64,
    /// Keys of which it held extra that had run out when the ledger answered again.
    pub lapses: u64,
    /// How far its wall clock is from that of the ledger's leader; none while it has not answered for half a minute.
    pub offset: Option<Offset>,
    /// Lives of this node that ended because its clocks came apart, or another node had its place.
    pub lives: u64,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    pub(super) asks: AtomicU64,
    pub(super) items: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) seatless: AtomicU64,
    pub(super) grants: AtomicU64,
    pub(super) recalls: AtomicU64,
    pub(super) lapses: AtomicU64,
    pub(super) lives: AtomicU64,
    offset: Mutex<Option<(Offset, Instant)>>,
}

impl Tallies {
    pub(super) fn read(&self) -> Tally {
        Tally {
            asks: self.asks.load(Relaxed),
            items: self.items.load(Relaxed),
            unanswered: self.unanswered.load(Relaxed),
            seatless: self.seatless.load(Relaxed),
            grants: self.grants.load(Relaxed),
            recalls: self.recalls.load(Relaxed),
            lapses: self.lapses.load(Relaxed),
            offset: self.offset().and_then(|(offset, measured)| {
                let holds = measured.elapsed() < HOLDS;
                holds.then_some(offset)
            }),
            lives: self.lives.load(Relaxed),
        }
    }

    /// The wall clock was compared with that of the ledger's leader; or set, so that what was measured says nothing.
    pub(super) fn compared(&self, offset: Option<Offset>) {
        *self.offset() = offset.map(|offset| (offset, Instant::now()));
    }

    fn offset(&self) -> MutexGuard<'_, Option<(Offset, Instant)>> {
        self.offset.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(u64::try_from(more).unwrap_or(0), Relaxed);
}
