//! A connection's byte stream under watch: the shell of `guard::screen`.
//!
//! In: a client's stream. Out: a stream for hyper that lets only well-formed HTTP/1 through, gives up on
//! heads that come too slowly and on clients that do not read.
//!
//! A request that must not pass is replaced by one of our own making ([`REFUSED`], the last of its
//! connection), so that its answer takes the same way as every other: in order behind the requests before
//! it, with a request id, a log line and counts. What hyper would have answered by itself has none of them.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::accept::Open;
use crate::{
    guard::{
        Limits,
        screen::{Screen, Verdict},
    },
    problem::Refusal,
};

/// The method of the request that stands for a refused one. A client may use it too: it then gets what any
/// unknown method gets, unless its connection holds a refusal, which it has earned.
pub const REFUSED: &str = "REFUSED-BY-GUARD";

const REPLACEMENT: &[u8] =
    b"REFUSED-BY-GUARD / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// What stream and service tell each other about one connection.
#[derive(Debug, Default)]
pub struct Marks {
    refusal: Mutex<Option<Refusal>>,
    linger: AtomicBool,
}

impl Marks {
    /// The refusal that [`REFUSED`] stands for, once.
    pub fn take_refusal(&self) -> Option<Refusal> {
        self.lock().take()
    }

    /// Asks the stream to read on for a while after the last response: a client that still sends would
    /// otherwise get a reset that overtakes the answer.
    pub fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }

    fn refuse(&self, refusal: Refusal) {
        *self.lock() = Some(refusal);
        self.linger();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Refusal>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream under watch.
pub struct Screened<S> {
    stream: S,
    screen: Option<Screen>,
    marks: Arc<Marks>,
    /// Bytes that came and have not been handed on: an unfinished head, or what did not fit.
    held: BytesMut,
    /// How many of the held bytes may pass.
    ready: usize,
    refused: bool,
    limits: Limits,
    /// Runs while a head is unfinished.
    head_timer: Option<Pin<Box<Sleep>>>,
    /// Runs while the client does not read.
    write_timer: Option<Pin<Box<Sleep>>>,
    lingering: Option<Lingering>,
    /// What lives as long as the stream does.
    kept: Option<Open>,
}

struct Lingering {
    timer: Pin<Box<Sleep>>,
    left: usize,
}

/// How long, and for how many bytes, a connection is read on after its last response. A second is two round
/// trips of the farthest client; 1 MiB is what such a client can have under way.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 1024 * 1024);

/// Bytes asked for at once while a head is unfinished.
const READ: usize = 4 * 1024;

impl<S> Screened<S> {
    /// Watches an HTTP/1 stream, of which `first` has been read already.
    pub fn http1(stream: S, limits: Limits, marks: Arc<Marks>, first: BytesMut) -> Self {
        Self::with(stream, Some(Screen::new(limits)), limits, marks, first)
    }

    /// Watches a stream of another protocol: only its writing.
    pub fn opaque(stream: S, limits: Limits, marks: Arc<Marks>, first: BytesMut) -> Self {
        Self::with(stream, None, limits, marks, first)
    }

    fn with(
        stream: S,
        screen: Option<Screen>,
        limits: Limits,
        marks: Arc<Marks>,
        first: BytesMut,
    ) -> Self {
        Self {
            stream,
            screen,
            marks,
            held: first,
            ready: 0,
            refused: false,
            limits,
            head_timer: None,
            write_timer: None,
            lingering: None,
            kept: None,
        }
    }

    /// Keeps the connection's count as long as the stream.
    pub(super) fn keeping(mut self, open: Option<Open>) -> Self {
        self.kept = open;
        self
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.marks.refuse(refusal);
        self.refused = true;
        self.head_timer = None;
        self.held = BytesMut::from(REPLACEMENT);
        self.ready = REPLACEMENT.len();
    }

    /// Looks at the held bytes behind those that are ready.
    fn look(&mut self) -> io::Result<()> {
        let Some(screen) = &mut self.screen else {
            self.ready = self.held.len();
            return Ok(());
        };
        while self.ready < self.held.len() {
            match screen.examine(&self.held[self.ready..]) {
                Verdict::Pass(length) => {
                    self.ready += length;
                    self.head_timer = None;
                }
                Verdict::More => break,
                // What may pass goes first; the refused request is found again behind it.
                Verdict::Refuse(_) if self.ready > 0 => break,
                Verdict::Refuse(refusal) => {
                    self.refuse(refusal);
                    break;
                }
                Verdict::Break => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    fn hand_on(&mut self, into: &mut ReadBuf<'_>) {
        let length = self.ready.min(into.remaining());
        into.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.ready -= length;
        if self.held.is_empty() {
            // An idle connection should not keep the memory of its largest head.
            self.held = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Screened<S> {
    /// Reads straight into hyper's buffer. Whole requests, the usual case, are looked at there and never
    /// copied; what may not pass yet is taken back out.
    fn read_through(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let fresh = &into.filled()[before..];
        let Some(screen) = &mut self.screen else {
            return Poll::Ready(Ok(()));
        };
        let mut passed = 0;
        let mut refusal = None;
        while passed < fresh.len() {
            match screen.examine(&fresh[passed..]) {
                Verdict::Pass(length) => passed += length,
                Verdict::More => break,
                Verdict::Refuse(_) if passed > 0 => break,
                Verdict::Refuse(found) => {
                    refusal = Some(found);
                    break;
                }
                Verdict::Break => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
        }
        if passed < fresh.len() {
            self.held.extend_from_slice(&fresh[passed..]);
            into.set_filled(before + passed);
        }
        if let Some(refusal) = refusal {
            self.refuse(refusal);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads behind the held bytes. `Ok(false)`: the client has ended.
    fn read_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [0; READ];
        let mut buffer = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        let filled = buffer.filled();
        self.held.extend_from_slice(filled);
        Poll::Ready(Ok(!filled.is_empty()))
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(|| Lingering {
            timer: Box::pin(sleep(LINGER.0)),
            left: LINGER.1,
        });
        if lingering.timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [0; READ];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() && lingering.left > 0 => {
                    lingering.left = lingering.left.saturating_sub(buffer.filled().len());
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Screened<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                this.hand_on(into);
                return Poll::Ready(Ok(()));
            }
            if this.refused {
                // Nothing more is read, and no end is reported either: hyper would take it for a client
                // that has gone, and drop the answer.
                return Poll::Pending;
            }
            if this.held.is_empty() {
                let before = into.filled().len();
                match this.read_through(context, into)? {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) if into.filled().len() > before => return Poll::Ready(Ok(())),
                    // Nothing passed: either the end, or something is held or refused now.
                    Poll::Ready(()) if this.held.is_empty() => return Poll::Ready(Ok(())),
                    Poll::Ready(()) => continue,
                }
            }
            // What was held back behind bytes that passed is looked at again before more is asked for.
            this.look()?;
            if this.ready > 0 {
                continue;
            }
            match this.read_more(context)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let timer = this
                        .head_timer
                        .get_or_insert_with(|| Box::pin(sleep(this.limits.head_time)));
                    ready!(timer.as_mut().poll(context));
                    this.refuse(Refusal::SlowRequest);
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Screened<S> {
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_timer = None;
            return outcome;
        }
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(sleep(self.limits.stall_time)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Screened<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.written(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        this.written(context, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            let outcome = Pin::new(&mut this.stream).poll_shutdown(context);
            ready!(this.written(context, outcome))?;
            if !this.marks.linger.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        ready!(this.poll_linger(context));
        Poll::Ready(Ok(()))
    }
}
