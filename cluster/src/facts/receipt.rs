//! Who has applied a fact, and after how long: the receipt of the operator who made it.
//!
//! In: acknowledgements as they come, the picture of the cluster. Out: whether all that was waited for is
//! there, and the [`Receipt`]. A core.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use meridian_config::name::{NodeId, RegionName};

use super::{Ack, Fact, set::Taken};
use crate::membership::{Liveness, View};

/// How long to wait for a fact's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until every node that can be reached now has applied it.
    All,
    /// Until a quorum has agreed to keep it.
    Quorum,
    /// Until this node has applied it.
    None,
}

/// What is known of a fact's way when the waiting ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The fact.
    pub fact: Arc<Fact>,
    /// Every known node, in order.
    pub nodes: Vec<NodeReceipt>,
    /// A quorum has agreed to keep it.
    pub durable: bool,
}

/// What is known of a fact at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReceipt {
    /// The node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionName,
    /// What it has made of the fact.
    pub state: Reached,
}

/// How far a fact got with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It heeds the fact; this was known here so long after the fact was made.
    Applied {
        /// So long.
        after: Duration,
        /// Its own files hold it.
        saved: bool,
    },
    /// It has no room for it.
    Full,
    /// It says that the fact's time is over: its clock is ahead, or the life was very short.
    Expired,
    /// It is alive in this node's eyes, and has not answered in time.
    Late,
    /// It cannot be reached; it gets the fact when it can.
    OutOfReach,
}

/// Acknowledgements of one fact.
#[derive(Debug, Default)]
pub(super) struct Acks {
    heard: BTreeMap<NodeId, (Ack, Duration)>,
}

impl Acks {
    /// A node has said what it made of the fact. An earlier word stands, unless it was a refusal.
    pub(super) fn hear(&mut self, node: &NodeId, ack: Ack, after: Duration) {
        let stands = self.heard.get(node).is_some_and(|(ack, _)| ack.applied());
        if !stands {
            self.heard.insert(node.clone(), (ack, after));
        }
    }

    /// Whether every node that can be reached has answered.
    pub(super) fn all(&self, view: &View) -> bool {
        view.members
            .values()
            .all(|member| member.liveness == Liveness::Down || self.heard.contains_key(&member.id))
    }

    pub(super) fn receipt(&self, fact: Arc<Fact>, view: &View, durable: bool) -> Receipt {
        let members = view.members.values();
        let nodes = members.map(|member| NodeReceipt {
            node: member.id.clone(),
            region: member.region.clone(),
            state: match self.heard.get(&member.id) {
                Some((ack, after)) => reached(*ack, *after),
                None if member.liveness == Liveness::Down => Reached::OutOfReach,
                None => Reached::Late,
            },
        });
        Receipt {
            fact,
            nodes: nodes.collect(),
            durable,
        }
    }
}

fn reached(ack: Ack, after: Duration) -> Reached {
    match ack.taken {
        Taken::New | Taken::Known | Taken::Cancelled => Reached::Applied {
            after,
            saved: ack.saved,
        },
        Taken::Expired => Reached::Expired,
        Taken::Full => Reached::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fact::tests::revocation, *};
    use crate::membership::{Announced, Footing, Member};

    fn view(members: &[(&str, Liveness)]) -> View {
        let member = |(id, liveness): &(&str, Liveness)| Member {
            id: (*id).into(),
            region: "eu".into(),
            incarnation: 1,
            liveness: *liveness,
            footing: Footing::Steady,
            control: "10.0.0.1:1".parse().unwrap(),
            bulk: "10.0.0.1:2".parse().unwrap(),
            announced: Announced::default(),
            rtt: None,
        };
        View {
            own: "a".into(),
            own_region: "eu".into(),
            members: members.iter().map(|m| (m.0.into(), member(m))).collect(),
            regions: BTreeMap::new(),
        }
    }

    fn ack(taken: Taken) -> Ack {
        Ack { taken, saved: true }
    }

    #[test]
    fn all_is_everyone_in_reach_and_the_receipt_names_the_rest() {
        let view = view(&[
            ("a", Liveness::Up),
            ("b", Liveness::Suspect),
            ("c", Liveness::Down),
        ]);
        let mut acks = Acks::default();
        let ms = Duration::from_millis;
        acks.hear(&"a".into(), ack(Taken::New), ms(1));
        assert!(!acks.all(&view));
        let fact = Arc::new(revocation(1, 9));
        let states = |acks: &Acks| {
            let receipt = acks.receipt(Arc::clone(&fact), &view, false);
            receipt
                .nodes
                .iter()
                .map(|node| node.state)
                .collect::<Vec<_>>()
        };
        let own = Reached::Applied {
            after: ms(1),
            saved: true,
        };
        assert_eq!(states(&acks), [own, Reached::Late, Reached::OutOfReach]);
        acks.hear(&"b".into(), ack(Taken::Full), ms(2));
        assert!(acks.all(&view));
        assert_eq!(states(&acks)[1], Reached::Full);
        // It heard of the fact another way, after some had expired; and a later word changes nothing.
        acks.hear(&"b".into(), ack(Taken::Known), ms(30));
        acks.hear(&"b".into(), ack(Taken::Known), ms(40));
        assert!(matches!(states(&acks)[1], Reached::Applied { after, .. } if after == ms(30)));
    }
}
