//! Several nodes in one runtime with a paused clock: a mesh of calls that can be cut, and views that the
//! test keeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use meridian_config::name::{NodeId, RegionName};
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    bootstrap::{BootstrapError, Greeting, Origin, Restorer, Start, start},
    consensus::Profile,
    directory::{Actor, Directory, Proposal, SourceFile},
    fabric::{CallError, Handler, Kind, PeerIdentity, Transport},
    host::{
        BoxFuture, Host,
        memory::{Disk, MemoryHost},
    },
    membership::{Announced, Footing, Liveness, Member, View},
    quota::{params::Params, service::Quota},
    version::Versions,
};

/// One way between any two nodes.
pub(super) const LATENCY: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Links {
    handlers: BTreeMap<(NodeId, Kind), Arc<dyn Handler>>,
    cut_off: BTreeSet<NodeId>,
    calls: u64,
    /// Answers to calls of this kind are lost, so many of them.
    losing: Option<(Kind, u32)>,
}

/// The mesh between the nodes.
#[derive(Clone, Default)]
pub(super) struct Mesh {
    links: Arc<Mutex<Links>>,
    regions: Arc<Mutex<BTreeMap<NodeId, RegionName>>>,
}

struct Port {
    own: PeerIdentity,
    mesh: Mesh,
}

impl Mesh {
    fn open(&self, from: &NodeId, to: &NodeId) -> bool {
        let links = self.links.lock().unwrap();
        !links.cut_off.contains(from) && !links.cut_off.contains(to)
    }

    fn handler(&self, of: &NodeId, kind: Kind) -> Option<Arc<dyn Handler>> {
        let mut links = self.links.lock().unwrap();
        links.calls += 1;
        links.handlers.get(&(of.clone(), kind)).cloned()
    }

    fn loses_answer(&self, kind: Kind) -> bool {
        let mut links = self.links.lock().unwrap();
        match &mut links.losing {
            Some((losing, left)) if *losing == kind && *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

impl Transport for Port {
    fn call(
        &self,
        to: &NodeId,
        kind: Kind,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (mesh, own, to) = (self.mesh.clone(), self.own.clone(), to.clone());
        Box::pin(async move {
            let late = CallError::Late(to.clone());
            let exchange = async {
                sleep(LATENCY).await;
                if !mesh.open(&own.id, &to) {
                    // A cut says nothing.
                    std::future::pending::<()>().await;
                }
                let Some(handler) = mesh.handler(&to, kind) else {
                    return Err(CallError::Unreachable(to.clone()));
                };
                let answer = handler.answer(own.clone(), body).await?;
                sleep(LATENCY).await;
                if !mesh.open(&own.id, &to) || mesh.loses_answer(kind) {
                    return Err(CallError::Broken(to.clone()));
                }
                Ok(answer)
            };
            tokio::time::timeout(deadline, exchange)
                .await
                .unwrap_or(Err(late))
        })
    }
}

/// A greeting that nobody hears: who may come in is the fabric's to decide, and is tested there.
struct Unheard;

impl Greeting for Unheard {
    fn set_member(&self, _cluster_id: &str, _seat: u64) {}

    fn set_removed(&self, _removed: BTreeMap<NodeId, u64>) {}

    fn set_level(&self, _level: u8) {}
}

struct Node {
    disk: Disk,
    directory: Directory,
    quota: Quota,
    restorer: Restorer,
    view: watch::Sender<Arc<View>>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// The nodes of one test.
pub(super) struct World {
    mesh: Mesh,
    nodes: BTreeMap<NodeId, Node>,
    bootstrap: Vec<NodeId>,
    down: BTreeSet<NodeId>,
    starts: u8,
    /// What nodes read that do not run the release before.
    versions: BTreeMap<NodeId, Versions>,
    /// Of the nodes that are started from now on.
    pub(super) origin: Origin,
}

impl World {
    /// A world of nodes (id, region) of which those in `bootstrap` found a cluster. None runs yet.
    pub(super) fn new(nodes: &[(&str, &str)], bootstrap: &[&str]) -> Self {
        let mesh = Mesh::default();
        mesh.regions.lock().unwrap().extend(
            nodes
                .iter()
                .map(|(id, region)| (NodeId::from(*id), RegionName::from(*region))),
        );
        Self {
            mesh,
            nodes: BTreeMap::new(),
            bootstrap: bootstrap.iter().map(|id| NodeId::from(*id)).collect(),
            down: BTreeSet::new(),
            starts: 0,
            versions: BTreeMap::new(),
            origin: Origin::Founding,
        }
    }

    /// Three founders in three regions, founded and with a leader.
    pub(super) async fn founded() -> Self {
        let mut world = Self::new(&[("a", "eu"), ("b", "us"), ("c", "ap")], &["a", "b", "c"]);
        for id in ["a", "b", "c"] {
            world.start(id, Disk::default()).await;
        }
        world.leader().await;
        world
    }

    pub(super) async fn start(&mut self, id: &str, disk: Disk) {
        self.try_start(id, disk, "test").await.unwrap();
    }

    pub(super) async fn try_start(
        &mut self,
        id: &str,
        disk: Disk,
        cluster: &str,
    ) -> Result<(), BootstrapError> {
        self.starts += 1;
        let host = Arc::new(MemoryHost::new(disk.clone(), self.starts));
        self.start_on(id, disk, cluster, host).await
    }

    pub(super) async fn start_on(
        &mut self,
        id: &str,
        disk: Disk,
        cluster: &str,
        host: Arc<dyn Host>,
    ) -> Result<(), BootstrapError> {
        let id = NodeId::from(id);
        self.down.remove(&id);
        let region = self.mesh.regions.lock().unwrap()[&id].clone();
        let view = watch::Sender::new(Arc::new(self.view(&id)));
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let start_with = Start {
            host,
            transport: Arc::new(Port {
                own: PeerIdentity {
                    id: id.clone(),
                    region: region.clone(),
                    incarnation: u64::from(self.starts),
                },
                mesh: self.mesh.clone(),
            }),
            view: view.subscribe(),
            own: id.clone(),
            region,
            cluster: cluster.to_owned(),
            bootstrap: self.bootstrap.clone(),
            origin: self.origin,
            profile: Profile::Wan,
            check: Arc::new(|files| {
                let bad = files.iter().find(|file| file.text.contains("bad"));
                bad.map_or(Ok(()), |file| Err(vec![format!("{} is bad", file.name)]))
            }),
            versions: self.versions_of(&id),
            incarnation: u64::from(self.starts),
            quota: Params::DEFAULT,
            onlooker: None,
            greeting: Arc::new(Unheard),
            tracker: tracker.clone(),
            stop: stop.clone(),
        };
        let links = Arc::clone(&self.mesh.links);
        let own = id.clone();
        let (directory, quota, restorer) = start(start_with, &move |kind, handler| {
            let mut links = links.lock().unwrap();
            links.handlers.insert((own.clone(), kind), handler);
        })
        .await?;
        let node = Node {
            disk,
            directory,
            quota,
            restorer,
            view,
            stop,
            tracker,
        };
        self.nodes.insert(id, node);
        self.renew_views();
        Ok(())
    }

    /// Ends a node as a power cut does; what was durable is returned.
    pub(super) async fn kill(&mut self, id: &str) -> Disk {
        let id = NodeId::from(id);
        let node = self.nodes.remove(&id).unwrap();
        let disk = node.disk.crash();
        self.mesh
            .links
            .lock()
            .unwrap()
            .handlers
            .retain(|(of, _), _| *of != id);
        self.down.insert(id);
        self.renew_views();
        node.stop.cancel();
        node.tracker.close();
        drop((node.directory, node.quota, node.restorer));
        node.tracker.wait().await;
        disk
    }

    /// Cuts a node off from all others, and lets every node see it.
    pub(super) fn cut_off(&mut self, id: &str) {
        self.mesh
            .links
            .lock()
            .unwrap()
            .cut_off
            .insert(NodeId::from(id));
        self.renew_views();
    }

    /// Cuts a node off before any node has noticed.
    pub(super) fn cut_off_unseen(&self, id: &str) {
        let mut links = self.mesh.links.lock().unwrap();
        links.cut_off.insert(NodeId::from(id));
    }

    /// Adds a node to the world; it does not run yet.
    pub(super) fn add(&self, id: &str, region: &str) {
        let mut regions = self.mesh.regions.lock().unwrap();
        regions.insert(NodeId::from(id), RegionName::from(region));
    }

    /// From its next start on a node runs this release, and not the one before.
    pub(super) fn upgrade(&mut self, id: &str) {
        self.versions.insert(id.into(), Versions::THIS_RELEASE);
    }

    /// From its next start on a node runs the release before.
    pub(super) fn downgrade(&mut self, id: &str) {
        self.versions.remove(&NodeId::from(id));
    }

    fn versions_of(&self, id: &NodeId) -> Versions {
        let versions = self.versions.get(id).copied();
        versions.unwrap_or(Versions::RELEASE_BEFORE)
    }

    /// Ends all cuts.
    pub(super) fn heal(&mut self) {
        self.mesh.links.lock().unwrap().cut_off.clear();
        self.renew_views();
    }

    /// Loses the answers of the next so many calls of a kind, which were carried out.
    pub(super) fn lose_answers(&self, kind: Kind, count: u32) {
        self.mesh.links.lock().unwrap().losing = Some((kind, count));
    }

    pub(super) fn directory(&self, id: &str) -> &Directory {
        &self.nodes[&NodeId::from(id)].directory
    }

    pub(super) fn quota(&self, id: &str) -> &Quota {
        &self.nodes[&NodeId::from(id)].quota
    }

    pub(super) fn restorer(&self, id: &str) -> &Restorer {
        &self.nodes[&NodeId::from(id)].restorer
    }

    pub(super) fn disk(&self, id: &str) -> &Disk {
        &self.nodes[&NodeId::from(id)].disk
    }

    pub(super) fn running(&self) -> impl Iterator<Item = (&NodeId, &Directory)> {
        self.nodes.iter().map(|(id, node)| (id, &node.directory))
    }

    /// The leader that all nodes in reach of it agree on.
    pub(super) async fn leader(&self) -> String {
        self.leader_among(|_| true).await
    }

    /// The same, whatever that one node says.
    pub(super) async fn leader_without(&self, odd: &str) -> String {
        self.leader_among(|id| id != odd).await
    }

    async fn leader_among(&self, counts: impl Fn(&str) -> bool) -> String {
        let mut leader = None;
        until("one leader", || {
            let cut_off = self.mesh.links.lock().unwrap().cut_off.clone();
            let said: BTreeSet<Option<NodeId>> = self
                .running()
                .filter(|(id, _)| !cut_off.contains(*id) && counts(id.as_str()))
                .map(|(_, directory)| directory.status().leader)
                .collect();
            leader = said.first().cloned().flatten();
            said.len() == 1 && leader.is_some()
        })
        .await;
        leader.unwrap().as_str().to_owned()
    }

    /// A running node that is not the leader.
    pub(super) async fn follower(&self) -> String {
        let leader = self.leader().await;
        let mut ids = self.nodes.keys().map(NodeId::as_str);
        ids.rfind(|id| *id != leader).unwrap().to_owned()
    }

    fn view(&self, own: &NodeId) -> View {
        let cut_off = self.mesh.links.lock().unwrap().cut_off.clone();
        let regions = self.mesh.regions.lock().unwrap().clone();
        let known = regions.iter().filter(|(id, _)| {
            self.nodes.contains_key(*id) || self.down.contains(*id) || *id == own
        });
        let address = "127.0.0.1:1".parse().unwrap();
        let members = known.map(|(id, region)| {
            let cut = id != own && (cut_off.contains(id) || cut_off.contains(own));
            let liveness = if self.down.contains(id) || cut {
                Liveness::Down
            } else {
                Liveness::Up
            };
            let member = Member {
                id: id.clone(),
                region: region.clone(),
                incarnation: 1,
                liveness,
                footing: Footing::Steady,
                control: address,
                bulk: address,
                announced: Announced {
                    versions: self.versions_of(id),
                    ..Announced::default()
                },
                rtt: None,
            };
            (id.clone(), member)
        });
        View {
            own: own.clone(),
            own_region: regions[own].clone(),
            members: members.collect(),
            regions: BTreeMap::new(),
        }
    }

    fn renew_views(&self) {
        for (id, node) in &self.nodes {
            node.view.send_replace(Arc::new(self.view(id)));
        }
    }
}

/// A document of one file.
pub(super) fn document(text: &str) -> Proposal {
    Proposal {
        files: vec![SourceFile {
            name: "gateway.yaml".to_owned(),
            text: text.to_owned(),
        }],
        actor: Actor::new("ada", "operator", None),
        message: String::new(),
        expect: None,
    }
}

/// The text of the newest revision at a node.
pub(super) fn text(directory: &Directory) -> Option<String> {
    let current = directory.current()?;
    Some(current.files[0].text.clone())
}

/// Waits for a condition, at most a minute of the paused clock.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for {what}");
}
