//! Dialling: one attempt per address at a time.
//!
//! In: orders from calls, gossip and `redial`. Out: connections that `link` serves, or why none came
//! about.

use std::{net::SocketAddr, sync::Arc};

use meridian_config::name::NodeId;
use quinn::{ConnectError, Connection, ConnectionError, Endpoint};
use tokio::{sync::watch, time::timeout};

use super::{
    PeerIdentity, alert,
    endpoint::{self, SERVER_NAME},
    link::{self, HANDSHAKE_LIMIT},
    refusals::Refusal,
    roster::Plane,
    shared::{Shared, UNPOISONED},
    wire::{Close, HelloFault},
};

/// How a dial ended: with whom, or why not.
pub(super) type DialOutcome = Result<NodeId, String>;

/// A dial to carry out on the endpoint's own runtime.
pub(super) struct DialOrder {
    pub(super) address: SocketAddr,
    pub(super) outcome: watch::Sender<Option<DialOutcome>>,
}

/// Why a dial brought no new connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialFault {
    /// quinn would not begin.
    #[error("{0}")]
    Address(#[from] ConnectError),
    /// Handshake or connection broke.
    #[error("{0}")]
    Broken(#[from] ConnectionError),
    /// No answer.
    #[error("no answer within {HANDSHAKE_LIMIT:?}")]
    Silent,
    /// The peer's hello was not accepted.
    #[error("{0}")]
    Hello(#[from] HelloFault),
    /// The peer closed and said why.
    #[error("it closed the connection: {0}")]
    Closed(String),
    /// Another connection to the same node stays.
    #[error("another connection to node {0} stays")]
    Duplicate(NodeId),
    /// A later start of the node is known.
    #[error("a later start of node {0} is known")]
    Stale(NodeId),
    /// The address is this node's own.
    #[error("the address is this node's own")]
    Itself,
}

impl Shared {
    /// Begins a dial, or joins the one under way, and says where its outcome will be.
    ///
    /// This is the dial lock: however many want a node, one handshake runs per address.
    pub(super) fn dial(
        &self,
        plane: Plane,
        address: SocketAddr,
    ) -> watch::Receiver<Option<DialOutcome>> {
        let mut dials = self.dials.lock().expect(UNPOISONED);
        if let Some(under_way) = dials.get(&(plane, address))
            && under_way.borrow().is_none()
        {
            return under_way.clone();
        }
        let (outcome, receiver) = watch::channel(None);
        if self.is_own(address) {
            outcome.send_replace(Some(Err(DialFault::Itself.to_string())));
            return receiver;
        }
        let order = DialOrder { address, outcome };
        match self.dial_orders[&plane].try_send(order) {
            Ok(()) => {
                dials.insert((plane, address), receiver.clone());
            }
            Err(full) => {
                let order = full.into_inner();
                let why = "too many dials wait, or the node stops".to_owned();
                order.outcome.send_replace(Some(Err(why)));
            }
        }
        receiver
    }

    /// Whether an address is known to lead to this node.
    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        let own = self.own_addresses.lock().expect(UNPOISONED);
        own.contains(&address)
    }
}

/// Carries out one dial, then serves the connection to its end.
pub(super) async fn carry_out(
    plane: Plane,
    endpoint: Endpoint,
    shared: Arc<Shared>,
    order: DialOrder,
) {
    let address = order.address;
    let dialled = match timeout(HANDSHAKE_LIMIT, attempt(plane, &endpoint, &shared, address)).await
    {
        Ok(dialled) => dialled,
        Err(_) => Err(DialFault::Silent),
    };
    if matches!(dialled, Err(DialFault::Itself)) {
        let mut own = shared.own_addresses.lock().expect(UNPOISONED);
        own.insert(address);
    }
    let outcome = match &dialled {
        Ok((peer, _)) => Ok(peer.id.clone()),
        // The node can be reached all the same, by the connection that stays.
        Err(DialFault::Duplicate(peer)) => Ok(peer.clone()),
        Err(fault) => Err(fault.to_string()),
    };
    tracing::trace!(target: "meridian::decision", %address, plane = plane.name(), reached = outcome.is_ok(), "fabric dialled");
    shared
        .dials
        .lock()
        .expect(UNPOISONED)
        .remove(&(plane, address));
    order.outcome.send_replace(Some(outcome));
    if let Ok((peer, connection)) = dialled {
        link::serve(plane, &shared, &peer, &connection).await;
        link::end(plane, &shared, &peer, &connection);
    }
}

async fn attempt(
    plane: Plane,
    endpoint: &Endpoint,
    shared: &Arc<Shared>,
    address: SocketAddr,
) -> Result<(PeerIdentity, Connection), DialFault> {
    let who = address.to_string();
    let connection = match endpoint.connect(address, SERVER_NAME)?.await {
        Ok(connection) => connection,
        Err(error) => {
            note_broken(shared, &who, &error);
            return Err(error.into());
        }
    };
    let exchange = async {
        let (mut send, recv) = connection.open_bi().await?;
        let Some(form) = endpoint::form_of(plane, &connection) else {
            return Err(DialFault::Hello(HelloFault::Malformed));
        };
        let hello = shared.hello().encode(form);
        // A failed write shows as a failed read, whose error says why.
        let _ = send.write_all(&hello).await;
        let _ = send.finish();
        link::read_hello(recv, form).await.map_err(DialFault::Hello)
    };
    let hello = match exchange.await {
        Ok(hello) => hello,
        Err(fault) => return Err(parted(shared, &connection, &who, fault).await),
    };
    let peer = link::introduce(plane, shared, &connection, &hello, true).await?;
    Ok((peer, connection))
}

/// What the peer said when it closed instead of answering the hello.
async fn parted(
    shared: &Arc<Shared>,
    connection: &Connection,
    who: &str,
    fault: DialFault,
) -> DialFault {
    let closed = match connection.close_reason() {
        Some(ConnectionError::ApplicationClosed(closed)) => closed,
        // The accepting side judges our certificate after our own handshake is done.
        Some(broken) => {
            note_broken(shared, who, &broken);
            return broken.into();
        }
        None => {
            connection.close(Close::Refused.code(), b"no hello");
            return fault;
        }
    };
    let reason: String = String::from_utf8_lossy(&closed.reason)
        .chars()
        .take(400)
        .collect();
    match Close::of(closed.error_code) {
        Some(Close::Itself) => DialFault::Itself,
        Some(Close::Stale) => {
            if let Some(known) = number(&closed.reason) {
                shared.superseded(known).await;
            }
            DialFault::Stale(shared.settings.id.clone())
        }
        Some(Close::Removed) => {
            if let Some(removal) = number(&closed.reason) {
                shared.expelled_by(removal);
            }
            DialFault::Closed("this node was removed from the cluster".into())
        }
        Some(Close::Refused) => {
            shared.refusals.note(
                Refusal::There,
                who,
                &format!("it refused this node: {reason}"),
            );
            DialFault::Closed(reason)
        }
        _ => DialFault::Closed(reason),
    }
}

/// Notes a handshake that was refused; silence and resets are no refusals.
pub(super) fn note_broken(shared: &Shared, who: &str, error: &ConnectionError) {
    match alert::read(error) {
        None => {}
        Some(refused) if refused.cause == Refusal::Handshake => {
            shared.refusals.count(refused.cause);
            tracing::debug!(who, "handshake failed: {}", refused.why);
        }
        Some(refused) => shared.refusals.note(refused.cause, who, &refused.why),
    }
}

/// A decimal number as a close reason carries it.
pub(super) fn number(reason: &[u8]) -> Option<u64> {
    std::str::from_utf8(reason).ok()?.parse().ok()
}
