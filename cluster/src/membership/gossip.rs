//! chitchat over the control connection: the list of nodes and what each says of itself.
//!
//! chitchat speaks in addresses; here an address is a node's advertised control address, and the fabric
//! knows whose it is. Messages go as datagrams, or by a stream where they are too large for one.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, FailureDetectorConfig,
    Serializable, spawn_chitchat,
    transport::{Socket, Transport},
};
use meridian_config::name::NodeId;
use tokio::sync::{Mutex, mpsc};

use super::{
    announcement, message,
    picture::{self, Known},
};
use crate::fabric::{Fabric, PeerIdentity, Received};

/// Between two rounds. A death is known to all within 300–800 ms of it.
const ROUND: Duration = Duration::from_millis(100);

/// How long chitchat remembers a dead incarnation; in messages for half of that time. All of them are in
/// each message, which has an end, so this is short; membership itself remembers the node, see `recall`.
const MEMORY: Duration = Duration::from_secs(20 * 60);

/// Nodes that are remembered though gossip has forgotten them, at most.
const RECALLED: usize = 1024;

const REGION: &str = "region";
const BULK: &str = "bulk";
/// Ids of the nodes that this one takes for dead, separated by spaces.
const DOWN: &str = "down";

/// Running gossip, under one incarnation.
pub(super) struct Gossip {
    handle: ChitchatHandle,
    /// What was last written, so that only changes are.
    written: BTreeMap<String, String>,
}

/// What gossip says of all other nodes.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The other nodes, each in its greatest incarnation, by id.
    pub(super) nodes: Vec<Known>,
    /// Nodes that a living other node takes for dead.
    pub(super) condemned: Vec<NodeId>,
}

impl Heard {
    /// What was heard of one incarnation of a node.
    fn life(&mut self, id: &NodeId, incarnation: u64) -> Option<&mut Known> {
        let place = self.nodes.binary_search_by(|known| known.id.cmp(id)).ok()?;
        let known = &mut self.nodes[place];
        (known.incarnation == incarnation).then_some(known)
    }

    /// Adds the nodes of before that gossip no longer speaks of: dead ones, until they are removed.
    pub(super) fn recall(&mut self, before: Self, fabric: &Fabric) {
        for known in before.nodes {
            let place = self.nodes.binary_search_by(|other| other.id.cmp(&known.id));
            if let Err(place) = place
                && self.nodes.len() < RECALLED
                && !fabric.is_removed(&known.id)
            {
                let forgotten = Known {
                    live: false,
                    rtt: None,
                    ..known
                };
                self.nodes.insert(place, forgotten);
            }
        }
    }
}

impl Gossip {
    /// Begins to gossip under this node's present incarnation.
    pub(super) async fn start(
        fabric: &Fabric,
        cluster: &str,
        inbox: Arc<Mutex<mpsc::Receiver<Received>>>,
    ) -> Self {
        let own = fabric.own();
        let control = fabric.local_control();
        let keys = vec![
            (REGION.to_owned(), own.region.as_str().to_owned()),
            (BULK.to_owned(), fabric.local_bulk().to_string()),
        ];
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(own.id.as_str(), own.incarnation, control),
            cluster_id: cluster.to_owned(),
            gossip_interval: ROUND,
            listen_addr: control,
            // The fabric meets the first nodes; see `meet`.
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig::new(
                6.0,
                100,
                Duration::from_secs(1),
                // The default of 5 s would make a death in a cluster's first seconds take half a minute.
                Duration::from_millis(200),
                MEMORY,
            ),
            marked_for_deletion_grace_period: Duration::from_secs(3600),
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let door = Door {
            fabric: fabric.clone(),
            inbox,
            reading: Arc::default(),
        };
        let handle = spawn_chitchat(config, keys, &door)
            .await
            .expect("the door opens without touching anything that could fail");
        Self {
            handle,
            written: BTreeMap::new(),
        }
    }

    /// Greets a node that the fabric has met.
    pub(super) fn meet(&self, control: SocketAddr) {
        // It fails only when gossip has ended, with the node.
        let _ = self.handle.gossip(control);
    }

    /// Says what has changed in the announcement and in the list of dead nodes.
    pub(super) async fn say(&mut self, mut keys: BTreeMap<String, String>, down: &[NodeId]) {
        let down: Vec<&str> = down.iter().map(NodeId::as_str).collect();
        keys.insert(DOWN.to_owned(), down.join(" "));
        if keys == self.written {
            return;
        }
        let written = std::mem::replace(&mut self.written, keys);
        let keys = &self.written;
        self.handle
            .with_chitchat(|chitchat| {
                let state = chitchat.self_node_state();
                for (key, value) in keys {
                    if written.get(key) != Some(value) {
                        state.set(key, value);
                    }
                }
                for key in written.keys().filter(|key| !keys.contains_key(*key)) {
                    state.delete(key);
                }
            })
            .await;
    }

    /// What gossip says now; the fabric learns of nodes it has not met. What was heard `before` of a node that has said
    /// nothing since is taken from there.
    pub(super) async fn hear(&self, fabric: &Fabric, before: &mut Heard) -> Heard {
        let peers: BTreeMap<NodeId, _> = fabric
            .peers()
            .into_iter()
            .map(|peer| (peer.identity.id.clone(), peer))
            .collect();
        let own = fabric.own().id;
        let mut newest: BTreeMap<NodeId, Known> = BTreeMap::new();
        let mut condemned = Vec::new();
        self.handle
            .with_chitchat(|chitchat| {
                let live: std::collections::BTreeSet<_> = chitchat.live_nodes().cloned().collect();
                for (id, state) in chitchat.node_states() {
                    let (Some(region), Some(Ok(bulk))) =
                        (state.get(REGION), state.get(BULK).map(str::parse))
                    else {
                        // Its heartbeat came before its keys.
                        continue;
                    };
                    let node = NodeId::new(Arc::clone(&id.node_id));
                    if node == own || fabric.is_removed(&node) {
                        continue;
                    }
                    let live = live.contains(id);
                    if live && let Some(down) = state.get(DOWN) {
                        condemned.extend(down.split_whitespace().map(NodeId::from));
                    }
                    if newest
                        .get(&node)
                        .is_some_and(|known| known.incarnation > id.generation_id)
                    {
                        continue;
                    }
                    let peer = peers
                        .get(&node)
                        .filter(|peer| peer.identity.incarnation <= id.generation_id);
                    let left = peer.is_some_and(|peer| {
                        peer.left && peer.identity.incarnation == id.generation_id
                    });
                    let rtt = peer.and_then(|peer| peer.rtt);
                    let said = state.max_version();
                    let before = before.life(&node, id.generation_id);
                    let rtt = picture::settled(before.as_ref().and_then(|known| known.rtt), rtt);
                    let announced = match before {
                        Some(known) if known.said == said => std::mem::take(&mut known.announced),
                        _ => announcement::read(state.key_values()),
                    };
                    let known = Known {
                        region: region.into(),
                        incarnation: id.generation_id,
                        control: id.gossip_advertise_addr,
                        bulk,
                        said,
                        announced,
                        rtt,
                        live,
                        left,
                        id: node.clone(),
                    };
                    newest.insert(node, known);
                }
            })
            .await;
        for known in newest.values().filter(|known| known.live) {
            let identity = PeerIdentity {
                id: known.id.clone(),
                region: known.region.clone(),
                incarnation: known.incarnation,
            };
            fabric.learn(&identity, known.control, known.bulk);
        }
        Heard {
            nodes: newest.into_values().collect(),
            condemned,
        }
    }

    /// Ends gossip.
    pub(super) async fn stop(self) {
        // Its only error is that it has ended already.
        let _ = self.handle.shutdown().await;
    }
}

/// What chitchat opens, and the socket it gets: the same, for there is one fabric.
#[derive(Clone)]
struct Door {
    fabric: Fabric,
    inbox: Arc<Mutex<mpsc::Receiver<Received>>>,
    reading: Arc<std::sync::Mutex<message::Reading>>,
}

#[async_trait]
impl Transport for Door {
    async fn open(&self, _listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Socket for Door {
    /// Never fails and never waits: an error here would end gossip for good, and a dial would delay it.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        if let Some(node) = self.fabric.node_at(to)
            && node != self.fabric.own().id
        {
            self.fabric.send_gossip(&node, &message.serialize_to_vec());
        }
        Ok(())
    }

    /// Cancel-safe: nothing is taken from the inbox before the lock is held, and what is taken is given.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        let mut inbox = self.inbox.lock().await;
        loop {
            let Some(received) = inbox.recv().await else {
                // The fabric has ended, and this node with it.
                return std::future::pending().await;
            };
            let Some(from) = self.fabric.control_of(&received.from.id) else {
                continue;
            };
            let read = {
                let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
                reading.read(&received.body)
            };
            match read {
                Ok(message) => return Ok((from, message)),
                Err(error) => {
                    self.fabric.refuse_gossip(&received.from.id, &error);
                }
            }
        }
    }
}
