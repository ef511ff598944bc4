//! Forwarding: a request whose region cannot serve it goes to a peer in one that can.
//!
//! ```text
//! worker ─ Door ─(bounded channel)─► bulk runtime ═══ one QUIC stream ═══► bulk runtime of the peer
//!   ▲                                                                        │ its own Client
//!   └───────────── frames of the answer ◄═════════════════════════════════ its own endpoints
//! ```
//!
//! The sender has authenticated, authorised and charged the request; the receiver looks the service up in
//! its own revision, checks its own zone against the request's, and serves it from its own region or not
//! at all. Bodies stream both ways with QUIC's flow control, trailers and tunnels pass, and a stream that
//! ends early is a cancellation.
//!
//! **Who may have acted.** A request that could be sent again (idempotent or keyed, body whole) leaves at
//! once. Any other is *held*: the peer first gets a connection to an endpoint and says `Ready`; only then
//! come `Go` and the body. Silence before `Go` therefore proves that no upstream has seen it, and any
//! method may be tried elsewhere; without the hold a cut link could not be told from an answer lost. It
//! costs such requests one round trip between the regions.
//!
//! - [`frame`], [`head`]: the form on the wire; - [`pump`]: stream to channels; - [`sender`], [`body`],
//!   [`stream`]: this side; - [`receiver`]: the other.

mod body;
mod fabric;
mod frame;
mod head;
mod pump;
mod receiver;
#[cfg(test)]
mod samples;
mod sender;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use meridian_cluster::host::{BoxFuture, Place};
use meridian_config::name::{NodeId, RegionName};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use sender::{Door, Errands};

use crate::upstream::Upstreams;

/// The reading half of a stream to a peer. Dropping it tells the peer to stop sending.
pub type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;

/// The writing half of a stream to a peer. Dropping it ends the stream.
pub type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Streams between nodes for forwarded requests: the fabric's bulk connections, seen from here.
pub trait Bulk: Send + Sync + 'static {
    /// Opens a stream to a peer; dials where no connection stands.
    fn open(&self, peer: &NodeId) -> BoxFuture<'static, Result<(ReadHalf, WriteHalf), BulkError>>;

    /// The next stream that a peer has opened; `None`: there will be no more. One caller at a time.
    fn accept(&self) -> BoxFuture<'_, Option<Arrival>>;
}

/// A stream that a peer has opened.
pub struct Arrival {
    /// The peer.
    pub from: NodeId,
    /// Its region.
    pub region: RegionName,
    /// What it sends.
    pub read: ReadHalf,
    /// What it hears.
    pub write: WriteHalf,
}

/// No stream to a peer came about.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no stream to node {peer}: {cause}")]
pub struct BulkError {
    /// The peer.
    pub peer: NodeId,
    /// What the fabric says.
    pub cause: String,
}

/// Starts both sides on the bulk runtime.
pub(crate) fn start(upstreams: &Upstreams, bulk: Arc<dyn Bulk>, errands: Errands) {
    let shared = upstreams.shared();
    let (tracker, stop) = (shared.tracker.clone(), shared.stop.clone());
    let sending = sender::run(errands, Arc::clone(&bulk), tracker.clone(), stop.clone());
    let receiving = receiver::run(upstreams.clone(), bulk, tracker.clone(), stop);
    let both = async move {
        tokio::join!(sending, receiving);
    };
    tracker.spawn(shared.host.place(Place::Bulk, Box::pin(both)));
}
