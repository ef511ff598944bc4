//! A request's body on its way to an upstream, and whether it can still be sent from its start.
//!
//! Enters: the client's body. Leaves: [`Outgoing`], the body that a connection sends, and [`Progress`],
//! by which the wait for an answer knows when the request ended.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

use crate::exchange::{Body, BodyError};

/// A request's body between tries.
#[derive(Debug)]
pub(crate) enum Payload {
    /// All of it is here; it can be sent again and again.
    Whole(Bytes),
    /// It is still on its way; it can be sent once.
    Stream(Body),
    /// It was handed to a try.
    Gone,
}

impl Payload {
    /// An empty body is whole from the start.
    pub(crate) fn new(body: Body) -> Self {
        if body.is_end_stream() {
            Self::Whole(Bytes::new())
        } else {
            Self::Stream(body)
        }
    }

    /// Whether it can be sent from its start.
    pub(crate) fn whole(&self) -> bool {
        !matches!(self, Self::Gone)
    }

    /// Whether it can be sent from its start more than once.
    pub(crate) fn replayable(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// Its length, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Stream(body) => body.size_hint().exact(),
            Self::Gone => None,
        }
    }

    /// Gathers a body that says it is small, so that it can be sent more than once. Others stay streams.
    pub(crate) async fn gather(&mut self) -> Result<(), BodyError> {
        let Self::Stream(body) = self else {
            return Ok(());
        };
        if body
            .size_hint()
            .upper()
            .is_none_or(|upper| upper > MOST_GATHERED)
        {
            return Ok(());
        }
        let Self::Stream(body) = std::mem::replace(self, Self::Gone) else {
            return Ok(());
        };
        let gathered = http_body_util::Limited::new(body, MOST_GATHERED_LENGTH)
            .collect()
            .await;
        match gathered {
            Ok(gathered) => {
                *self = Self::Whole(gathered.to_bytes());
                Ok(())
            }
            Err(error) => Err(match error.downcast::<BodyError>() {
                Ok(error) => *error,
                // It sent more than it had declared.
                Err(_) => BodyError::Client,
            }),
        }
    }

    /// The body for one try; a stream is gone from here then.
    pub(crate) fn take(&mut self) -> Outgoing {
        match self {
            Self::Whole(bytes) => Outgoing {
                source: Source::Whole(bytes.clone()),
                progress: None,
            },
            Self::Stream(_) => match std::mem::replace(self, Self::Gone) {
                Self::Stream(body) => Outgoing {
                    source: Source::Stream(body),
                    progress: Some(Arc::new(Progress::new(Instant::now()))),
                },
                _ => unreachable!("it was a stream one line above"),
            },
            Self::Gone => unreachable!("a try is made only while the payload is whole"),
        }
    }

    /// Takes back a body that was never sent.
    pub(crate) fn restore(&mut self, outgoing: Outgoing) {
        *self = match outgoing.source {
            Source::Whole(bytes) => Self::Whole(bytes),
            Source::Stream(body) => Self::Stream(body),
        };
    }
}

/// The body of one try.
#[derive(Debug)]
pub(crate) struct Outgoing {
    source: Source,
    progress: Option<Arc<Progress>>,
}

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    Stream(Body),
}

impl Outgoing {
    /// How far a streamed body has come; `None`: it ended before it began.
    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }

    /// The next piece; also where `hyper` does not drive the body.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Source::Stream(body) => {
                let piece = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
                if let Some(progress) = &self.progress {
                    progress.note(piece.is_none() || body.is_end_stream());
                }
                Poll::Ready(piece)
            }
        }
    }
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_piece(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Stream(body) => body.size_hint(),
        }
    }
}

/// How far a streamed request body has come.
#[derive(Debug)]
pub(crate) struct Progress {
    origin: Instant,
    last_ms: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    fn new(now: Instant) -> Self {
        Self {
            origin: now,
            last_ms: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }

    fn note(&self, ended: bool) {
        let since = self.origin.elapsed().as_millis();
        self.last_ms
            .store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
        if ended {
            self.ended.store(true, Relaxed);
        }
    }

    /// When the last piece came.
    pub(crate) fn last(&self) -> Instant {
        self.origin + std::time::Duration::from_millis(self.last_ms.load(Relaxed))
    }

    /// Whether all of it has been handed to the connection.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }
}

/// A body up to this size is gathered where that makes the request repeatable: as much as a connection's
/// buffers hold anyway.
const MOST_GATHERED: u64 = 64 * 1024;
const MOST_GATHERED_LENGTH: usize = 64 * 1024;
