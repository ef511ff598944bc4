//! A new fact's way to all nodes: at once, and on from each node that hears of it.
//!
//! In: facts that are new here. Out: a call to every node that can be reached, and what each made of them.
//! The sender's own connections do not decide how far a fact gets: whoever hears of it for the first time
//! passes it on to everybody else, so that a link that is cut, one way or both, is gone around.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use meridian_config::name::NodeId;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Ack, Fact, FactId, Shared,
    message::{BYTES, FACTS, Message, Reply},
    set::Taken,
};
use crate::{
    fabric::{CallError, Kind},
    membership::Liveness,
    wire,
};

/// How long a fact is carried to one node; after that the digests find what is missing. As long as an
/// operator waits for the receipt.
pub(super) const CARRY: Duration = Duration::from_secs(5);

/// For one try: several of the longest round trips, and the disk at the other end.
const TRY: Duration = Duration::from_millis(1500);

/// After a try that failed, while the node still counts as alive.
const AGAIN: Duration = Duration::from_millis(200);

/// Calls under way to one node. Beyond it facts are left to the digests, and counted: a node that answers so
/// slowly gets them sooner in large pieces.
const UNDER_WAY: usize = 64;

/// How old a fact may be for its maker to be told who has it: nobody waits longer for a receipt.
const NEWS: u64 = 10_000;

/// Sends facts that are new here to every node in reach but the one they came from and those that made them.
pub(super) fn pass_on(shared: &Arc<Shared>, facts: &[Arc<Fact>], sender: Option<&NodeId>) {
    if facts.is_empty() {
        return;
    }
    let view = shared.view.borrow().clone();
    for member in view.members.values() {
        if member.id == view.own || member.liveness == Liveness::Down || Some(&member.id) == sender
        {
            continue;
        }
        let wanted: Vec<Arc<Fact>> = facts
            .iter()
            .filter(|fact| fact.node != member.id)
            .cloned()
            .collect();
        for piece in pieces(wanted) {
            if !shared.calls.begin(&member.id) {
                shared.count_left_to_digest(piece.len() as u64);
                continue;
            }
            let (shared, to) = (Arc::clone(shared), member.id.clone());
            let stop = shared.stop.clone();
            shared.tracker.clone().spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = carry(&shared, &to, &piece) => {}
                }
                shared.calls.end(&to);
            });
        }
    }
}

/// Facts in pieces of one message each.
fn pieces(facts: Vec<Arc<Fact>>) -> Vec<Vec<Arc<Fact>>> {
    let mut pieces: Vec<Vec<Arc<Fact>>> = Vec::new();
    let mut room = 0;
    for fact in facts {
        match pieces.last_mut() {
            Some(piece) if piece.len() < FACTS && fact.size() <= room => {
                room -= fact.size();
                piece.push(fact);
            }
            _ => {
                room = BYTES.saturating_sub(fact.size());
                pieces.push(vec![fact]);
            }
        }
    }
    pieces
}

async fn carry(shared: &Arc<Shared>, to: &NodeId, facts: &[Arc<Fact>]) {
    let body: Bytes = wire::encode(&Message::Heed(facts.to_vec())).into();
    let end = Instant::now() + CARRY;
    loop {
        let time = TRY.min(end.saturating_duration_since(Instant::now()));
        let call = shared.transport.call(to, Kind::Facts, body.clone(), time);
        let failure = match call.await.map(|reply| wire::decode::<Reply>(&reply)) {
            Ok(Ok(Reply::Acks(acks))) if acks.len() == facts.len() => {
                hear(shared, to, facts, &acks);
                return;
            }
            // It speaks another version: repeating it would change nothing.
            Ok(_) | Err(CallError::Unreadable { .. } | CallError::Refused { .. }) => {
                shared.count_left_to_digest(facts.len() as u64);
                tracing::warn!(node = %to, "it does not understand facts; bring all nodes to releases of meridian that are next to each other");
                return;
            }
            Err(failure) => failure,
        };
        let down = {
            let view = shared.view.borrow();
            let member = view.members.get(to);
            member.is_none_or(|member| member.liveness == Liveness::Down)
        };
        if down || Instant::now() + AGAIN >= end {
            shared.count_left_to_digest(facts.len() as u64);
            tracing::debug!(node = %to, %failure, "facts are left to the digest");
            return;
        }
        sleep(AGAIN).await;
    }
}

/// What a node made of facts: for the receipts here, and for those of the nodes that made them.
fn hear(shared: &Arc<Shared>, from: &NodeId, facts: &[Arc<Fact>], acks: &[Ack]) {
    let now_ms = shared.now_ms();
    let own = shared.own();
    let mut news: BTreeMap<NodeId, Vec<(FactId, Ack)>> = BTreeMap::new();
    for (fact, ack) in facts.iter().zip(acks) {
        if fact.node == own {
            shared.receipts.hear(&fact.id, from, *ack);
        } else if ack.taken == Taken::New && now_ms.saturating_sub(fact.made_ms) < NEWS {
            // It has it from here: its maker may have no way of hearing of it.
            let of = news.entry(fact.node.clone()).or_default();
            of.push((fact.id, *ack));
        }
    }
    for (maker, facts) in news {
        let message = Message::Applied {
            node: from.clone(),
            facts,
        };
        let (shared, body) = (Arc::clone(shared), wire::encode(&message));
        shared.tracker.clone().spawn(async move {
            let call = shared.transport.call(&maker, Kind::Facts, body.into(), TRY);
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => {}
                // A receipt that lacks a line is the worst that comes of it.
                _ = timeout_at(Instant::now() + TRY, call) => {}
            }
        });
    }
}

/// Counts the calls under way to each node.
#[derive(Debug, Default)]
pub(super) struct Calls(std::sync::Mutex<BTreeMap<NodeId, usize>>);

impl Calls {
    fn begin(&self, to: &NodeId) -> bool {
        let mut calls = self.0.lock().unwrap_or_else(|held| held.into_inner());
        let count = calls.entry(to.clone()).or_default();
        let fits = *count < UNDER_WAY;
        *count += usize::from(fits);
        fits
    }

    fn end(&self, to: &NodeId) {
        let mut calls = self.0.lock().unwrap_or_else(|held| held.into_inner());
        if let Some(count) = calls.get_mut(to) {
            *count -= 1;
            if *count == 0 {
                calls.remove(to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fact::tests::revocation, *};

    #[test]
    fn pieces_fit_a_message_and_lose_nothing() {
        let facts: Vec<_> = (0..3000).map(|n| Arc::new(revocation(n, 9))).collect();
        let cut = pieces(facts.clone());
        assert_eq!(cut.concat(), facts);
        assert!(
            cut.iter()
                .all(|piece| piece.len() <= FACTS && !piece.is_empty())
        );
        assert!(pieces(Vec::new()).is_empty());
    }

    #[test]
    fn calls_to_one_node_are_bounded_and_another_is_not_touched() {
        let calls = Calls::default();
        let (a, b) = (NodeId::from("a"), NodeId::from("b"));
        for _ in 0..UNDER_WAY {
            assert!(calls.begin(&a));
        }
        assert!(!calls.begin(&a));
        assert!(calls.begin(&b));
        calls.end(&a);
        assert!(calls.begin(&a));
    }
}
