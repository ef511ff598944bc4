//! The same over the operating system: real sockets, and the bulk endpoint on a thread of its own.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Authority, Fabric, FabricSettings, Trust,
    testing::{Node, eventually, node_file},
};
use crate::host::{Host, os::OsHost};

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
