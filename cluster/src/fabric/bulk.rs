//! Bulk streams: forwarded requests, on a connection and a runtime of their own.
//!
//! In: a node to send to; streams that peers open. Out: raw quinn streams after their kind byte. What
//! travels on them is the node's business. Calls that travel here too (parts of snapshots) go to `calls`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use meridian_config::name::NodeId;
use quinn::{RecvStream, SendStream};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{
    CallError, Fabric, FabricError, FabricSettings, Kind, PeerIdentity, Trust, calls,
    dial::DialOrder, endpoint, link, refusals::Refusal, roster::Plane, shared::Shared, wire::Reset,
};
use crate::host::{Host, Place};

/// A stream that a peer opened.
#[derive(Debug)]
pub struct BulkStream {
    /// Who opened it.
    pub from: PeerIdentity,
    /// Towards the peer. Dropping it *finishes* the stream; reset it when breaking off.
    pub send: SendStream,
    /// From the peer, after the kind byte.
    pub recv: RecvStream,
}

/// The kind byte is sent together with the first data, so it is there or the stream is no forward.
const KIND_LIMIT: Duration = Duration::from_secs(2);

impl Fabric {
    /// Opens a stream to a peer for one forwarded request; dials first where no connection stands.
    ///
    /// The streams may be used on any runtime. Cancel-safe. Bounded by the caller's own deadline, and by
    /// two seconds for a dial.
    pub async fn open_bulk(&self, to: &NodeId) -> Result<(SendStream, RecvStream), CallError> {
        let connection = self.shared.connection(Plane::Bulk, to).await?;
        let broken = |_| CallError::Broken(to.clone());
        let (mut send, recv) = connection.open_bi().await.map_err(broken)?;
        send.write_all(&[Kind::Forward as u8])
            .await
            .map_err(|_| CallError::Broken(to.clone()))?;
        Ok((send, recv))
    }

    /// Whether a bulk connection to a node stands.
    pub fn has_bulk(&self, to: &NodeId) -> bool {
        let roster = self.shared.roster();
        roster.connection(Plane::Bulk, to).is_some()
    }

    /// Dials a node's bulk endpoint ahead of need, unless a connection stands or a dial is under way.
    pub fn prepare_bulk(&self, to: &NodeId) {
        let address = {
            let roster = self.shared.roster();
            let entry = roster.entry(to).filter(|entry| !entry.has(Plane::Bulk));
            entry.map(|entry| entry.address(Plane::Bulk))
        };
        if let Some(address) = address {
            // Its outcome shows as a change of the peers.
            drop(self.shared.dial(Plane::Bulk, address));
        }
    }

    /// The next stream that a peer opened, or `None` when the node stops. Cancel-safe.
    pub async fn accept_bulk(&self) -> Option<BulkStream> {
        let mut streams = self.bulk_streams.lock().await;
        tokio::select! {
            biased;
            stream = streams.recv() => stream,
            () = self.shared.stop.cancelled() => None,
        }
    }
}

/// Takes one stream of a peer to the queue.
pub(super) async fn take(
    shared: Arc<Shared>,
    from: PeerIdentity,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let mut first = [0];
    let reset = match timeout(KIND_LIMIT, recv.read_exact(&mut first)).await {
        Ok(Ok(())) if first[0] == Kind::Forward as u8 => {
            let stream = BulkStream { from, send, recv };
            match shared.bulk_streams.try_send(stream) {
                Ok(()) => return,
                Err(full) => {
                    let stream = full.into_inner();
                    (send, recv) = (stream.send, stream.recv);
                    shared.refusals.count(Refusal::Overload);
                    Reset::Overloaded
                }
            }
        }
        // A call, or a kind that nobody takes here.
        Ok(Ok(())) => {
            return calls::answer_kind(shared, Plane::Bulk, from, first[0], send, recv).await;
        }
        _ => Reset::Abandoned,
    };
    let _ = recv.stop(reset.code());
    let _ = send.reset(reset.code());
}

/// What the bulk endpoint needs to run, once both addresses are settled.
type BulkStart = (Arc<Shared>, mpsc::Receiver<DialOrder>);

/// Binds the bulk endpoint on its own runtime: a socket belongs to the runtime that bound it. The bound
/// address comes back first; what the endpoint needs to run is sent after.
pub(super) fn place(
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
        match endpoint::bind(Plane::Bulk, &inside, &settings, &trust, incarnation) {
            Ok(endpoint) => {
                let _ = tell.send(Ok(endpoint::local(&endpoint)));
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
