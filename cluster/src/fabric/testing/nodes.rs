//! Small clusters of fabrics for tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{EPOCH, MemoryFiles, TestHost, TestNet, node_file};
use crate::{
    fabric::{Authority, Fabric, FabricError, FabricSettings, Trust},
    host::Host,
    renewal::Renewals,
};

/// A running fabric and what it takes to stop it.
pub(crate) struct Node {
    pub(crate) fabric: Fabric,
    pub(crate) stop: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

impl Node {
    /// Stops it in good order.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// A small cluster's makings: one network, one CA, the disk of each node.
pub(crate) struct Makings {
    pub(crate) net: Arc<TestNet>,
    pub(crate) authority: Authority,
    pub(crate) disks: Mutex<BTreeMap<String, Arc<MemoryFiles>>>,
    hosts: Mutex<BTreeMap<String, Arc<TestHost>>>,
    /// Certificates that every node finds in its `ca.pem` beside its own authority's.
    pub(crate) also_trusted: String,
}

impl Makings {
    pub(crate) fn new() -> Self {
        Self {
            net: Arc::default(),
            authority: Authority::create("test", Some([1; 32])).unwrap(),
            disks: Mutex::default(),
            hosts: Mutex::default(),
            also_trusted: String::new(),
        }
    }

    /// The outside of the node that was last started under this id.
    pub(crate) fn host(&self, id: &str) -> Arc<TestHost> {
        Arc::clone(&self.hosts.lock().unwrap()[id])
    }

    /// Starts node `id` of `region` on host `10.0.0.NUMBER`; it joins host 1.
    pub(crate) async fn start(&self, id: &str, region: &str, number: u8) -> Node {
        self.start_with(id, region, number, Duration::ZERO, &self.authority)
            .await
            .unwrap()
    }

    /// The same with a clock that is `ahead` and a certificate of another authority.
    pub(crate) async fn start_with(
        &self,
        id: &str,
        region: &str,
        number: u8,
        ahead: Duration,
        authority: &Authority,
    ) -> Result<Node, FabricError> {
        let times = (EPOCH, EPOCH + ahead);
        self.launch(id, region, number, times, authority, |_| {})
            .await
    }

    /// The same with a certificate issued at that later time.
    pub(crate) async fn start_later(
        &self,
        id: &str,
        region: &str,
        number: u8,
        ahead: Duration,
        authority: &Authority,
    ) -> Node {
        let times = (EPOCH + ahead, EPOCH + ahead);
        self.launch(id, region, number, times, authority, |_| {})
            .await
            .unwrap()
    }

    /// Starts a node with the certificate of node `b` in region `us` that says something else of itself.
    pub(crate) async fn start_liar(
        &self,
        number: u8,
        claim: impl FnOnce(&mut FabricSettings),
    ) -> Node {
        self.launch("b", "us", number, (EPOCH, EPOCH), &self.authority, claim)
            .await
            .unwrap()
    }

    /// Starts a node that says something else of itself.
    pub(crate) async fn start_as(
        &self,
        id: &str,
        region: &str,
        number: u8,
        claim: impl FnOnce(&mut FabricSettings),
    ) -> Node {
        let times = (EPOCH, EPOCH);
        self.launch(id, region, number, times, &self.authority, claim)
            .await
            .unwrap()
    }

    async fn launch(
        &self,
        id: &str,
        region: &str,
        number: u8,
        times: (Duration, Duration),
        authority: &Authority,
        claim: impl FnOnce(&mut FabricSettings),
    ) -> Result<Node, FabricError> {
        let mut file = node_file(authority.cluster(), id, region);
        file.listen.fabric = format!("10.0.0.{number}:7400").parse().unwrap();
        file.listen.bulk = format!("10.0.0.{number}:7450").parse().unwrap();
        file.fabric.join = vec!["10.0.0.1:7400".into()];
        let disk = Arc::clone(self.disks.lock().unwrap().entry(id.into()).or_default());
        let host = TestHost::on(&self.net, authority, &file, &disk, times);
        let bundle = format!("{}{}", authority.cert_pem(), self.also_trusted);
        host.put("ca.pem", Some(&bundle));
        let outside: Arc<dyn Host> = host.clone();
        self.hosts.lock().unwrap().insert(id.into(), host);
        let trust = Trust::load(&outside, &file).await.unwrap();
        let mut settings = FabricSettings::from(&file);
        claim(&mut settings);
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let followed = trust.followed(&outside, &file);
        let fabric = Fabric::start(
            Arc::clone(&outside),
            settings,
            trust,
            tracker.clone(),
            stop.clone(),
        )
        .await?;
        tracker.spawn(Renewals::default().follow(outside, followed, stop.clone()));
        Ok(Node {
            fabric,
            stop,
            tracker,
        })
    }
}

/// Waits for a condition, ten simulated seconds at most. How long it took.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}
