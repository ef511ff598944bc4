//! A tunnel's bytes as a stream: `Data` frames in, `Data` frames out, `End` as half-close.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::PollSender;

use super::frame::{Frame, LONGEST_PIECE};

/// The two channels of a request after a 101.
pub(crate) struct FrameStream {
    out: PollSender<Frame>,
    incoming: mpsc::Receiver<Frame>,
    rest: Bytes,
    /// The far side has ended its half.
    ended: bool,
    /// So has this side.
    closed: bool,
}

impl FrameStream {
    pub(crate) fn new(out: PollSender<Frame>, incoming: mpsc::Receiver<Frame>) -> Self {
        Self {
            out,
            incoming,
            rest: Bytes::new(),
            ended: false,
            closed: false,
        }
    }
}

impl AsyncRead for FrameStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.rest.is_empty() && !this.ended {
            match ready!(this.incoming.poll_recv(cx)) {
                Some(Frame::Data(bytes)) => this.rest = bytes,
                Some(Frame::End) => this.ended = true,
                Some(_) | None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let length = this.rest.len().min(buffer.remaining());
        buffer.put_slice(&this.rest[..length]);
        this.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FrameStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.closed || ready!(self.out.poll_reserve(cx)).is_err() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = bytes.len().min(LONGEST_PIECE);
        let frame = Frame::Data(Bytes::copy_from_slice(&bytes[..length]));
        match self.out.send_item(frame) {
            Ok(()) => Poll::Ready(Ok(length)),
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            if ready!(self.out.poll_reserve(cx)).is_err() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.closed = true;
            if self.out.send_item(Frame::End).is_err() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}
