//! A false outside for tests: a network, files and a clock in memory, on a paused runtime.
//!
//! In: datagrams of every node, cuts and losses. Out: the same datagrams 5 ms later, or never.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::OccupiedEntry},
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use meridian_config::node_file::{AdminFile, FabricFile, Listen, NodeFile};
use quinn::udp::{RecvMeta, Transmit};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Authority;
use crate::host::{BoxFuture, BoxListener, BoxStream, Files, Host, LogStore, Place, StoreError};

mod nodes;

pub(crate) use nodes::{Makings, Node, eventually};

/// One way of every link.
pub(crate) const LATENCY: Duration = Duration::from_millis(5);

/// When the tests' certificates begin.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_780_000_000);

/// A `node.yaml` as it would stand in the node's folder, listening on a free port of a false host.
pub(crate) fn node_file(cluster: &str, id: &str, region: &str) -> NodeFile {
    let any = |text: &str| text.parse().unwrap();
    NodeFile {
        cluster: cluster.into(),
        bootstrap: vec![],
        id: id.into(),
        region: region.into(),
        data_dir: PathBuf::from("data"),
        listen: Listen {
            http: None,
            https: None,
            fabric: any("10.0.0.1:7400"),
            bulk: any("10.0.0.1:7450"),
            admin: any("127.0.0.1:0"),
        },
        fabric: FabricFile {
            advertise: None,
            advertise_bulk: None,
            ca: "ca.pem".into(),
            cert: "node.pem".into(),
            key: "node.key".into(),
            join: vec![],
        },
        tls: vec![],
        admin: AdminFile {
            tokens: "tokens.yaml".into(),
            tls: None,
        },
    }
}

/// The network that the test's nodes share.
#[derive(Default)]
pub(crate) struct TestNet {
    state: Mutex<NetState>,
}

#[derive(Default)]
struct NetState {
    /// Loss (0 to 1) and jitter of every link, and the generator that draws them.
    spoiled: Option<(f64, Duration, StdRng)>,
    /// Counts datagrams: of two due at once the earlier sent comes first.
    sent: u64,
    sockets: BTreeMap<SocketAddr, Inbox>,
    /// Host addresses between which nothing passes, by direction.
    cut: BTreeSet<(String, String)>,
    unplugged: BTreeSet<String>,
}

#[derive(Default)]
struct Inbox {
    queue: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

impl TestNet {
    /// Nothing passes from one host to the other; the way back stays open.
    pub(crate) fn cut_one_way(&self, from: &str, to: &str) {
        self.state
            .lock()
            .unwrap()
            .cut
            .insert((from.into(), to.into()));
    }

    /// Nothing passes between two hosts.
    pub(crate) fn cut(&self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Nothing passes to or from a host: its machine lost power.
    pub(crate) fn unplug(&self, host: &str) {
        self.state.lock().unwrap().unplugged.insert(host.into());
    }

    /// A host is back.
    pub(crate) fn plug(&self, host: &str) {
        self.state.lock().unwrap().unplugged.remove(host);
    }

    /// Every link loses some datagrams and delays each by up to `jitter` more, so that they overtake.
    pub(crate) fn spoil(&self, loss: f64, jitter: Duration) {
        let random = StdRng::from_seed([9; 32]);
        self.state.lock().unwrap().spoiled = Some((loss, jitter, random));
    }

    /// All links work again.
    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().cut.clear();
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let way = (from.ip().to_string(), to.ip().to_string());
        if state.cut.contains(&way)
            || state.unplugged.contains(&way.0)
            || state.unplugged.contains(&way.1)
        {
            return;
        }
        let mut due = Instant::now() + LATENCY;
        if let Some((loss, jitter, random)) = &mut state.spoiled {
            if random.random_bool(*loss) {
                return;
            }
            due += jitter.mul_f64(random.random());
        }
        state.sent += 1;
        let order = (due, state.sent);
        if let Some(inbox) = state.sockets.get_mut(&to) {
            inbox.queue.insert(order, (from, bytes.to_vec()));
            if let Some(waker) = inbox.waker.take() {
                waker.wake();
            }
        }
    }
}

/// One node's outside.
pub(crate) struct TestHost {
    net: Arc<TestNet>,
    files: Arc<MemoryFiles>,
    named: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    unix_start: Duration,
    started: Option<Instant>,
    seed: [u8; 32],
}

impl TestHost {
    /// A host without network and files, whose clock stands.
    pub(crate) fn at(unix_time: Duration) -> Arc<dyn Host> {
        Self::still(unix_time)
    }

    /// The same, so that its files can be changed.
    pub(crate) fn still(unix_time: Duration) -> Arc<Self> {
        Arc::new(Self {
            net: Arc::default(),
            files: Arc::default(),
            named: Mutex::default(),
            unix_start: unix_time,
            started: None,
            seed: [0; 32],
        })
    }

    /// A host on a network, with the files that `authority` issues for the node. The times are when the
    /// certificate was issued and what the wall clock says now; it runs with the test's clock.
    pub(crate) fn on(
        net: &Arc<TestNet>,
        authority: &Authority,
        file: &NodeFile,
        files: &Arc<MemoryFiles>,
        (issued, now): (Duration, Duration),
    ) -> Arc<Self> {
        let issued = authority
            .issue(&file.id, &file.region, &[], &[], issued)
            .unwrap();
        let named = [
            ("ca.pem", authority.cert_pem().to_owned()),
            ("node.pem", issued.cert_pem),
            ("node.key", issued.key_pem),
        ]
        .map(|(name, text)| (PathBuf::from(name), text.into_bytes()));
        Arc::new(Self {
            net: Arc::clone(net),
            files: Arc::clone(files),
            named: Mutex::new(named.into()),
            unix_start: now,
            started: Some(Instant::now()),
            seed: *blake3::hash(file.id.as_str().as_bytes()).as_bytes(),
        })
    }

    /// Replaces a file that the operator named, or takes it away.
    pub(crate) fn put(&self, name: &str, text: Option<&str>) {
        let mut named = self.named.lock().unwrap();
        match text {
            Some(text) => named.insert(name.into(), text.into()),
            None => named.remove(Path::new(name)),
        };
    }
}

impl Host for TestHost {
    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        let mut state = self.net.state.lock().unwrap();
        if state.sockets.contains_key(&addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.sockets.insert(addr, Inbox::default());
        Ok(Arc::new(TestSocket {
            net: Arc::clone(&self.net),
            addr,
            timer: Mutex::new(None),
        }))
    }

    fn listen(&self, _addr: SocketAddr, _worker: usize) -> io::Result<BoxListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn connect(&self, _addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn resolve(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let address = format!("{name}:{port}")
            .parse()
            .map(|address| vec![address])
            .map_err(|_| io::ErrorKind::NotFound.into());
        Box::pin(async move { address })
    }

    fn unix_time(&self) -> Duration {
        self.unix_start + self.started.map_or(Duration::ZERO, |start| start.elapsed())
    }

    fn entropy(&self, label: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.seed, label.as_bytes()).as_bytes()
    }

    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        unreachable!("the fabric keeps no log")
    }

    fn files(&self) -> Arc<dyn Files> {
        self.files.clone()
    }

    fn read_named(&self, path: &Path) -> io::Result<Vec<u8>> {
        let named = self.named.lock().unwrap();
        named
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn print(&self, _lines: &[u8]) -> io::Result<()> {
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "a host is what runs the work")]
    fn place(&self, _place: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let task = tokio::spawn(work);
        Box::pin(async move {
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

/// Files that outlive a node's runtime.
#[derive(Default)]
pub(crate) struct MemoryFiles(Mutex<BTreeMap<String, Vec<u8>>>);

impl Files for MemoryFiles {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().insert(name.into(), bytes.into());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<String>> {
        let names = self.0.lock().unwrap();
        Ok(names
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect())
    }
}

struct TestSocket {
    net: Arc<TestNet>,
    addr: SocketAddr,
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl fmt::Debug for TestSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestSocket({})", self.addr)
    }
}

impl Drop for TestSocket {
    fn drop(&mut self) {
        self.net.state.lock().unwrap().sockets.remove(&self.addr);
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl quinn::UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl quinn::AsyncUdpSocket for TestSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn quinn::UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.net
            .send(self.addr, transmit.destination, transmit.contents);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.net.state.lock().unwrap();
        let Some(inbox) = state.sockets.get_mut(&self.addr) else {
            return Poll::Pending;
        };
        let now = Instant::now();
        let mut filled = 0;
        while filled < bufs.len().min(meta.len()) {
            let due = inbox.queue.first_entry().filter(|next| next.key().0 <= now);
            let Some((from, bytes)) = due.map(OccupiedEntry::remove) else {
                break;
            };
            bufs[filled][..bytes.len()].copy_from_slice(&bytes);
            meta[filled] = RecvMeta {
                addr: from,
                len: bytes.len(),
                stride: bytes.len(),
                ecn: None,
                dst_ip: None,
            };
            filled += 1;
        }
        if filled > 0 {
            return Poll::Ready(Ok(filled));
        }
        inbox.waker = Some(cx.waker().clone());
        let next = inbox.queue.keys().next().map(|(due, _)| *due);
        let mut timer = self.timer.lock().unwrap();
        *timer = next.map(|due| Box::pin(sleep_until(due)));
        if let Some(sleep) = timer.as_mut()
            && sleep.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
