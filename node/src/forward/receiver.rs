//! The receiving side of a forwarded request: serves it from this region, or says that it can't.
//!
//! Enters: a stream that a peer has opened. Leaves: the answer's frames. The request never goes further
//! than this region's endpoints, and what refuses it before an endpoint could have acted says so.

use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, mpsc, oneshot},
    time::{Duration, timeout},
};
use tokio_util::{
    sync::{CancellationToken, PollSender},
    task::TaskTracker,
};

use super::{
    Arrival, Bulk, ReadHalf,
    body::{Arriving, cut},
    frame::{Decoder, Frame, Harm, Why},
    head::{AnswerHead, RequestHead, fields},
    pump::{self, DEPTH},
    stream::FrameStream,
};
use crate::{
    exchange::{Body, BodyError},
    upstream::{Client, Destination, Errand, Fault, Gate, Reply, Trip, Upstreams, join, permitted},
};

/// Serves peers, on the bulk runtime.
pub(super) async fn run(
    upstreams: Upstreams,
    bulk: Arc<dyn Bulk>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let client = upstreams.client("upstream forwarded");
    let places = Arc::new(Semaphore::new(MOST_SERVED));
    loop {
        let arrival = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            arrival = bulk.accept() => match arrival {
                Some(arrival) => arrival,
                None => return,
            },
        };
        let place = Arc::clone(&places).try_acquire_owned().ok();
        let served = Served {
            upstreams: upstreams.clone(),
            client: client.clone(),
        };
        let stop = stop.clone();
        let awaited = upstreams.shared().running.token();
        // Some 10 KiB, in a box of its own: a task is copied when it is spawned and when it ends.
        let exchange = Box::pin(served.exchange(arrival, place.is_none()));
        tracker.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = exchange => {}
            }
            drop((place, awaited));
        });
    }
}

struct Served {
    upstreams: Upstreams,
    client: Client,
}

impl Served {
    /// One request, from its head to the end of its answer.
    async fn exchange(self, arrival: Arrival, full: bool) {
        let Arrival {
            from,
            region,
            mut read,
            write,
        } = arrival;
        let mut decoder = Decoder::default();
        let head = match timeout(FIRST_FRAME, first(&mut read, &mut decoder)).await {
            Ok(Some(head)) => head,
            Ok(None) | Err(_) => {
                tracing::warn!(%from, %region, "a peer opened a stream without a request");
                return;
            }
        };
        let (incoming, frames) = mpsc::channel(DEPTH);
        let (out, outgoing) = mpsc::channel(DEPTH);
        let reading = pump::read(read, decoder, incoming);
        let serving = async {
            if full {
                let _ = out.send(Frame::Refused(Why::Overloaded)).await;
            } else {
                self.serve(head, frames, out).await;
            }
        };
        let both = async {
            let ((), half) = tokio::join!(serving, pump::write(write, outgoing));
            // In order, so that the peer gets all of it; a peer that has left does not mind.
            if let Some(mut half) = half {
                let _ = half.shutdown().await;
            }
        };
        tokio::select! {
            biased;
            // The peer keeps its half open until it has the whole answer: its end is a cancellation, and
            // dropping the exchange drops the upstream's.
            () = reading => {}
            () = both => {}
        }
    }

    async fn serve(
        &self,
        head: RequestHead,
        frames: mpsc::Receiver<Frame>,
        out: mpsc::Sender<Frame>,
    ) {
        // Whoever writes to a peer that has left is dropped with the rest soon.
        let Some((destination, parts)) = self.admit(&head) else {
            let _ = out.send(Frame::Refused(Why::NotHere)).await;
            return;
        };
        let mut frames = Some(frames);
        let mut gate: Option<Gate> = None;
        let body = match frames.take_if(|_| !head.websocket) {
            // A tunnel's bytes are not the handshake's body.
            None => nothing(),
            Some(mut frames) if head.hold => {
                let (release, released) = oneshot::channel();
                let ready = out.clone();
                gate = Some(Box::pin(async move {
                    let go = async {
                        ready.send(Frame::Ready).await.ok()?;
                        matches!(frames.recv().await?, Frame::Go).then_some(())
                    };
                    if !matches!(timeout(LONGEST_HOLD, go).await, Ok(Some(()))) {
                        return false;
                    }
                    // A body that is known to be empty does not wait for them.
                    let _ = release.send(frames);
                    true
                }));
                Body::new(Arriving::held(released, head.length))
            }
            Some(frames) => Body::new(Arriving::new(frames, head.length)),
        };
        let body = if head.length == Some(0) {
            nothing()
        } else {
            body
        };
        let errand = Errand {
            destination: &destination,
            zones: &head.zones,
            tenant: None,
            request_id: &head.request_id,
            // The node that took it from the client looks after it.
            leave: None,
        };
        let request = Request::from_parts(parts, body);
        let mut trip = Trip::new(errand, request, head.websocket);
        trip.forwarded = true;
        trip.gate = gate;
        match self.client.run(&mut trip).await {
            Ok(reply) => answer(reply, trip.tries, frames, out).await,
            Err(failed) => {
                let frame = match failed.fault {
                    Some(fault) if fault.may_have_acted() => Frame::Failed(harm(&fault)),
                    Some(Fault::Overloaded) => Frame::Refused(Why::Overloaded),
                    Some(_) | None => Frame::Refused(Why::NotHere),
                };
                let _ = out.send(frame).await;
            }
        }
    }

    /// Whether this node may and can serve it: the hop, the service, the zone, the form.
    fn admit(&self, head: &RequestHead) -> Option<(Arc<Destination>, http::request::Parts)> {
        if head.hop != 1 {
            return None;
        }
        let destinations = self.upstreams.destinations(head.revision)?;
        let destination = Arc::clone(destinations.service(&head.service)?);
        let view = (self.upstreams.shared().view)();
        let mut places = destination.places.iter();
        let (_, zone) = places.find(|(region, _)| *region == view.own_region)?;
        // The sender has chosen by its own revision; residency is checked where the data would be seen.
        if !permitted(&head.zones, zone) {
            return None;
        }
        Some((destination, head.parts()?))
    }
}

/// The first frame, which must be a request's head.
async fn first(read: &mut ReadHalf, decoder: &mut Decoder) -> Option<RequestHead> {
    loop {
        match decoder.next() {
            Ok(Some(Frame::Request(head))) => return Some(*head),
            Ok(Some(_)) => return None,
            Ok(None) => {
                if read.read_buf(decoder.buffer()).await.ok()? == 0 {
                    return None;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a peer's request is not one of this version");
                return None;
            }
        }
    }
}

/// Sends an answer, all of it.
async fn answer(
    reply: Reply,
    tries: u32,
    frames: Option<mpsc::Receiver<Frame>>,
    out: mpsc::Sender<Frame>,
) {
    let (parts, mut body) = reply.response.into_parts();
    let ended = hyper::body::Body::is_end_stream(&body);
    let head = AnswerHead {
        status: parts.status.as_u16(),
        fields: fields(&parts.headers),
        endpoint: reply.endpoint,
        retries: tries.saturating_sub(1),
        ended,
    };
    if out.send(Frame::Answer(Box::new(head))).await.is_err() {
        return;
    }
    if let (Some((stream, _place)), Some(frames)) = (reply.tunnel, frames) {
        let peer = FrameStream::new(PollSender::new(out), frames);
        // How it ended is of no further interest: both sides see it.
        let _ = join(Box::new(peer), stream).await;
        return;
    }
    while let Some(piece) = body.frame().await {
        let Ok(piece) = piece else {
            // Without `End` the peer knows that it was cut off.
            return;
        };
        match piece.into_data() {
            Ok(data) => {
                for data in cut(data) {
                    if out.send(Frame::Data(data)).await.is_err() {
                        return;
                    }
                }
            }
            Err(piece) => {
                if let Ok(trailers) = piece.into_trailers()
                    && out.send(Frame::Trailers(trailers)).await.is_err()
                {
                    return;
                }
            }
        }
    }
    let _ = out.send(Frame::End).await;
}

fn nothing() -> Body {
    Body::new(Empty::new().map_err(|never| match never {}))
}

fn harm(fault: &Fault) -> Harm {
    match fault {
        Fault::Protocol => Harm::Protocol,
        Fault::Late => Harm::Late,
        Fault::Body(BodyError::Stalled) => Harm::Stalled,
        _ => Harm::Reset,
    }
}

/// Requests of peers served at once: as many as one endpoint takes. Past it peers hear `Overloaded` and
/// go elsewhere.
const MOST_SERVED: usize = 4096;

/// For the head to follow a stream's opening.
const FIRST_FRAME: Duration = Duration::from_secs(5);

/// For `Go` to follow `Ready`: many round trips of the longest link.
const LONGEST_HOLD: Duration = Duration::from_secs(5);
