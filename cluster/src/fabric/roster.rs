//! Who is known and which connection to each stays: the fabric's core.
//!
//! In: hellos that were accepted, connections that ended, addresses learned, `now`. Out: which
//! connection stays and which are to be closed. Its shells are `link` and `dial`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use meridian_config::name::{NodeId, RegionName};

use super::PeerIdentity;
use crate::version::Versions;

/// Which of the two connections of a pair of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Plane {
    /// Raft, gossip, probes, facts.
    Control,
    /// Forwarded requests.
    Bulk,
}

impl Plane {
    /// Its name in logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
        }
    }
}

/// Nodes and their connections. `C` is a connection; tests use numbers.
pub(super) struct Roster<C> {
    own: NodeId,
    entries: BTreeMap<NodeId, Entry<C>>,
}

/// What is known of a node.
pub(super) struct Entry<C> {
    pub(super) region: RegionName,
    /// The greatest incarnation seen.
    pub(super) incarnation: u64,
    pub(super) control: SocketAddr,
    pub(super) bulk: SocketAddr,
    /// As its last hello said; empty before bootstrap.
    pub(super) cluster_id: String,
    /// As its last hello said; none before one was heard.
    pub(super) versions: Option<Versions>,
    /// This incarnation said that it stops.
    pub(super) left: Option<u64>,
    /// When a hello or gossip last spoke of it.
    seen: Instant,
    links: BTreeMap<Plane, Link<C>>,
}

struct Link<C> {
    connection: C,
    incarnation: u64,
    dialled_by: NodeId,
    since: Instant,
    /// The connection of the same life that we dialled and the peer's own dial replaced. The peer closes it
    /// when it has taken its own in; if it has given that dial up meanwhile, this one stands again.
    spare: Option<Box<Self>>,
}

/// A connection whose hello was accepted.
pub(super) struct Arrival<C> {
    pub(super) plane: Plane,
    pub(super) peer: PeerIdentity,
    pub(super) control: SocketAddr,
    pub(super) bulk: SocketAddr,
    pub(super) cluster_id: String,
    pub(super) versions: Versions,
    /// This node dialled it, not the peer.
    pub(super) dialled_here: bool,
    pub(super) connection: C,
}

/// What becomes of a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission<C> {
    /// It stays; these are to be closed: superseded ones of the same life, and ones of an earlier life.
    Stay {
        /// Connections that the new one replaces.
        superseded: Vec<C>,
        /// One that both sides still hold, since both dialled at once, and on which requests, calls and probes are under
        /// way: it is to be closed when they have had their time.
        retired: Vec<C>,
    },
    /// Another one stays: close the new one.
    Duplicate,
    /// The peer has started again since: close the new one, naming the later incarnation.
    Stale {
        /// The greatest incarnation known.
        known: u64,
    },
    /// Too many nodes are known.
    Full,
}

/// Both sides can only have dialled at once when the two hellos fall within one dial's time limit of
/// each other. Later than this, a peer dials because it lost the connection that we still hold.
const SIMULTANEOUS: Duration = Duration::from_millis(2500);

/// Nodes known at most: ten times the largest cluster we plan for. The longest unheard of makes room.
const KNOWN_LIMIT: usize = 1024;

impl<C: Clone> Roster<C> {
    /// Knows nobody yet.
    pub(super) fn new(own: NodeId) -> Self {
        Self {
            own,
            entries: BTreeMap::new(),
        }
    }

    /// Decides about a new connection and takes it in if it stays.
    pub(super) fn admit(&mut self, arrival: Arrival<C>, now: Instant) -> Admission<C> {
        let peer = arrival.peer;
        if !self.learn(&peer, arrival.control, arrival.bulk, now) {
            return Admission::Full;
        }
        let smaller = (&self.own).min(&peer.id).clone();
        let dialled_by = if arrival.dialled_here {
            self.own.clone()
        } else {
            peer.id.clone()
        };
        let entry = self
            .entries
            .get_mut(&peer.id)
            .expect("learn has just put it in");
        if peer.incarnation < entry.incarnation {
            return Admission::Stale {
                known: entry.incarnation,
            };
        }
        if let Some(link) = entry.links.get(&arrival.plane)
            && link.incarnation == peer.incarnation
            && link.dialled_by != dialled_by
            && link.dialled_by == smaller
            && now.saturating_duration_since(link.since) < SIMULTANEOUS
        {
            return Admission::Duplicate;
        }
        entry.control = arrival.control;
        entry.bulk = arrival.bulk;
        entry.cluster_id = arrival.cluster_id;
        entry.versions = Some(arrival.versions);
        entry.left = entry.left.filter(|left| *left >= peer.incarnation);
        let mut spare = None;
        let (mut superseded, mut retired) = (Vec::new(), Vec::new());
        let replaced = entry.links.extract_if(.., |plane, link| {
            *plane == arrival.plane || link.incarnation < peer.incarnation
        });
        for (plane, link) in replaced {
            let at_once = link.incarnation == peer.incarnation
                && now.saturating_duration_since(link.since) < SIMULTANEOUS;
            let own_replaced = !arrival.dialled_here && link.dialled_by == self.own;
            if at_once && plane == Plane::Control && own_replaced {
                superseded.extend(link.spare.map(|spare| spare.connection));
                spare = Some(Box::new(Link {
                    spare: None,
                    ..link
                }));
            } else if at_once {
                // A request must not be lost to a tidying up, nor answers to probes, nor a call.
                retired.extend(link.connections());
            } else {
                superseded.extend(link.connections());
            }
        }
        entry.links.insert(
            arrival.plane,
            Link {
                connection: arrival.connection,
                incarnation: peer.incarnation,
                dialled_by,
                since: now,
                spare,
            },
        );
        Admission::Stay {
            superseded,
            retired,
        }
    }

    /// Takes in what gossip or a hello says of a node; a lower incarnation changes nothing. False when
    /// too many are known.
    pub(super) fn learn(
        &mut self,
        peer: &PeerIdentity,
        control: SocketAddr,
        bulk: SocketAddr,
        now: Instant,
    ) -> bool {
        if peer.id == self.own {
            return true;
        }
        if let Some(entry) = self.entries.get_mut(&peer.id) {
            entry.seen = now;
            if peer.incarnation > entry.incarnation {
                entry.incarnation = peer.incarnation;
                entry.region = peer.region.clone();
                entry.control = control;
                entry.bulk = bulk;
            }
            return true;
        }
        if self.entries.len() >= KNOWN_LIMIT && !self.forget_oldest() {
            return false;
        }
        self.entries.insert(
            peer.id.clone(),
            Entry {
                region: peer.region.clone(),
                incarnation: peer.incarnation,
                control,
                bulk,
                cluster_id: String::new(),
                versions: None,
                left: None,
                seen: now,
                links: BTreeMap::new(),
            },
        );
        true
    }

    /// Makes room: forgets the unconnected node that was heard of longest ago. False when all are
    /// connected.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.links.is_empty())
            .min_by_key(|(_, entry)| entry.seen)
            .map(|(id, _)| id.clone());
        oldest.is_some_and(|id| self.entries.remove(&id).is_some())
    }

    /// A connection ended. True if it was the one that stands, and none stands any more.
    pub(super) fn lost(
        &mut self,
        plane: Plane,
        id: &NodeId,
        left: bool,
        same: impl Fn(&C) -> bool,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        let Some(link) = entry.links.get_mut(&plane) else {
            return false;
        };
        if link
            .spare
            .as_ref()
            .is_some_and(|spare| same(&spare.connection))
        {
            link.spare = None;
            return false;
        }
        if !same(&link.connection) {
            return false;
        }
        if left {
            entry.left = Some(link.incarnation);
        }
        match link.spare.take() {
            Some(spare) if !left => {
                *link = *spare;
                false
            }
            _ => {
                entry.links.remove(&plane);
                true
            }
        }
    }

    /// Takes out all connections to a node, to be closed.
    pub(super) fn part(&mut self, id: &NodeId) -> Vec<C> {
        let links = self
            .entries
            .get_mut(id)
            .map(|entry| std::mem::take(&mut entry.links));
        links
            .into_iter()
            .flatten()
            .flat_map(|(_, link)| link.connections())
            .collect()
    }

    /// Forgets a node; takes out all connections to it, to be closed.
    pub(super) fn forget(&mut self, id: &NodeId) -> Vec<C> {
        let links = self.entries.remove(id).map(|entry| entry.links);
        let links = links.into_iter().flatten();
        links.flat_map(|(_, link)| link.connections()).collect()
    }

    /// The connection that stands.
    pub(super) fn connection(&self, plane: Plane, id: &NodeId) -> Option<&C> {
        Some(&self.entries.get(id)?.links.get(&plane)?.connection)
    }

    /// What is known of a node.
    pub(super) fn entry(&self, id: &NodeId) -> Option<&Entry<C>> {
        self.entries.get(id)
    }

    /// Everybody known, by id.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&NodeId, &Entry<C>)> {
        self.entries.iter()
    }

    /// The node that is reached at a control address; the one with a connection, where two claim it.
    pub(super) fn at(&self, control: SocketAddr) -> Option<&NodeId> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.control == control)
            .max_by_key(|(_, entry)| entry.links.contains_key(&Plane::Control))
            .map(|(id, _)| id)
    }
}

impl<C> Link<C> {
    /// The connection that stands and the one behind it.
    fn connections(self) -> impl Iterator<Item = C> {
        let spare = self.spare.map(|spare| spare.connection);
        [self.connection].into_iter().chain(spare)
    }
}

impl<C> Entry<C> {
    /// Where an endpoint of the node is reached.
    pub(super) fn address(&self, plane: Plane) -> SocketAddr {
        match plane {
            Plane::Control => self.control,
            Plane::Bulk => self.bulk,
        }
    }

    /// Whether a connection stands.
    pub(super) fn has(&self, plane: Plane) -> bool {
        self.links.contains_key(&plane)
    }

    /// Since when a connection stands.
    pub(super) fn since(&self, plane: Plane) -> Option<Instant> {
        self.links.get(&plane).map(|link| link.since)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrival(id: &str, incarnation: u64, dialled_here: bool, connection: u32) -> Arrival<u32> {
        Arrival {
            plane: Plane::Control,
            peer: PeerIdentity {
                id: id.into(),
                region: "eu".into(),
                incarnation,
            },
            control: "10.0.0.9:7400".parse().unwrap(),
            bulk: "10.0.0.9:7450".parse().unwrap(),
            cluster_id: String::new(),
            versions: Versions::first(),
            dialled_here,
            connection,
        }
    }

    fn stay(superseded: &[u32]) -> Admission<u32> {
        Admission::Stay {
            superseded: superseded.to_vec(),
            retired: Vec::new(),
        }
    }

    fn retires(connection: u32) -> Admission<u32> {
        Admission::Stay {
            superseded: Vec::new(),
            retired: vec![connection],
        }
    }

    #[test]
    fn a_connection_that_the_other_dial_replaced_is_retired_and_not_closed() {
        for plane in [Plane::Control, Plane::Bulk] {
            let on = |dialled_here, connection| Arrival {
                plane,
                ..arrival("b", 1, dialled_here, connection)
            };
            let now = tokio::time::Instant::now().into_std();
            let mut roster = Roster::new("a".into());
            roster.admit(on(false, 1), now);
            assert_eq!(roster.admit(on(true, 2), now), retires(1));
            let b = NodeId::new("b");
            assert_eq!(roster.connection(plane, &b), Some(&2));
            assert!(!roster.lost(plane, &b, false, |it| *it == 1));
            // Later the peer has lost what it replaces: nothing of it is under way any more.
            let later = now + Duration::from_secs(3);
            assert_eq!(roster.admit(on(false, 3), later), stay(&[2]));
        }
    }

    #[test]
    fn of_two_dialled_at_once_the_smaller_ids_stays_in_either_order() {
        let now = tokio::time::Instant::now().into_std();
        let mut here_first = Roster::new("a".into());
        assert_eq!(here_first.admit(arrival("b", 1, true, 1), now), stay(&[]));
        assert_eq!(
            here_first.admit(arrival("b", 1, false, 2), now),
            Admission::Duplicate
        );
        let mut there_first = Roster::new("a".into());
        assert_eq!(there_first.admit(arrival("b", 1, false, 2), now), stay(&[]));
        assert_eq!(there_first.admit(arrival("b", 1, true, 1), now), retires(2));
        assert_eq!(
            there_first.connection(Plane::Control, &"b".into()),
            Some(&1)
        );
    }

    #[test]
    fn a_connection_that_the_peers_dial_replaced_stands_again_if_that_dial_was_given_up() {
        let now = tokio::time::Instant::now().into_std();
        let (a, b) = (NodeId::new("a"), NodeId::new("b"));
        let mut roster = Roster::new(b);
        roster.admit(arrival("a", 1, true, 1), now);
        // The peer's dial wins, but ours is not closed before the peer has taken its own in.
        assert_eq!(roster.admit(arrival("a", 1, false, 2), now), stay(&[]));
        assert_eq!(roster.connection(Plane::Control, &a), Some(&2));
        assert!(!roster.lost(Plane::Control, &a, false, |it| *it == 2));
        assert_eq!(roster.connection(Plane::Control, &a), Some(&1));

        // It has: ours ends without a word.
        roster.admit(arrival("a", 1, false, 3), now);
        assert!(!roster.lost(Plane::Control, &a, false, |it| *it == 1));
        assert_eq!(roster.connection(Plane::Control, &a), Some(&3));
        assert!(roster.lost(Plane::Control, &a, false, |it| *it == 3));

        // A later life takes both along.
        roster.admit(arrival("a", 1, true, 4), now);
        roster.admit(arrival("a", 1, false, 5), now);
        assert_eq!(roster.admit(arrival("a", 2, false, 6), now), stay(&[5, 4]));
    }

    #[test]
    fn a_peer_that_dials_later_has_lost_the_old_connection() {
        let mut roster = Roster::new("a".into());
        let now = tokio::time::Instant::now().into_std();
        roster.admit(arrival("b", 1, true, 1), now);
        let later = now + Duration::from_secs(3);
        assert_eq!(roster.admit(arrival("b", 1, false, 2), later), stay(&[1]));
    }

    #[test]
    fn a_later_life_replaces_an_earlier_and_never_the_other_way() {
        let mut roster = Roster::new("a".into());
        let now = tokio::time::Instant::now().into_std();
        let mut bulk = arrival("b", 1, true, 2);
        bulk.plane = Plane::Bulk;
        roster.admit(arrival("b", 1, true, 1), now);
        roster.admit(bulk, now);
        assert_eq!(roster.admit(arrival("b", 2, false, 3), now), stay(&[1, 2]));
        assert_eq!(
            roster.admit(arrival("b", 1, true, 4), now),
            Admission::Stale { known: 2 }
        );
    }

    #[test]
    fn the_end_of_a_replaced_connection_does_not_touch_its_successor() {
        let mut roster = Roster::new("a".into());
        let now = tokio::time::Instant::now().into_std();
        roster.admit(arrival("b", 1, true, 1), now);
        roster.admit(arrival("b", 2, true, 2), now);
        let b = NodeId::new("b");
        assert!(!roster.lost(Plane::Control, &b, false, |it| *it == 1));
        assert!(roster.lost(Plane::Control, &b, true, |it| *it == 2));
        assert_eq!(roster.entry(&b).unwrap().left, Some(2));
    }

    #[test]
    fn more_nodes_than_can_be_are_refused() {
        let mut roster = Roster::new("a".into());
        let now = tokio::time::Instant::now().into_std();
        for number in 0..KNOWN_LIMIT {
            roster.admit(arrival(&format!("n{number}"), 1, true, 1), now);
        }
        assert_eq!(
            roster.admit(arrival("one-more", 1, true, 1), now),
            Admission::Full
        );
    }

    #[test]
    fn a_node_that_is_gone_makes_room_for_a_new_one() {
        let mut roster = Roster::new("a".into());
        let now = tokio::time::Instant::now().into_std();
        for number in 0..KNOWN_LIMIT {
            let number = u32::try_from(number).unwrap();
            let at = now + Duration::from_secs(1) * number;
            roster.admit(arrival(&format!("n{number}"), 1, true, number), at);
        }
        for gone in ["n7", "n8"] {
            roster.part(&gone.into());
        }
        assert_eq!(roster.admit(arrival("new", 1, true, 1), now), stay(&[]));
        assert!(roster.entry(&"n7".into()).is_none(), "the older of the two");
        assert!(roster.entry(&"n8".into()).is_some());
    }

    proptest! {
        /// Two nodes see the same set of simultaneous connections, each in its own order, and must end
        /// with the same one.
        #[test]
        fn both_sides_keep_the_same_connection(order_a in Just(vec![0_u32, 1]).prop_shuffle(),
                                               order_b in Just(vec![0_u32, 1]).prop_shuffle()) {
            let now = tokio::time::Instant::now().into_std();
            let mut a = Roster::new("a".into());
            let mut b = Roster::new("b".into());
            for connection in order_a {
                a.admit(arrival("b", 1, connection == 0, connection), now);
            }
            for connection in order_b {
                b.admit(arrival("a", 1, connection == 1, connection), now);
            }
            prop_assert_eq!(
                a.connection(Plane::Control, &"b".into()),
                b.connection(Plane::Control, &"a".into())
            );
        }
    }
}
