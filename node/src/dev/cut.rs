//! A [`Host`] whose fabric links can be cut: how `meridian dev cut` loses packets.
//!
//! In: the operating system's host and the addresses that are cut off. Out: the same host, but packets
//! to and from those addresses vanish, as in a network that lost a link. Only children of `meridian dev`
//! wrap their host in it.

use std::{
    collections::BTreeSet,
    io::{self, IoSliceMut},
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use meridian_cluster::host::{
    BoxFuture, BoxListener, BoxStream, Files, Host, LogStore, Place, StoreError,
};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio_util::sync::CancellationToken;

/// The addresses that are cut off now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Severed(Arc<ArcSwap<BTreeSet<SocketAddr>>>);

impl Severed {
    /// Replaces the addresses.
    pub(crate) fn set(&self, addresses: BTreeSet<SocketAddr>) {
        self.0.store(Arc::new(addresses));
    }

    fn holds(&self, address: SocketAddr) -> bool {
        self.0.load().contains(&address)
    }
}

/// A host with a knife at its fabric links, and a stop that the parent can ask for.
pub(crate) struct DevHost {
    inner: Arc<dyn Host>,
    severed: Severed,
    stop: CancellationToken,
}

impl DevHost {
    /// Wraps a host.
    pub(crate) fn new(inner: Arc<dyn Host>, severed: Severed, stop: CancellationToken) -> Self {
        Self {
            inner,
            severed,
            stop,
        }
    }
}

impl Host for DevHost {
    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(CutSocket {
            inner: self.inner.udp_bind(addr)?,
            severed: self.severed.clone(),
        }))
    }

    fn listen(&self, addr: SocketAddr, worker: usize) -> io::Result<BoxListener> {
        self.inner.listen(addr, worker)
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        self.inner.connect(addr)
    }

    fn resolve(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.inner.resolve(name, port)
    }

    fn unix_time(&self) -> Duration {
        self.inner.unix_time()
    }

    fn entropy(&self, label: &str) -> [u8; 32] {
        self.inner.entropy(label)
    }

    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        self.inner.log_store()
    }

    fn set_log_aside(&self) -> io::Result<String> {
        self.inner.set_log_aside()
    }

    fn files(&self) -> Arc<dyn Files> {
        self.inner.files()
    }

    fn read_named(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read_named(path)
    }

    fn print(&self, lines: &[u8]) -> io::Result<()> {
        self.inner.print(lines)
    }

    fn place(&self, place: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        self.inner.place(place, work)
    }

    fn workers(&self) -> usize {
        self.inner.workers()
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.inner.spawn_blocking(work);
    }

    fn stop_asked(&self) -> BoxFuture<'static, ()> {
        let signal = self.inner.stop_asked();
        let stop = self.stop.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = signal => {}
            }
        })
    }

    fn reload_asked(&self) -> BoxFuture<'static, ()> {
        self.inner.reload_asked()
    }
}

/// A UDP socket that loses packets to and from the severed addresses.
#[derive(Debug)]
struct CutSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    severed: Severed,
}

impl AsyncUdpSocket for CutSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.severed.holds(transmit.destination) {
            // A cut link takes packets and loses them; it reports nothing.
            return Ok(());
        }
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let received = match self.inner.poll_recv(context, buffers, meta) {
                Poll::Ready(Ok(received)) => received,
                other => return other,
            };
            let mut kept = 0;
            for index in 0..received {
                if !self.severed.holds(meta[index].addr) {
                    buffers.swap(kept, index);
                    meta.swap(kept, index);
                    kept += 1;
                }
            }
            // All lost: ask again, so that the waker is stored or the next batch comes.
            if kept > 0 || received == 0 {
                return Poll::Ready(Ok(kept));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use meridian_cluster::host::os::OsHost;

    use super::*;

    fn host(severed: &Severed, place: &Path) -> DevHost {
        DevHost::new(
            Arc::new(OsHost::new(place).unwrap()),
            severed.clone(),
            CancellationToken::new(),
        )
    }

    /// Sends once the socket is known to be writable, as quinn does.
    async fn send(socket: &Arc<dyn AsyncUdpSocket>, to: SocketAddr, contents: &[u8]) {
        let mut poller = socket.clone().create_io_poller();
        loop {
            let sent = socket.try_send(&Transmit {
                destination: to,
                ecn: None,
                contents,
                segment_size: None,
                src_ip: None,
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|context| poller.as_mut().poll_writable(context))
                        .await
                        .unwrap();
                }
                other => return other.unwrap(),
            }
        }
    }

    async fn receive(socket: &Arc<dyn AsyncUdpSocket>) -> Vec<Vec<u8>> {
        let mut space = vec![vec![0_u8; 2048]; 8];
        let mut buffers: Vec<IoSliceMut<'_>> =
            space.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        let mut meta = vec![RecvMeta::default(); 8];
        let received = tokio::time::timeout(
            Duration::from_secs(10),
            poll_fn(|context| socket.poll_recv(context, &mut buffers, &mut meta)),
        )
        .await
        .expect("loopback delivers at once")
        .unwrap();
        (0..received)
            .map(|index| buffers[index][..meta[index].len].to_vec())
            .collect()
    }

    #[tokio::test]
    async fn packets_of_a_severed_address_vanish_both_ways_until_healed() {
        let place = tempfile::tempdir().unwrap();
        let severed = Severed::default();
        let cut = host(&severed, &place.path().join("a"));
        let whole = host(&Severed::default(), &place.path().join("b"));
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let here = cut.udp_bind(any).unwrap();
        let foe = whole.udp_bind(any).unwrap();
        let friend = whole.udp_bind(any).unwrap();
        let address = |socket: &Arc<dyn AsyncUdpSocket>| socket.local_addr().unwrap();

        severed.set(BTreeSet::from([address(&foe)]));
        send(&foe, address(&here), b"lost").await;
        send(&friend, address(&here), b"heard").await;
        assert_eq!(receive(&here).await, [b"heard".to_vec()]);

        send(&here, address(&foe), b"lost too").await;
        severed.set(BTreeSet::new());
        send(&here, address(&foe), b"healed").await;
        assert_eq!(receive(&foe).await, [b"healed".to_vec()]);
        send(&foe, address(&here), b"again").await;
        assert_eq!(receive(&here).await, [b"again".to_vec()]);
    }
}
