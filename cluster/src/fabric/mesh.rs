//! The fabric as the rest of a node sees it: peers, calls, datagrams, bulk streams.
//!
//! In: settings, trust and the host. Out: a [`Fabric`], cheap to clone. Its core is
//! [`Roster`](super::roster::Roster); `link`, `dial` and `calls` are the tasks around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use meridian_config::name::NodeId;
use quinn::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    FabricSettings, Handler, Kind, PeerIdentity, Trust,
    bulk::BulkStream,
    dial::{self, DialOrder, DialOutcome},
    endpoint, incarnation, link,
    refusals::Refusals,
    roster::{Plane, Roster},
    wire::{Close, Hello, same_cluster},
};
use crate::host::{Host, Place};

/// A node's connections to all others. Clones share them.
#[derive(Clone)]
pub struct Fabric {
    pub(super) shared: Arc<Shared>,
    pub(super) bulk_streams: Arc<tokio::sync::Mutex<mpsc::Receiver<BulkStream>>>,
}

/// What all tasks of the fabric share.
pub(super) struct Shared {
    pub(super) host: Arc<dyn Host>,
    pub(super) settings: FabricSettings,
    /// This node's hello, as of now.
    pub(super) hello: RwLock<Hello>,
    pub(super) incarnation: watch::Sender<u64>,
    /// A peer has accepted this incarnation.
    pub(super) welcomed: AtomicBool,
    pub(super) replaced: watch::Sender<Option<u64>>,
    pub(super) roster: Mutex<Roster<Connection>>,
    /// Counts changes of who is connected.
    pub(super) changed: watch::Sender<u64>,
    pub(super) refusals: Refusals,
    pub(super) handlers: RwLock<BTreeMap<Kind, Arc<dyn Handler>>>,
    pub(super) inboxes: RwLock<BTreeMap<Datagram, mpsc::Sender<Received>>>,
    pub(super) dials: Mutex<BTreeMap<(Plane, SocketAddr), watch::Receiver<Option<DialOutcome>>>>,
    pub(super) dial_orders: BTreeMap<Plane, mpsc::Sender<DialOrder>>,
    /// Addresses that turned out to be this node's.
    pub(super) own_addresses: Mutex<BTreeSet<SocketAddr>>,
    pub(super) bulk_streams: mpsc::Sender<BulkStream>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

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
    /// A control connection stands.
    pub connected: bool,
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
        let control = bind(Plane::Control, &host, &settings, &trust, incarnation)?;
        let (bulk_bound, bulk_start) = place_bulk(&host, &settings, &trust, incarnation, &tracker);
        let bulk_local = bulk_bound.await.unwrap_or_else(|_| {
            Err(FabricError::Listen {
                key: "listen.bulk",
                addr: settings.bulk,
                cause: io::Error::other("its runtime ended"),
            })
        })?;
        let control_local = local(&control);
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
        };
        let (control_orders, control_dials) = mpsc::channel(DIAL_QUEUE);
        let (bulk_orders, bulk_dials) = mpsc::channel(DIAL_QUEUE);
        let (streams_in, streams_out) = mpsc::channel(BULK_QUEUE);
        let shared = Arc::new(Shared {
            roster: Mutex::new(Roster::new(settings.id.clone())),
            host,
            settings,
            hello: RwLock::new(hello),
            incarnation: watch::Sender::new(incarnation),
            welcomed: AtomicBool::new(false),
            replaced: watch::Sender::new(None),
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
        tracker.spawn(dial::keep_dialling(Arc::clone(&shared)));
        for name in &shared.settings.join {
            tracker.spawn(dial::keep_joined(Arc::clone(&shared), name.clone()));
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

    /// Follows the incarnation. It changes only before the first peer accepts this node: a wiped node
    /// whose clock is behind learns from its peers what it must exceed.
    pub fn watch_incarnation(&self) -> watch::Receiver<u64> {
        self.shared.incarnation.subscribe()
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
                connected: entry.has(Plane::Control),
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

    /// Says which cluster this node belongs to, from bootstrap or from its disk. Peers of another are
    /// refused from now on, and connections to such are closed.
    pub fn set_cluster_id(&self, id: &str) {
        self.shared.hello.write().expect(UNPOISONED).cluster_id = id.to_owned();
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
        self.shared.roster().learn(peer, control, bulk);
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

    /// A peer knows a later start of this node than this one.
    ///
    /// Where nobody has accepted this start yet, the clock is behind a wiped disk: count on from there.
    /// Else another process runs under this node's id, and this one is out.
    pub(super) async fn superseded(&self, known: u64) {
        if known < self.incarnation() {
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

fn bind(
    plane: Plane,
    host: &Arc<dyn Host>,
    settings: &FabricSettings,
    trust: &Trust,
    incarnation: u64,
) -> Result<quinn::Endpoint, FabricError> {
    let (key, addr) = match plane {
        Plane::Control => ("listen.fabric", settings.control),
        Plane::Bulk => ("listen.bulk", settings.bulk),
    };
    host.udp_bind(addr)
        .and_then(|socket| endpoint::open(plane, socket, trust, &**host, incarnation))
        .map_err(|cause| FabricError::Listen { key, addr, cause })
}

fn local(endpoint: &quinn::Endpoint) -> SocketAddr {
    endpoint
        .local_addr()
        .expect("a bound socket knows its address")
}

type BulkStart = (Arc<Shared>, mpsc::Receiver<DialOrder>);

/// Binds the bulk endpoint on its own runtime: a socket belongs to the runtime that bound it. The bound
/// address comes back first; what the endpoint needs to run is sent after.
fn place_bulk(
    host: &Arc<dyn Host>,
    settings: &FabricSettings,
    trust: &Trust,
    incarnation: u64,
    tracker: &TaskTracker,
) -> (
    oneshot::Receiver<Result<SocketAddr, FabricError>>,
    oneshot::Sender<BulkStart>,
) {
    let (tell, bound) = oneshot::channel();
    let (start, started) = oneshot::channel::<BulkStart>();
    let (inside, settings, trust) = (Arc::clone(host), settings.clone(), trust.clone());
    let work = async move {
        match bind(Plane::Bulk, &inside, &settings, &trust, incarnation) {
            Ok(endpoint) => {
                let _ = tell.send(Ok(local(&endpoint)));
                if let Ok((shared, orders)) = started.await {
                    link::run(Plane::Bulk, endpoint, shared, orders).await;
                }
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    };
    tracker.spawn(host.place(Place::Bulk, Box::pin(work)));
    (bound, start)
}
