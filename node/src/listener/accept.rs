//! One worker's loop over one listening socket.
//!
//! In: a listener of the host's. Out: a task for each connection, no more than the worker's cap; none any
//! more once the node drains.

use std::{sync::Arc, time::Duration};

use meridian_cluster::host::BoxListener;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Service, connection::Shared, tls::EdgeTls};
use crate::{
    guard::Limits,
    report::metrics::{BLOCKED_CONNECTION, ListenerKind, RequestPath},
};

/// How serving ends, in two steps.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    /// Take no new work, tell connections to go, finish what runs.
    pub drain: CancellationToken,
    /// Break off what still runs.
    pub abort: CancellationToken,
}

/// Accepts for one worker.
pub struct Acceptor<S> {
    /// Which listener this is.
    pub kind: ListenerKind,
    /// Whose connections these are.
    pub worker: usize,
    /// Certificates; none on the plain listener.
    pub tls: Option<EdgeTls>,
    /// Bounds on clients.
    pub limits: Limits,
    /// What becomes of requests.
    pub service: Arc<S>,
    /// Where connections are counted.
    pub metrics: Arc<RequestPath>,
    /// Where their tasks are kept.
    pub tracker: TaskTracker,
    /// How it ends.
    pub stops: Stops,
}

/// After a failed accept. Its usual cause, no free file descriptor, passes when some connection ends; at
/// once it would spin.
const PAUSE: Duration = Duration::from_millis(20);

impl<S: Service> Acceptor<S> {
    /// Accepts until the node drains; the socket closes when this returns. Connections go on in the
    /// tracker.
    pub async fn run(self, mut listener: BoxListener) {
        let shared = Arc::new(Shared {
            kind: self.kind,
            tls: self.tls,
            limits: self.limits,
            service: self.service,
            tracker: self.tracker.clone(),
            stops: self.stops.clone(),
        });
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stops.drain.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "connections cannot be accepted; trying on");
                    }
                    failing = true;
                    sleep(PAUSE).await;
                    continue;
                }
            };
            failing = false;
            let Some(open) = Open::count(&self.metrics, self.worker, self.kind, &self.limits)
            else {
                self.metrics.blocked.add(self.worker, BLOCKED_CONNECTION);
                continue;
            };
            let serving = shared.clone().serve(stream, peer.ip());
            self.tracker.spawn(async move {
                serving.await;
                drop(open);
            });
        }
    }
}

/// An open connection, counted until it is dropped.
struct Open {
    metrics: Arc<RequestPath>,
    worker: usize,
    kind: ListenerKind,
}

impl Open {
    fn count(
        metrics: &Arc<RequestPath>,
        worker: usize,
        kind: ListenerKind,
        limits: &Limits,
    ) -> Option<Self> {
        let open: u64 = [ListenerKind::Http, ListenerKind::Https]
            .iter()
            .map(|&kind| metrics.connections.of(worker, kind as usize))
            .sum();
        if open >= u64::try_from(limits.connections).unwrap_or(u64::MAX) {
            return None;
        }
        metrics.connections.add(worker, kind as usize);
        Some(Self {
            metrics: metrics.clone(),
            worker,
            kind,
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics
            .connections
            .take(self.worker, self.kind as usize);
    }
}
