//! The sending side of a forwarded request.
//!
//! Enters: a request's head and payload from a worker. Leaves: the answer's head, with the rest of the
//! exchange, or the fault. Workers hand the stream's work to the bulk runtime by a bounded channel; each
//! request then has its own pair of frame channels.

use std::{future::poll_fn, sync::Arc, time::Duration};

use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use meridian_config::name::{NodeId, RegionName};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::{sync::CancellationToken, sync::PollSender, task::TaskTracker};

use super::{
    Bulk,
    body::{Returned, Uplink},
    frame::{Decoder, Frame, Harm, Why},
    head::{AnswerHead, RequestHead, fields, header_map},
    pump::{self, DEPTH},
    stream::FrameStream,
};
use crate::{
    exchange::{Body, BodyError},
    upstream::{Client, Fault, Late, Limits, Reply, Trip, within},
};

/// The workers' way to the bulk runtime. A cheap clone.
#[derive(Clone)]
pub(crate) struct Door {
    errands: mpsc::Sender<Errand>,
}

/// Where the bulk runtime hears of new requests.
pub(crate) struct Errands(mpsc::Receiver<Errand>);

/// One request to forward.
struct Errand {
    peer: NodeId,
    limit: Duration,
    out: mpsc::Receiver<Frame>,
    back: mpsc::Sender<Frame>,
}

impl Door {
    pub(crate) fn new() -> (Self, Errands) {
        let (errands, queue) = mpsc::channel(MOST_WAITING);
        (Self { errands }, Errands(queue))
    }

    /// Requests that wait for the bulk runtime to take them.
    pub(crate) fn waiting(&self) -> usize {
        self.errands.max_capacity() - self.errands.capacity()
    }
}

impl Client {
    /// Tries one peer.
    pub(crate) async fn try_peer(
        &self,
        trip: &mut Trip<'_>,
        peer: &NodeId,
        region: RegionName,
    ) -> Result<Reply, Fault> {
        // Small bodies travel with the head; they also stay whole for the next peer.
        trip.payload.gather().await.map_err(Fault::Body)?;
        let result = self.forward(trip, peer, &region).await;
        trip.tried_peers.push(peer.clone());
        if matches!(result, Err(Fault::PeerUnsent)) {
            trip.unsent_peers.push(peer.clone());
        }
        if matches!(result, Err(Fault::NotThere)) {
            trip.tried_regions.push(region);
        }
        result
    }

    async fn forward(
        &self,
        trip: &mut Trip<'_>,
        peer: &NodeId,
        region: &RegionName,
    ) -> Result<Reply, Fault> {
        let settings = &trip.errand.destination.settings;
        let (timeouts, attempts) = (settings.timeouts, settings.retries.attempts);
        let hold = !(trip.repeatable && trip.payload.replayable());
        let mut uplink = Uplink::default();
        let (out, for_peer) = mpsc::channel(DEPTH);
        let (back, mut answers) = mpsc::channel(DEPTH);
        let head = Frame::Request(Box::new(request_head(trip, hold)));
        out.try_send(head).expect("the channel is new and has room");
        uplink.out = Some(PollSender::new(out));
        // After the handshake the channel is the tunnel's, without an `End` of the (empty) body before it.
        if !hold && !trip.websocket {
            uplink.body = Some(trip.payload.take());
        }
        let errand = Errand {
            peer: peer.clone(),
            limit: timeouts.connect,
            out: for_peer,
            back,
        };
        self.shared()
            .door
            .errands
            .try_send(errand)
            .map_err(|error| match error {
                // More than the bulk runtime can take on: shed here, now.
                TrySendError::Full(_) => Fault::Overloaded,
                TrySendError::Closed(_) => Fault::PeerUnsent,
            })?;

        let mut held = hold;
        // The peer tries within these limits too; its own word should come first.
        let tries = attempts.min(MOST_PATIENCE) + 1;
        let limits = Limits {
            response: (timeouts.connect + timeouts.response) * tries + GRACE,
            idle: timeouts.idle + GRACE,
        };
        let answer = loop {
            let progress = uplink.progress.clone();
            let next = poll_fn(|cx| {
                if let Err(error) = uplink.poll_move(cx) {
                    return std::task::Poll::Ready(Err(error));
                }
                answers.poll_recv(cx).map(Ok)
            });
            let frame = match within(limits, progress.as_deref(), next).await {
                Ok(Ok(frame)) => frame,
                Ok(Err(error)) => return Err(Fault::Body(error)),
                Err(Late::Client) => return Err(Fault::Body(BodyError::Stalled)),
                Err(Late::Upstream) if held => return Err(Fault::PeerUnsent),
                Err(Late::Upstream) => return Err(Fault::Late),
            };
            match frame {
                Some(Frame::Ready) if held => {
                    held = false;
                    trip.parts = None;
                    uplink.go(trip.payload.take());
                }
                Some(Frame::Ready) => {}
                Some(Frame::Answer(head)) if !held => break head,
                Some(Frame::Refused(Why::NotHere)) => return Err(Fault::NotThere),
                Some(Frame::Refused(Why::Unreachable | Why::Overloaded)) => {
                    return Err(Fault::PeerUnsent);
                }
                Some(Frame::Failed(harm)) => return Err(fault_of(harm)),
                // The peer broke off, or speaks another tongue. While held, nobody can have acted.
                None | Some(_) => {
                    return Err(if held {
                        Fault::PeerUnsent
                    } else {
                        Fault::Reset
                    });
                }
            }
        };
        reply(trip, *answer, region, uplink, answers, limits.idle)
    }
}

fn request_head(trip: &Trip<'_>, hold: bool) -> RequestHead {
    let errand = trip.errand;
    let (method, uri, headers) = trip.head();
    RequestHead {
        service: errand.destination.name.clone(),
        revision: errand.destination.revision,
        hop: 1,
        hold,
        length: trip.payload.length(),
        websocket: trip.websocket,
        request_id: errand.request_id.to_owned(),
        zones: errand.zones.to_vec(),
        method: method.as_str().to_owned(),
        target: uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned(),
        fields: fields(headers),
    }
}

fn reply(
    trip: &Trip<'_>,
    head: AnswerHead,
    region: &RegionName,
    uplink: Uplink,
    answers: mpsc::Receiver<Frame>,
    idle: Duration,
) -> Result<Reply, Fault> {
    let status = StatusCode::from_u16(head.status).map_err(|_| Fault::Protocol)?;
    let headers = header_map(&head.fields).ok_or(Fault::Protocol)?;
    let mut tunnel = None;
    let body = if status == StatusCode::SWITCHING_PROTOCOLS {
        let (true, Some(out)) = (trip.websocket, uplink.out) else {
            return Err(Fault::Protocol);
        };
        let stream: meridian_cluster::host::BoxStream = Box::new(FrameStream::new(out, answers));
        tunnel = Some((stream, None));
        nothing()
    } else if head.ended {
        nothing()
    } else {
        Body::new(Returned::new(answers, uplink, idle))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(Reply {
        response,
        region: region.clone(),
        endpoint: head.endpoint,
        retries: head.retries,
        tunnel,
    })
}

fn nothing() -> Body {
    Body::new(Empty::new().map_err(|never| match never {}))
}

fn fault_of(harm: Harm) -> Fault {
    match harm {
        Harm::Reset => Fault::Reset,
        Harm::Protocol => Fault::Protocol,
        Harm::Late => Fault::Late,
        Harm::Stalled => Fault::Body(BodyError::Stalled),
    }
}

/// Takes errands from the workers, on the bulk runtime.
pub(super) async fn run(
    mut errands: Errands,
    bulk: Arc<dyn Bulk>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let errand = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            errand = errands.0.recv() => match errand {
                Some(errand) => errand,
                None => return,
            },
        };
        let work = carry(errand, Arc::clone(&bulk));
        let stop = stop.clone();
        tracker.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }
}

/// Carries one request's frames to the peer and the answer's back.
async fn carry(errand: Errand, bulk: Arc<dyn Bulk>) {
    let Errand {
        peer,
        limit,
        out,
        back,
    } = errand;
    let opened = tokio::select! {
        biased;
        () = back.closed() => return,
        opened = tokio::time::timeout(limit, bulk.open(&peer)) => opened,
    };
    let (read, write) = match opened {
        Ok(Ok(halves)) => halves,
        failed => {
            if let Ok(Err(error)) = failed {
                tracing::debug!(%error, "a request could not be forwarded");
            }
            // The worker may have left.
            let _ = back.send(Frame::Refused(Why::Unreachable)).await;
            return;
        }
    };
    let gone = back.clone();
    let mut writing = std::pin::pin!(pump::write(write, out));
    // The writing half, once the worker has said all: kept, because its end would be a cancellation.
    let mut written = None;
    let left = {
        let mut reading = std::pin::pin!(pump::read(read, Decoder::default(), back));
        loop {
            tokio::select! {
                biased;
                () = &mut reading => break false,
                () = gone.closed() => break true,
                half = &mut writing, if written.is_none() => written = Some(half),
            }
        }
    };
    // The worker has left: what it had said last (a half-close, say) is still delivered. The peer sees
    // the stream's end after it, and that is how it learns of a cancellation.
    if left && written.is_none() {
        let _ = tokio::time::timeout(LINGER, writing).await;
    }
}

/// Requests that wait for the bulk runtime to take them up: a burst of one scheduler turn of all workers.
/// When full the request is refused as overload.
const MOST_WAITING: usize = 1024;

/// For a peer's own verdict to arrive before ours.
const GRACE: Duration = Duration::from_secs(2);

/// Retries at the peer that are waited for.
const MOST_PATIENCE: u32 = 4;

/// For the last frames of a request whose worker has left.
const LINGER: Duration = Duration::from_secs(1);
