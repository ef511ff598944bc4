//! Bodies of a forwarded request as frames: the request's on its way out, the answer's on its way back.
//!
//! Both move only while they are polled, in the future that waits for the answer's head and then in the
//! answer's body: so a forwarded request has no task on its worker.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame as Piece, SizeHint};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

use super::frame::{Frame, LONGEST_PIECE};
use crate::{
    exchange::BodyError,
    upstream::{Outgoing, Progress, Quiet},
};

/// A body on its way into frames.
#[derive(Default)]
pub(super) struct Uplink {
    pub(super) out: Option<PollSender<Frame>>,
    pub(super) body: Option<Outgoing>,
    pub(super) progress: Option<Arc<Progress>>,
    /// Frames that are due before the body's next piece.
    due: Option<Frame>,
    rest: Bytes,
}

impl Uplink {
    /// Says `Go` and lets the body follow.
    pub(super) fn go(&mut self, body: Outgoing) {
        self.due = Some(Frame::Go);
        self.progress = body.progress();
        self.body = Some(body);
    }

    /// Moves as much as the channel takes. Only the body's own error is one; a peer that takes no more
    /// is noticed by its silence.
    pub(super) fn poll_move(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        while self.due.is_some() || !self.rest.is_empty() || self.body.is_some() {
            let Some(out) = &mut self.out else {
                return Ok(());
            };
            match out.poll_reserve(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    (self.due, self.body) = (None, None);
                    self.rest.clear();
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            }
            let frame = if let Some(frame) = self.due.take() {
                frame
            } else if !self.rest.is_empty() {
                let length = self.rest.len().min(LONGEST_PIECE);
                Frame::Data(self.rest.split_to(length))
            } else {
                let Some(body) = &mut self.body else {
                    return Ok(());
                };
                match body.poll_piece(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Some(Err(error))) => {
                        // Without `End` the peer takes the body for cut off, as it is.
                        (self.out, self.body) = (None, None);
                        return Err(error);
                    }
                    Poll::Ready(Some(Ok(piece))) => match piece.into_data() {
                        Ok(data) => {
                            self.rest = data;
                            continue;
                        }
                        Err(piece) => match piece.into_trailers() {
                            Ok(trailers) => Frame::Trailers(trailers),
                            Err(_) => continue,
                        },
                    },
                    Poll::Ready(None) => {
                        self.body = None;
                        Frame::End
                    }
                }
            };
            // Reserved above.
            let _ = out.send_item(frame);
        }
        Ok(())
    }
}

/// An answer's body on its way back from a peer.
pub(super) struct Returned {
    answers: mpsc::Receiver<Frame>,
    uplink: Uplink,
    quiet: Quiet,
    over: bool,
}

impl Returned {
    pub(super) fn new(answers: mpsc::Receiver<Frame>, uplink: Uplink, idle: Duration) -> Self {
        Self {
            answers,
            uplink,
            quiet: Quiet::new(idle),
            over: false,
        }
    }
}

impl Body for Returned {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        if let Err(error) = this.uplink.poll_move(cx) {
            this.over = true;
            return Poll::Ready(Some(Err(error)));
        }
        let piece = match this.answers.poll_recv(cx) {
            Poll::Ready(Some(Frame::Data(bytes))) => Ok(Piece::data(bytes)),
            Poll::Ready(Some(Frame::Trailers(trailers))) => Ok(Piece::trailers(trailers)),
            Poll::Ready(Some(Frame::End)) => {
                this.over = true;
                return Poll::Ready(None);
            }
            Poll::Ready(_) => Err(BodyError::Upstream("the peer broke off the answer".into())),
            Poll::Pending => {
                ready!(this.quiet.poll(cx));
                Err(BodyError::Stalled)
            }
        };
        this.quiet.moved();
        this.over = piece.is_err();
        Poll::Ready(Some(piece))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

/// A request's body as it comes from a peer.
pub(super) struct Arriving {
    source: Source,
    length: Option<u64>,
}

enum Source {
    /// The peer holds it until this node is ready.
    Held(oneshot::Receiver<mpsc::Receiver<Frame>>),
    Frames(mpsc::Receiver<Frame>),
    Over,
}

impl Arriving {
    pub(super) fn new(frames: mpsc::Receiver<Frame>, length: Option<u64>) -> Self {
        Self {
            source: Source::Frames(frames),
            length,
        }
    }

    /// A body whose frames come when its `Go` has.
    pub(super) fn held(
        frames: oneshot::Receiver<mpsc::Receiver<Frame>>,
        length: Option<u64>,
    ) -> Self {
        Self {
            source: Source::Held(frames),
            length,
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Source::Held(released) = &mut this.source {
            match ready!(Pin::new(released).poll(cx)) {
                Ok(frames) => this.source = Source::Frames(frames),
                Err(_) => this.source = Source::Over,
            }
        }
        let Source::Frames(frames) = &mut this.source else {
            return Poll::Ready(None);
        };
        let piece = match ready!(frames.poll_recv(cx)) {
            Some(Frame::Data(bytes)) => {
                // A peer that sends more than it said breaks the upstream's framing: cut it off.
                let length = bytes.len() as u64;
                match this.length.map(|left| left.checked_sub(length)) {
                    Some(None) => Some(Err(BodyError::Client)),
                    Some(left) => {
                        this.length = left;
                        Some(Ok(Piece::data(bytes)))
                    }
                    None => Some(Ok(Piece::data(bytes))),
                }
            }
            Some(Frame::Trailers(trailers)) => Some(Ok(Piece::trailers(trailers))),
            Some(Frame::End) => None,
            Some(_) | None => Some(Err(BodyError::Client)),
        };
        if !matches!(piece, Some(Ok(_))) {
            this.source = Source::Over;
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Over)
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The pieces of `data` that each fit a frame.
pub(super) fn cut(mut data: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        data.has_remaining()
            .then(|| data.split_to(data.len().min(LONGEST_PIECE)))
    })
}
