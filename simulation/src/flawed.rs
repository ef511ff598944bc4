//! A machine's doors with a flaw: mistakes that are planted around a node, to see whether they are noticed.
//!
//! In: the false world's [`Host`] and which flaws it has. Out: a [`Host`]. A flaw shows from the moment when the run
//! arms it, so that the cluster comes up soundly. Only this program makes one.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    ops::RangeInclusive,
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use meridian_cluster::host::{
    BoxFuture, BoxListener, BoxStream, Entry, Files, GroupId, Host, LogStore, Place, StoreError,
};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::Instant,
};

use crate::{gateway, workload::upstream, world::SimHost};

/// Which flaws a machine has.
#[derive(Debug, Clone, Default)]
pub struct Flaws {
    /// Its disk says that it has flushed and has not.
    pub forgetful_disk: bool,
    /// What it reads of the log is not what was written.
    pub altered_commands: bool,
    /// It sends a POST to an upstream a second time, on a connection of its own.
    pub repeated_orders: bool,
    /// It never closes a connection that it has opened.
    pub kept_streams: bool,
    /// It keeps a quarter of a megabyte for each connection to an upstream that it has ever opened.
    pub hoarded_memory: bool,
    /// Its packets get lost, for a moment.
    pub mute: bool,
    /// Whether the flaws show already; shared by all machines of a run.
    pub armed: Armed,
}

/// Whether flaws show. Clones are one switch.
#[derive(Debug, Clone, Default)]
pub struct Armed(Arc<AtomicBool>);

impl Armed {
    /// From now on they do, or do no more.
    pub fn set(&self, armed: bool) {
        self.0.store(armed, Ordering::Relaxed);
    }

    /// Whether they do.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Flaws {
    /// The doors with these flaws; the doors themselves where there are none.
    pub(crate) fn put_on(self, host: Arc<SimHost>) -> Arc<dyn Host> {
        let sound = [
            self.forgetful_disk,
            self.altered_commands,
            self.repeated_orders,
            self.kept_streams,
            self.hoarded_memory,
            self.mute,
        ];
        if sound.iter().all(|flaw| !flaw) {
            return host;
        }
        Arc::new(FlawedHost {
            host,
            flaws: self,
            kept: Kept::default(),
            hoard: Hoard::default(),
        })
    }
}

/// Streams that are not closed as long as the machine lives.
type Kept = Arc<Mutex<Vec<BoxStream>>>;

/// What is kept for nothing as long as the machine lives.
type Hoard = Arc<Mutex<Vec<Vec<u8>>>>;

struct FlawedHost {
    host: Arc<SimHost>,
    flaws: Flaws,
    kept: Kept,
    hoard: Hoard,
}

impl Host for FlawedHost {
    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = self.host.udp_bind(addr)?;
        if !self.flaws.mute {
            return Ok(socket);
        }
        let armed = self.flaws.armed.clone();
        Ok(Arc::new(MuteSocket {
            socket,
            armed,
            since: OnceLock::new(),
        }))
    }

    fn listen(&self, addr: SocketAddr, worker: usize) -> io::Result<BoxListener> {
        self.host.listen(addr, worker)
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        let dialling = self.host.connect(addr);
        let (host, flaws, kept, hoard) = (
            Arc::clone(&self.host),
            self.flaws.clone(),
            Arc::clone(&self.kept),
            Arc::clone(&self.hoard),
        );
        Box::pin(async move {
            let stream = dialling.await?;
            if addr.port() != upstream::PORT {
                return Ok(stream);
            }
            let armed = flaws.armed;
            if flaws.hoarded_memory && armed.is_set() {
                let mut hoard = hoard.lock().unwrap_or_else(PoisonError::into_inner);
                hoard.push(vec![0; 256 << 10]);
            }
            let stream: BoxStream = if flaws.repeated_orders {
                Box::new(Repeating {
                    stream,
                    host,
                    addr,
                    armed: armed.clone(),
                })
            } else {
                stream
            };
            Ok(if flaws.kept_streams {
                Box::new(Keeping {
                    stream: Some(stream),
                    kept,
                    armed,
                })
            } else {
                stream
            })
        })
    }

    fn resolve(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.host.resolve(name, port)
    }

    fn unix_time(&self) -> Duration {
        self.host.unix_time()
    }

    fn entropy(&self, label: &str) -> [u8; 32] {
        self.host.entropy(label)
    }

    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        let store = self.host.log_store()?;
        if !self.flaws.forgetful_disk && !self.flaws.altered_commands {
            return Ok(store);
        }
        let flaws = self.flaws.clone();
        Ok(Arc::new(FlawedStore { store, flaws }))
    }

    fn set_log_aside(&self) -> io::Result<String> {
        self.host.set_log_aside()
    }

    fn files(&self) -> Arc<dyn Files> {
        self.host.files()
    }

    fn read_named(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.host.read_named(path)
    }

    fn print(&self, lines: &[u8]) -> io::Result<()> {
        self.host.print(lines)
    }

    fn place(&self, place: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        self.host.place(place, work)
    }

    fn workers(&self) -> usize {
        self.host.workers()
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.host.spawn_blocking(work);
    }

    fn stop_asked(&self) -> BoxFuture<'static, ()> {
        self.host.stop_asked()
    }
}

/// A store whose flush does nothing and says nothing, or which gives back other bytes than it was given.
struct FlawedStore {
    store: Arc<dyn LogStore>,
    flaws: Flaws,
}

impl LogStore for FlawedStore {
    fn append(&self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError> {
        self.store.append(group, entries)
    }

    fn truncate(&self, group: GroupId, from: u64) -> Result<(), StoreError> {
        self.store.truncate(group, from)
    }

    fn purge(&self, group: GroupId, upto: u64) -> Result<(), StoreError> {
        self.store.purge(group, upto)
    }

    fn read(&self, group: GroupId, range: RangeInclusive<u64>) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.store.read(group, range)?;
        if self.flaws.altered_commands && self.flaws.armed.is_set() {
            for entry in &mut entries {
                alter(entry);
            }
        }
        Ok(entries)
    }

    fn bounds(&self, group: GroupId) -> Result<Option<(u64, u64)>, StoreError> {
        self.store.bounds(group)
    }

    fn set_marker(&self, group: GroupId, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.store.set_marker(group, name, value)
    }

    fn marker(&self, group: GroupId, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.store.marker(group, name)
    }

    fn flush(&self) -> Result<(), StoreError> {
        if self.flaws.forgetful_disk && self.flaws.armed.is_set() {
            return Ok(());
        }
        self.store.flush()
    }
}

/// Changes what the author says about a document, if that is what it is.
fn alter(entry: &mut Entry) {
    let said = gateway::MESSAGE.as_bytes();
    let mut windows = entry.bytes.windows(said.len());
    if let Some(at) = windows.position(|window| window == said) {
        let mut bytes = entry.bytes.to_vec();
        bytes[at..at + said.len()].make_ascii_uppercase();
        entry.bytes = bytes.into();
    }
}

/// A socket that loses what it is to send.
#[derive(Debug)]
struct MuteSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    armed: Armed,
    since: OnceLock<Instant>,
}

impl AsyncUdpSocket for MuteSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let now = Instant::now();
        if self.armed.is_set() && now < *self.since.get_or_init(|| now) + MUTE {
            return Ok(());
        }
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// A stream to an upstream; what begins with a POST goes there once more beside it.
struct Repeating {
    stream: BoxStream,
    host: Arc<SimHost>,
    addr: SocketAddr,
    armed: Armed,
}

impl Repeating {
    fn repeat(&self, bytes: &[u8]) {
        if !self.armed.is_set() || !bytes.starts_with(b"POST ") {
            return;
        }
        let (bytes, dialling) = (bytes.to_vec(), self.host.connect(self.addr));
        // It runs without being waited for; the node's runtime ends it.
        drop(self.host.place(
            Place::Control,
            Box::pin(async move {
                if let Ok(mut again) = dialling.await
                    && again.write_all(&bytes).await.is_ok()
                {
                    tokio::time::sleep(ANSWERED).await;
                }
            }),
        ));
    }
}

impl AsyncRead for Repeating {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Repeating {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(length)) = written {
            self.repeat(&bytes[..length]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A stream that outlives whoever held it.
struct Keeping {
    /// None once dropped.
    stream: Option<BoxStream>,
    kept: Kept,
    armed: Armed,
}

impl Keeping {
    fn stream(&mut self) -> Pin<&mut BoxStream> {
        Pin::new(self.stream.as_mut().expect("it is taken only by the drop"))
    }
}

impl AsyncRead for Keeping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, buffer)
    }
}

impl AsyncWrite for Keeping {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.armed.is_set() {
            return self.stream().poll_shutdown(context);
        }
        // Said, and not done.
        Poll::Ready(Ok(()))
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if !self.armed.is_set() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(self.stream.take());
    }
}

/// How long a mute machine is mute: longer than a node may be silent (500 ms) without being taken for dead.
const MUTE: Duration = Duration::from_millis(900);

/// How long a repeated request's connection stays open: longer than an upstream takes.
const ANSWERED: Duration = Duration::from_millis(500);
