//! One whole node on real sockets and a real disk: it founds a cluster of its own, serves what is applied,
//! refuses a taken port, and ends in order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use meridian_cluster::{
    bootstrap::Origin,
    directory::{Actor, Proposal, SourceFile},
    fabric::Authority,
    host::{
        BoxFuture, BoxListener, BoxStream, Files, Host, LogStore, Place, StoreError, os::OsHost,
    },
};
use meridian_config::{
    name::{NodeId, RegionName},
    node_file::{AdminFile, FabricFile, Listen, NodeFile},
};
use meridian_node::{Handles, Hooks, RunError, run};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Far beyond what anything here takes; it ends a test that would hang.
const DEADLINE: Duration = Duration::from_secs(60);

const DOCUMENT: &str = "meridian: 1\nregions: { here: {} }\nedge: { probes: true }\nroutes:\n  status: { match: \
    { path: /status }, respond: { status: 200, json: { ok: true } }, exempt: [limits, auth] }\n";

/// The operating system, but for the signal to stop and the number of cores.
struct Stoppable(OsHost, CancellationToken);

impl Host for Stoppable {
    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        self.0.udp_bind(addr)
    }
    fn listen(&self, addr: SocketAddr, worker: usize) -> io::Result<BoxListener> {
        self.0.listen(addr, worker)
    }
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        self.0.connect(addr)
    }
    fn resolve(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.0.resolve(name, port)
    }
    fn unix_time(&self) -> Duration {
        self.0.unix_time()
    }
    fn entropy(&self, label: &str) -> [u8; 32] {
        self.0.entropy(label)
    }
    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        self.0.log_store()
    }
    fn files(&self) -> Arc<dyn Files> {
        self.0.files()
    }
    fn read_named(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read_named(path)
    }
    fn print(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn place(&self, place: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        self.0.place(place, work)
    }
    fn workers(&self) -> usize {
        2
    }
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.spawn_blocking(work);
    }
    fn stop_asked(&self) -> BoxFuture<'static, ()> {
        let asked = self.1.clone();
        Box::pin(async move { asked.cancelled().await })
    }
}

struct Asked {
    host: Arc<dyn Host>,
    stop: CancellationToken,
}

fn host(folder: &Path) -> Asked {
    let stop = CancellationToken::new();
    let outside = OsHost::new(&folder.join("data")).unwrap();
    Asked {
        host: Arc::new(Stoppable(outside, stop.clone())),
        stop,
    }
}

fn node_file(host: &dyn Host, folder: &Path, http: SocketAddr) -> NodeFile {
    let authority = Authority::create("test", None).unwrap();
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let issued = authority
        .issue(
            &NodeId::from("here-1"),
            &RegionName::from("here"),
            &[],
            &[here],
            host.unix_time(),
        )
        .unwrap();
    for (name, text) in [
        ("ca.pem", authority.cert_pem().to_owned()),
        ("node.pem", issued.cert_pem),
        ("node.key", issued.key_pem),
        ("admin.yaml", "[]\n".to_owned()),
    ] {
        #[allow(
            clippy::disallowed_methods,
            reason = "the operator's files are made by the test, not by a node"
        )]
        std::fs::write(folder.join(name), text).unwrap();
    }
    let free = SocketAddr::new(here, 0);
    NodeFile {
        cluster: "test".to_owned(),
        bootstrap: vec![NodeId::from("here-1")],
        id: NodeId::from("here-1"),
        region: RegionName::from("here"),
        data_dir: folder.join("data"),
        listen: Listen {
            http: Some(http),
            https: None,
            fabric: free,
            bulk: free,
            admin: free,
        },
        fabric: FabricFile {
            advertise: None,
            advertise_bulk: None,
            ca: folder.join("ca.pem"),
            cert: folder.join("node.pem"),
            key: folder.join("node.key"),
            join: Vec::new(),
        },
        tls: Vec::new(),
        admin: AdminFile {
            tokens: folder.join("admin.yaml"),
            tls: None,
        },
    }
}

async fn ask(host: &dyn Host, at: SocketAddr, path: &str) -> String {
    let mut stream = host.connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    heard
}

async fn apply(handles: &Handles, text: &str) -> u64 {
    let proposal = Proposal {
        files: vec![SourceFile {
            name: "gateway.yaml".to_owned(),
            text: text.to_owned(),
        }],
        actor: Actor::new("test", "operator", None),
        message: String::new(),
        expect: None,
    };
    let accepted = handles.cluster.directory().apply(proposal).await.unwrap();
    let own = handles.cluster.membership().view().own.clone();
    let mut views = handles.cluster.membership().watch();
    views
        .wait_for(|view| {
            let announced = view
                .members
                .get(&own)
                .map(|member| member.announced.revision);
            announced == Some(accepted.revision)
        })
        .await
        .unwrap();
    accepted.revision
}

#[tokio::test]
async fn a_node_serves_what_is_applied_and_ends_when_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let Asked { host, stop } = host(folder.path());
    let file = node_file(&*host, folder.path(), free);
    let (observe, up) = oneshot::channel();
    let hooks = Hooks {
        dev: true,
        observe: Some(observe),
        ..Hooks::default()
    };
    let running = run(host.clone(), file, Origin::Founding, hooks);
    let using = async {
        let handles = up.await.unwrap();
        let at = handles.http.unwrap();
        let before = ask(&*host, at, "/status").await;
        assert!(before.starts_with("HTTP/1.1 503"), "{before}");
        assert!(before.contains("not-configured"), "{before}");
        assert_eq!(apply(&handles, DOCUMENT).await, 1);
        let after = ask(&*host, at, "/status").await;
        assert!(after.starts_with("HTTP/1.1 200"), "{after}");
        let ready = ask(&*host, at, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        let page = handles.metrics.render();
        for line in [
            "meridian_config_revision 1",
            "meridian_raft_leader{group=\"directory\"} 1",
        ] {
            assert!(page.contains(line), "{line} is not on\n{page}");
        }
        let wrong = handles
            .cluster
            .directory()
            .apply(Proposal {
                files: vec![SourceFile {
                    name: "gateway.yaml".to_owned(),
                    text: "meridian: 2\n".to_owned(),
                }],
                actor: Actor::new("test", "operator", None),
                message: String::new(),
                expect: None,
            })
            .await;
        assert!(wrong.is_err(), "a document that is none was taken");
        stop.cancel();
    };
    let both = async { tokio::join!(running, using) };
    let (ended, ()) = timeout(DEADLINE, both).await.expect("it ends");
    ended.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_nothing_is_left_running() {
    let folder = tempfile::tempdir().unwrap();
    let Asked { host, .. } = host(folder.path());
    let holder = host
        .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 0)
        .unwrap();
    let taken = holder.local_addr();
    let file = node_file(&*host, folder.path(), taken);
    let ended = timeout(
        DEADLINE,
        run(host, file, Origin::Founding, Hooks::default()),
    )
    .await
    .expect("it ends");
    match ended {
        Err(RunError::Listen { key, address, .. }) => {
            assert_eq!((key, address), ("listen.http", taken));
        }
        other => panic!("{other:?}"),
    }
}
