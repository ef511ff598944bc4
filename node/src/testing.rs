//! A host for tests: streams in memory, a clock that follows tokio's, files in a map.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use meridian_cluster::host::{
    BoxFuture, BoxListener, BoxStream, Files, Host, Listener, LogStore, Place, StoreError,
};
use tokio::{sync::mpsc, time::Instant};

/// The wall clock when a test starts, in seconds since the Unix epoch.
pub(crate) const NOW: u64 = 1_800_000_000;

/// Bytes that a stream holds between its ends.
const PIPE: usize = 64 * 1024;

type Arrivals = mpsc::Sender<(BoxStream, SocketAddr)>;

/// The outside of a node, in memory.
pub(crate) struct TestHost {
    named: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    listeners: Mutex<BTreeMap<SocketAddr, Arrivals>>,
    printed: Mutex<Vec<u8>>,
    small: Arc<Small>,
    started: Instant,
}

impl TestHost {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            named: Mutex::default(),
            listeners: Mutex::default(),
            printed: Mutex::default(),
            small: Arc::default(),
            started: Instant::now(),
        })
    }

    /// Puts a file where an operator would.
    pub(crate) fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        held(&self.named).insert(path.into(), bytes.into());
    }

    /// All that was printed, line by line, as JSON.
    pub(crate) fn printed(&self) -> Vec<serde_json::Value> {
        let bytes = held(&self.printed).clone();
        let text = String::from_utf8(bytes).expect("lines are text");
        let json = |line| serde_json::from_str(line).expect("lines are JSON");
        text.lines().map(json).collect()
    }

    /// Connects from outside.
    pub(crate) async fn dial(&self, to: SocketAddr, from: &str) -> BoxStream {
        let from = from.parse().expect("an address");
        self.reach(to, from).await.expect("someone listens there")
    }

    async fn reach(&self, to: SocketAddr, from: SocketAddr) -> io::Result<BoxStream> {
        let listener = held(&self.listeners).get(&to).cloned();
        let (near, far) = tokio::io::duplex(PIPE);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        listener
            .ok_or_else(refused)?
            .send((Box::new(far), from))
            .await
            .map_err(|_| refused())?;
        Ok(Box::new(near))
    }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

struct Queue(SocketAddr, mpsc::Receiver<(BoxStream, SocketAddr)>);

impl Listener for Queue {
    fn local_addr(&self) -> SocketAddr {
        self.0
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async {
            self.1
                .recv()
                .await
                .ok_or(io::ErrorKind::NotConnected.into())
        })
    }
}

#[derive(Default)]
struct Small(Mutex<BTreeMap<String, Vec<u8>>>);

impl Files for Small {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(held(&self.0).get(name).cloned())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        held(&self.0).insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        held(&self.0).remove(name);
        Ok(())
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<String>> {
        let names = held(&self.0);
        Ok(names
            .keys()
            .filter(|n| n.starts_with(prefix))
            .cloned()
            .collect())
    }
}

impl Host for TestHost {
    fn udp_bind(&self, _: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn listen(&self, addr: SocketAddr, _worker: usize) -> io::Result<BoxListener> {
        let (arrivals, queue) = mpsc::channel(64);
        held(&self.listeners).insert(addr, arrivals);
        Ok(Box::new(Queue(addr, queue)))
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        let listener = held(&self.listeners).get(&addr).cloned();
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(PIPE);
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let from = SocketAddr::from(([10, 0, 0, 1], 9));
            let listener = listener.ok_or_else(refused)?;
            listener
                .send((Box::new(far), from))
                .await
                .map_err(|_| refused())?;
            Ok(Box::new(near) as BoxStream)
        })
    }

    fn resolve(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let literal = name.parse().map(|ip| vec![SocketAddr::new(ip, port)]);
        Box::pin(async { literal.map_err(|_| io::ErrorKind::NotFound.into()) })
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(NOW) + self.started.elapsed()
    }

    fn entropy(&self, label: &str) -> [u8; 32] {
        *blake3::hash(label.as_bytes()).as_bytes()
    }

    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        Err(StoreError::Io {
            place: "memory".to_owned(),
            cause: "there is none here".to_owned(),
        })
    }

    fn files(&self) -> Arc<dyn Files> {
        self.small.clone()
    }

    fn read_named(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = held(&self.named).get(path).cloned();
        found.ok_or(io::ErrorKind::NotFound.into())
    }

    fn print(&self, lines: &[u8]) -> io::Result<()> {
        held(&self.printed).extend_from_slice(lines);
        Ok(())
    }

    fn place(&self, _: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        #[allow(
            clippy::disallowed_methods,
            reason = "a host is where tasks come from; the test's runtime ends them"
        )]
        let task = tokio::spawn(work);
        Box::pin(async {
            let _ = task.await;
        })
    }

    fn workers(&self) -> usize {
        1
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn stop_asked(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}
