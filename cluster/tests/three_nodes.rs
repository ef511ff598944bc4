//! Three nodes on real sockets and real disks: they found a cluster, agree on documents, and outlive their
//! leader; the last one keeps what was agreed on and refuses writes.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and lays out files as an operator would"
)]

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use meridian_cluster::{
    Cluster, Options,
    bootstrap::Origin,
    consensus::Profile,
    directory::{Actor, Proposal, SourceFile, WriteError},
    fabric::Authority,
    host::{Host, os::OsHost},
    membership::Liveness,
    version::Versions,
};
use meridian_config::{
    name::NodeId,
    node_file::{AdminFile, FabricFile, Listen, NodeFile},
};
use tokio::{runtime::Runtime, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const NODES: [(&str, &str); 3] = [
    ("eu-west-1", "eu-west"),
    ("us-east-1", "us-east"),
    ("ap-south-1", "ap-south"),
];

/// Far beyond what anything here takes; it ends a test that would hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// A node with a runtime of its own, so that it can be killed as a process is.
struct Node {
    cluster: Cluster,
    runtime: Runtime,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Node {
    fn start(folder: &Path, index: usize, join: Vec<String>) -> Self {
        let runtime = Runtime::new().unwrap();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let file = node_file(folder, index, join);
        let cluster = runtime.block_on(async {
            let host: Arc<dyn Host> = Arc::new(OsHost::new(&file.data_dir).unwrap());
            let options = Options {
                versions: Versions::THIS_RELEASE,
                profile: Profile::Local,
                origin: Origin::Founding,
                check: Arc::new(|_| Ok(())),
                quota: meridian_cluster::quota::params::Params::DEFAULT,
                onlooker: None,
            };
            Cluster::start(host, &file, options, &tracker, &stop)
                .await
                .unwrap()
        });
        Self {
            cluster,
            runtime,
            stop,
            tracker,
        }
    }

    fn control(&self) -> String {
        self.cluster.fabric().local_control().to_string()
    }

    fn apply(&self, text: &str, expect: Option<u64>) -> Result<u64, WriteError> {
        let proposal = Proposal {
            files: vec![source(text)],
            actor: Actor::new("test", "operator", None),
            message: String::new(),
            expect,
        };
        let accepted = self
            .runtime
            .block_on(async { timeout(DEADLINE, self.cluster.directory().apply(proposal)).await });
        Ok(accepted.expect("a write is answered")?.revision)
    }

    fn awaits_revision(&self, number: u64) -> String {
        let mut revisions = self.cluster.directory().watch();
        let found = self.runtime.block_on(async {
            timeout(
                DEADLINE,
                revisions.wait_for(|revision| {
                    revision
                        .as_ref()
                        .is_some_and(|revision| revision.number == number)
                }),
            )
            .await
            .expect("the revision arrives")
            .unwrap()
            .clone()
        });
        found.unwrap().files[0].text.clone()
    }

    fn awaits_liveness(&self, id: &str, wanted: Liveness) {
        let mut views = self.cluster.membership().watch();
        self.runtime.block_on(async {
            timeout(
                DEADLINE,
                views.wait_for(|view| {
                    view.members
                        .get(id)
                        .is_some_and(|member| member.liveness == wanted)
                }),
            )
            .await
            .expect("the verdict comes")
            .unwrap();
        });
    }

    fn revision(&self) -> u64 {
        let current = self.cluster.directory().current();
        current.map_or(0, |revision| revision.number)
    }

    fn leader(&self) -> Option<NodeId> {
        self.cluster.directory().status().leader
    }

    /// As a killed process: its control plane ends in the middle of what it does and says no goodbye.
    fn kill(self) {
        drop(self.cluster);
        self.runtime.shutdown_timeout(DEADLINE);
        // The bulk endpoint has a thread of its own.
        self.stop.cancel();
    }

    fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.runtime
            .block_on(async { timeout(DEADLINE, self.tracker.wait()).await })
            .expect("all tasks end");
    }
}

fn source(text: &str) -> SourceFile {
    SourceFile {
        name: "gateway.yaml".into(),
        text: text.into(),
    }
}

fn node_file(folder: &Path, index: usize, join: Vec<String>) -> NodeFile {
    let (id, region) = NODES[index];
    let own = folder.join(id);
    let free = (Ipv4Addr::LOCALHOST, 0).into();
    NodeFile {
        cluster: "test".into(),
        bootstrap: NODES.iter().map(|(id, _)| (*id).into()).collect(),
        id: id.into(),
        region: region.into(),
        data_dir: own.join("data"),
        listen: Listen {
            http: None,
            https: None,
            fabric: free,
            bulk: free,
            admin: free,
        },
        fabric: FabricFile {
            advertise: None,
            advertise_bulk: None,
            ca: folder.join("ca.pem"),
            cert: own.join("node.pem"),
            key: own.join("node.key"),
            join,
        },
        tls: Vec::new(),
        admin: AdminFile {
            tokens: own.join("tokens.yaml"),
            tls: None,
        },
    }
}

fn certificates(folder: &Path) {
    let authority = Authority::create("test", None).unwrap();
    let now = OsHost::new(&folder.join("clock")).unwrap().unix_time();
    std::fs::write(folder.join("ca.pem"), authority.cert_pem()).unwrap();
    for (id, region) in NODES {
        let own = folder.join(id);
        std::fs::create_dir(&own).unwrap();
        let issued = authority
            .issue(
                &id.into(),
                &region.into(),
                &[],
                &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
                now,
            )
            .unwrap();
        std::fs::write(own.join("node.pem"), issued.cert_pem).unwrap();
        std::fs::write(own.join("node.key"), &issued.key_pem).unwrap();
    }
}

fn three(folder: &Path) -> Vec<Node> {
    let first = Node::start(folder, 0, Vec::new());
    let join = vec![first.control()];
    let mut nodes = vec![first];
    nodes.extend((1..NODES.len()).map(|index| Node::start(folder, index, join.clone())));
    nodes
}

#[test]
fn three_nodes_agree_and_the_last_one_keeps_what_they_agreed_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificates(folder);
    let mut nodes = three(folder);

    // A write at a node that does not lead reaches all.
    for node in &nodes {
        for (id, _) in NODES {
            node.awaits_liveness(id, Liveness::Up);
        }
    }
    let first = loop {
        match nodes[2].apply("first", None) {
            Ok(number) => break number,
            Err(
                WriteError::NotFounded | WriteError::NoLeader { .. } | WriteError::NoQuorum { .. },
            ) => {
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(first, 1);
    for node in &nodes {
        assert_eq!(node.awaits_revision(1), "first");
    }

    // The leader dies; the others elect, and accept writes.
    let leader = nodes[0].leader().expect("a write was accepted");
    let index = NODES
        .iter()
        .position(|(id, _)| *id == leader.as_str())
        .unwrap();
    nodes.remove(index).kill();
    for node in &nodes {
        node.awaits_liveness(leader.as_str(), Liveness::Down);
    }
    // A write that was on its way to the dead leader may end unconfirmed, and may have been made.
    while nodes[0].revision() < 2 {
        match nodes[0].apply("second", Some(1)) {
            Ok(number) => assert_eq!(number, 2),
            Err(
                WriteError::Unconfirmed { .. }
                | WriteError::NoLeader { .. }
                | WriteError::Conflict { current: 2, .. },
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(nodes[1].awaits_revision(2), "second");

    // One alone keeps what was agreed on, and says at once that it cannot write.
    let last = nodes.pop().unwrap();
    let other = nodes.pop().unwrap();
    let id = other.cluster.fabric().own().id;
    other.kill();
    last.awaits_liveness(id.as_str(), Liveness::Down);
    assert!(matches!(
        last.apply("third", None),
        Err(WriteError::NoQuorum { .. })
    ));
    assert_eq!(last.awaits_revision(2), "second");
    last.stop();
}
