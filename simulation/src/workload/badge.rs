//! Holders of badges: tokens that the operator revokes one after another.
//!
//! In: the nodes of one region. Out: who presented which badge where, and what the node made of it, to the oracle.
//! Holders know which badge falls next, and go on to present those that have fallen: each node, several times a
//! second, whatever else the clients of the region do.

use std::{net::SocketAddr, sync::Arc};

use meridian_cluster::host::Host as _;
use tokio::time::{Instant, interval_at};

use super::{Outcome, Presented, ask::Ask, client::Sender};
use crate::world::Place;

/// What badges are presented for, and the nodes that they are presented to.
#[derive(Debug, Clone)]
pub struct Badges {
    /// A request that its holder may make, and how often he makes it at each node.
    pub ask: Arc<Ask>,
    /// By name, in one region.
    pub nodes: Vec<(String, SocketAddr)>,
}

/// The `jti` of a badge.
pub fn id(number: u64) -> String {
    format!("badge-{number}")
}

/// Presents badges at one node until the machine is gone.
pub(super) async fn present(
    sender: Arc<Sender>,
    place: Place,
    node: (String, SocketAddr),
    ask: Arc<Ask>,
) {
    let every = ask.every;
    let mut ticks = interval_at(Instant::now() + every, every);
    for round in 0.. {
        ticks.tick().await;
        let fallen = sender.oracle.history().revocations.len();
        let next = u64::try_from(fallen).unwrap_or(u64::MAX);
        // The one that still stands, the one that fell last, and one of those before it in turn.
        let mut wanted = vec![next];
        wanted.extend(next.checked_sub(1));
        wanted.extend(next.checked_sub(2 + round % BACK));
        for badge in wanted {
            let task = once(sender.clone(), place, node.clone(), ask.clone(), badge);
            sender.tasks.spawn(task);
        }
    }
}

/// How far back fallen badges are still presented: longer than a node of the shipped scenarios is away.
const BACK: u64 = 12;

async fn once(
    sender: Arc<Sender>,
    place: Place,
    (node, address): (String, SocketAddr),
    ask: Arc<Ask>,
    badge: u64,
) {
    let now = sender.host.unix_time();
    let holder = ask.holder.as_ref();
    let token = holder.map(|holder| holder.token(sender.issuer(), Some(&id(badge)), now));
    let request = ask.head("badge", token.as_deref());
    let sent = sender.oracle.now();
    let outcome = match sender.exchange(address, request).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed(error),
    };
    let done = sender.oracle.now();
    sender.oracle.history().presented.push(Presented {
        badge,
        node,
        place,
        sent,
        done,
        outcome,
    });
}
