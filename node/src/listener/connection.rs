//! One connection, from its first byte to its last.
//!
//! In: an accepted stream. Out: calls of the [`Service`], until the client goes, the connection idles too
//! long, or the node drains.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use meridian_cluster::host::BoxStream;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::{
    Stops,
    accept::Open,
    executor::Tracked,
    screened::{Marks, Screened},
    tls::EdgeTls,
};
use crate::{exchange::Body, guard::Limits, report::metrics::ListenerKind};

/// What becomes of a request.
pub trait Service: Send + Sync + 'static {
    /// Answers a request. It always has an answer: refusals are answers too.
    fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Connection {
    /// The other end's address.
    pub peer: IpAddr,
    /// The listener it came in by.
    pub listener: ListenerKind,
    /// What TLS agreed on, where it is spoken.
    pub tls: Option<Tls>,
    /// What stream and service tell each other.
    pub marks: Arc<Marks>,
    begun: AtomicU64,
    ended: AtomicU64,
}

/// What TLS agreed on.
#[derive(Debug, Clone)]
pub struct Tls {
    /// `TLSv1.3`, `TLSv1.2`.
    pub version: &'static str,
    /// Hosts of the certificate that the client was shown for the name it asked for; none where it asked
    /// for none (clients that use an address cannot).
    pub hosts: Option<Arc<[String]>>,
}

/// A request in flight; its end is seen when this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Connection>);

impl Connection {
    /// A connection that nothing has happened on.
    pub fn new(peer: IpAddr, listener: ListenerKind, tls: Option<Tls>) -> Self {
        Self {
            peer: peer.to_canonical(),
            listener,
            tls,
            marks: Arc::default(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// Marks a request's beginning.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.begun.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Requests begun, and whether none is in flight.
    fn activity(&self) -> (u64, bool) {
        let begun = self.begun.load(Ordering::Relaxed);
        (begun, begun == self.ended.load(Ordering::Relaxed))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all connections of a listener share.
pub(super) struct Shared<S> {
    pub(super) kind: ListenerKind,
    pub(super) tls: Option<EdgeTls>,
    pub(super) limits: Limits,
    pub(super) service: Arc<S>,
    pub(super) tracker: TaskTracker,
    pub(super) stops: Stops,
}

impl<S: Service> Shared<S> {
    /// Serves one connection to its end. Errors end here: they are the client's, or the network's.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: BoxStream,
        peer: IpAddr,
        open: Option<Open>,
    ) {
        let abort = self.stops.abort.clone();
        abort
            .run_until_cancelled(self.handshake(stream, peer, open))
            .await;
    }

    /// What comes after it takes some 10 KiB, and lies in a box of its own: a task is copied when it is spawned
    /// and when it ends, and one that waits for a handshake need not be larger than that.
    async fn handshake(self: Arc<Self>, stream: BoxStream, peer: IpAddr, open: Option<Open>) {
        let Some(tls) = &self.tls else {
            return self.plain(stream, peer, open).await;
        };
        let accepting = TlsAcceptor::from(tls.config.clone()).accept(stream);
        let accepting = timeout(self.limits.handshake_time, accepting);
        let Some(Ok(Ok(stream))) = self.unless_told_to_go(accepting).await else {
            return;
        };
        let (_, session) = stream.get_ref();
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let hosts = session.server_name().map(|name| tls.hosts(name));
        let http2 = session.alpn_protocol() == Some(b"h2");
        let agreed = Tls { version, hosts };
        let connection = Arc::new(Connection::new(peer, self.kind, Some(agreed)));
        let marks = connection.marks.clone();
        if http2 {
            let stream =
                Screened::opaque(stream, self.limits, marks, BytesMut::new()).keeping(open);
            Box::pin(self.http2(stream, connection)).await;
        } else {
            let stream = Screened::http1(stream, self.limits, marks, BytesMut::new()).keeping(open);
            Box::pin(self.http1(stream, connection)).await;
        }
    }

    /// Without TLS the first bytes tell the protocol: HTTP/2 with prior knowledge opens with its preface
    /// (RFC 9113 section 3.3).
    async fn plain(self: Arc<Self>, mut stream: BoxStream, peer: IpAddr, open: Option<Open>) {
        let mut first = BytesMut::with_capacity(1024);
        let sniffing = timeout(self.limits.idle_time, sniff(&mut stream, &mut first));
        let Some(Ok(Ok(()))) = self.unless_told_to_go(sniffing).await else {
            return;
        };
        let connection = Arc::new(Connection::new(peer, self.kind, None));
        let marks = connection.marks.clone();
        if first.starts_with(PREFACE) {
            let stream = Screened::opaque(stream, self.limits, marks, first).keeping(open);
            Box::pin(self.http2(stream, connection)).await;
        } else {
            let stream = Screened::http1(stream, self.limits, marks, first).keeping(open);
            Box::pin(self.http1(stream, connection)).await;
        }
    }

    /// What the client does first, unless the node drains and the client has had its time. It connected
    /// before it could know, and its first request is on the way: closed at once, that request would be lost,
    /// and one that is not idempotent could not be sent again (RFC 9112 section 9.3.1).
    async fn unless_told_to_go<T>(&self, first: impl Future<Output = T>) -> Option<T> {
        let told = async {
            self.stops.drain.cancelled().await;
            sleep(FAREWELL).await;
        };
        tokio::select! {
            biased;
            done = first => Some(done),
            () = told => None,
        }
    }

    async fn http1<T>(&self, stream: Screened<T>, connection: Arc<Connection>)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|request| {
            let answer = self.service.clone().call(request, connection.clone());
            async { Ok::<_, Infallible>(answer.await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle_time)
            // The screen has bounded the head; this bounds what hyper reads ahead of a body.
            .max_buf_size(self.limits.head * 2)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut serving = pin!(serving);
        tokio::select! {
            biased;
            // First: hyper closes a connection that is told to end before it has read a byte of it, and
            // the first request may lie ready.
            _ = serving.as_mut() => return,
            () = self.stops.drain.cancelled() => {}
        }
        serving.as_mut().graceful_shutdown();
        loop {
            tokio::select! {
                biased;
                _ = serving.as_mut() => return,
                // hyper waits on for a first request, which a client that only connected early never sends.
                () = sleep(FAREWELL) => {
                    if connection.activity().0 == 0 {
                        return;
                    }
                }
            }
        }
    }

    async fn http2<T>(&self, stream: Screened<T>, connection: Arc<Connection>)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // HTTP/2's streams run as tasks of their own and outlive no borrow: what they need is shared.
        let shared = self.service.clone();
        let calls = connection.clone();
        let service = service_fn(move |request| {
            let answer = shared.clone().call(request, calls.clone());
            async { Ok::<_, Infallible>(answer.await) }
        });
        let serving = http2::Builder::new(Tracked(self.tracker.clone()))
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_pending_accept_reset_streams(self.limits.pending_resets)
            .max_local_error_reset_streams(self.limits.error_resets)
            // Above the guard's own bound, so that the guard answers what lies between with a problem.
            .max_header_list_size(u32::try_from(self.limits.head * 2).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(self.limits.idle_time / 2)
            .keep_alive_timeout(self.limits.stall_time)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = pin!(serving);
        let mut before = connection.activity().0;
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                () = self.stops.drain.cancelled(), if !draining => {}
                _ = serving.as_mut() => return,
                () = sleep(if draining { FAREWELL } else { self.limits.idle_time }) => {
                    let (begun, quiet) = connection.activity();
                    if !quiet || begun != before {
                        before = begun;
                        continue;
                    }
                    if draining {
                        // It was told to go, and does nothing any more.
                        return;
                    }
                }
            }
            draining = true;
            serving.as_mut().graceful_shutdown();
        }
    }
}

/// How long a client that was told to go may do nothing before its connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// What one stream of an HTTP/2 connection may send ahead: 256 KiB fill 20 ms at 100 Mbit/s.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What all of them together may: four such streams.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Reads until the first bytes are the preface, or are not.
async fn sniff(stream: &mut BoxStream, first: &mut BytesMut) -> io::Result<()> {
    loop {
        if stream.read_buf(first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let compared = first.len().min(PREFACE.len());
        if first.len() >= PREFACE.len() || first[..compared] != PREFACE[..compared] {
            return Ok(());
        }
    }
}
