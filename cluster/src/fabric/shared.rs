//! What all tasks of the fabric share, and what several of them do with it.
//!
//! In: the roster's and the hello's state under locks that are never held across a wait. Out: closed
//! connections, and what to do when a later start of this node shows up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use meridian_config::name::NodeId;
use quinn::Connection;
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BulkStream, FabricSettings, Handler, Kind, PeerIdentity,
    dial::{DialOrder, DialOutcome},
    incarnation,
    refusals::Refusals,
    roster::{Plane, Roster},
    wire::{Close, Hello},
};
use crate::host::Host;

/// What all tasks of the fabric share.
pub(super) struct Shared {
    pub(super) host: Arc<dyn Host>,
    pub(super) settings: FabricSettings,
    /// This node's hello, as of now.
    pub(super) hello: RwLock<Hello>,
    pub(super) incarnation: watch::Sender<u64>,
    /// See [`super::incarnation::pace`].
    pub(super) gossip_wait: Duration,
    /// A peer has accepted this incarnation.
    pub(super) welcomed: AtomicBool,
    pub(super) replaced: watch::Sender<Option<u64>>,
    /// The version that the cluster has agreed on, as far as this node knows.
    pub(super) level: AtomicU8,
    /// Members no more, with the index of their removal in the log.
    pub(super) removed: RwLock<BTreeMap<NodeId, u64>>,
    /// The index of this node's own removal.
    pub(super) expelled: watch::Sender<Option<u64>>,
    pub(super) roster: Mutex<Roster<Connection>>,
    /// Counts changes of who is connected.
    pub(super) changed: watch::Sender<u64>,
    pub(super) refusals: Refusals,
    pub(super) handlers: RwLock<BTreeMap<Kind, Arc<dyn Handler>>>,
    pub(super) inboxes: RwLock<BTreeMap<Datagram, mpsc::Sender<Received>>>,
    pub(super) dials: Mutex<DialsUnderWay>,
    pub(super) dial_orders: BTreeMap<Plane, mpsc::Sender<DialOrder>>,
    /// Addresses that turned out to be this node's.
    pub(super) own_addresses: Mutex<BTreeSet<SocketAddr>>,
    pub(super) bulk_streams: mpsc::Sender<BulkStream>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// Where the outcome of each dial under way will be.
type DialsUnderWay = BTreeMap<(Plane, SocketAddr), watch::Receiver<Option<DialOutcome>>>;

/// What a datagram carries: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Datagram {
    /// Gossip.
    Gossip = 1,
    /// Asks for an echo.
    Probe = 2,
    /// The answer to a probe: its bytes.
    Echo = 3,
}

impl Datagram {
    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Gossip, Self::Probe, Self::Echo]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A datagram (or gossip by stream) and who sent it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) from: PeerIdentity,
    pub(crate) body: Bytes,
}

/// No code panics while it holds one of the fabric's locks.
pub(super) const UNPOISONED: &str = "nothing panics while it is held";

impl Shared {
    pub(super) fn roster(&self) -> MutexGuard<'_, Roster<Connection>> {
        self.roster.lock().expect(UNPOISONED)
    }

    pub(super) fn hello(&self) -> Hello {
        self.hello.read().expect(UNPOISONED).clone()
    }

    pub(super) fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Closes all connections to a node.
    pub(super) fn part(&self, id: &NodeId, close: Close, why: &str) {
        let connections = self.roster().part(id);
        if connections.is_empty() {
            return;
        }
        for connection in connections {
            connection.close(close.code(), why.as_bytes());
        }
        self.note_change();
    }

    /// The removal that an id stands under, if it is no member's any more.
    pub(super) fn removal_of(&self, id: &NodeId) -> Option<u64> {
        self.removed.read().expect(UNPOISONED).get(id).copied()
    }

    /// A peer, or the log, says that this node was removed by the log's entry `removal`.
    pub(super) fn expelled_by(&self, removal: u64) {
        if !self.hello().is_removed(removal) {
            return;
        }
        if self.expelled.send_replace(Some(removal)).is_none() {
            tracing::error!(
                "{} was removed from the cluster (by entry {removal} of the log) and takes no part in it any more; to take it in again, empty its data_dir and start it: it joins as a new node",
                self.settings.id
            );
        }
    }

    /// A peer knows a later start of this node than this one.
    ///
    /// Where nobody has accepted this start yet, the clock is behind a wiped disk: count on from there.
    /// Else another process runs under this node's id, and this one is out.
    pub(super) async fn superseded(&self, known: u64) {
        // Of two connections of this very start a peer closes one, with the same word: that is no rival.
        if known <= self.incarnation() {
            return;
        }
        if self.welcomed.load(Ordering::Acquire) {
            if self.replaced.send_replace(Some(known)).is_none() {
                tracing::error!(
                    "another process with the id {} started later (incarnation {known}) and took this node's place; stop one of the two, or give it a node.id of its own",
                    self.settings.id
                );
            }
            return;
        }
        let next = known.saturating_add(1);
        if let Err(error) = incarnation::store(&self.host, next).await {
            tracing::error!(
                "the node's incarnation cannot be stored: {error}; mend the disk of data_dir"
            );
            return;
        }
        tracing::warn!(
            "peers know a start of {} that this machine's clock says is in the future; counting on from it, but set the clock",
            self.settings.id
        );
        self.hello.write().expect(UNPOISONED).incarnation = next;
        self.incarnation.send_replace(next);
    }

    pub(super) fn incarnation(&self) -> u64 {
        *self.incarnation.borrow()
    }
}
