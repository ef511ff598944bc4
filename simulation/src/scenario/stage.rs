//! The machines of a run: nodes, upstreams, clients and the issuer, and how to switch them on and off.
//!
//! In: a scenario and a seed. Out: a world in which every machine knows its part. The conductor decides
//! when; the stage knows how.

mod node;
mod survey;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use meridian_cluster::{
    directory::Decision, fabric::Authority, quota::params::Params, version::Versions,
};
use meridian_config::{
    document::Protocol,
    name::{NodeId, RegionName},
};
use tokio_util::sync::CancellationToken;

use super::{Planted, Scenario, Spot, fault::node_name};
use crate::{
    books::Books,
    flawed::Armed,
    gateway::{self, Gateway},
    workload::{
        EndState, Oracle,
        ask::Ask,
        badge::Badges,
        client::{self, Line},
        document,
        issuer::{self, Issuer},
        manner::Manner,
        upstream,
    },
    world::{Ambient, Down, EPOCH, End, MachineId, Place, Seed, Trace, World},
};
pub(super) use node::Node;
use node::{CA, CERT, CLUSTER, HTTP_PORT, KEY, Slot, TOKENS, node_file};

/// The world of a run and who is who in it.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) oracle: Oracle,
    /// The tokens of all nodes.
    pub(super) books: Books,
    pub(super) regions: Vec<String>,
    pub(super) nodes: Vec<Node>,
    /// By region.
    upstreams: Vec<MachineId>,
    /// How the upstreams answer, by region.
    pub(super) manners: Vec<Manner>,
    /// What each one's ports speak.
    ports: Vec<Vec<Protocol>>,
    clients: Vec<MachineId>,
    /// What all clients ask for.
    lines: Vec<Line>,
    /// The nodes that the clients of each region know.
    known: Vec<client::Nodes>,
    issuer_machine: MachineId,
    pub(super) issuer: Issuer,
    planted: Planted,
    /// The switch of planted mistakes.
    pub(super) armed: Armed,
}

impl Stage {
    /// Builds the world; everything is still switched off.
    pub(super) fn build(
        scenario: &Scenario,
        seed: Seed,
        ambient: Box<dyn Ambient>,
        trace: Trace,
    ) -> Self {
        let regions = scenario.regions.clone();
        // The issuer lies outside every region: no fault of a region takes it along.
        let outside = Place(regions.len());
        let mut links = scenario.links.clone();
        links.add(OUTSIDE);
        links.set_conditions(scenario.conditions);
        let mut world = World::new(seed, links, trace, ambient);
        let oracle = Oracle::new(world.network().clone());
        let issuer_machine = world.add(issuer::NAME, outside);
        let mut upstreams = Vec::new();
        let mut manners = Vec::new();
        let mut clients = Vec::new();
        let mut names = Vec::new();
        for (index, region) in regions.iter().enumerate() {
            let place = Place(index);
            let upstream = document::upstream_name(region);
            manners.push(Manner::new(seed, &upstream));
            upstreams.push(world.add(&upstream, place));
            clients.push(world.add(&format!("clients.{region}"), place));
            for number in 1..=scenario.nodes_in(place) {
                names.push((node_name(region, number), Spot { place, number }));
            }
        }
        let founders = names.clone();
        for spot in scenario.guests() {
            names.push((node_name(&regions[spot.place.0], spot.number), spot));
        }
        let authority = Authority::create(CLUSTER, Some(seed.bytes("authority")))
            .expect("the simulator's cluster name is a trust domain");
        let armed = Armed::default();
        let nodes = names
            .iter()
            .map(|(name, spot)| {
                let place = spot.place;
                let machine = world.add(name, place);
                let region = RegionName::from(regions[place.0].as_str());
                let member = founders.iter().any(|(founder, _)| founder == name);
                let file = node_file(name, region.clone(), &founders);
                let issued = authority
                    .issue(&file.id, &region, &[], &[], EPOCH)
                    .expect("names of a checked scenario make a certificate");
                world.lay_down(machine, CA, authority.cert_pem());
                world.lay_down(machine, CERT, issued.cert_pem.as_str());
                world.lay_down(machine, KEY, issued.key_pem.as_str());
                world.lay_down(machine, TOKENS, "[]\n");
                Node {
                    machine,
                    place,
                    spot: *spot,
                    file,
                    versions: if scenario.release_before {
                        Versions::RELEASE_BEFORE
                    } else {
                        Versions::THIS_RELEASE
                    },
                    gateway: Slot::default(),
                    end: End::default(),
                    collapsed: false,
                    mistakes: scenario.planted.of(place, &armed),
                    stopping: false,
                    member,
                    known: member,
                    leaving: false,
                }
            })
            .collect();
        oracle.history().quota = Params::with(scenario.planted.quota());
        Self {
            world,
            oracle,
            books: match scenario.repeat_every {
                Some(_) => Books::with_repeats(),
                None => Books::default(),
            },
            regions,
            nodes,
            upstreams,
            manners,
            ports: scenario.ports(),
            clients,
            lines: scenario.lines(),
            known: scenario
                .regions
                .iter()
                .map(|_| client::Nodes::default())
                .collect(),
            issuer_machine,
            issuer: Issuer::new(Manner::new(seed, issuer::NAME)),
            planted: scenario.planted.clone(),
            armed,
        }
    }

    /// Switches on everything but the clients.
    pub(super) fn switch_on(&mut self) {
        // Made once a process, 26 MiB: no machine takes the tables, whichever would be the first to need them.
        drop(base2histogram::Histogram::<()>::new());
        self.start_issuer();
        for index in 0..self.regions.len() {
            self.start_upstream(Place(index));
        }
        for index in 0..self.nodes.len() {
            if self.nodes[index].member {
                self.start_node(index);
            }
        }
        self.survey(&BTreeSet::new(), &[]);
    }

    pub(super) fn start_issuer(&mut self) {
        if !self.world.is_on(self.issuer_machine) {
            let issuer = self.issuer.clone();
            self.world
                .start(self.issuer_machine, |host| issuer.run(host));
        }
    }

    /// Takes the issuer's power; whether it was on.
    pub(super) fn take_down_issuer(&mut self) -> bool {
        let was_on = self.world.is_on(self.issuer_machine);
        self.world.take_down(self.issuer_machine, Down::PowerOff);
        was_on
    }

    /// Switches on the clients of every region; `badge`: what holders of badges ask for, if there are any.
    pub(super) fn start_clients(&mut self, badge: Option<Arc<Ask>>) {
        self.let_clients_choose();
        for (index, machine) in self.clients.clone().into_iter().enumerate() {
            let from = Place(index);
            let lines = self.lines.iter().filter(|line| line.flow.from == from);
            let clients = client::Clients {
                from,
                nodes: self.known[index].clone(),
                lines: lines.cloned().collect(),
                issuer: self.issuer.clone(),
                badges: badge.clone().map(|ask| Badges {
                    ask,
                    nodes: self.nodes_of(from),
                }),
            };
            let oracle = self.oracle.clone();
            self.world
                .start(machine, |host| client::run(host, oracle, clients));
        }
    }

    /// What all clients ask for.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub(super) fn start_node(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let stays_down = self.armed.is_set() && self.planted.stays_down == Some(node.place);
        if self.world.is_on(node.machine) || stays_down {
            return;
        }
        let slot = Slot::default();
        let (file, oracle) = (node.file.clone(), self.oracle.clone());
        let (versions, mistakes) = (node.versions, node.mistakes.clone());
        let onlooker = self.books.onlooker(file.id.clone(), oracle.clone());
        let name = file.id.to_string();
        let arrives = slot.clone();
        node.gateway = slot;
        node.collapsed = false;
        node.stopping = false;
        node.end = self.world.start(node.machine, |host| {
            gateway::run(host, file, versions, mistakes, onlooker, move |gateway| {
                *arrives.lock().unwrap_or_else(PoisonError::into_inner) = Some(gateway.clone());
                gateway.onlook(name, oracle)
            })
        });
    }

    /// Tells a node to stop, as SIGTERM does. Whether it runs.
    pub(super) fn ask_to_stop(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        node.stopping = self.world.is_on(node.machine);
        self.world.ask_to_stop(node.machine);
        node.stopping
    }

    /// Whether a node that was told to stop has ended; its process is gone then.
    pub(super) fn has_stopped(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        // What it ended with is for `look_for_collapses` to judge, as long as it is on.
        if !node.stopping || !matches!(node.end.outcome(), Some(Ok(()))) {
            return false;
        }
        self.world.take_down(node.machine, Down::Kill);
        node.gateway = Slot::default();
        true
    }

    /// Whether every node serves and sees all others up, and none was told to stop.
    pub(super) fn is_whole(&self) -> bool {
        let gateways = self.gateways();
        let count = self.members();
        gateways.len() == count
            && self.nodes.iter().all(Node::takes_work)
            && gateways.iter().all(|(_, g)| g.sees_all_up(count))
    }

    /// How many nodes the cluster has, or is about to have.
    pub(super) fn members(&self) -> usize {
        self.nodes.iter().filter(|node| node.member).count()
    }

    /// Starts a node of a region that is no member yet and never was.
    pub(super) fn invite(&mut self, place: Place) -> Option<usize> {
        let mut nodes = self.nodes.iter();
        let fits = |node: &Node| node.spot.place == place && !node.member && !node.stopping;
        let index = nodes.position(fits)?;
        self.nodes[index].member = true;
        self.start_node(index);
        Some(index)
    }

    /// Whether a node shows the newest document that any node shows.
    pub(super) fn serves_newest(&self, index: usize) -> bool {
        let shown = self.nodes[index].gateway().map(|it| it.revision());
        let newest = self.gateways().iter().map(|(_, it)| it.revision()).max();
        shown.is_some() && shown == newest
    }

    /// Puts a node into what clients know, or takes it out.
    pub(super) fn let_clients_know(&mut self, index: usize, known: bool) {
        self.nodes[index].known = known;
        self.nodes[index].leaving = !known;
        self.let_clients_choose();
    }

    /// Counts a node as a member no longer: it will be removed.
    pub(super) fn dismiss(&mut self, index: usize) {
        self.nodes[index].member = false;
        self.nodes[index].stopping = true;
    }

    /// Whether a node that was removed has ended; its process is gone then.
    pub(super) fn has_left(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        if node.end.outcome().is_none() && self.world.is_on(node.machine) {
            return false;
        }
        self.world.take_down(node.machine, Down::Kill);
        node.gateway = Slot::default();
        true
    }

    /// Asks a member that is not the node itself for a decision about it; false where none runs.
    pub(super) fn decide(
        &mut self,
        index: usize,
        decision: Decision,
        answer: impl FnOnce(Result<(), String>) + Send + 'static,
    ) -> bool {
        let id = self.nodes[index].file.id.clone();
        let mut others = self.nodes.iter().enumerate();
        let asked = others.find_map(|(other, node)| {
            let fit = other != index && node.member && node.takes_work();
            fit.then(|| node.gateway())
                .flatten()
                .map(|it| (node.machine, it))
        });
        let Some((machine, gateway)) = asked else {
            return false;
        };
        let asking = async move { answer(gateway.decide(&id, decision).await) };
        self.world.spawn_on(machine, asking)
    }

    fn let_clients_choose(&self) {
        for (place, known) in self.known.iter().enumerate() {
            known.set(self.nearest_nodes(Place(place)));
        }
    }

    pub(super) fn start_upstream(&mut self, place: Place) {
        let machine = self.upstreams[place.0];
        if self.world.is_on(machine) {
            return;
        }
        let (oracle, region) = (self.oracle.clone(), self.regions[place.0].clone());
        let ports = self.ports[place.0].clone();
        let manner = self.manners[place.0].clone();
        self.world.start(machine, |host| {
            upstream::run(host, oracle, place, region, ports, manner)
        });
    }

    /// Takes down a node; whether it was up.
    pub(super) fn take_down_node(&mut self, index: usize, down: Down) -> bool {
        if self.planted.harmless_faults {
            return false;
        }
        let node = &mut self.nodes[index];
        let was_on = self.world.is_on(node.machine);
        self.world.take_down(node.machine, down);
        node.gateway = Slot::default();
        was_on
    }

    /// Takes down the upstream of a region; whether it was up.
    pub(super) fn take_down_upstream(&mut self, place: Place, down: Down) -> bool {
        let machine = self.upstreams[place.0];
        let was_on = self.world.is_on(machine);
        self.world.take_down(machine, down);
        was_on
    }

    /// Puts this release on a node's machine; it runs it from its next start on.
    pub(super) fn upgrade(&mut self, index: usize) {
        self.nodes[index].versions = Versions::THIS_RELEASE;
    }

    /// The version that the nodes must agree on in the end: the newest that all of them read.
    pub(super) fn newest_common(&self) -> Option<u8> {
        let members = self.nodes.iter().filter(|node| node.member);
        members.map(|node| node.versions.newest).min()
    }

    /// Lets the nodes of one region flood those of another until the token is cancelled.
    pub(super) fn flood(&mut self, from: Place, to: Place) -> CancellationToken {
        let stop = CancellationToken::new();
        let targets = self.nodes.iter().filter(|node| node.spot.place == to);
        let targets: Vec<NodeId> = targets.map(|node| node.file.id.clone()).collect();
        for node in self.nodes.iter().filter(|node| node.spot.place == from) {
            let Some(gateway) = node.gateway() else {
                continue;
            };
            for target in &targets {
                let pouring = gateway.clone().flood(target.clone(), stop.clone());
                self.world.spawn_on(node.machine, pouring);
            }
        }
        stop
    }

    /// Lets every node ask for reads that must not be old, from now on.
    pub(super) fn ask_around(&mut self) {
        for node in &self.nodes {
            if let Some(gateway) = node.gateway() {
                let asking = gateway.ask_around(node.name(), self.oracle.clone());
                self.world.spawn_on(node.machine, asking);
            }
        }
    }

    /// The insides of every node that runs and has handed them out, by position; not of one that stands still.
    pub(super) fn gateways(&self) -> Vec<(usize, Gateway)> {
        let inside = |(index, node): (usize, &Node)| {
            let runs = !self.world.is_still(node.machine);
            Some((index, node.gateway().filter(|_| runs)?))
        };
        self.nodes.iter().enumerate().filter_map(inside).collect()
    }

    /// Who leads, in the eyes of every node of which [`gateways`](Self::gateways) tells, in that order.
    pub(super) fn leaders(&self) -> Vec<Option<String>> {
        self.each(|_, gateway| gateway.leader())
    }

    /// What every node of which [`gateways`](Self::gateways) tells holds and sees, in that order.
    pub(super) fn states(&self) -> Vec<EndState> {
        self.each(|node, gateway| gateway.state(node.name()))
    }

    fn each<T>(&self, look: impl Fn(&Node, &Gateway) -> T) -> Vec<T> {
        let gateways = self.gateways().into_iter();
        let look = |(index, gateway): (usize, Gateway)| {
            let node = &self.nodes[index];
            self.world
                .by_clock_of(node.machine, || look(node, &gateway))
        };
        gateways.map(look).collect()
    }

    /// Tells the oracle of programs that ended though nobody took them down.
    pub(super) fn look_for_collapses(&mut self) {
        for node in &mut self.nodes {
            if node.collapsed || !self.world.is_on(node.machine) {
                continue;
            }
            if let Some(outcome) = node.end.outcome() {
                // One that was removed says so.
                if node.stopping && (outcome.is_ok() || !node.member) {
                    continue;
                }
                node.collapsed = true;
                let why = outcome
                    .err()
                    .unwrap_or_else(|| "without an error".to_owned());
                let id = &node.file.id;
                let says = format!("{id} ended by itself: {why}");
                let now = self.world.now();
                self.oracle.history().collapses.push((now, says));
            }
        }
    }

    /// Names and edge addresses of a region's nodes.
    fn nodes_of(&self, place: Place) -> Vec<(String, SocketAddr)> {
        let nodes = self.nodes.iter();
        let nodes = nodes.filter(|node| node.spot.place == place && node.known);
        let address = |node: &Node| {
            let ip = self.world.machine_ip(node.machine);
            (node.name(), SocketAddr::new(ip, HTTP_PORT))
        };
        nodes.map(address).collect()
    }

    /// Edge addresses of the nodes that clients know, and their regions, nearest first.
    fn nearest_nodes(&self, from: Place) -> Vec<(Place, SocketAddr)> {
        let mut nodes: Vec<(Duration, Place, SocketAddr)> = Vec::new();
        self.world.network().links(|links| {
            for node in self.nodes.iter().filter(|node| node.known) {
                let address = SocketAddr::new(self.world.machine_ip(node.machine), HTTP_PORT);
                nodes.push((links.latency(from, node.place), node.place, address));
            }
        });
        nodes.sort();
        let nodes = nodes.into_iter();
        nodes.map(|(_, place, address)| (place, address)).collect()
    }
}

/// One-way latency from any region to the issuer, which lies elsewhere in the internet.
const OUTSIDE: Duration = Duration::from_millis(20);
