//! The edge: open while the node may take work, closed while it is drained, and open again.
//!
//! In: what the workers are made of and where they listen. Out: listeners, and their end. Each opening is a
//! shift of its own, so that a node may be open again while requests of the shift before still run.

use std::{net::SocketAddr, time::Duration};

use meridian_cluster::host::BoxFuture;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    RunError,
    workers::{Bound, Workers},
};
use crate::listener::Stops;

/// How long running requests may take to end once the node drains. 30 s: what orchestrators grant by
/// default before they kill.
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// Tries to listen again where a shift that was told to end still holds the port. It lets it go at once; the
/// worker's thread may only not have run yet.
const TRIES: u32 = 40;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);

/// The listeners of a node.
pub(super) struct Edge {
    workers: Workers,
    at: Bound,
    tracker: TaskTracker,
    /// The shift that takes work.
    open: Option<Stops>,
    /// All shifts that may still run.
    running: Vec<(Stops, BoxFuture<'static, ()>)>,
}

impl Edge {
    pub(super) fn new(
        workers: Workers,
        http: Option<SocketAddr>,
        https: Option<SocketAddr>,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            workers,
            at: Bound { http, https },
            tracker,
            open: None,
            running: Vec::new(),
        }
    }

    /// Listens, at the same addresses each time. Nothing happens where it does already.
    pub(super) async fn open(&mut self) -> Result<Bound, RunError> {
        if self.open.is_some() {
            return Ok(self.at);
        }
        let mut tries = 0;
        let (stops, bound, serving) = loop {
            let stops = Stops::default();
            match self
                .workers
                .start(self.at.http, self.at.https, &stops)
                .await
            {
                Ok((bound, serving)) => break (stops, bound, serving),
                Err(error) => {
                    // Workers that were placed before the one that failed.
                    stops.abort.cancel();
                    tries += 1;
                    if self.running.is_empty() || tries == TRIES {
                        return Err(error);
                    }
                    sleep(PAUSE).await;
                }
            }
        };
        self.at = bound;
        self.open = Some(stops.clone());
        self.running.push((stops, Box::pin(serving)));
        Ok(bound)
    }

    /// Whether it takes work.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes no new work: listeners close, connections are told to go away, what runs is finished, at most
    /// for [`DRAIN`]. Returns at once.
    pub(super) fn close(&mut self, stop: &CancellationToken) {
        let Some(stops) = self.open.take() else {
            return;
        };
        stops.drain.cancel();
        let stop = stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = stops.abort.cancelled() => {}
                () = sleep(DRAIN) => stops.abort.cancel(),
            }
        });
    }

    /// Resolves when nothing that came in by the edge runs any more.
    pub(super) async fn ended(&mut self) {
        // One that ended is not waited for again if this future is dropped and asked anew.
        while let Some((_, serving)) = self.running.last_mut() {
            serving.await;
            self.running.pop();
        }
    }

    /// What breaks off everything that still runs.
    pub(super) fn aborts(&self) -> Vec<CancellationToken> {
        let aborts = self.running.iter().map(|(stops, _)| stops.abort.clone());
        aborts.collect()
    }
}
