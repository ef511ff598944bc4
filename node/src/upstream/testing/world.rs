//! Everything outside the nodes: upstreams at addresses, names, and streams between nodes.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meridian_cluster::host::{
    BoxFuture, BoxListener, BoxStream, Files, Host, LogStore, Place, StoreError,
};
use meridian_config::name::{NodeId, RegionName};
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    exchange::Body,
    forward::{Arrival, Bulk, BulkError, ReadHalf, WriteHalf},
};

type Serve = Arc<dyn Fn(DuplexStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// Everything outside the nodes.
#[derive(Clone, Default)]
pub(crate) struct World {
    sites: Arc<Mutex<BTreeMap<SocketAddr, Serve>>>,
    pub(crate) names: Arc<Mutex<BTreeMap<String, Vec<SocketAddr>>>>,
    pub(crate) resolved: Arc<AtomicUsize>,
    pub(crate) connected: Arc<AtomicUsize>,
    pub(super) peers: Arc<Mutex<BTreeMap<NodeId, mpsc::Sender<Arrival>>>>,
    pub(super) dead: Arc<Mutex<BTreeMap<NodeId, CancellationToken>>>,
    /// Dials of these nodes that nothing comes of, so many each.
    lost_dials: Arc<Mutex<BTreeMap<NodeId, u32>>>,
    pub(crate) tracker: TaskTracker,
}

impl World {
    /// Serves raw streams at an address.
    pub(crate) fn raw<F>(&self, at: &str, serve: impl Fn(DuplexStream) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let serve: Serve = Arc::new(move |stream| Box::pin(serve(stream)));
        self.sites
            .lock()
            .unwrap()
            .insert(at.parse().unwrap(), serve);
    }

    /// Serves HTTP/1.1 at an address.
    pub(crate) fn http1<F>(
        &self,
        at: &str,
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        self.raw(at, move |stream| {
            let answer = answer.clone();
            async move {
                let service = hyper::service::service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
    }

    /// Serves HTTP/2 with prior knowledge at an address.
    pub(crate) fn http2<F>(
        &self,
        at: &str,
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        self.raw(at, move |stream| {
            let answer = answer.clone();
            async move {
                let service = hyper::service::service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
    }

    /// Nobody listens there any more.
    pub(crate) fn close(&self, at: &str) {
        self.sites.lock().unwrap().remove(&at.parse().unwrap());
    }

    /// The next dials of a node get no answer.
    pub(crate) fn lose_dials(&self, id: &str, count: u32) {
        self.lost_dials.lock().unwrap().insert(id.into(), count);
    }

    fn loses_dial(&self, id: &NodeId) -> bool {
        let mut lost = self.lost_dials.lock().unwrap();
        let left = lost.get_mut(id).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    /// A node dies: its streams break.
    pub(crate) fn kill(&self, id: &str) {
        self.peers.lock().unwrap().remove(id);
        if let Some(dead) = self.dead.lock().unwrap().get(id) {
            dead.cancel();
        }
    }
}

impl Host for World {
    fn connect(&self, at: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        let world = self.clone();
        Box::pin(async move {
            world.connected.fetch_add(1, SeqCst);
            // Nobody answers in this network.
            if at.ip().to_string().starts_with("192.0.2.") {
                return std::future::pending().await;
            }
            let Some(serve) = world.sites.lock().unwrap().get(&at).cloned() else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            world.tracker.spawn(serve(theirs));
            Ok(Box::new(ours) as BoxStream)
        })
    }

    fn resolve(&self, name: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.resolved.fetch_add(1, SeqCst);
        let found = self.names.lock().unwrap().get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }

    fn entropy(&self, label: &str) -> [u8; 32] {
        *blake3::hash(label.as_bytes()).as_bytes()
    }

    fn place(&self, _: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let task = self.tracker.spawn(work);
        Box::pin(async move {
            let _ = task.await;
        })
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn workers(&self) -> usize {
        1
    }

    fn unix_time(&self) -> Duration {
        unimplemented!("upstreams do not ask for it")
    }

    fn udp_bind(&self, _: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        unimplemented!("upstreams do not ask for it")
    }

    fn listen(&self, _: SocketAddr, _: usize) -> io::Result<BoxListener> {
        unimplemented!("upstreams do not ask for it")
    }

    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        unimplemented!("upstreams do not ask for it")
    }

    fn files(&self) -> Arc<dyn Files> {
        unimplemented!("upstreams do not ask for it")
    }

    fn read_named(&self, _: &Path) -> io::Result<Vec<u8>> {
        unimplemented!("upstreams do not ask for it")
    }

    fn print(&self, _: &[u8]) -> io::Result<()> {
        unimplemented!("upstreams do not ask for it")
    }

    fn stop_asked(&self) -> BoxFuture<'static, ()> {
        unimplemented!("upstreams do not ask for it")
    }
}

/// One node's bulk streams.
pub(super) struct Streams {
    pub(super) world: World,
    pub(super) id: NodeId,
    pub(super) region: RegionName,
    pub(super) arrivals: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
}

impl Bulk for Streams {
    fn open(&self, peer: &NodeId) -> BoxFuture<'static, Result<(ReadHalf, WriteHalf), BulkError>> {
        let (world, from, region) = (self.world.clone(), self.id.clone(), self.region.clone());
        let peer = peer.clone();
        Box::pin(async move {
            if world.loses_dial(&peer) {
                std::future::pending::<()>().await;
            }
            let door = world.peers.lock().unwrap().get(&peer).cloned();
            let dead = world.dead.lock().unwrap().get(&peer).cloned();
            let (Some(door), Some(dead)) = (door, dead) else {
                return Err(BulkError {
                    peer,
                    cause: "it is not there".into(),
                });
            };
            let (mut ours, near) = tokio::io::duplex(16 * 1024);
            let (mut far, theirs) = tokio::io::duplex(16 * 1024);
            // What the fabric does when a peer is Down: both halves break.
            world.tracker.spawn(async move {
                tokio::select! {
                    biased;
                    () = dead.cancelled() => {}
                    _ = tokio::io::copy_bidirectional(&mut ours, &mut far) => {}
                }
            });
            let (read, write) = tokio::io::split(theirs);
            let arrival = Arrival {
                from,
                region,
                read: Box::new(read),
                write: Box::new(write),
            };
            door.send(arrival).await.map_err(|_| BulkError {
                peer,
                cause: "it is gone".into(),
            })?;
            let (read, write) = tokio::io::split(near);
            Ok((Box::new(read) as ReadHalf, Box::new(write) as WriteHalf))
        })
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arrival>> {
        Box::pin(async move { self.arrivals.lock().await.recv().await })
    }
}
