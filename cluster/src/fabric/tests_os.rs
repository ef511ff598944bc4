//! The same over the operating system: real sockets, and the bulk endpoint on a thread of its own.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Authority, Fabric, FabricSettings, Trust,
    testing::{Node, eventually, node_file},
};
use crate::{
    host::{Host, os::OsHost},
    membership::{Liveness, Membership},
};

const LIMIT: Duration = Duration::from_secs(10);

async fn start(folder: &Path, authority: &Authority, id: &str, join: &[&Node]) -> Node {
    let folder = folder.join(id);
    let host: Arc<dyn Host> = Arc::new(OsHost::new(&folder.join("data")).unwrap());
    let mut file = node_file(authority.cluster(), id, id);
    let issued = authority
        .issue(&file.id, &file.region, &[], &[], host.unix_time())
        .unwrap();
    for (place, name, text) in [
        (&mut file.fabric.ca, "ca.pem", authority.cert_pem()),
        (&mut file.fabric.cert, "node.pem", &issued.cert_pem),
        (&mut file.fabric.key, "node.key", &issued.key_pem),
    ] {
        *place = folder.join(name);
        #[allow(clippy::disallowed_methods, reason = "a test's own files")]
        std::fs::write(place, text).unwrap();
    }
    file.listen.fabric = "127.0.0.1:0".parse().unwrap();
    file.listen.bulk = file.listen.fabric;
    file.fabric.join = join
        .iter()
        .map(|node| node.fabric.local_control().to_string())
        .collect();
    let trust = Trust::load(&host, &file).await.unwrap();
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let settings = FabricSettings::from(&file);
    let fabric = Fabric::start(host, settings, trust, tracker.clone(), stop.clone())
        .await
        .unwrap();
    Node {
        fabric,
        stop,
        tracker,
    }
}

#[tokio::test]
async fn nodes_meet_over_real_sockets_and_forward_between_threads() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create("test", None).unwrap();
    let a = start(folder.path(), &authority, "a", &[]).await;
    let b = start(folder.path(), &authority, "b", &[&a]).await;
    eventually("they meet", || {
        [&a, &b]
            .iter()
            .all(|node| node.fabric.peers().iter().any(|peer| peer.connected))
    })
    .await;
    let body = vec![7; 5 << 20];
    let sender = async {
        let (mut send, mut recv) = b.fabric.open_bulk(&"a".into()).await.unwrap();
        send.write_all(&body).await.unwrap();
        send.finish().unwrap();
        recv.read_to_end(body.len()).await.unwrap()
    };
    let receiver = async {
        let mut taken = a.fabric.accept_bulk().await.unwrap();
        let heard = taken.recv.read_to_end(body.len()).await.unwrap();
        taken.send.write_all(&heard).await.unwrap();
        taken.send.finish().unwrap();
    };
    let (answer, ()) = timeout(LIMIT, async { tokio::join!(sender, receiver) })
        .await
        .unwrap();
    assert_eq!(answer, body);

    timeout(LIMIT, b.stop()).await.unwrap();
    eventually("the goodbye is heard", || a.fabric.peers()[0].left).await;
    timeout(LIMIT, a.stop()).await.unwrap();
}

/// Bulk carries what the machine can for two seconds, and the probes beside it are answered all the while.
#[tokio::test]
async fn a_saturated_bulk_connection_makes_no_node_suspect() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create("test", None).unwrap();
    let a = start(folder.path(), &authority, "a", &[]).await;
    let b = start(folder.path(), &authority, "b", &[&a]).await;
    let [watching, other] = [&a, &b]
        .map(|node| Membership::start(&node.fabric, "test", &node.tracker, node.stop.clone()));
    let sees = |membership: &Membership, id: &str| {
        let view = membership.view();
        view.members.get(id).map(|member| member.liveness)
    };
    eventually("both are up", || {
        sees(&watching, "b") == Some(Liveness::Up) && sees(&other, "a") == Some(Liveness::Up)
    })
    .await;

    let streams = 8;
    let flood = async {
        let streams = (0..streams).map(|_| async {
            let (mut send, _recv) = b.fabric.open_bulk(&"a".into()).await.unwrap();
            let chunk = vec![7; 64 << 10];
            while send.write_all(&chunk).await.is_ok() {}
        });
        futures_util::future::join_all(streams).await;
    };
    let received = AtomicU64::new(0);
    let drain = async {
        let taken = (0..streams).map(|_| async {
            let mut taken = a.fabric.accept_bulk().await.unwrap();
            while let Ok(Some(chunk)) = taken.recv.read_chunk(usize::MAX, true).await {
                received.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            }
        });
        futures_util::future::join_all(taken).await;
    };
    let mut views = watching.watch();
    let trouble = views.wait_for(|view| view.members["b"].liveness != Liveness::Up);
    tokio::select! {
        biased;
        view = trouble => panic!("{:?}", *view.unwrap()),
        _ = async { tokio::join!(flood, drain) } => unreachable!("both go on for ever"),
        () = sleep(Duration::from_secs(2)) => {}
    }
    let received = received.into_inner();
    assert!(received > 1 << 20, "that was no flood: {received} bytes");
}
