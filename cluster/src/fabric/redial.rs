//! Dialling again, with growing pauses, while a node is wanted and not connected.
//!
//! In: `join` and everybody the roster knows. Out: dials. The core is [`Pauses`].

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use meridian_config::name::NodeId;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{interval, timeout};

use super::{link::HANDSHAKE_LIMIT, refusals::Refusal, roster::Plane, settings, shared::Shared};

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
        let mut failures = 0_u32;
        loop {
            rounds.tick().await;
            if shared.replaced.borrow().is_some() {
                return;
            }
            let now = tokio::time::Instant::now().into_std();
            if !pauses.due((), now) {
                continue;
            }
            match meet(&shared, &name).await {
                Met::Peer(id) => {
                    shared.refusals.well(std::slice::from_ref(&name));
                    failures = 0;
                    disconnected(&shared, &id).await;
                    pauses = Pauses::new(pauses.random);
                }
                Met::Itself => {}
                Met::Nobody => {
                    failures += 1;
                    if failures == COMPLAIN_AFTER {
                        shared.refusals.note(Refusal::Join, &name, &UNANSWERED);
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Nodes that start together take a moment to find each other; this many failures are about five seconds.
const COMPLAIN_AFTER: u32 = 4;

const UNANSWERED: &str = "no node answers there yet, and this one goes on trying; see that it runs, that fabric.join names its control address, and that UDP passes";

/// Who is behind a name of `join`.
enum Met {
    Peer(NodeId),
    /// This node: one list of names may serve all nodes.
    Itself,
    Nobody,
}

/// Resolves and dials one name of `join`: who answered.
async fn meet(shared: &Arc<Shared>, name: &str) -> Met {
    let addresses = match timeout(HANDSHAKE_LIMIT, settings::resolve(&shared.host, name)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => {
            shared.refusals.note(
                Refusal::Join,
                name,
                &format!("{error}; correct fabric.join"),
            );
            return Met::Nobody;
        }
        Err(_) => return Met::Nobody,
    };
    let mut itself = false;
    for address in addresses {
        let known = shared.roster().at(address).cloned();
        if let Some(id) = known
            && is_connected(shared, &id)
        {
            return Met::Peer(id);
        }
        let mut dialled = shared.dial(Plane::Control, address);
        // An error means that this node stops.
        let Ok(outcome) = dialled.wait_for(Option::is_some).await.map(|it| it.clone()) else {
            return Met::Nobody;
        };
        if let Some(Ok(id)) = outcome {
            return Met::Peer(id);
        }
        // Asked after the dial: an address that is not known for its own turns out to be by its answer.
        itself |= shared.is_own(address);
    }
    if itself { Met::Itself } else { Met::Nobody }
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
            let start = tokio::time::Instant::now().into_std();
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
