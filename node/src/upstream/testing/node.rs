//! A node's part that matters to upstreams, and what it believes of the cluster.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use meridian_cluster::membership::{Announced, Footing, Liveness, Member, RegionHealth, View};
use meridian_config::{
    document::{Defaults, Document, Edge, Log, Region, Service},
    name::{RegionName, Zone},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::{Client, Destination, Errand, Observer, Roots, Setup, Upstreams};
use crate::{
    exchange::{Body, Served},
    problem::Refusal,
};

use super::world::{Streams, World};

/// Failovers as they were told.
#[derive(Default)]
pub(crate) struct Failovers(Mutex<Vec<String>>);

impl Observer for Failovers {
    fn failover(&self, from: &RegionName, to: &RegionName) {
        self.0.lock().unwrap().push(format!("{from}>{to}"));
    }
}

/// A node's part that matters here.
pub(crate) struct Node {
    pub(crate) upstreams: Upstreams,
    pub(crate) client: Client,
    pub(crate) view: Arc<Mutex<Arc<View>>>,
    failovers: Arc<Failovers>,
}

impl Node {
    /// Starts `id`, whose region is its name without the last two characters (`eu-1` is in `eu`).
    pub(crate) fn start(world: &World, id: &str, peers: &[&str]) -> Self {
        Self::with_roots(
            world,
            id,
            peers,
            Roots::Given(Arc::new(rustls::RootCertStore::empty())),
        )
    }

    pub(crate) fn with_roots(world: &World, id: &str, peers: &[&str], roots: Roots) -> Self {
        let (door, arrivals) = mpsc::channel(64);
        world.peers.lock().unwrap().insert(id.into(), door);
        world
            .dead
            .lock()
            .unwrap()
            .insert(id.into(), CancellationToken::new());
        let view = Arc::new(Mutex::new(Arc::new(view(id, peers))));
        let failovers = Arc::new(Failovers::default());
        let seen = Arc::clone(&view);
        let upstreams = Upstreams::start(Setup {
            host: Arc::new(world.clone()),
            view: Arc::new(move || Arc::clone(&seen.lock().unwrap())),
            bulk: Arc::new(Streams {
                world: world.clone(),
                id: id.into(),
                region: region_of(id),
                arrivals: tokio::sync::Mutex::new(arrivals),
            }),
            observer: Arc::clone(&failovers) as Arc<dyn Observer>,
            roots,
            tracker: world.tracker.clone(),
            stop: CancellationToken::new(),
        });
        let client = upstreams.client("worker 0");
        Self {
            upstreams,
            client,
            view,
            failovers,
        }
    }

    /// Changes what the node believes of the cluster.
    pub(crate) fn believe(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.view.lock().unwrap();
        let mut next = View::clone(&view);
        change(&mut next);
        *view = Arc::new(next);
    }

    /// Adopts a document with one service, `plant`.
    pub(crate) fn adopt(&self, service: Service) -> Arc<Destination> {
        self.adopt_at(1, service)
    }

    pub(crate) fn adopt_at(&self, number: u64, service: Service) -> Arc<Destination> {
        let all = self.upstreams.adopt(&document(service), number);
        Arc::clone(all.service(&"plant".into()).unwrap())
    }

    /// Sends a request without zones.
    pub(crate) async fn send(
        &self,
        to: &Arc<Destination>,
        request: Request<Body>,
    ) -> Result<(Response<Body>, Served), Refusal> {
        self.send_within(to, &[], request).await
    }

    pub(crate) async fn send_within(
        &self,
        to: &Arc<Destination>,
        zones: &[Zone],
        request: Request<Body>,
    ) -> Result<(Response<Body>, Served), Refusal> {
        let errand = Errand {
            destination: to,
            zones,
            tenant: None,
            request_id: "r-1",
            leave: None,
        };
        let sent = self.client.send(errand, request).await;
        sent.map_err(|unserved| unserved.refusal)
    }

    /// Failovers so far, `from>to`.
    pub(crate) fn failovers(&self) -> Vec<String> {
        self.failovers.0.lock().unwrap().clone()
    }
}

fn region_of(id: &str) -> RegionName {
    id[..id.len() - 2].into()
}

/// Every node `Up`, each peer 40 ms farther away than the one before.
pub(crate) fn view(own: &str, peers: &[&str]) -> View {
    let mut members = BTreeMap::new();
    let mut regions = BTreeMap::new();
    for (distance, id) in std::iter::once(&own).chain(peers).enumerate() {
        let region = region_of(id);
        members.insert(
            (*id).into(),
            Member {
                id: (*id).into(),
                region: region.clone(),
                incarnation: 1,
                liveness: Liveness::Up,
                footing: Footing::Steady,
                control: ([127, 0, 0, 1], 1).into(),
                bulk: ([127, 0, 0, 1], 2).into(),
                announced: Announced::default(),
                rtt: None,
            },
        );
        let rtt = Some(Duration::from_millis(40 * distance as u64));
        regions.entry(region).or_insert(RegionHealth {
            liveness: Liveness::Up,
            rtt,
        });
    }
    View {
        own: own.into(),
        own_region: region_of(own),
        members,
        regions,
    }
}

/// A document with one service, `plant`, and three regions that are zones of their own.
pub(crate) fn document(service: Service) -> Document {
    let region = |name: &str| {
        (
            RegionName::from(name),
            Region {
                location: None,
                zone: Zone::from(name),
            },
        )
    };
    Document {
        regions: ["ap", "eu", "us"].map(region).into(),
        plans: BTreeMap::new(),
        edge: Edge::default(),
        defaults: Defaults {
            plan: None,
            unidentified: Vec::new(),
        },
        issuers: BTreeMap::new(),
        tenants: BTreeMap::new(),
        services: [("plant".into(), service)].into(),
        routes: BTreeMap::new(),
        log: Log::default(),
    }
}
