//! Dialling: one attempt per address at a time, and again with growing pauses while a node is wanted.
//!
//! In: orders from calls, gossip and the redial loop. Out: connections that `link` serves, or why none
//! came about. [`Pauses`] is the core of the redial loop.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_config::name::NodeId;
use quinn::{ConnectError, Connection, ConnectionError, Endpoint};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    sync::watch,
    time::{interval, timeout},
};

use super::{
    PeerIdentity,
    endpoint::SERVER_NAME,
    link::{self, HANDSHAKE_LIMIT},
    mesh::{Shared, UNPOISONED},
    roster::Plane,
    settings,
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

    fn is_own(&self, address: SocketAddr) -> bool {
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
        let hello = shared.hello().encode();
        // A failed write shows as a failed read, whose error says why.
        let _ = send.write_all(&hello).await;
        let _ = send.finish();
        link::read_hello(recv).await.map_err(DialFault::Hello)
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
    let Some(ConnectionError::ApplicationClosed(closed)) = connection.close_reason() else {
        connection.close(Close::Refused.code(), b"no hello");
        return fault;
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
        Some(Close::Refused) => {
            shared.refusals.note(
                "refused-there",
                who,
                &format!("it refused this node: {reason}"),
            );
            DialFault::Closed(reason)
        }
        _ => DialFault::Closed(reason),
    }
}

/// Notes a handshake that failed over certificates; silence and resets are no refusals.
pub(super) fn note_broken(shared: &Shared, who: &str, error: &ConnectionError) {
    let why: &dyn Display = match error {
        ConnectionError::TransportError(ours) => ours,
        ConnectionError::ConnectionClosed(theirs) => theirs,
        _ => return,
    };
    shared.refusals.note(
        "certificate",
        who,
        &format!(
            "the two nodes do not believe each other's certificates ({why}); give both certificates that the same cluster's CA issued"
        ),
    );
}

/// A decimal number as a close reason carries it.
pub(super) fn number(reason: &[u8]) -> Option<u64> {
    std::str::from_utf8(reason).ok()?.parse().ok()
}

/// Looks at who is wanted this often.
const ROUND: Duration = Duration::from_millis(100);

/// Dials all known nodes that are not connected, until this node stops.
pub(super) async fn keep_dialling(shared: Arc<Shared>) {
    let mut pauses = Pauses::new(StdRng::from_seed(shared.host.entropy("fabric redial")));
    let mut rounds = interval(ROUND);
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        if shared.replaced.borrow().is_some() {
            return;
        }
        let now = tokio::time::Instant::now().into_std();
        for target in wanted(&shared) {
            if pauses.due(target, now) {
                shared.dial(target.0, target.1);
            }
        }
        pauses.forget_old(now);
    }
}

/// Keeps a connection to the node behind one name of `join`, until this node stops.
pub(super) async fn keep_joined(shared: Arc<Shared>, name: String) {
    let label = format!("fabric join {name}");
    let mut pauses = Pauses::new(StdRng::from_seed(shared.host.entropy(&label)));
    let stop = shared.stop.clone();
    let work = async {
        let mut rounds = interval(ROUND);
        loop {
            rounds.tick().await;
            if shared.replaced.borrow().is_some() {
                return;
            }
            let now = tokio::time::Instant::now().into_std();
            if pauses.due((), now)
                && let Some(id) = meet(&shared, &name).await
            {
                disconnected(&shared, &id).await;
                pauses = Pauses::new(pauses.random);
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Resolves and dials one name of `join`: who answered.
async fn meet(shared: &Arc<Shared>, name: &str) -> Option<NodeId> {
    let addresses = match timeout(HANDSHAKE_LIMIT, settings::resolve(&shared.host, name)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => {
            shared
                .refusals
                .note("join", name, &format!("{error}; correct fabric.join"));
            return None;
        }
        Err(_) => return None,
    };
    for address in addresses {
        let known = shared.roster().at(address).cloned();
        if let Some(id) = known
            && is_connected(shared, &id)
        {
            return Some(id);
        }
        let mut dialled = shared.dial(Plane::Control, address);
        // An error means that this node stops.
        let outcome = dialled.wait_for(Option::is_some).await.ok()?.clone();
        if let Some(Ok(id)) = outcome {
            return Some(id);
        }
    }
    None
}

fn is_connected(shared: &Shared, id: &NodeId) -> bool {
    shared.roster().connection(Plane::Control, id).is_some()
}

async fn disconnected(shared: &Shared, id: &NodeId) {
    let mut changed = shared.changed.subscribe();
    while is_connected(shared, id) {
        // The sender lives as long as `shared`.
        let _ = changed.changed().await;
    }
}

/// Who should be connected and is not. For the bulk connection the smaller id dials ahead of need; the
/// other side dials when it has something to send.
fn wanted(shared: &Shared) -> Vec<(Plane, SocketAddr)> {
    let roster = shared.roster();
    roster
        .entries()
        .flat_map(|(id, entry)| {
            let control = !entry.has(Plane::Control);
            let bulk = !control && !entry.has(Plane::Bulk) && shared.settings.id < *id;
            [(control, Plane::Control), (bulk, Plane::Bulk)]
                .into_iter()
                .filter(|(wanted, _)| *wanted)
                .map(|(_, plane)| (plane, entry.address(plane)))
        })
        .collect()
}

/// When to try each target again: at once, then after pauses that double up to a second.
///
/// A second bounds how long a healed link stays unused; the jitter keeps two nodes that lost each other
/// from dialling in step for ever.
struct Pauses<T> {
    random: StdRng,
    tries: BTreeMap<T, Try>,
}

struct Try {
    next: Instant,
    pause: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl<T: Ord> Pauses<T> {
    fn new(random: StdRng) -> Self {
        Self {
            random,
            tries: BTreeMap::new(),
        }
    }

    /// Whether to try now; if so, the next pause begins.
    fn due(&mut self, target: T, now: Instant) -> bool {
        let attempt = self.tries.entry(target).or_insert(Try {
            next: now,
            pause: FIRST_PAUSE,
        });
        if now < attempt.next {
            return false;
        }
        let jitter = self.random.random_range(0.75..1.25);
        attempt.next = now + attempt.pause.mul_f64(jitter);
        attempt.pause = (attempt.pause * 2).min(LONGEST_PAUSE);
        true
    }

    /// Forgets what nobody has asked for over several pauses: it is connected again.
    fn forget_old(&mut self, now: Instant) {
        self.tries
            .retain(|_, attempt| now < attempt.next + 2 * LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Tries never come faster than three quarters of the first pause, nor slower than one and a
        /// quarter of the longest.
        #[test]
        fn tries_keep_their_pauses(seed in any::<[u8; 32]>()) {
            let mut pauses = Pauses::new(StdRng::from_seed(seed));
            let start = Instant::now();
            let mut last = None;
            for tick in 0_u32..10_000 {
                let now = start + Duration::from_millis(1) * tick;
                if pauses.due((), now) {
                    if let Some(last) = last {
                        let pause = now - last;
                        prop_assert!(pause >= Duration::from_millis(75), "{pause:?}");
                        prop_assert!(pause <= Duration::from_millis(1251), "{pause:?}");
                    }
                    last = Some(now);
                }
            }
            prop_assert!(last.is_some());
        }
    }
}
