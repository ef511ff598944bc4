//! What the tasks of the fast lane share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use meridian_config::name::NodeId;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Ack, Digest, Fact, FactId, Index,
    held::Held,
    keeper::{Parcel, Source},
    receipt::Acks,
    set::{BYTES_LIMIT, COUNT_LIMIT},
    spread::Calls,
};
use crate::{fabric::Transport, host::Host, membership::View};

/// What the tasks of the fast lane share.
pub(super) struct Shared {
    pub(super) host: Arc<dyn Host>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) index: Arc<Index>,
    held: Mutex<Held>,
    pub(super) parcels: mpsc::Sender<Parcel>,
    /// Counts changes of what is held and of what is agreed on.
    pub(super) changed: watch::Sender<u64>,
    pub(super) receipts: Receipts,
    pub(super) calls: Calls,
    counts: Counts,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Facts for which there was no room, here or in the directory.
    pub(super) refused: AtomicU64,
    /// Facts that a peer got by the digest's way, because the direct one failed or was full.
    pub(super) left_to_digest: AtomicU64,
    /// Facts of peers that no operator could have made.
    pub(super) unsound: AtomicU64,
    complained: AtomicBool,
}

impl Shared {
    #[allow(
        clippy::too_many_arguments,
        reason = "each is one of the node's parts, and there is one caller"
    )]
    pub(super) fn new(
        host: Arc<dyn Host>,
        transport: Arc<dyn Transport>,
        view: watch::Receiver<Arc<View>>,
        held: Held,
        index: Index,
        parcels: mpsc::Sender<Parcel>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            host,
            transport,
            view,
            index: Arc::new(index),
            held: Mutex::new(held),
            parcels,
            changed: watch::Sender::new(0),
            receipts: Receipts::default(),
            calls: Calls::default(),
            counts: Counts::default(),
            tracker,
            stop,
        }
    }

    /// What this node holds. Never kept across an await.
    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn own(&self) -> NodeId {
        self.view.borrow().own.clone()
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.host.unix_time().as_millis()).unwrap_or(u64::MAX)
    }

    /// Gives facts to the keeper and waits for what it makes of them; nothing where the node stops.
    pub(super) async fn take_in(&self, facts: Vec<Arc<Fact>>, source: Source) -> Vec<Ack> {
        let (done, acks) = oneshot::channel();
        let parcel = Parcel {
            facts,
            source,
            done,
        };
        if self.parcels.send(parcel).await.is_err() {
            return Vec::new();
        }
        acks.await.unwrap_or_default()
    }

    /// The directory keeps these facts.
    pub(super) fn settle(&self, ids: impl Iterator<Item = FactId>) {
        {
            let mut held = self.held();
            ids.for_each(|id| held.settle(&id));
        }
        self.note_change();
    }

    pub(super) fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn digest(&self) -> Digest {
        self.held().digest()
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Facts for which there was no room.
    pub(super) fn count_refused(&self, count: u64) {
        if count == 0 {
            return;
        }
        self.counts.refused.fetch_add(count, Ordering::Relaxed);
        if !self.counts.complained.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "revocations and blocks are refused: a node holds {COUNT_LIMIT} of them at most, {BYTES_LIMIT} bytes; remove some, or wait until some expire. What is held already is heeded"
            );
        }
    }

    /// Facts that a peer will have to find by the digest.
    pub(super) fn count_left_to_digest(&self, count: u64) {
        let counter = &self.counts.left_to_digest;
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Facts of a peer that are none.
    pub(super) fn count_unsound(&self, count: u64) {
        self.counts.unsound.fetch_add(count, Ordering::Relaxed);
    }
}

/// Receipts that operators wait for. As many as there are calls of the admin API under way, which bounds
/// its connections.
#[derive(Debug, Default)]
pub(super) struct Receipts(Mutex<BTreeMap<FactId, Pending>>);

#[derive(Debug)]
struct Pending {
    made: Instant,
    acks: Acks,
    changed: watch::Sender<u64>,
}

impl Receipts {
    /// Begins to collect a fact's acknowledgements.
    pub(super) fn open(&self, fact: FactId) -> watch::Receiver<u64> {
        let changed = watch::Sender::new(0);
        let receiver = changed.subscribe();
        let pending = Pending {
            made: Instant::now(),
            acks: Acks::default(),
            changed,
        };
        self.lock().insert(fact, pending);
        receiver
    }

    /// A node has said what it made of a fact.
    pub(super) fn hear(&self, fact: &FactId, node: &NodeId, ack: Ack) {
        if let Some(pending) = self.lock().get_mut(fact) {
            let after = pending.made.elapsed();
            pending.acks.hear(node, ack, after);
            pending.changed.send_modify(|count| *count += 1);
        }
    }

    /// Looks at what was heard.
    pub(super) fn look<T>(&self, fact: &FactId, look: impl FnOnce(&Acks) -> T) -> Option<T> {
        self.lock().get(fact).map(|pending| look(&pending.acks))
    }

    /// Nobody waits any more.
    pub(super) fn close(&self, fact: &FactId) {
        self.lock().remove(fact);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FactId, Pending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
