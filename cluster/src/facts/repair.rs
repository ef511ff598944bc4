//! Finds what the flood has missed: digests in gossip, then the buckets that differ, then the facts.
//!
//! In: the digests that living peers announce. Out: pulled facts. Each node pulls for itself what it lacks;
//! what the other lacks, the other pulls. [`Doubts`] (a core) says whom to ask and when; every message is
//! bounded, however much is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use meridian_config::name::NodeId;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{
    Digest, FactId, Shared,
    keeper::Source,
    message::{FETCHED, IDS, Message, Reply},
};
use crate::{
    fabric::{CallError, Kind},
    membership::{Liveness, View},
    wire,
};

/// Between two looks at the digests. Gossip brings them every 100 ms.
const LOOK: Duration = Duration::from_millis(250);

/// A digest that differs for less than this may only be under way: the flood is faster than gossip.
const SETTLE: Duration = Duration::from_millis(500);

/// Where digests never stand still, because facts keep coming, a difference is looked into after this all
/// the same.
const RESTLESS: Duration = Duration::from_secs(5);

/// A peer that had nothing to give is asked again after this while neither digest has changed: it is the one
/// that lacks something, or one of the two is full, or their clocks differ.
const FRUITLESS: Duration = Duration::from_secs(30);

/// For one answer. It may be half a mebibyte long and come from far away.
const ANSWER: Duration = Duration::from_secs(5);

/// For all that one peer has: a quarter of a million facts over a slow link. Then another peer's turn.
const SESSION: Duration = Duration::from_secs(120);

/// Which peers may have what this node lacks.
#[derive(Debug, Default)]
pub(super) struct Doubts(BTreeMap<NodeId, Doubt>);

#[derive(Debug)]
struct Doubt {
    own: Digest,
    theirs: Digest,
    /// Since when these two digests stand against each other.
    since: Instant,
    /// Since when the peer's digest was another than ours, whichever.
    first: Instant,
    /// It had nothing to give: it rests until then.
    rest: Option<Instant>,
}

impl Doubts {
    /// Whom to ask now: the nearest of those that differ for long enough.
    pub(super) fn choose(
        &mut self,
        own: Digest,
        peers: &[(NodeId, Digest)],
        now: Instant,
    ) -> Option<(NodeId, Digest)> {
        let differ: BTreeSet<&NodeId> = peers
            .iter()
            .filter(|(_, theirs)| *theirs != own)
            .map(|(id, _)| id)
            .collect();
        self.0.retain(|id, _| differ.contains(id));
        let mut chosen = None;
        for (id, theirs) in peers.iter().filter(|(_, theirs)| *theirs != own) {
            let fresh = |first| Doubt {
                own,
                theirs: *theirs,
                since: now,
                first,
                rest: None,
            };
            let doubt = self.0.entry(id.clone()).or_insert_with(|| fresh(now));
            if (doubt.own, doubt.theirs) != (own, *theirs) {
                *doubt = fresh(doubt.first);
            }
            let due = now >= doubt.since + SETTLE || now >= doubt.first + RESTLESS;
            if due && doubt.rest.is_none_or(|rest| now >= rest) && chosen.is_none() {
                chosen = Some((id.clone(), *theirs));
            }
        }
        chosen
    }

    /// The peer was asked and had so many facts that are new here.
    pub(super) fn asked(&mut self, peer: &NodeId, new: usize, now: Instant) {
        if let Some(doubt) = self.0.get_mut(peer) {
            if new == 0 {
                doubt.rest = Some(now + FRUITLESS);
            } else {
                doubt.first = now;
            }
        }
    }
}

/// Looks at the digests until the node stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut doubts = Doubts::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let own = shared.held().digest();
        let peers = living(&shared.view.borrow().clone());
        if let Some((peer, _)) = doubts.choose(own, &peers, Instant::now()) {
            let pulled = pull(&shared, &peer).await;
            doubts.asked(&peer, pulled.new, Instant::now());
        }
    }
}

/// Peers that are up and say what they hold, the nearest first.
pub(super) fn living(view: &View) -> Vec<(NodeId, Digest)> {
    let members = view.members.values();
    let mut peers: Vec<_> = members
        .filter(|member| member.id != view.own && member.liveness == Liveness::Up)
        .filter_map(|member| {
            let digest = member.announced.facts?;
            Some((member.rtt.unwrap_or(Duration::MAX), &member.id, digest))
        })
        .collect();
    peers.sort_by_key(|(rtt, id, _)| (*rtt, *id));
    peers
        .into_iter()
        .map(|(_, id, digest)| (id.clone(), digest))
        .collect()
}

/// What came of asking a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pulled {
    /// How many facts were new here.
    pub(super) new: usize,
    /// Whether the comparison came to its end: this node has all that the peer has.
    pub(super) whole: bool,
}

/// Takes from a peer all that it has and this node lacks.
pub(super) async fn pull(shared: &Arc<Shared>, peer: &NodeId) -> Pulled {
    let mut new = 0;
    let outcome = timeout(SESSION, session(shared, peer, &mut new)).await;
    tracing::trace!(target: "meridian::decision", %peer, new, "facts pulled");
    let whole = matches!(outcome, Ok(Ok(())));
    match outcome {
        Ok(Ok(())) if new > 0 => {
            tracing::info!(%peer, new, "facts that were missing here came from a peer")
        }
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, new, %error, "facts could not be compared"),
        Err(_) => {
            tracing::warn!(%peer, new, "comparing facts with a peer took too long; going on with another")
        }
    }
    Pulled { new, whole }
}

async fn session(shared: &Arc<Shared>, peer: &NodeId, new: &mut usize) -> Result<(), CallError> {
    let Reply::Digests(theirs) = ask(shared, peer, &Message::Digests).await? else {
        return Err(odd(peer));
    };
    let mut buckets = shared.held().digests().differing(&theirs);
    while !buckets.is_empty() {
        let Reply::Ids(piece) = ask(shared, peer, &Message::Ids(buckets.clone())).await? else {
            return Err(odd(peer));
        };
        let before = buckets.len();
        let mut missing = Vec::new();
        for (bucket, ids) in piece {
            buckets.retain(|other| *other != bucket);
            if ids.len() > IDS {
                return Err(odd(peer));
            }
            missing.extend(shared.held().missing(ids));
        }
        if buckets.len() == before {
            // Else this would never end.
            return Err(odd(peer));
        }
        fetch(shared, peer, missing, new).await?;
    }
    Ok(())
}

async fn fetch(
    shared: &Arc<Shared>,
    peer: &NodeId,
    mut missing: Vec<FactId>,
    new: &mut usize,
) -> Result<(), CallError> {
    while !missing.is_empty() {
        let rest = missing.split_off(missing.len().min(FETCHED));
        let wanted: BTreeSet<FactId> = missing.iter().copied().collect();
        let Reply::Facts(facts) = ask(shared, peer, &Message::Fetch(missing)).await? else {
            return Err(odd(peer));
        };
        let came: BTreeSet<FactId> = facts.iter().map(|fact| fact.id).collect();
        // What did not fit is asked for again; where nothing came, the peer has let it go meanwhile.
        missing = if came.is_empty() {
            Vec::new()
        } else {
            wanted.difference(&came).copied().collect()
        };
        missing.extend(rest);
        if !came.is_subset(&wanted) || !super::handler::all_sound(shared, &facts) {
            return Err(odd(peer));
        }
        let acks = shared.take_in(facts, Source::Repair).await;
        let taken = acks.iter().filter(|ack| ack.taken == super::Taken::New);
        *new += taken.count();
    }
    Ok(())
}

async fn ask(shared: &Shared, peer: &NodeId, message: &Message) -> Result<Reply, CallError> {
    let body = wire::encode(message).into();
    let call = shared.transport.call(peer, Kind::Facts, body, ANSWER);
    wire::decode(&call.await?).map_err(|why| CallError::unread(peer, &why))
}

fn odd(peer: &NodeId) -> CallError {
    CallError::Refused {
        peer: peer.clone(),
        cause: "an answer to another question".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::digest::Digests, *};

    fn digest(number: u8) -> Digest {
        let mut digests = Digests::default();
        digests.add(&FactId([number; 16]));
        digests.all()
    }

    #[test]
    fn a_difference_is_looked_into_when_it_stands() {
        let start = Instant::now();
        let mut doubts = Doubts::default();
        let peers = |n| [("b".into(), digest(n)), ("c".into(), digest(1))];
        let mut at = |ms, n| {
            let now = start + Duration::from_millis(ms);
            doubts.choose(digest(1), &peers(n), now).map(|(id, _)| id)
        };
        assert_eq!(at(0, 2), None);
        assert_eq!(at(400, 2), None);
        // It has changed: it is under way.
        assert_eq!(at(600, 3), None);
        assert_eq!(at(1100, 3), Some("b".into()));
        // Equal: all is forgotten.
        assert_eq!(at(1200, 1), None);
        assert_eq!(at(1300, 3), None);
        assert_eq!(at(1800, 3), Some("b".into()));
    }

    #[test]
    fn where_digests_never_stand_still_they_are_looked_into_all_the_same() {
        let start = Instant::now();
        let mut doubts = Doubts::default();
        let mut chosen = Vec::new();
        for n in 0..30_u8 {
            let now = start + u32::from(n) * Duration::from_millis(250);
            let peers = [("b".into(), digest(n + 2))];
            chosen.extend(doubts.choose(digest(1), &peers, now).map(|_| n));
        }
        assert_eq!(chosen.first(), Some(&20));
    }

    #[test]
    fn a_peer_that_had_nothing_to_give_rests_until_something_changes() {
        let start = Instant::now();
        let mut doubts = Doubts::default();
        let at = |ms| start + Duration::from_millis(ms);
        let peers = [("b".into(), digest(2))];
        doubts.choose(digest(1), &peers, at(0));
        assert!(doubts.choose(digest(1), &peers, at(600)).is_some());
        doubts.asked(&"b".into(), 0, at(600));
        assert!(doubts.choose(digest(1), &peers, at(5000)).is_none());
        assert!(
            doubts.choose(digest(3), &peers, at(5100)).is_some() || {
                doubts.choose(digest(3), &peers, at(5700)).is_some()
            }
        );
        doubts.asked(&"b".into(), 0, at(5700));
        assert!(doubts.choose(digest(3), &peers, at(40_000)).is_some());
    }
}
