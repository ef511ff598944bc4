//! The body of an upstream's answer, which also moves its connection on and gives it back.
//!
//! Enters: hyper's body and the connection it comes from. Leaves: the body's pieces; at the end the
//! connection goes back to the pool. Dropping it earlier closes the connection (HTTP/1.1) or resets the
//! stream (HTTP/2): so a client that goes away ends the exchange at the upstream too.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{
    endpoint::Ticket,
    link::{Link, Wire},
    pool::Pool,
};
use crate::exchange::BodyError;

/// An answer's body.
pub(crate) struct Answer {
    body: Incoming,
    lent: Option<Lent>,
    quiet: Quiet,
}

/// What an exchange holds until its body has ended.
pub(crate) struct Lent {
    pub(crate) wire: Wire,
    pub(crate) ticket: Ticket,
    pub(crate) pool: Arc<Pool>,
    pub(crate) idle: Duration,
}

impl Lent {
    /// Gives the connection back, if it can serve again.
    fn end(self, cx: &mut Context<'_>) {
        let Self {
            wire,
            ticket,
            pool,
            idle,
        } = self;
        if let Wire::Http1(mut link) = wire
            && link.ready(cx)
        {
            pool.put(ticket.endpoint().number, link, idle, Instant::now());
        }
    }
}

impl Answer {
    pub(crate) fn new(body: Incoming, lent: Lent) -> Self {
        let limit = lent.idle;
        let mut answer = Self {
            body,
            lent: Some(lent),
            quiet: Quiet::new(limit),
        };
        // Nobody polls a body that has nothing.
        if answer.body.is_end_stream() {
            answer.end(&mut Context::from_waker(std::task::Waker::noop()));
        }
        answer
    }

    fn end(&mut self, cx: &mut Context<'_>) {
        if let Some(lent) = self.lent.take() {
            lent.end(cx);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        for driven in [false, true] {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.quiet.moved();
                    // Whoever reads a body of known length may not ask past its last piece.
                    if this.body.is_end_stream() {
                        this.end(cx);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => {
                    this.lent = None;
                    tracing::debug!(%error, "an answer's body broke off");
                    return Poll::Ready(Some(Err(BodyError::Upstream(error.to_string()))));
                }
                Poll::Ready(None) => {
                    this.end(cx);
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            match &mut this.lent {
                Some(lent) if !driven => lent.wire.drive(cx),
                _ => break,
            }
        }
        std::task::ready!(this.quiet.poll(cx));
        this.lent = None;
        Poll::Ready(Some(Err(BodyError::Stalled)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Notices that nothing has come for too long. Its timer is armed only when a wait begins.
pub(crate) struct Quiet {
    limit: Duration,
    armed: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Quiet {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            armed: false,
            sleep: None,
        }
    }

    /// Something came.
    pub(crate) fn moved(&mut self) {
        self.armed = false;
    }

    /// Ready when it has been quiet for the limit.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = || Instant::now() + self.limit;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline())));
        if !std::mem::replace(&mut self.armed, true) {
            sleep.as_mut().reset(deadline());
        }
        sleep.as_mut().poll(cx)
    }
}
