//! Calls between nodes: one bi-directional stream each, and the datagrams beside them.
//!
//! In: messages for peers; streams from peers. Out: answers, or a [`CallError`]. A stream is kind byte and
//! body to its end, then the answer to its end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use meridian_config::name::NodeId;
use quinn::{
    Connection, ReadError, ReadToEndError, RecvStream, SendDatagramError, SendStream, VarInt,
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    CallError, Fabric, Kind, PeerIdentity, Transport,
    link::frame,
    refusals::Refusal,
    rest::read_rest,
    roster::Plane,
    shared::{Datagram, Received, Shared, UNPOISONED},
    wire::Reset,
};
use crate::host::BoxFuture;

/// A message or an answer at most: a large document and its history, with room.
pub const MESSAGE_LIMIT: usize = 16 << 20;

/// How long a peer may take to send a message to its end.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// Echoes and gossip messages that wait for membership's loop, which takes them within a millisecond.
const INBOX: usize = 1024;

impl Transport for Fabric {
    fn call(
        &self,
        to: &NodeId,
        kind: Kind,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (shared, to) = (Arc::clone(&self.shared), to.clone());
        Box::pin(async move {
            match timeout(deadline, call(&shared, &to, kind, body)).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::Late(to)),
            }
        })
    }
}

impl Shared {
    /// The connection to a node; dials where none stands.
    pub(super) async fn connection(
        &self,
        plane: Plane,
        to: &NodeId,
    ) -> Result<Connection, CallError> {
        if let Some(standing) = self.standing(plane, to) {
            return Ok(standing);
        }
        let unreachable = || CallError::Unreachable(to.clone());
        let address = match self.roster().entry(to) {
            Some(entry) => entry.address(plane),
            None => return Err(unreachable()),
        };
        let mut outcome = self.dial(plane, address);
        // An error means that the node stops.
        outcome
            .wait_for(Option::is_some)
            .await
            .map_err(|_| unreachable())?;
        self.standing(plane, to).ok_or_else(unreachable)
    }

    fn standing(&self, plane: Plane, to: &NodeId) -> Option<Connection> {
        self.roster()
            .connection(plane, to)
            .filter(|connection| connection.close_reason().is_none())
            .cloned()
    }
}

async fn call(shared: &Shared, to: &NodeId, kind: Kind, body: Bytes) -> Result<Bytes, CallError> {
    if body.len() > MESSAGE_LIMIT {
        return Err(CallError::Refused {
            peer: to.clone(),
            cause: format!(
                "a message of {} bytes; {MESSAGE_LIMIT} is the limit",
                body.len()
            ),
        });
    }
    let broken = || CallError::Broken(to.clone());
    let connection = shared.connection(plane_of(kind), to).await?;
    let (send, mut recv) = connection.open_bi().await.map_err(|_| broken())?;
    let mut send = Unfinished(send);
    let _ = send.0.set_priority(priority(kind));
    // A peer that does not take the message stops reading; its reason is in the answer's reset.
    let sent = async {
        send.0.write_all(&[kind as u8]).await?;
        send.0.write_chunk(body).await
    };
    if sent.await.is_ok() {
        let _ = send.0.finish();
    }
    let answer = recv.read_to_end(MESSAGE_LIMIT).await;
    answer.map(Bytes::from).map_err(|error| match error {
        ReadToEndError::TooLong => refused(to, "an answer above the size limit"),
        ReadToEndError::Read(ReadError::Reset(code)) if code == Reset::Unsupported.code() => {
            refused(to, "its version does not take this kind of message")
        }
        ReadToEndError::Read(ReadError::Reset(code)) if code == Reset::Unreadable.code() => {
            refused(to, "it does not read this version of the message")
        }
        ReadToEndError::Read(ReadError::Reset(code)) if code == Reset::TooLarge.code() => {
            refused(to, "it takes no message of this size")
        }
        ReadToEndError::Read(_) => broken(),
    })
}

fn refused(peer: &NodeId, cause: &str) -> CallError {
    CallError::Refused {
        peer: peer.clone(),
        cause: cause.to_owned(),
    }
}

/// Raft first: a late heartbeat costs an election, a late fact a tenth of a second.
fn priority(kind: Kind) -> i32 {
    match kind {
        Kind::Raft => 3,
        Kind::Facts => 2,
        Kind::Gossip => 1,
        // On the bulk connection snapshots share with requests: neither may starve.
        Kind::Forward | Kind::Control | Kind::Snapshot => 0,
    }
}

/// Which connection calls of a kind travel on.
fn plane_of(kind: Kind) -> Plane {
    match kind {
        Kind::Snapshot | Kind::Forward => Plane::Bulk,
        Kind::Raft | Kind::Facts | Kind::Gossip | Kind::Control => Plane::Control,
    }
}

/// Resets the stream when the call is dropped half-way. quinn would *finish* it, and the peer would take
/// the part for the whole.
struct Unfinished(SendStream);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After `finish` was acknowledged, or after a reset, this does nothing.
        let _ = self.0.reset(Reset::Abandoned.code());
    }
}

/// Answers one stream of a peer on the control connection.
pub(super) async fn answer(
    shared: Arc<Shared>,
    from: PeerIdentity,
    send: SendStream,
    mut recv: RecvStream,
) {
    let mut first = [0];
    match timeout(READ_LIMIT, recv.read_exact(&mut first)).await {
        Ok(Ok(())) => answer_kind(shared, Plane::Control, from, first[0], send, recv).await,
        // The caller gave up or went.
        Ok(Err(_)) => abandon(send, recv, Reset::Abandoned),
        Err(_) => {
            shared.refusals.count(Refusal::Slow);
            abandon(send, recv, Reset::Abandoned);
        }
    }
}

fn abandon(mut send: SendStream, mut recv: RecvStream, reset: Reset) {
    let _ = recv.stop(reset.code());
    let _ = send.reset(reset.code());
}

/// Answers one stream of a peer, whose kind byte has been read.
pub(super) async fn answer_kind(
    shared: Arc<Shared>,
    plane: Plane,
    from: PeerIdentity,
    byte: u8,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    match compute(&shared, plane, &from, byte, &send, &mut recv).await {
        Ok((kind, answer)) => {
            let _ = send.set_priority(priority(kind));
            if send.write_chunk(answer).await.is_ok() {
                let _ = send.finish();
            }
        }
        Err(reset) => abandon(send, recv, reset),
    }
}

async fn compute(
    shared: &Shared,
    plane: Plane,
    from: &PeerIdentity,
    byte: u8,
    send: &SendStream,
    recv: &mut RecvStream,
) -> Result<(Kind, Bytes), Reset> {
    let who = || format!("node {}", from.id);
    let body = match timeout(READ_LIMIT, read_rest(recv, MESSAGE_LIMIT)).await {
        Err(_) => {
            shared.refusals.count(Refusal::Slow);
            return Err(Reset::Abandoned);
        }
        Ok(Ok(body)) => body,
        Ok(Err(ReadToEndError::TooLong)) => {
            shared
                .refusals
                .note(Refusal::Size, &who(), &"a message above the size limit");
            return Err(Reset::TooLarge);
        }
        // The caller gave up or went.
        Ok(Err(ReadToEndError::Read(_))) => return Err(Reset::Abandoned),
    };
    let kind = kind_of(byte).filter(|kind| plane_of(*kind) == plane);
    let handler = kind.and_then(|kind| {
        let handlers = shared.handlers.read().expect(UNPOISONED);
        handlers
            .get(&kind)
            .map(|handler| (kind, Arc::clone(handler)))
    });
    let Some((kind, handler)) = handler else {
        shared.refusals.note(
            Refusal::Kind,
            &who(),
            &format!("this node does not take messages of kind {byte} (yet)"),
        );
        return Err(Reset::Unsupported);
    };
    tokio::select! {
        biased;
        // The caller no longer waits.
        _ = stopped(send) => Err(Reset::Abandoned),
        answer = handler.answer(from.clone(), body) => match answer {
            Ok(answer) => Ok((kind, answer)),
            Err(error @ CallError::Unreadable { .. }) => {
                shared.refusals.note(Refusal::Version, &who(), &error);
                Err(Reset::Unreadable)
            }
            Err(error) => {
                shared.refusals.count(Refusal::Handler);
                tracing::debug!(from = %from.id, %error, "a call was not answered");
                Err(Reset::Failed)
            }
        },
    }
}

async fn stopped(send: &SendStream) -> Option<VarInt> {
    send.stopped().await.ok().flatten()
}

fn kind_of(byte: u8) -> Option<Kind> {
    [
        Kind::Raft,
        Kind::Gossip,
        Kind::Facts,
        Kind::Forward,
        Kind::Control,
        Kind::Snapshot,
    ]
    .into_iter()
    .find(|kind| *kind as u8 == byte)
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Given to the connection.
    Given,
    /// Larger than the path takes.
    TooLarge,
    /// No connection stands.
    NoConnection,
}

impl Fabric {
    /// Sends a datagram on the standing control connection. Never waits and never dials.
    pub(crate) fn send_datagram(&self, to: &NodeId, kind: Datagram, body: &[u8]) -> Sent {
        let Some(connection) = self.shared.standing(Plane::Control, to) else {
            return Sent::NoConnection;
        };
        match connection.send_datagram(frame(kind as u8, body)) {
            Ok(()) => Sent::Given,
            Err(SendDatagramError::TooLarge) => Sent::TooLarge,
            Err(_) => Sent::NoConnection,
        }
    }

    /// Sends gossip: as a datagram where it fits, else by a stream of its own. Where no connection
    /// stands it begins a dial and drops the message: gossip repeats itself.
    pub(crate) fn send_gossip(&self, to: &NodeId, body: &[u8]) {
        match self.send_datagram(to, Datagram::Gossip, body) {
            Sent::Given => {}
            Sent::TooLarge => {
                if let Some(connection) = self.shared.standing(Plane::Control, to) {
                    let message = frame(Kind::Gossip as u8, body);
                    self.shared.tracker.spawn(send_stream(connection, message));
                }
            }
            Sent::NoConnection => {
                let address = self.shared.roster().entry(to).map(|entry| entry.control);
                if let Some(address) = address {
                    self.shared.dial(Plane::Control, address);
                }
            }
        }
    }

    /// Counts gossip of a peer that is none, and says so once.
    pub(crate) fn refuse_gossip(&self, from: &NodeId, why: &dyn std::fmt::Display) {
        let who = format!("node {from}");
        self.shared.refusals.note(Refusal::Gossip, &who, why);
    }

    /// Where datagrams of one kind (and gossip by stream) arrive from now on. When it is full, further
    /// ones are dropped and counted.
    pub(crate) fn inbox(&self, kind: Datagram) -> mpsc::Receiver<Received> {
        let (sender, receiver) = mpsc::channel(INBOX);
        let mut inboxes = self.shared.inboxes.write().expect(UNPOISONED);
        inboxes.insert(kind, sender);
        receiver
    }
}

/// Gossip that could not be sent within this time is old.
const GOSSIP_AGE: Duration = Duration::from_secs(1);

async fn send_stream(connection: Connection, message: Bytes) {
    let send = async {
        let mut send = Unfinished(connection.open_uni().await.ok()?);
        let _ = send.0.set_priority(priority(Kind::Gossip));
        send.0.write_chunk(message).await.ok()?;
        send.0.finish().ok()?;
        // Resolves when the peer has it all: until then a drop would reset the stream.
        let _ = send.0.stopped().await;
        Some(())
    };
    let _ = timeout(GOSSIP_AGE, send).await;
}
