//! The data path's cores: one worker each, placed by the host, listening at the same addresses.

use std::{future::Future, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use meridian_cluster::host::{BoxListener, Host, Place};
use meridian_config::name::{NodeId, RegionName};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::RunError;
use crate::{
    ban::Bans,
    guard::Limits,
    identity::{Identifier, Issuers},
    limit::{Limiter, Pressure},
    listener::{Acceptor, Stops, tls::EdgeTls},
    report::{
        AccessLog,
        metrics::{ListenerKind, RequestPath},
        pseudonym::Key,
    },
    revision::Compiled,
    transform::trace::Ids,
    upstream::Upstreams,
    worker::{Ask, Worker},
};

/// Where the edge listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) http: Option<SocketAddr>,
    pub(super) https: Option<SocketAddr>,
}

/// What all workers are made of.
#[derive(Clone)]
pub(super) struct Workers {
    pub(super) host: Arc<dyn Host>,
    pub(super) node: NodeId,
    pub(super) region: RegionName,
    pub(super) tls: Option<EdgeTls>,
    pub(super) current: Arc<ArcSwapOption<Compiled>>,
    pub(super) bans: Bans,
    pub(super) issuers: Issuers,
    pub(super) limiter: Limiter,
    pub(super) upstreams: Upstreams,
    pub(super) metrics: Arc<RequestPath>,
    pub(super) log: AccessLog,
    pub(super) key: Key,
    pub(super) health: Ask,
}

impl Workers {
    /// Starts every worker, to end by `stops`. Returns when all of them listen: with the addresses, and a
    /// future that ends with the last of them. The first worker settles free ports for the others.
    pub(super) async fn start(
        &self,
        http: Option<SocketAddr>,
        https: Option<SocketAddr>,
        stops: &Stops,
    ) -> Result<(Bound, impl Future<Output = ()> + Send + use<>), RunError> {
        let mut at = Bound { http, https };
        let mut running = Vec::new();
        for index in 0..self.host.workers() {
            let (bound, heard) = oneshot::channel();
            let work = Box::pin(self.clone().work(index, at, stops.clone(), bound));
            running.push(self.host.place(Place::Worker(index), work));
            // A worker that ends without a word has panicked, and its panic has been told.
            at = heard.await.unwrap_or(Ok(at))?;
        }
        let all = async move {
            for worker in running {
                worker.await;
            }
        };
        Ok((at, all))
    }

    /// One worker, on its own runtime: listens, serves, drains.
    async fn work(
        self,
        index: usize,
        at: Bound,
        stops: Stops,
        bound: oneshot::Sender<Result<Bound, RunError>>,
    ) {
        let listeners = match self.listen(index, at) {
            Ok(listeners) => listeners,
            Err(error) => {
                let _ = bound.send(Err(error));
                return;
            }
        };
        let settled = Bound {
            http: place(&listeners, ListenerKind::Http),
            https: place(&listeners, ListenerKind::Https),
        };
        let worker = Arc::new(self.worker(index, &format!("worker {index}")));
        let tracker = TaskTracker::new();
        for (kind, listener) in listeners {
            let acceptor = Acceptor {
                kind,
                worker: index,
                tls: match kind {
                    ListenerKind::Http => None,
                    ListenerKind::Https => self.tls.clone(),
                },
                limits: worker.limits,
                service: worker.clone(),
                metrics: self.metrics.clone(),
                tracker: tracker.clone(),
                stops: stops.clone(),
            };
            tracker.spawn(acceptor.run(listener));
        }
        let _ = bound.send(Ok(settled));
        // Nothing new is tracked once the acceptors have ended and the last connection with them.
        tokio::select! {
            biased;
            () = stops.abort.cancelled() => return,
            () = stops.drain.cancelled() => {}
        }
        tracker.close();
        tokio::select! {
            biased;
            () = stops.abort.cancelled() => {}
            () = tracker.wait() => {}
        }
    }

    fn listen(
        &self,
        index: usize,
        at: Bound,
    ) -> Result<Vec<(ListenerKind, BoxListener)>, RunError> {
        let wanted = [
            (ListenerKind::Http, "listen.http", at.http),
            (ListenerKind::Https, "listen.https", at.https),
        ];
        let mut listeners = Vec::new();
        for (kind, key, address) in wanted {
            let Some(address) = address else { continue };
            let listener = self
                .host
                .listen(address, index)
                .map_err(|cause| RunError::Listen {
                    key,
                    address,
                    cause,
                })?;
            listeners.push((kind, listener));
        }
        Ok(listeners)
    }

    /// A worker's tools; `label` names its dice.
    pub(super) fn worker(&self, index: usize, label: &str) -> Worker {
        Worker {
            index,
            node: self.node.clone(),
            region: self.region.clone(),
            host: self.host.clone(),
            limits: Limits::default(),
            current: self.current.clone(),
            bans: self.bans.clone(),
            identifier: Identifier::new(self.host.clone(), self.issuers.clone(), self.bans.clone()),
            limiter: self.limiter.clone(),
            pressure: Pressure::default(),
            client: self.upstreams.client(label),
            metrics: self.metrics.clone(),
            log: self.log.clone(),
            key: self.key.clone(),
            ids: Ids::new(self.host.entropy(&format!("{label} ids"))),
            health: self.health.clone(),
        }
    }
}

fn place(listeners: &[(ListenerKind, BoxListener)], wanted: ListenerKind) -> Option<SocketAddr> {
    let found = listeners.iter().find(|(kind, _)| *kind == wanted);
    found.map(|(_, listener)| listener.local_addr())
}
