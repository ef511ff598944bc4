//! What is healthy at a moment, and what could be served then: the world's own knowledge, not any node's.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::Place;

/// What is healthy: the world's own knowledge, not any node's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ground {
    /// By region: whether a node of it is on and hears others.
    pub nodes: Vec<bool>,
    /// By region: whether its upstream is on, and answers as it should.
    pub upstreams: Vec<bool>,
    /// Whether the issuer of tokens is on, and answers as it should.
    pub issuer: bool,
    /// Links that are cut, or so bad that nothing is promised over them, in this direction.
    pub cuts: BTreeSet<(Place, Place)>,
    /// Nodes that do not run, or hear nobody, by name, with their regions: also where another node of theirs does.
    pub apart: BTreeMap<String, Place>,
    /// Nodes that hear others and have nothing to serve yet: they let no client in.
    pub closed: BTreeMap<String, Place>,
    /// Regions none of whose nodes lets clients in.
    pub shut: BTreeSet<Place>,
    /// Regions whose clients are owed nothing: a node there takes their connections and does not answer as it should, and
    /// only their own patience ends that.
    pub misled: BTreeSet<Place>,
}

impl Ground {
    /// Whether a client in one region is served by an upstream in one of `regions`, whichever node it is sent to: one
    /// of its own region where all are on, else any that it reaches. That node makes one hop to another region at most
    /// (DESIGN section 6): what it cannot reach itself it cannot have served, whatever a third region could reach.
    pub fn can_serve(&self, from: Place, regions: &[Place]) -> bool {
        if self.is_at_home(from) {
            !self.misled.contains(&from) && self.serves(from, regions)
        } else {
            self.can_serve_anywhere(from, regions)
        }
    }

    /// Whether a client in one region is served by an upstream in one of `regions`, if it may be sent to any node that it
    /// reaches.
    pub fn can_serve_anywhere(&self, from: Place, regions: &[Place]) -> bool {
        let mut reachable = self.reach(from).peekable();
        !self.misled.contains(&from)
            && !self.may_be_misled_elsewhere(from)
            && reachable.peek().is_some()
            && reachable.all(|node| self.serves(node, regions))
    }

    /// Whether clients of a region that has lost a node may come to one of another region that takes their connection and
    /// does not answer: they dial one of each region in turn, the nearest first.
    fn may_be_misled_elsewhere(&self, from: Place) -> bool {
        let strays = !self.lets_in(from) || self.away().any(|(_, place)| place == from);
        strays && self.misled.iter().any(|place| self.open(from, *place))
    }

    /// Whether nodes of a region reach an upstream in one of `regions`. Across regions a peer there makes the call.
    fn serves(&self, node: Place, regions: &[Place]) -> bool {
        regions.iter().any(|region| {
            self.upstreams[region.0] && self.lets_in(*region) && self.open(node, *region)
        })
    }

    /// Whether clients of a region are sent to its own nodes alone: nothing is wrong with any node.
    pub fn is_at_home(&self, from: Place) -> bool {
        self.lets_in(from) && self.away().next().is_none()
    }

    /// Nodes that clients cannot come to, with their regions.
    pub fn away(&self) -> impl Iterator<Item = (&str, Place)> {
        let all = self.apart.iter().chain(&self.closed);
        all.map(|(node, place)| (node.as_str(), *place))
    }

    /// Whether a node of the region takes clients, and sends what others forward to it to its upstream.
    fn lets_in(&self, place: Place) -> bool {
        self.nodes[place.0] && !self.shut.contains(&place)
    }

    /// Every way on which a client in one region can be served by an upstream in one of `regions`: the node's region, and
    /// the upstream's.
    pub fn ways(&self, from: Place, regions: &[Place]) -> BTreeSet<(Place, Place)> {
        let nodes = (0..self.nodes.len()).map(Place);
        let nodes = nodes.filter(|node| self.lets_in(*node) && self.open(from, *node));
        let mut ways = BTreeSet::new();
        for node in nodes {
            let serves = |region: &&Place| {
                self.upstreams[region.0] && self.lets_in(**region) && self.open(node, **region)
            };
            ways.extend(regions.iter().filter(serves).map(|region| (node, *region)));
        }
        ways
    }

    /// Whether a client in one region can reach the nodes of another.
    pub fn reaches(&self, from: Place, to: Place) -> bool {
        self.lets_in(to) && self.open(from, to)
    }

    /// The regions whose nodes a client in a region can reach.
    pub(super) fn reach(&self, from: Place) -> impl Iterator<Item = Place> {
        let nodes = (0..self.nodes.len()).map(Place);
        nodes.filter(move |node| self.lets_in(*node) && self.open(from, *node))
    }

    /// Whether a client in a region can reach any node.
    pub fn can_reach(&self, from: Place) -> bool {
        self.reach(from).next().is_some()
    }

    /// Whether nodes of the two regions hear each other, over others if need be.
    pub fn joined(&self, from: Place, to: Place) -> bool {
        let mut reached = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            for other in (0..self.nodes.len()).map(Place) {
                let hears = self.nodes[at.0] && self.nodes[other.0] && self.open(at, other);
                if hears && reached.insert(other) {
                    next.push(other);
                }
            }
        }
        self.nodes[from.0] && reached.contains(&to)
    }

    fn open(&self, a: Place, b: Place) -> bool {
        !self.cuts.contains(&(a, b)) && !self.cuts.contains(&(b, a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_makes_one_hop_and_clients_stay_in_their_region_where_it_has_a_node() {
        let (a, b, c) = (Place(0), Place(1), Place(2));
        let mut ground = Ground {
            nodes: vec![true, true, true],
            upstreams: vec![true, false, true],
            cuts: BTreeSet::from([(a, c)]),
            ..Ground::default()
        };
        // Over b it could be reached; a's own node cannot.
        assert!(!ground.can_serve(a, &[b, c]));
        assert!(ground.can_serve(b, &[a, c]) && ground.can_serve(b, &[c]));
        // Then clients of a go to b, the only one that they reach.
        ground.nodes[0] = false;
        assert!(ground.can_serve(a, &[b, c]));
        // One of two might be the wrong one.
        ground.cuts = BTreeSet::from([(b, c)]);
        assert!(!ground.can_serve(a, &[c]));
    }

    #[test]
    fn a_node_that_has_nothing_to_serve_is_none_to_clients_and_is_heard_by_others() {
        let (a, b, c) = (Place(0), Place(1), Place(2));
        let mut ground = Ground {
            nodes: vec![true, true, true],
            upstreams: vec![true, true, true],
            cuts: BTreeSet::from([(a, c)]),
            ..Ground::default()
        };
        assert!(ground.is_at_home(a) && ground.can_serve(a, &[a]));
        ground.closed = BTreeMap::from([("b-1".to_owned(), b)]);
        assert!(!ground.is_at_home(a), "others of b may take clients of a");
        ground.shut = BTreeSet::from([b]);
        assert!(!ground.reaches(a, b) && !ground.can_serve(a, &[b]));
        assert!(ground.joined(a, c), "by way of b");
        // Clients of b go to a and c.
        assert!(ground.can_serve(b, &[a, c]) && ground.can_reach(b));
        ground.misled = BTreeSet::from([a]);
        assert!(!ground.can_serve(b, &[a, c]));
    }

    #[test]
    fn clients_that_lost_a_node_of_their_own_may_be_misled_by_one_of_another_region() {
        let (a, b, c) = (Place(0), Place(1), Place(2));
        let mut ground = Ground {
            nodes: vec![true, false, true],
            upstreams: vec![true; 3],
            apart: BTreeMap::from([("b-1".to_owned(), b)]),
            misled: BTreeSet::from([b]),
            ..Ground::default()
        };
        // The nodes of b are paused. Clients of a stay with their own.
        assert!(ground.can_serve(a, &[a, b, c]) && ground.can_serve(c, &[a, b, c]));
        assert!(!ground.can_serve(b, &[a, b, c]));
        ground.apart.insert("a-1".to_owned(), a);
        assert!(!ground.can_serve(a, &[a, b, c]) && ground.can_serve(c, &[a, b, c]));
        ground.cuts.insert((a, b));
        assert!(ground.can_serve(a, &[a, c]), "b is out of reach");
    }

    #[test]
    fn ground_knows_what_could_be_served() {
        let (a, b) = (Place(0), Place(1));
        let mut ground = Ground {
            nodes: vec![true, true],
            upstreams: vec![true, true],
            ..Ground::default()
        };
        assert!(ground.can_serve(a, &[b]));
        assert!(ground.can_reach(a));
        ground.cuts.insert((b, a));
        assert!(!ground.can_serve(a, &[b]));
        assert!(ground.can_serve(a, &[a, b]));
        assert!(!ground.joined(a, b));
        ground.nodes.push(true);
        assert!(ground.joined(a, b), "over the third");
        ground.nodes[2] = false;
        assert!(!ground.joined(a, b) && ground.joined(a, a));
        ground.nodes.pop();
        ground.nodes[0] = false;
        assert!(!ground.can_serve(a, &[a, b]));
        assert!(!ground.can_reach(a) && ground.can_reach(b));
        ground.cuts.clear();
        assert!(ground.can_serve(a, &[a, b]));
        ground.upstreams[1] = false;
        assert!(!ground.can_serve(a, &[a, b]));
    }
}
