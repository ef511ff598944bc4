//! What is healthy: the stage, looked at with the world's own eyes.
//!
//! In: machines, links, manners of servers. Out: a [`Ground`] to the oracle whenever something may have changed.

use std::{collections::BTreeSet, time::Duration};

use super::{Node, Stage};
use crate::{workload::Ground, world::Place};

impl Stage {
    /// Tells the oracle what is healthy from now on; the upstreams of `flapping` regions are not, be they up just now, and
    /// `empty` nodes have nothing to serve yet, and let no client in.
    pub(in crate::scenario) fn survey(&mut self, flapping: &BTreeSet<Place>, empty: &[usize]) {
        let places = (0..self.regions.len()).map(Place);
        let network = self.world.network();
        let hears = |node: &Node| {
            let machine = node.machine;
            self.world.is_on(machine) && !self.world.is_still(machine) && network.hears(machine)
        };
        let of = |place| {
            self.nodes
                .iter()
                .enumerate()
                .filter(move |(_, node)| node.spot.place == place)
        };
        let nodes = |place| of(place).any(|(_, node)| hears(node));
        let is_shut =
            |place: &Place| of(*place).all(|(index, node)| !hears(node) || empty.contains(&index));
        let closed = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, node)| hears(node) && empty.contains(index));
        // The kernel of a process that stands still takes connections; a node whose clock is far off refuses good tokens.
        let takes = |node: &Node| network.is_awake(node.machine) && network.hears(node.machine);
        let lost = |node: &Node| {
            let machine = node.machine;
            self.world.is_still(machine) || self.world.clock_off(machine) > LEEWAY
        };
        let misleads = |node: &&Node| self.world.is_on(node.machine) && takes(node) && lost(node);
        let misled = self.nodes.iter().filter(misleads);
        let members = self.nodes.iter().filter(|node| node.member);
        let apart = members.filter(|node| !hears(node));
        let upstream = |place: Place| {
            let on = self.world.is_on(self.upstreams[place.0]);
            on && self.manners[place.0].ways().are_well() && !flapping.contains(&place)
        };
        let mut ground = Ground {
            nodes: places.clone().map(nodes).collect(),
            upstreams: places.clone().map(upstream).collect(),
            issuer: self.world.is_on(self.issuer_machine) && self.issuer.manner.ways().are_well(),
            apart: apart.map(|node| (node.name(), node.place)).collect(),
            closed: closed.map(|(_, node)| (node.name(), node.place)).collect(),
            shut: places.clone().filter(is_shut).collect(),
            misled: misled.map(|node| node.place).collect(),
            ..Ground::default()
        };
        network.links(|links| {
            for from in places.clone() {
                for to in places.clone() {
                    if links.is_doubtful(from, to) {
                        ground.cuts.insert((from, to));
                    }
                }
            }
        });
        let now = self.world.now();
        self.oracle.history().grounds.push((now, ground));
    }
}

/// How far a node's clock may be off before it refuses tokens that have just been issued, or are about to expire: the
/// default `leeway` of an issuer, less what tokens are old.
const LEEWAY: Duration = Duration::from_secs(25);
