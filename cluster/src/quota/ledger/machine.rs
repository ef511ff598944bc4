//! The ledger as a Raft group's machine, and what the task that leads sees of it.
//!
//! In: the group's log. Out: the grants of each entry, as the answer to who proposed it; the newest state and log
//! time for readers on this node. The core is [`Ledger`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use meridian_config::name::NodeId;
use tokio::time::Instant;

use super::{Ledger, clock::LogClock};
use crate::{
    consensus::Machine,
    quota::{
        message::{Entry, Line},
        onlooker::Onlooker,
        params::Params,
    },
    wire::{self, Unreadable},
};

/// The newest state on this node.
pub(crate) struct Shown {
    state: Mutex<Applied>,
    /// What this node's monotonic time is counted from.
    origin: Instant,
}

/// A state, and the entry it is of.
pub(crate) struct Applied {
    /// The state.
    pub(crate) ledger: Ledger,
    /// The entry's place in the log; of a state that came as a snapshot, an earlier one's.
    pub(crate) index: u64,
    clock: LogClock,
}

/// What an entry that is proposed now says of time.
#[derive(Debug)]
pub(crate) struct Told {
    /// Log time in ms.
    pub(crate) log_ms: u64,
    /// The line it is on.
    pub(crate) line: Line,
}

impl Shown {
    /// An empty ledger, on this node.
    pub(crate) fn new(own: NodeId, params: Params) -> Self {
        Self {
            state: Mutex::new(Applied {
                ledger: Ledger::new(params),
                index: 0,
                clock: LogClock::new(own),
            }),
            origin: Instant::now(),
        }
    }

    /// The state, for a moment: never held across an await.
    pub(crate) fn applied(&self) -> MutexGuard<'_, Applied> {
        // `apply` leaves nothing half done that a reader or the next entry would stumble over.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node's monotonic time in ms.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Log time now: what an entry is to say that this node proposes.
    pub(crate) fn told(&self) -> Told {
        let now_ms = self.now_ms();
        let applied = self.applied();
        Told {
            log_ms: applied.clock.read(now_ms),
            line: applied.clock.line().clone(),
        }
    }
}

/// The machine; its readers hold the [`Shown`].
pub(crate) struct LedgerMachine {
    shown: Arc<Shown>,
    params: Params,
    onlooker: Option<Arc<dyn Onlooker>>,
}

impl LedgerMachine {
    /// A machine that shows its state there.
    pub(crate) fn new(
        shown: Arc<Shown>,
        params: Params,
        onlooker: Option<Arc<dyn Onlooker>>,
    ) -> Self {
        Self {
            shown,
            params,
            onlooker,
        }
    }
}

impl Machine for LedgerMachine {
    fn apply(&mut self, index: u64, command: &[u8]) -> Result<Bytes, Unreadable> {
        let entry = Entry::decode(command)?;
        let now_ms = self.shown.now_ms();
        let mut applied = self.shown.applied();
        let grants = applied.ledger.apply(index, &entry);
        applied.index = index;
        if applied.ledger.last() == index {
            let log_ms = entry.stamp.log_ms;
            applied.clock.advance(&entry.line, index, log_ms, now_ms);
        }
        if let Some(onlooker) = &self.onlooker {
            onlooker.applied(index, &entry, &grants, &applied.ledger);
        }
        Ok(wire::encode(&grants).into())
    }

    fn snapshot(&self) -> Bytes {
        self.shown.applied().ledger.encode().into()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Unreadable> {
        let ledger = Ledger::decode(snapshot, self.params)?;
        let now_ms = self.shown.now_ms();
        let mut applied = self.shown.applied();
        let (last, log_ms) = (ledger.last(), ledger.now().log_ms);
        applied.clock.begin(last, log_ms, now_ms);
        applied.ledger = ledger;
        Ok(())
    }

    fn take_files(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        Vec::new()
    }

    fn publish(&mut self) {}
}
