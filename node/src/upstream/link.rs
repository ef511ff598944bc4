//! One connection to an upstream, and one exchange on it.
//!
//! An HTTP/1.1 connection has no task of its own: its future is polled inside the future of the request
//! that uses it, and then inside the response's body (PERFORMANCE: no channel, no wake-up between tasks).
//! An HTTP/2 connection is shared by many requests and has a tracked task. [`Link`] is all that the rest
//! knows of either, so that another client can take hyper's place.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use meridian_cluster::host::BoxStream;
use tokio_util::task::TaskTracker;

use super::{fault::Fault, outgoing::Outgoing, tunnel::Rewound};

/// One connection to an upstream, as an exchange uses it.
pub(crate) trait Link: Send {
    /// Sends a request and waits for the answer's head. Dropping the future abandons the exchange.
    fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + Send;

    /// Moves the connection on while an answer's body is read.
    fn drive(&mut self, cx: &mut Context<'_>);

    /// Whether it is open, idle and ready for a request, as far as can be seen without waiting.
    fn ready(&mut self, cx: &mut Context<'_>) -> bool;
}

/// Why an exchange failed before the answer's head.
#[derive(Debug)]
pub(crate) struct SendError {
    pub(crate) fault: Fault,
    /// The request, where it never left.
    pub(crate) unsent: Option<Box<Request<Outgoing>>>,
}

/// A connection of either protocol.
pub(crate) enum Wire {
    Http1(Box<Http1>),
    Http2(Http2),
}

impl Wire {
    /// Begins HTTP/1.1 on a stream.
    pub(crate) async fn http1(stream: BoxStream) -> Result<Self, hyper::Error> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(MOST_HEADERS)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self::Http1(Box::new(Http1 {
            sender,
            connection,
            over: false,
        })))
    }

    /// Begins HTTP/2 on a stream; its connection runs in `tracker`.
    pub(crate) async fn http2(
        stream: BoxStream,
        tracker: &TaskTracker,
    ) -> Result<Self, hyper::Error> {
        let (sender, connection) = http2::Builder::new(Tracked(tracker.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_LIST)
            .handshake(TokioIo::new(stream))
            .await?;
        tracker.spawn(async move {
            // It ends when its requests and senders are gone; how is told to each request.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to an upstream ended");
            }
        });
        Ok(Self::Http2(Http2 { sender }))
    }

    /// The stream under an HTTP/1.1 connection that has just answered 101, with what was read ahead.
    pub(crate) async fn into_stream(self) -> Option<BoxStream> {
        let Self::Http1(mut link) = self else {
            return None;
        };
        if !link.over {
            poll_fn(|cx| link.connection.poll_without_shutdown(cx))
                .await
                .ok()?;
        }
        let parts = link.connection.into_parts();
        Some(Box::new(Rewound::new(
            parts.read_buf,
            parts.io.into_inner(),
        )))
    }
}

impl Link for Wire {
    async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, SendError> {
        match self {
            Self::Http1(link) => link.send(request).await,
            Self::Http2(link) => link.send(request).await,
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Http1(link) => link.drive(cx),
            Self::Http2(link) => link.drive(cx),
        }
    }

    fn ready(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Http1(link) => link.ready(cx),
            Self::Http2(link) => link.ready(cx),
        }
    }
}

/// An HTTP/1.1 connection with its future.
pub(crate) struct Http1 {
    sender: http1::SendRequest<Outgoing>,
    connection: http1::Connection<TokioIo<BoxStream>, Outgoing>,
    /// The connection's future has ended and must not be polled again.
    over: bool,
}

impl Link for Http1 {
    async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, SendError> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        let over = &mut self.over;
        poll_fn(|cx| {
            if !*over {
                // How it ended is told to the request in flight.
                *over = connection.poll_without_shutdown(cx).is_ready();
            }
            answer.as_mut().poll(cx)
        })
        .await
        .map_err(sort)
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.over {
            self.over = self.connection.poll_without_shutdown(cx).is_ready();
        }
    }

    fn ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        !self.over && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }
}

/// A share in an HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct Http2 {
    sender: http2::SendRequest<Outgoing>,
}

impl Link for Http2 {
    async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, SendError> {
        self.sender.try_send_request(request).await.map_err(sort)
    }

    fn drive(&mut self, _cx: &mut Context<'_>) {}

    fn ready(&mut self, cx: &mut Context<'_>) -> bool {
        matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }
}

fn sort(mut error: hyper::client::conn::TrySendError<Request<Outgoing>>) -> SendError {
    let unsent = error.take_message().map(Box::new);
    let fault = if unsent.is_some() {
        Fault::Unsent
    } else {
        Fault::of_hyper(error.error())
    };
    tracing::debug!(error = %error.error(), ?fault, "an exchange with an upstream failed");
    SendError { fault, unsent }
}

/// Runs what hyper's HTTP/2 wants to run in the node's tracker.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(async move {
            future.await;
        });
    }
}

/// Fields an answer may have: what the edge allows requests.
const MOST_HEADERS: usize = 128;

/// An HTTP/2 upstream that answers no ping for this long has left.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(20);

/// One slow reader holds back at most this much of a connection that it shares with others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The greatest header section of an answer.
const HEADER_LIST: u32 = 64 * 1024;
