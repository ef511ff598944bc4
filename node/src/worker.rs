//! What one core of the data path owns: its caches and connections, and handles on what the node shares.

use std::{future::Future, sync::Arc};

use arc_swap::ArcSwapOption;
use http::{Request, Response};
use hyper::body::Incoming;
use meridian_cluster::host::Host;
use meridian_config::name::{NodeId, RegionName};

use crate::{
    ban::Bans,
    exchange::Body,
    guard::Limits,
    identity::Identifier,
    limit::{Limiter, Pressure},
    listener::{Connection, Service},
    pipeline,
    report::{AccessLog, health::Health, metrics::RequestPath, pseudonym::Key},
    revision::Compiled,
    transform::trace::Ids,
    upstream::Client,
};

/// Asks the node how it is.
pub type Ask = Arc<dyn Fn() -> Health + Send + Sync>;

/// One core's share of the data path.
pub struct Worker {
    /// Its number, from 0: its shard of every counter.
    pub index: usize,
    /// This node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionName,
    /// The doors outside.
    pub host: Arc<dyn Host>,
    /// Bounds on clients.
    pub limits: Limits,
    /// The revision that new requests are served by.
    pub current: Arc<ArcSwapOption<Compiled>>,
    /// Who is turned away; shared by the node's workers.
    pub bans: Bans,
    /// Who sends a request; remembers tokens.
    pub identifier: Identifier,
    /// How much a client may still use; shared by the node's workers.
    pub limiter: Limiter,
    /// How overloaded this worker is.
    pub pressure: Pressure,
    /// The way to upstreams; keeps this worker's connections.
    pub client: Client,
    /// Where requests are counted.
    pub metrics: Arc<RequestPath>,
    /// Where they are logged.
    pub log: AccessLog,
    /// Turns subjects into pseudonyms.
    pub key: Key,
    /// Request and trace ids.
    pub ids: Ids,
    /// For the probes at the edge.
    pub health: Ask,
}

impl Service for Worker {
    fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send {
        pipeline::run(self, request, connection)
    }
}
