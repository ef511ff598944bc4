//! The doors: everything outside a node is reached through [`Host`].
//!
//! In production the outside is the operating system ([`os`]); in a simulation it is a false world with
//! its own network, clock, disk and entropy. Node code therefore never touches `tokio::net`, `std::fs`,
//! the wall clock, or a random source directly.
//!
//! Monotonic time is the one exception: it is `tokio::time`, whose clock a simulation pauses.

mod files;
#[cfg(test)]
pub(crate) mod memory;
pub mod os;
mod store;
pub mod store_suite;
mod stream;

use std::{future::Future, io, net::SocketAddr, path::Path, pin::Pin, sync::Arc, time::Duration};

pub use files::Files;
pub use store::{Entry, GroupId, LogStore, StoreError};
pub use stream::{BoxListener, BoxStream, Listener, Stream};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything outside a node.
///
/// One value serves one node; it is shared by all of the node's tasks. Nothing a method returns may
/// outlive the node: when the runtime that runs the node is dropped, sockets and streams close.
pub trait Host: Send + Sync + 'static {
    /// Binds a UDP socket for a QUIC endpoint. Port 0 takes a free one; ask the socket which.
    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>>;

    /// Listens for streams at `addr` on behalf of one worker.
    ///
    /// Several workers of one node may listen at one address; each accepts a share of the connections.
    /// An address that another process holds is `AddrInUse`. Port 0 takes a free port: bind worker 0
    /// first and give the others the port that it got.
    fn listen(&self, addr: SocketAddr, worker: usize) -> io::Result<BoxListener>;

    /// Opens a stream to `addr`. Dropping the future abandons the attempt.
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>>;

    /// Addresses of a host name (or of a literal address), in the order to try them.
    fn resolve(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

    /// The wall clock: time since the Unix epoch. It may jump; never measure with it.
    fn unix_time(&self) -> Duration;

    /// A seed for a generator of the node's own. The same label gives the same seed within a simulated
    /// life, and another one in each real life.
    fn entropy(&self, label: &str) -> [u8; 32];

    /// The store of Raft logs and votes, opened (and created where missing).
    ///
    /// Blocking: call it through [`blocking`].
    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError>;

    /// Moves the store of Raft logs out of the way, for one that is damaged; its new place. Nobody may use it
    /// any more; the next [`log_store`](Self::log_store) is an empty one. Blocking.
    fn set_log_aside(&self) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The node's small atomic files: last revision, incarnation, snapshots.
    fn files(&self) -> Arc<dyn Files>;

    /// Reads a file that an operator named (certificate, key, token list). Blocking.
    fn read_named(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Writes a batch of whole access-log lines to standard output. Blocking.
    fn print(&self, lines: &[u8]) -> io::Result<()>;

    /// Runs a future where work of its kind belongs, and resolves when it has ended.
    ///
    /// The operating system's host gives each worker and the bulk endpoint a `current_thread` runtime of
    /// their own; a simulator runs all of them on the node's one runtime. The work starts at once,
    /// whether or not the returned future is polled.
    fn place(&self, place: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;

    /// How many workers the data path should have: one a core, or one in a simulation.
    fn workers(&self) -> usize;

    /// Runs a blocking closure off the runtime (in a simulation: inline). Use [`blocking`].
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);

    /// Resolves when the process is asked to stop (SIGTERM, SIGINT). May be called more than once.
    fn stop_asked(&self) -> BoxFuture<'static, ()>;

    /// Resolves when the operator asks for certificates to be read again (SIGHUP); never where there is
    /// nobody to ask.
    fn reload_asked(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// Where a piece of work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Data path: accepts and serves requests. Numbered from 0.
    Worker(usize),
    /// Owns the bulk QUIC endpoint: forwarded requests.
    Bulk,
    /// Control fabric, Raft, gossip, admin API.
    Control,
}

/// Runs a blocking closure through the host and waits for its result.
///
/// Dropping the future does not stop the closure.
pub async fn blocking<T: Send + 'static>(
    host: &dyn Host,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = tokio::sync::oneshot::channel();
    host.spawn_blocking(Box::new(move || {
        // The waiter may be gone; the work was wanted for its effect.
        let _ = done.send(work());
    }));
    result
        .await
        .expect("a host runs every closure it is given to its end")
}
