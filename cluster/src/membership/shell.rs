//! The task that gossips, probes, judges and publishes the view.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use meridian_config::name::NodeId;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Announced, Detector, Liveness, Verdict, View, announcement,
    detector::PROBE_INTERVAL,
    gossip::{Gossip, Heard},
    picture::{self, Known},
};
use crate::fabric::{Datagram, Fabric, Received};

/// Between two looks at the detector: an eighth of the time a suspicion takes, so that verdicts are late
/// by little, and a quarter of a stall.
const TICK: Duration = Duration::from_millis(25);

/// Looks a round: gossip is heard and probes are sent once in so many.
const TICKS_A_ROUND: u32 = 4;
const _: () = assert!(TICK.as_millis() * TICKS_A_ROUND as u128 == PROBE_INTERVAL.as_millis());

/// This node's membership of its cluster. Clones share it.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
}

struct Shared {
    view: ArcSwap<View>,
    published: watch::Sender<Arc<View>>,
    announced: Mutex<Announced>,
    /// The announcement has changed.
    changed: Notify,
}

impl Membership {
    /// Begins to gossip and to probe, on `tracker`, until `stop`.
    ///
    /// When `stop` is cancelled gossip ends; the fabric, which stops with it, tells the peers.
    pub fn start(
        fabric: &Fabric,
        cluster: &str,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let alone = Arc::new(picture::compose(
            &own(fabric, Announced::default()),
            &[],
            &Detector::default(),
        ));
        let shared = Arc::new(Shared {
            view: ArcSwap::new(Arc::clone(&alone)),
            published: watch::Sender::new(alone),
            announced: Mutex::default(),
            changed: Notify::new(),
        });
        let task = Task {
            shared: Arc::clone(&shared),
            fabric: fabric.clone(),
            cluster: cluster.to_owned(),
            detector: Detector::default(),
            heard: Heard::default(),
            probes: 0,
            complained: 0,
        };
        tracker.spawn(task.run(stop));
        Self { shared }
    }

    /// The picture of the cluster as of now.
    pub fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// Follows the picture.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.shared.published.subscribe()
    }

    /// Changes what this node says of itself; peers hear it with the next round of gossip.
    pub fn announce(&self, change: impl FnOnce(&mut Announced)) {
        let mut announced = self
            .shared
            .announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = announced.clone();
        change(&mut announced);
        if *announced != before {
            self.shared.changed.notify_one();
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("view", &self.shared.view.load())
            .finish_non_exhaustive()
    }
}

struct Task {
    shared: Arc<Shared>,
    fabric: Fabric,
    cluster: String,
    detector: Detector,
    heard: Heard,
    /// Counts probes; the number goes along, so that no two are alike.
    probes: u64,
    /// Services that the last complaint found left out of gossip.
    complained: usize,
}

impl Task {
    async fn run(mut self, stop: CancellationToken) {
        let inbox = Arc::new(tokio::sync::Mutex::new(self.fabric.inbox(Datagram::Gossip)));
        let mut echoes = self.fabric.inbox(Datagram::Echo);
        let mut incarnation = self.fabric.watch_incarnation();
        if !self.pause(&stop).await {
            return;
        }
        while !stop.is_cancelled() {
            incarnation.mark_unchanged();
            let mut gossip = Gossip::start(&self.fabric, &self.cluster, Arc::clone(&inbox)).await;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                // Peers knew a later start of this node: gossip again under the greater number.
                _ = incarnation.changed() => {}
                () = self.gossip_and_probe(&mut gossip, &mut echoes) => {}
            }
            gossip.stop().await;
        }
    }

    /// Waits where the node was started too often; false: it stops.
    async fn pause(&self, stop: &CancellationToken) -> bool {
        let wait = self.fabric.gossip_wait();
        if !wait.is_zero() {
            tracing::warn!(
                "this node was started very often of late: it serves, and gossips in {} s; see why it ends",
                wait.as_secs()
            );
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = sleep(wait) => true,
        }
    }

    async fn gossip_and_probe(
        &mut self,
        gossip: &mut Gossip,
        echoes: &mut mpsc::Receiver<Received>,
    ) {
        let shared = Arc::clone(&self.shared);
        let mut met = self.fabric.watch_peers();
        met.mark_changed();
        let mut looks = interval(TICK);
        // After a stall one look is enough: the detector takes the gap for what it is.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = 0_u32;
        loop {
            tokio::select! {
                biased;
                Some(echo) = echoes.recv() => {
                    self.detector.heard(&echo.from.id, now());
                }
                Ok(()) = met.changed() => {
                    self.meet(gossip);
                    self.hear(gossip).await;
                }
                () = shared.changed.notified() => self.say(gossip).await,
                _ = looks.tick() => {
                    let changes = self.detector.tick(now());
                    if look.is_multiple_of(TICKS_A_ROUND) {
                        self.hear(gossip).await;
                        self.meet(gossip);
                        self.probe(self.detector.watched().cloned().collect());
                    } else if look.is_multiple_of(TICKS_A_ROUND / 2) {
                        self.probe(self.detector.overdue(now()).cloned().collect());
                    }
                    look = look.wrapping_add(1);
                    if !changes.is_empty() {
                        self.act(&changes);
                        self.say(gossip).await;
                    } else if self.detector.has_swayed() {
                        // Requests go elsewhere from now on, where they can.
                        self.publish(self.announced());
                    }
                }
            }
        }
    }

    /// Greets nodes that the fabric has met and gossip does not hear: it has not met them, or has forgotten
    /// them, and would not turn to them by itself.
    fn meet(&self, gossip: &Gossip) {
        for peer in self.fabric.peers() {
            let known = self.heard.nodes.iter().any(|known| {
                known.live
                    && known.id == peer.identity.id
                    && known.incarnation >= peer.identity.incarnation
            });
            if peer.connected && !known {
                gossip.meet(peer.control);
            }
        }
    }

    async fn hear(&mut self, gossip: &mut Gossip) {
        let mut before = std::mem::take(&mut self.heard);
        self.heard = gossip.hear(&self.fabric, &mut before).await;
        self.heard.recall(before, &self.fabric);
        let own_region = self.fabric.own().region;
        let targets = picture::targets(&own_region, &self.heard.nodes, &self.detector);
        let unwanted: Vec<NodeId> = self
            .detector
            .watched()
            .filter(|id| !targets.contains(*id))
            .cloned()
            .collect();
        for known in &self.heard.nodes {
            if targets.contains(&known.id) {
                // Before those that make room for it are forgotten.
                let doubted = picture::is_silent(&known.region, &self.heard.nodes, &self.detector);
                self.detector.watch(&known.id, doubted, now());
            }
        }
        for id in &unwanted {
            self.detector.forget(id);
        }
        for peer in self.fabric.peers() {
            if let Some(since) = peer.since {
                self.detector.met(&peer.identity.id, since);
            }
        }
        for id in &self.heard.condemned {
            self.detector.condemn(id);
        }
        let gone: Vec<Verdict> = self
            .heard
            .nodes
            .iter()
            .filter(|known| known.left)
            .filter_map(|known| self.detector.gone(&known.id))
            .collect();
        self.act(&gone);
        self.say(gossip).await;
    }

    async fn say(&mut self, gossip: &mut Gossip) {
        let announced = self.announced();
        let (keys, left_out) = announcement::write(&announced);
        if left_out > self.complained {
            tracing::warn!(
                "the health of {left_out} services is not gossiped: a node may say {} bytes of itself; use fewer or shorter service names",
                announcement::LIMIT
            );
        }
        self.complained = left_out;
        let down: Vec<NodeId> = self
            .detector
            .watched()
            .filter(|id| self.detector.verdict(id) == Some(Liveness::Down))
            .cloned()
            .collect();
        gossip.say(keys, &down).await;
        self.publish(announced);
    }

    fn probe(&mut self, targets: Vec<NodeId>) {
        for id in targets {
            self.probes += 1;
            // What is not sent is not answered: the silence that follows is the verdict's ground.
            let _ = self
                .fabric
                .send_datagram(&id, Datagram::Probe, &self.probes.to_be_bytes());
        }
    }

    /// Carries out verdicts.
    fn act(&self, verdicts: &[Verdict]) {
        for Verdict { node, liveness } in verdicts {
            tracing::trace!(target: "meridian::decision", %node, ?liveness, "verdict");
            match liveness {
                Liveness::Up => tracing::info!(%node, "answers again"),
                Liveness::Suspect => tracing::debug!(%node, "silent"),
                Liveness::Down => {
                    tracing::warn!(%node, "taken for dead: it does not answer probes");
                    // What waits on its connections fails now and is tried elsewhere.
                    self.fabric.part(node, "no answer to probes");
                }
            }
        }
    }

    /// What the node says of itself, and what membership adds.
    fn announced(&self) -> Announced {
        let mut announced = self
            .shared
            .announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let view = self.shared.view.load();
        announced.latencies = view
            .regions
            .iter()
            .filter(|(region, _)| **region != view.own_region)
            .filter_map(|(region, health)| Some((region.clone(), health.rtt?)))
            .collect();
        announced.versions = self.fabric.versions();
        announced
    }

    fn publish(&self, announced: Announced) {
        let view = picture::compose(
            &own(&self.fabric, announced),
            &self.heard.nodes,
            &self.detector,
        );
        let before = self.shared.view.load();
        if view != **before {
            let nodes = &self.heard.nodes;
            for id in picture::gone_with_their_region(&before, &view, nodes, &self.detector) {
                // What waits on its connections fails now and is tried elsewhere, as with those that are probed.
                self.fabric.part(&id, "its region does not answer");
            }
            let view = Arc::new(view);
            self.shared.view.store(Arc::clone(&view));
            self.shared.published.send_replace(view);
        }
    }
}

fn own(fabric: &Fabric, announced: Announced) -> Known {
    let identity = fabric.own();
    Known {
        id: identity.id,
        region: identity.region,
        incarnation: identity.incarnation,
        control: fabric.local_control(),
        bulk: fabric.local_bulk(),
        said: 0,
        announced,
        rtt: None,
        live: true,
        left: false,
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
