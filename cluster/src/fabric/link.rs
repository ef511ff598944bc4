//! A connection's life: handshake, hello, service, end. One task per connection.
//!
//! In: accepted or dialled QUIC connections. Out: entries in the roster, streams to their handlers,
//! datagrams to their inboxes. The decisions are the roster's and the hello's.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{Connection, ConnectionError, Endpoint, Incoming, RecvStream};
use rustls::pki_types::CertificateDer;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    Kind, PeerIdentity, bulk, calls,
    dial::{self, DialFault, DialOrder},
    endpoint,
    refusals::Refusal,
    roster::{Admission, Arrival, Plane},
    shared::{Datagram, Received, Shared, UNPOISONED},
    spiffe::SpiffeId,
    wire::{Agreed, Close, Form, HELLO_LIMIT, Hello, HelloFault, Reset},
};

/// From the first packet to an accepted hello: four of the longest round trips and a lost packet.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// Goodbyes are sent for this long at most when the node stops.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

/// Gossip by stream at most: a datagram's worth for every node of a large cluster.
const GOSSIP_LIMIT: usize = 128 << 10;

/// How long a peer may take to send a gossip message by stream.
const GOSSIP_TIME: Duration = Duration::from_secs(2);

/// Drives one endpoint until the node stops: accepts, and dials what is ordered.
pub(super) async fn run(
    plane: Plane,
    endpoint: Endpoint,
    shared: Arc<Shared>,
    mut orders: mpsc::Receiver<DialOrder>,
) {
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            order = orders.recv() => match order {
                Some(order) => {
                    let task = dial::carry_out(plane, endpoint.clone(), Arc::clone(&shared), order);
                    shared.tracker.spawn(task);
                }
                None => break,
            },
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => {
                    shared.tracker.spawn(welcome(plane, incoming, Arc::clone(&shared)));
                }
                None => break,
            },
        }
    }
    endpoint.close(Close::Shutdown.code(), b"the node stops");
    let _ = timeout(GOODBYE_LIMIT, endpoint.wait_idle()).await;
}

/// The accepting side of a new connection.
async fn welcome(plane: Plane, incoming: Incoming, shared: Arc<Shared>) {
    let address = incoming.remote_address();
    let begun = async {
        let connection = incoming.accept()?.await?;
        let (send, recv) = connection.accept_bi().await?;
        Ok::<_, ConnectionError>((connection, send, recv))
    };
    let (connection, mut send, recv) = match timeout(HANDSHAKE_LIMIT, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => {
            dial::note_broken(&shared, &address.to_string(), &error);
            return;
        }
        Err(_) => {
            shared.refusals.count(Refusal::Silent);
            return;
        }
    };
    let Some(form) = endpoint::form_of(plane, &connection) else {
        refuse(
            &shared,
            &connection,
            &address.to_string(),
            &HelloFault::Malformed,
        );
        return;
    };
    let hello = match timeout(HANDSHAKE_LIMIT, read_hello(recv, form)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(fault)) => {
            refuse(&shared, &connection, &address.to_string(), &fault);
            return;
        }
        Err(_) => {
            shared.refusals.count(Refusal::Silent);
            connection.close(Close::Silent.code(), b"no hello came in time");
            return;
        }
    };
    let answer = shared.hello().encode(form);
    match introduce(plane, &shared, &connection, &hello, false).await {
        Ok(peer) => {
            let answered = send.write_all(&answer).await.is_ok() && send.finish().is_ok();
            if answered {
                serve(plane, &shared, &peer, &connection).await;
            }
            end(plane, &shared, &peer, &connection);
        }
        Err(fault) => tracing::debug!(%address, "accepted connection not kept: {fault}"),
    }
}

/// Reads the peer's hello to its end.
pub(super) async fn read_hello(mut recv: RecvStream, form: Form) -> Result<Hello, HelloFault> {
    let bytes = recv
        .read_to_end(HELLO_LIMIT)
        .await
        .map_err(|_| HelloFault::Malformed)?;
    Hello::decode(&bytes, form)
}

/// Judges a hello; takes the connection in, or closes it and says why.
pub(super) async fn introduce(
    plane: Plane,
    shared: &Arc<Shared>,
    connection: &Connection,
    hello: &Hello,
    dialled_here: bool,
) -> Result<PeerIdentity, DialFault> {
    let own = shared.hello();
    let agreed = Agreed {
        level: shared.level.load(Ordering::Acquire),
        removed: shared.removal_of(&hello.node),
    };
    let judged = certificate_of(connection).and_then(|id| hello.judge(&id, &own, agreed));
    let peer = match judged {
        Ok(peer) => peer,
        Err(fault @ HelloFault::Removed(removal)) => {
            let who = format!("node {}", hello.node);
            shared.refusals.note(fault.cause(), &who, &fault);
            connection.close(Close::Removed.code(), removal.to_string().as_bytes());
            return Err(DialFault::Hello(fault));
        }
        Err(fault) => {
            refuse(shared, connection, &format!("node {}", hello.node), &fault);
            return Err(DialFault::Hello(fault));
        }
    };
    if peer.id == own.node {
        return Err(meet_own_id(shared, connection, peer.incarnation, own.incarnation).await);
    }
    let admission = shared.roster().admit(
        Arrival {
            plane,
            peer: peer.clone(),
            control: hello.control,
            bulk: hello.bulk,
            cluster_id: hello.cluster_id.clone(),
            versions: hello.versions,
            dialled_here,
            connection: connection.clone(),
        },
        Instant::now().into_std(),
    );
    match admission {
        Admission::Stay {
            superseded,
            retired,
        } => {
            tracing::trace!(target: "meridian::decision", peer = %peer.id, plane = plane.name(), incarnation = peer.incarnation, dialled_here, replaces = superseded.len() + retired.len(), "fabric connects");
            for old in retired {
                // Its own task goes on serving it.
                shared.tracker.spawn(retire(plane, Arc::clone(shared), old));
            }
            let reason = peer.incarnation.to_string();
            for old in superseded {
                old.close(Close::Stale.code(), reason.as_bytes());
            }
            if dialled_here {
                // The peer took us in before it answered.
                shared.welcomed.store(true, Ordering::Release);
            }
            if plane == Plane::Control {
                shared.refusals.well(&[
                    format!("node {}", peer.id),
                    hello.control.to_string(),
                    connection.remote_address().to_string(),
                ]);
                let version = hello.versions.common(own.versions);
                tracing::info!(peer = %peer.id, region = %peer.region, version, "fabric: connected");
            }
            shared.note_change();
            Ok(peer)
        }
        Admission::Duplicate if dialled_here => {
            // The peer took it in before it answered, and may have sent requests, calls and probes on it by now.
            let (lingers, from, old) = (Arc::clone(shared), peer.clone(), connection.clone());
            shared.tracker.spawn(async move {
                tokio::select! {
                    biased;
                    () = serve(plane, &lingers, &from, &old) => {}
                    () = retire(plane, Arc::clone(&lingers), old.clone()) => {}
                }
            });
            Err(DialFault::Duplicate(peer.id))
        }
        Admission::Duplicate => {
            connection.close(Close::Duplicate.code(), b"the other connection stays");
            Err(DialFault::Duplicate(peer.id))
        }
        Admission::Stale { known } => {
            shared.refusals.note(
                Refusal::Stale,
                &format!("node {}", peer.id),
                &format!(
                    "it started before the node of that id that is already known (incarnations {} and {known}); stop one of the two, or give it a node.id of its own",
                    peer.incarnation
                ),
            );
            connection.close(Close::Stale.code(), known.to_string().as_bytes());
            Err(DialFault::Stale(peer.id))
        }
        Admission::Full => {
            shared.refusals.note(
                Refusal::Full,
                &format!("node {}", peer.id),
                &"too many nodes are known",
            );
            connection.close(Close::Refused.code(), b"too many nodes are known");
            Err(DialFault::Closed("too many nodes are known".into()))
        }
    }
}

/// Closes a connection that another one replaces, when what runs on it has had its time.
async fn retire(plane: Plane, shared: Arc<Shared>, old: Connection) {
    let time = match plane {
        Plane::Control => LAST_CALLS,
        Plane::Bulk => LAST_REQUESTS,
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        _ = old.closed() => return,
        () = tokio::time::sleep(time) => {}
    }
    old.close(Close::Duplicate.code(), b"the other connection stays");
}

/// For requests on a bulk connection that is replaced: as long as a node that drains gives them.
const LAST_REQUESTS: Duration = Duration::from_secs(30);

/// For calls and probes on a control connection that is replaced: longer than most of them take. One that is cut off is
/// sent again.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// Serves a connection until it ends.
pub(super) async fn serve(
    plane: Plane,
    shared: &Arc<Shared>,
    peer: &PeerIdentity,
    connection: &Connection,
) {
    let since = Instant::now();
    endpoint::open_up(plane, connection);
    loop {
        tokio::select! {
            biased;
            datagram = connection.read_datagram() => match datagram {
                Ok(datagram) => take_datagram(shared, peer, connection, datagram),
                Err(_) => break,
            },
            stream = connection.accept_bi() => match stream {
                Ok((send, recv)) => {
                    let (shared, from) = (Arc::clone(shared), peer.clone());
                    let tracker = shared.tracker.clone();
                    match plane {
                        Plane::Control => tracker.spawn(calls::answer(shared, from, send, recv)),
                        Plane::Bulk => tracker.spawn(bulk::take(shared, from, send, recv)),
                    };
                }
                Err(_) => break,
            },
            stream = connection.accept_uni() => match stream {
                Ok(recv) => {
                    let (shared, from) = (Arc::clone(shared), peer.clone());
                    shared.tracker.clone().spawn(take_gossip(shared, from, recv));
                }
                Err(_) => break,
            },
        }
    }
    if since.elapsed() > HANDSHAKE_LIMIT {
        // Whoever dialled, the peer has read our hello by now and kept the connection.
        shared.welcomed.store(true, Ordering::Release);
    }
    // The three above fail only with the connection.
    if let ConnectionError::ApplicationClosed(closed) = connection.closed().await
        && let Some(number) = dial::number(&closed.reason)
    {
        match Close::of(closed.error_code) {
            Some(Close::Stale) if number > shared.incarnation() => shared.superseded(number).await,
            Some(Close::Removed) => shared.expelled_by(number),
            _ => {}
        }
    }
}

/// Strikes an ended connection from the roster.
pub(super) fn end(plane: Plane, shared: &Shared, peer: &PeerIdentity, connection: &Connection) {
    let reason = connection.close_reason();
    let left = matches!(&reason, Some(ConnectionError::ApplicationClosed(closed))
        if Close::of(closed.error_code) == Some(Close::Shutdown));
    let stood = shared.roster().lost(plane, &peer.id, left, |standing| {
        standing.stable_id() == connection.stable_id()
    });
    if !stood {
        return;
    }
    let why = reason.map_or_else(|| "unknown".to_owned(), |reason| reason.to_string());
    tracing::trace!(target: "meridian::decision", peer = %peer.id, plane = plane.name(), left, "fabric loses");
    if plane == Plane::Control {
        tracing::info!(peer = %peer.id, why, "fabric: connection ended");
    }
    // Only for the case that our own side broke off before it was closed.
    connection.close(Close::Silent.code(), b"");
    shared.note_change();
}

async fn meet_own_id(
    shared: &Arc<Shared>,
    connection: &Connection,
    theirs: u64,
    ours: u64,
) -> DialFault {
    if theirs == ours {
        connection.close(Close::Itself.code(), b"a node does not dial itself");
        return DialFault::Itself;
    }
    if theirs > ours {
        connection.close(Close::Refused.code(), b"a later start of this node");
        shared.superseded(theirs).await;
    } else {
        connection.close(Close::Stale.code(), ours.to_string().as_bytes());
    }
    DialFault::Stale(shared.settings.id.clone())
}

fn certificate_of(connection: &Connection) -> Result<SpiffeId, HelloFault> {
    connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .and_then(|chain| SpiffeId::of(chain.first()?).ok())
        // The verifier has read it before, so this answers only a defect.
        .ok_or(HelloFault::Malformed)
}

fn refuse(shared: &Shared, connection: &Connection, who: &str, fault: &HelloFault) {
    shared.refusals.note(fault.cause(), who, fault);
    connection.close(Close::Refused.code(), fault.to_string().as_bytes());
}

fn take_datagram(
    shared: &Shared,
    peer: &PeerIdentity,
    connection: &Connection,
    mut datagram: Bytes,
) {
    let kind = datagram.first().copied().and_then(Datagram::of);
    match kind {
        Some(Datagram::Probe) if datagram.len() == PROBE_LENGTH => {
            let mut echo = BytesMut::from(datagram);
            echo[0] = Datagram::Echo as u8;
            // A lost echo looks like a lost probe, and the next one follows.
            let _ = connection.send_datagram(echo.freeze());
        }
        Some(kind @ (Datagram::Gossip | Datagram::Echo)) => {
            let _ = datagram.split_to(1);
            deliver(shared, kind, peer, datagram);
        }
        _ => shared
            .refusals
            .note(Refusal::Datagram, &format!("node {}", peer.id), &"a datagram of a kind this version does not take; run versions that are next to each other"),
    }
}

/// Kind byte and sequence number.
const PROBE_LENGTH: usize = 1 + size_of::<u64>();

/// A full inbox drops: gossip and echoes are repeated within 100 ms.
fn deliver(shared: &Shared, kind: Datagram, from: &PeerIdentity, body: Bytes) {
    let inboxes = shared.inboxes.read().expect(UNPOISONED);
    let received = Received {
        from: from.clone(),
        body,
    };
    if let Some(inbox) = inboxes.get(&kind)
        && inbox.try_send(received).is_err()
    {
        shared.refusals.count(Refusal::Overload);
    }
}

async fn take_gossip(shared: Arc<Shared>, from: PeerIdentity, mut recv: RecvStream) {
    let Ok(Ok(bytes)) = timeout(GOSSIP_TIME, recv.read_to_end(GOSSIP_LIMIT)).await else {
        shared.refusals.count(Refusal::Gossip);
        let _ = recv.stop(Reset::TooLarge.code());
        return;
    };
    let mut body = Bytes::from(bytes);
    if body.first() == Some(&(Kind::Gossip as u8)) {
        let _ = body.split_to(1);
        deliver(&shared, Datagram::Gossip, &from, body);
    } else {
        shared.refusals.count(Refusal::Gossip);
    }
}

/// Kind byte and body of a datagram.
pub(super) fn frame(kind: u8, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + body.len());
    bytes.put_u8(kind);
    bytes.put_slice(body);
    bytes.freeze()
}
