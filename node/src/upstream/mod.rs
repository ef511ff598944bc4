//! Upstreams: chooses who serves a request, sends it there, and copes when that fails.
//!
//! ```text
//!            region (own, or another by rtt) ─► balance (which endpoint) ─► pool │ dial ─► link
//! errand ─►      ▲                                                                  │
//!                └───────────────── retry, budget ◄──────── fault ◄────────────────┤
//!                                                                                  ▼
//!                       health ◄── outcome ◄───────────────────────── answer, tunnel
//! ```
//!
//! [`Upstreams`] is the node's: endpoints with their load and health, and the checks. [`Client`] is one
//! worker's: its connections, its dice, its retry budgets. Cores: [`region`], [`balance`], [`budget`],
//! [`retry`], [`health`]. [`survey`] says where a request would go. What leaves for another region goes through [`crate::forward`].

mod answer;
mod balance;
mod budget;
mod check;
mod client;
mod destination;
mod dial;
mod endpoint;
mod fault;
mod health;
mod hop;
mod link;
mod local;
mod luck;
mod outgoing;
mod pool;
mod region;
mod retry;
pub(crate) mod survey;
mod trip;
mod tunnel;
mod wait;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use meridian_cluster::{host::Host, membership::View};
use meridian_config::{
    document::Document,
    name::{RegionName, ServiceName},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use client::{Client, Errand, Unserved};
pub use destination::{Destination, Destinations};
pub use dial::Roots;

pub(crate) use answer::Quiet;
pub(crate) use client::{Gate, Reply};
pub(crate) use fault::Fault;
pub(crate) use outgoing::{Outgoing, Progress};
pub(crate) use region::permitted;
pub(crate) use retry::repeatable;
pub(crate) use trip::Trip;
pub(crate) use tunnel::join;
pub(crate) use wait::{Late, Limits, within};

use crate::forward::{Bulk, Door};
use destination::Roster;
use dial::{Dialer, Tls};

/// What the rest of the node hears of upstreams.
pub trait Observer: Send + Sync + 'static {
    /// A request went to `to` because `from`, which comes first, could not serve it.
    fn failover(&self, from: &RegionName, to: &RegionName);
}

/// What [`Upstreams::start`] needs.
pub struct Setup {
    /// The doors outside.
    pub host: Arc<dyn Host>,
    /// The node's picture of the cluster, as it is now.
    pub view: Arc<dyn Fn() -> Arc<View> + Send + Sync>,
    /// Streams to peers.
    pub bulk: Arc<dyn Bulk>,
    /// Who counts failovers.
    pub observer: Arc<dyn Observer>,
    /// Whom endpoints with TLS are trusted by.
    pub roots: Roots,
    /// Owns every task that is started here.
    pub tracker: TaskTracker,
    /// Ends them: checks, tunnels, forwarded requests. Cancel it when the drain's time is over.
    pub stop: CancellationToken,
}

/// The node's upstreams. A cheap clone.
#[derive(Clone)]
pub struct Upstreams {
    shared: Arc<Shared>,
}

/// What the node's workers share.
pub(crate) struct Shared {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) view: Arc<dyn Fn() -> Arc<View> + Send + Sync>,
    pub(crate) door: Door,
    pub(crate) observer: Arc<dyn Observer>,
    tls: Arc<Tls>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    current: ArcSwapOption<Destinations>,
    previous: ArcSwapOption<Destinations>,
    roster: Mutex<Roster>,
    changes: Arc<watch::Sender<u64>>,
    checks: Arc<Dialer>,
    random: Mutex<StdRng>,
    /// Holds a token for whatever runs beside the edge's own connections: each request that is served for a peer,
    /// and each tunnel.
    pub(crate) running: TaskTracker,
}

impl std::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstreams")
            .field("waiting", &self.waiting())
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

impl Upstreams {
    /// Starts the node's side of it: what sends to peers and what serves them, both on the bulk
    /// runtime. Nothing is checked or served before a document is adopted.
    pub fn start(setup: Setup) -> Self {
        let Setup {
            host,
            view,
            bulk,
            observer,
            roots,
            tracker,
            stop,
        } = setup;
        let tls = Arc::new(Tls::new(roots));
        let changes = Arc::new(watch::Sender::new(0));
        let (door, errands) = Door::new();
        let shared = Arc::new(Shared {
            door,
            observer,
            current: ArcSwapOption::empty(),
            previous: ArcSwapOption::empty(),
            roster: Mutex::new(Roster::new(Arc::clone(&changes))),
            changes,
            checks: Arc::new(Dialer::new(Arc::clone(&host), Arc::clone(&tls))),
            random: Mutex::new(StdRng::from_seed(host.entropy("upstream checks"))),
            running: TaskTracker::new(),
            host,
            view,
            tls,
            tracker,
            stop,
        });
        let upstreams = Self { shared };
        crate::forward::start(&upstreams, bulk, errands);
        upstreams
    }

    /// Requests that wait to be forwarded to a peer.
    pub fn waiting(&self) -> usize {
        self.shared.door.waiting()
    }

    /// Requests that are served for peers, and tunnels of this node's own clients.
    pub fn running(&self) -> usize {
        self.shared.running.len()
    }

    /// Makes a document's services ready: keeps the state of endpoints that stay, starts and stops
    /// checks. A compiled revision holds what comes back. Call it on the control runtime, where the
    /// checks run from then on.
    pub fn adopt(&self, document: &Document, number: u64) -> Arc<Destinations> {
        let own_region = (self.shared.view)().own_region.clone();
        let now = Instant::now().into_std();
        let mut roster = self
            .shared
            .roster
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (destinations, checks) =
            roster.adopt(document, number, &own_region, &self.shared.stop, now);
        drop(roster);
        for new in checks {
            let first = self.phase(new.health.interval.min(FIRST_CHECK));
            let second = self.phase(new.health.interval);
            let check = check::Check {
                endpoint: new.endpoint,
                health: new.health,
                protocol: new.protocol,
                dialer: Arc::clone(&self.shared.checks),
                tracker: self.shared.tracker.clone(),
            };
            self.shared
                .tracker
                .spawn(check.run(first, second, new.stop));
        }
        let destinations = Arc::new(destinations);
        let before = self.shared.current.swap(Some(Arc::clone(&destinations)));
        self.shared.previous.store(before);
        self.shared.changes.send_modify(|count| *count += 1);
        destinations
    }

    /// A client for one worker. Call it on the worker's runtime; `label` names its dice.
    pub fn client(&self, label: &str) -> Client {
        Client::new(Arc::clone(&self.shared), self.shared.host.entropy(label))
    }

    /// How many endpoints of the service are healthy in this region.
    pub fn healthy(&self, service: &ServiceName) -> u32 {
        let current = self.shared.current.load();
        current
            .as_ref()
            .and_then(|all| all.service(service))
            .map_or(0, |found| found.healthy())
    }

    /// A service's endpoints in this region.
    pub(crate) fn endpoints(&self, service: &ServiceName) -> Vec<Arc<endpoint::Endpoint>> {
        let current = self.shared.current.load();
        let found = current.as_ref().and_then(|all| all.service(service));
        found.map(|found| found.own.clone()).unwrap_or_default()
    }

    /// How many endpoints are known to be healthy, for every service of the current document of which that is known: what
    /// a node announces.
    pub fn announcement(&self) -> BTreeMap<ServiceName, u32> {
        let current = self.shared.current.load();
        let all = current.iter().flat_map(|all| all.services());
        all.filter_map(|service| Some((service.name.clone(), service.known_healthy()?)))
            .collect()
    }

    /// Changes whenever [`Self::announcement`] may have.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The services of the revision with this number, if it is one of the last two, else the current.
    pub(crate) fn destinations(&self, number: u64) -> Option<Arc<Destinations>> {
        let current = self.shared.current.load_full()?;
        if current.number == number {
            return Some(current);
        }
        let previous = self.shared.previous.load_full();
        Some(
            previous
                .filter(|previous| previous.number == number)
                .unwrap_or(current),
        )
    }

    /// Resolves when nothing is served for peers and no tunnel stands. Peers have heard by then that this node
    /// drains.
    pub async fn ended(&self) {
        self.shared.running.close();
        self.shared.running.wait().await;
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A moment within such a span, so that the checks of a node are spread.
    fn phase(&self, interval: Duration) -> Duration {
        let mut random = self
            .shared
            .random
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        interval.mul_f64(random.random_range(0.0..1.0))
    }
}

/// Within this a new endpoint's first check begins, however far apart the later ones are: until it has ended, requests go
/// to other regions where endpoints are known to be well.
const FIRST_CHECK: Duration = Duration::from_millis(100);
