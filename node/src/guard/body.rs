//! A request's body as it streams: not longer than its route allows, not slower than a client may be, and no
//! further once its client is sent away.
//!
//! In: hyper's incoming body. Out: the same frames, until one is too many or too late. What ended it
//! early is also left in a [`Verdict`], because by then the body is in other hands and the pipeline has to
//! say 413 or 408, not "the upstream broke off".

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::{ban::Leave, exchange::BodyError, problem::Refusal};

/// What became of a request's body, shared between the body and the pipeline.
#[derive(Debug, Default)]
pub struct Verdict {
    fault: AtomicU8,
    bytes: AtomicU64,
}

impl Verdict {
    /// Why the body ended early, as the client should hear it.
    pub fn refusal(&self, limit: u64) -> Option<Refusal> {
        match self.fault.load(Ordering::Relaxed) {
            TOO_LARGE => Some(Refusal::BodyTooLarge { limit }),
            STALLED => Some(Refusal::SlowRequest),
            BROKEN => Some(Refusal::Malformed("the body broke off".to_owned())),
            _ => None,
        }
    }

    /// Bytes that came.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

const TOO_LARGE: u8 = 1;
const STALLED: u8 = 2;
const BROKEN: u8 = 3;

/// A body under watch.
#[derive(Debug)]
pub struct Watched<B> {
    inner: B,
    limit: u64,
    stall: Duration,
    /// Runs only while a piece is awaited, so that bodies that never wait pay no timer.
    timer: Option<Pin<Box<Sleep>>>,
    verdict: Arc<Verdict>,
    leave: Option<Leave>,
    ended: bool,
}

impl<B> Watched<B> {
    /// Watches a body. `limit` in bytes; `stall` is the longest wait for one piece.
    pub fn new(inner: B, limit: u64, stall: Duration, verdict: Arc<Verdict>) -> Self {
        Self {
            inner,
            limit,
            stall,
            timer: None,
            verdict,
            leave: None,
            ended: false,
        }
    }

    /// The same for a client that may be sent away before it has said all.
    #[must_use]
    pub fn under(self, leave: Option<Leave>) -> Self {
        Self { leave, ..self }
    }

    fn end(
        &mut self,
        fault: u8,
        error: BodyError,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.verdict.fault.store(fault, Ordering::Relaxed);
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(Err(refusal)) = this.leave.as_mut().map(Leave::look) {
            this.ended = true;
            return Poll::Ready(Some(Err(BodyError::Withdrawn(Box::new(refusal)))));
        }
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(None) => {
                this.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.timer = None;
                if let Some(data) = frame.data_ref() {
                    let more = u64::try_from(data.remaining()).unwrap_or(u64::MAX);
                    let bytes = this
                        .verdict
                        .bytes
                        .load(Ordering::Relaxed)
                        .saturating_add(more);
                    this.verdict.bytes.store(bytes, Ordering::Relaxed);
                    if bytes > this.limit {
                        let limit = this.limit;
                        return this.end(TOO_LARGE, BodyError::TooLarge { limit });
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => this.end(BROKEN, BodyError::Client),
            Poll::Pending => {
                let stall = this.stall;
                let timer = this
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
                ready!(timer.as_mut().poll(context));
                this.end(STALLED, BodyError::Stalled)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Refuses a body that says itself that it is too long, before a byte of it is read.
pub fn admit(declared: &SizeHint, limit: u64) -> Result<(), Refusal> {
    if declared.lower() > limit {
        return Err(Refusal::BodyTooLarge { limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt;

    use super::*;

    /// Pieces, then silence or the end.
    struct Pieces(VecDeque<&'static str>, bool);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match self.0.pop_front() {
                Some(piece) => {
                    Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
                }
                None if self.1 => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn watched(
        pieces: &[&'static str],
        silence: bool,
        limit: u64,
    ) -> (Watched<Pieces>, Arc<Verdict>) {
        let verdict = Arc::new(Verdict::default());
        let pieces = Pieces(pieces.iter().copied().collect(), silence);
        let stall = Duration::from_secs(30);
        (Watched::new(pieces, limit, stall, verdict.clone()), verdict)
    }

    #[tokio::test]
    async fn a_body_up_to_its_limit_passes_and_is_counted() {
        let (body, verdict) = watched(&["abc", "de"], false, 5);
        let bytes = body.collect().await.expect("within the limit").to_bytes();
        assert_eq!(bytes, "abcde");
        assert_eq!(verdict.bytes(), 5);
        assert_eq!(verdict.refusal(5), None);
    }

    #[tokio::test]
    async fn the_first_byte_too_many_ends_it() {
        let (body, verdict) = watched(&["abc", "def"], false, 5);
        assert!(matches!(
            body.collect().await,
            Err(BodyError::TooLarge { limit: 5 })
        ));
        assert_eq!(verdict.refusal(5), Some(Refusal::BodyTooLarge { limit: 5 }));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_after_the_stall_time() {
        let (body, verdict) = watched(&["abc"], true, 5);
        let before = tokio::time::Instant::now();
        assert!(matches!(body.collect().await, Err(BodyError::Stalled)));
        assert!(before.elapsed() >= Duration::from_secs(30));
        assert_eq!(verdict.refusal(5), Some(Refusal::SlowRequest));
    }
}
