//! One worker's loop over one listening socket.
//!
//! In: a listener of the host's. Out: a task for each connection, no more than the worker's cap; none any
//! more once the node drains.

use std::{sync::Arc, time::Duration};

use meridian_cluster::host::BoxListener;
use tokio::time::sleep;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

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
            tls: self.tls.clone(),
            limits: self.limits,
            service: self.service.clone(),
            tracker: self.tracker.clone(),
            stops: self.stops.clone(),
        });
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                // First: whoever the kernel has let in already would be reset when the socket closes. tokio
                // lets the other branch have its turn after 128 of them.
                accepted = listener.accept() => accepted,
                () = self.stops.drain.cancelled() => return,
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
            let Some(open) = self.count() else {
                self.metrics.blocked.add(self.worker, BLOCKED_CONNECTION);
                continue;
            };
            self.tracker
                .spawn(shared.clone().serve(stream, peer.ip(), Some(open)));
        }
    }
}

impl<S> Acceptor<S> {
    /// Counts a connection in, unless the worker has as many as it may.
    fn count(&self) -> Option<Open> {
        let open: u64 = [ListenerKind::Http, ListenerKind::Https]
            .iter()
            .map(|&kind| self.metrics.connections.of(self.worker, kind as usize))
            .sum();
        if open >= u64::try_from(self.limits.connections).unwrap_or(u64::MAX) {
            return None;
        }
        self.metrics
            .connections
            .add(self.worker, self.kind as usize);
        Some(Open {
            metrics: self.metrics.clone(),
            worker: self.worker,
            kind: self.kind,
            _tracked: self.tracker.token(),
        })
    }
}

/// An open connection: counted, and waited for when the node drains, until its stream is dropped. A
/// stream outlives hyper's part in it where it has become a tunnel.
pub(super) struct Open {
    metrics: Arc<RequestPath>,
    worker: usize,
    kind: ListenerKind,
    _tracked: TaskTrackerToken,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics
            .connections
            .take(self.worker, self.kind as usize);
    }
}
