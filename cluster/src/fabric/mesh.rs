//! The fabric as the rest of a node sees it: peers, calls, datagrams, bulk streams.
//!
//! In: settings, trust and the host. Out: a [`Fabric`], cheap to clone. Its core is
//! [`Roster`](super::roster::Roster); `link`, `dial` and `calls` are the tasks around it.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use meridian_config::name::NodeId;
use quinn::Connection;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    FabricSettings, Handler, Kind, PeerIdentity, Trust,
    bulk::{self, BulkStream},
    endpoint, incarnation, link, redial,
    refusals::Refusals,
    roster::{Plane, Roster},
    shared::{Shared, UNPOISONED},
    wire::{Close, Hello, HelloFault, same_cluster},
};
use crate::{
    host::Host,
    version::{FIRST, Versions},
};

/// A node's connections to all others. Clones share them.
#[derive(Clone)]
pub struct Fabric {
    pub(super) shared: Arc<Shared>,
    pub(super) bulk_streams: Arc<tokio::sync::Mutex<mpsc::Receiver<BulkStream>>>,
}

/// A node that the fabric knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Id, region and greatest known incarnation.
    pub identity: PeerIdentity,
    /// Where its control endpoint is reached.
    pub control: SocketAddr,
    /// Where its bulk endpoint is reached.
    pub bulk: SocketAddr,
    /// Its cluster's id as its last hello said; empty before bootstrap, or never met.
    pub cluster_id: String,
    /// The versions of messages it reads, as its last hello said; none: never met.
    pub versions: Option<Versions>,
    /// A control connection stands.
    pub connected: bool,
    /// When that began.
    pub since: Option<std::time::Instant>,
    /// Smoothed round trip of the control connection.
    pub rtt: Option<Duration>,
    /// This incarnation said that it stops.
    pub left: bool,
}

/// Why the fabric cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// A port is taken or forbidden.
    #[error(
        "{key} cannot listen on UDP {addr}: {cause}; stop what holds the port, or set another address"
    )]
    Listen {
        /// The key in `node.yaml`.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The node listens on all addresses and does not say which one others should use.
    #[error(
        "listen.fabric is {listen}, which no other node can dial; set fabric.advertise to this node's address and port"
    )]
    NoAdvertise {
        /// Where it listens.
        listen: SocketAddr,
    },
    /// An advertised name has no address.
    #[error("{key} {name:?} cannot be resolved: {cause}; set it to this node's address and port")]
    Advertise {
        /// The key in `node.yaml`.
        key: &'static str,
        /// Its value.
        name: String,
        /// What the resolver said.
        cause: String,
    },
    /// The count of starts cannot be kept.
    #[error("the node's incarnation cannot be stored: {0}; free or mend the disk of data_dir")]
    Incarnation(io::Error),
}

/// Forwarded streams that wait for the node to take them; further ones are reset, and their senders try
/// another node. The node takes one in microseconds, so a longer queue would only hide an overload.
const BULK_QUEUE: usize = 256;

/// Dials that wait for their endpoint's task. Its loop takes them at once; when full, the dial fails and
/// is tried again.
const DIAL_QUEUE: usize = 256;

impl Fabric {
    /// Binds both endpoints and begins to meet the nodes of `join`.
    ///
    /// The control endpoint runs on the current runtime, the bulk endpoint on [`Place::Bulk`]. All tasks
    /// are `tracker`'s and end after `stop` is cancelled; connections are then closed with a reason, so
    /// that peers take the node for gone at once.
    pub async fn start(
        host: Arc<dyn Host>,
        settings: FabricSettings,
        trust: Trust,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, FabricError> {
        let incarnation = incarnation::next(&host)
            .await
            .map_err(FabricError::Incarnation)?;
        let gossip_wait = incarnation::pace(&host)
            .await
            .map_err(FabricError::Incarnation)?;
        let control = endpoint::bind(Plane::Control, &host, &settings, &trust, incarnation)?;
        let (bulk_bound, bulk_start) = bulk::place(&host, &settings, &trust, incarnation, &tracker);
        let bulk_local = bulk_bound.await.unwrap_or_else(|_| {
            Err(FabricError::Listen {
                key: "listen.bulk",
                addr: settings.bulk,
                cause: io::Error::other("its runtime ended"),
            })
        })?;
        let control_local = endpoint::local(&control);
        let advertised = settings
            .advertised(&host, control_local, bulk_local)
            .await?;

        let hello = Hello {
            cluster: settings.cluster.clone(),
            cluster_id: String::new(),
            node: settings.id.clone(),
            region: settings.region.clone(),
            incarnation,
            control: advertised.control,
            bulk: advertised.bulk,
            seat: 0,
            versions: settings.versions,
        };
        // A cluster that has not agreed on anything yet begins with the oldest version it reads.
        let oldest = settings.versions.oldest;
        let (control_orders, control_dials) = mpsc::channel(DIAL_QUEUE);
        let (bulk_orders, bulk_dials) = mpsc::channel(DIAL_QUEUE);
        let (streams_in, streams_out) = mpsc::channel(BULK_QUEUE);
        let shared = Arc::new(Shared {
            roster: Mutex::new(Roster::new(settings.id.clone())),
            host,
            settings,
            hello: RwLock::new(hello),
            incarnation: watch::Sender::new(incarnation),
            gossip_wait,
            welcomed: AtomicBool::new(false),
            replaced: watch::Sender::new(None),
            level: AtomicU8::new(oldest),
            removed: RwLock::default(),
            expelled: watch::Sender::new(None),
            changed: watch::Sender::new(0),
            refusals: Refusals::default(),
            handlers: RwLock::default(),
            inboxes: RwLock::default(),
            dials: Mutex::default(),
            dial_orders: [(Plane::Control, control_orders), (Plane::Bulk, bulk_orders)].into(),
            own_addresses: Mutex::new(
                [
                    control_local,
                    bulk_local,
                    advertised.control,
                    advertised.bulk,
                ]
                .into(),
            ),
            bulk_streams: streams_in,
            tracker: tracker.clone(),
            stop,
        });
        // The bulk task waits for this; it is gone only if its runtime broke, and then forwards fail.
        let _ = bulk_start.send((Arc::clone(&shared), bulk_dials));
        tracker.spawn(link::run(
            Plane::Control,
            control,
            Arc::clone(&shared),
            control_dials,
        ));
        tracker.spawn(redial::keep_dialling(Arc::clone(&shared)));
        for name in &shared.settings.join {
            tracker.spawn(redial::keep_joined(Arc::clone(&shared), name.clone()));
        }
        tracing::info!(
            control = %advertised.control, bulk = %advertised.bulk, incarnation,
            "fabric: listening"
        );
        Ok(Self {
            shared,
            bulk_streams: Arc::new(tokio::sync::Mutex::new(streams_out)),
        })
    }

    /// Lets `handler` answer calls of one kind. The last one registered answers.
    pub fn register(&self, kind: Kind, handler: Arc<dyn Handler>) {
        let mut handlers = self.shared.handlers.write().expect(UNPOISONED);
        handlers.insert(kind, handler);
    }

    /// The control address that others reach this node at.
    pub fn local_control(&self) -> SocketAddr {
        self.shared.hello().control
    }

    /// The bulk address that others reach this node at.
    pub fn local_bulk(&self) -> SocketAddr {
        self.shared.hello().bulk
    }

    /// This node: id, region and incarnation.
    pub fn own(&self) -> PeerIdentity {
        let hello = self.shared.hello();
        PeerIdentity {
            id: hello.node,
            region: hello.region,
            incarnation: hello.incarnation,
        }
    }

    /// Counts this node's starts.
    pub fn incarnation(&self) -> u64 {
        *self.shared.incarnation.borrow()
    }

    /// How long gossip should leave this start of the node out, because it was started too often before.
    pub fn gossip_wait(&self) -> Duration {
        self.shared.gossip_wait
    }

    /// Follows the incarnation. It changes only before the first peer accepts this node: a wiped node
    /// whose clock is behind learns from its peers what it must exceed.
    pub fn watch_incarnation(&self) -> watch::Receiver<u64> {
        self.shared.incarnation.subscribe()
    }

    /// The versions of messages that this node reads.
    pub fn versions(&self) -> Versions {
        self.shared.settings.versions
    }

    /// The version that this node and a peer speak with each other: the newest that both read. The first,
    /// where they have not met.
    pub fn spoken_with(&self, id: &NodeId) -> u8 {
        let roster = self.shared.roster();
        let theirs = roster.entry(id).and_then(|entry| entry.versions);
        let common = theirs.and_then(|theirs| theirs.common(self.versions()));
        common.unwrap_or(FIRST)
    }

    /// Says which version the cluster has agreed on: from now on peers that do not read it are turned away,
    /// those included that are connected.
    pub fn set_level(&self, level: u8) {
        if self.shared.level.swap(level, Ordering::AcqRel) == level {
            return;
        }
        let behind: Vec<(NodeId, Versions)> = {
            let roster = self.shared.roster();
            let met = roster.entries().filter_map(|(id, entry)| {
                let versions = entry.versions.filter(|it| !it.reads(level))?;
                Some((id.clone(), versions))
            });
            met.collect()
        };
        for (id, theirs) in behind {
            let fault = HelloFault::Level { theirs, level };
            self.shared
                .refusals
                .note(fault.cause(), &format!("node {id}"), &fault);
            self.shared.part(&id, Close::Refused, &fault.to_string());
        }
    }

    /// Every node known, by id.
    pub fn peers(&self) -> Vec<Peer> {
        let roster = self.shared.roster();
        roster
            .entries()
            .map(|(id, entry)| Peer {
                identity: PeerIdentity {
                    id: id.clone(),
                    region: entry.region.clone(),
                    incarnation: entry.incarnation,
                },
                control: entry.control,
                bulk: entry.bulk,
                cluster_id: entry.cluster_id.clone(),
                versions: entry.versions,
                connected: entry.has(Plane::Control),
                since: entry.since(Plane::Control),
                rtt: roster.connection(Plane::Control, id).map(Connection::rtt),
                left: entry.left == Some(entry.incarnation),
            })
            .collect()
    }

    /// Changes whenever a connection is made or lost.
    pub fn watch_peers(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// What was refused since the start, by cause.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.shared.refusals.counts()
    }

    /// Says which cluster this node belongs to and the number of its seat, from bootstrap or from its disk. Peers of another are
    /// refused from now on, and connections to such are closed.
    pub fn set_member(&self, id: &str, seat: u64) {
        {
            let mut hello = self.shared.hello.write().expect(UNPOISONED);
            id.clone_into(&mut hello.cluster_id);
            hello.seat = seat;
        }
        let strangers: Vec<NodeId> = self
            .shared
            .roster()
            .entries()
            .filter(|(_, entry)| !same_cluster(&entry.cluster_id, id))
            .map(|(id, _)| id.clone())
            .collect();
        for stranger in strangers {
            self.shared.part(
                &stranger,
                Close::Refused,
                "this node is now of another cluster",
            );
        }
    }

    /// Turns away nodes that are members no more, each with the index of its removal in the log, and forgets
    /// where they were. One that comes with an empty disk, or was taken in since, is let in.
    pub fn set_removed(&self, removed: BTreeMap<NodeId, u64>) {
        if let Some(removal) = removed.get(&self.shared.settings.id) {
            self.shared.expelled_by(*removal);
        }
        let mut gone = Vec::new();
        {
            let mut roster = self.shared.roster();
            let known = self.shared.removed.read().expect(UNPOISONED);
            for (id, removal) in &removed {
                // A node that came without a cluster id after its removal was known here is on its way in. Before
                // that, having none proves nothing: every node had none in its hello that was met before the
                // founding, or before it was taken in. One that is closed without being meant comes again.
                let joins = known.get(id) == Some(removal)
                    && roster.entry(id).is_some_and(|entry| {
                        entry.has(Plane::Control) && entry.cluster_id.is_empty()
                    });
                if !joins {
                    let connections = roster.forget(id);
                    gone.extend(connections.into_iter().map(|it| (it, *removal)));
                }
            }
        }
        *self.shared.removed.write().expect(UNPOISONED) = removed;
        let parted = !gone.is_empty();
        for (connection, removal) in gone {
            connection.close(Close::Removed.code(), removal.to_string().as_bytes());
        }
        if parted {
            self.shared.note_change();
        }
    }

    /// Whether an id is no member's any more.
    pub(crate) fn is_removed(&self, id: &NodeId) -> bool {
        self.shared.removal_of(id).is_some()
    }

    /// Resolves when this node turns out to be removed from the cluster: this process cannot go on. The
    /// number is the removal's index in the log.
    pub async fn expelled(&self) -> u64 {
        let mut expelled = self.shared.expelled.subscribe();
        match expelled.wait_for(Option::is_some).await.map(|by| *by) {
            Ok(Some(by)) => by,
            _ => std::future::pending().await,
        }
    }

    /// The cluster's id, where this node has one.
    pub fn cluster_id(&self) -> Option<String> {
        Some(self.shared.hello().cluster_id).filter(|id| !id.is_empty())
    }

    /// Resolves when a later start of a node with this id has taken its place in the cluster: this
    /// process cannot go on. The number is the other's incarnation.
    pub async fn replaced(&self) -> u64 {
        let mut replaced = self.shared.replaced.subscribe();
        match replaced.wait_for(Option::is_some).await.map(|by| *by) {
            Ok(Some(by)) => by,
            _ => std::future::pending().await,
        }
    }

    /// Takes in what gossip says of a node.
    pub(crate) fn learn(&self, peer: &PeerIdentity, control: SocketAddr, bulk: SocketAddr) {
        let now = Instant::now().into_std();
        self.shared.roster().learn(peer, control, bulk, now);
    }

    /// Closes all connections to a node that is taken for dead, so that what waits on them fails now.
    pub(crate) fn part(&self, id: &NodeId, why: &str) {
        self.shared.part(id, Close::Down, why);
    }

    /// Which node is reached at a control address.
    pub(crate) fn node_at(&self, control: SocketAddr) -> Option<NodeId> {
        self.shared.roster().at(control).cloned()
    }

    /// Where a node's control endpoint is reached.
    pub(crate) fn control_of(&self, id: &NodeId) -> Option<SocketAddr> {
        Some(self.shared.roster().entry(id)?.control)
    }
}

impl fmt::Debug for Fabric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fabric")
            .field("own", &self.own())
            .finish_non_exhaustive()
    }
}
