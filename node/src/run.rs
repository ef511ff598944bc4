//! One node, from its start to its end.
//!
//! ```text
//! cluster (fabric, membership, directory) ─► adopt ─► Compiled ─► workers (listeners, pipeline) ─► log
//!                                                            └─► announce, health, metrics ─► admin
//! ```
//!
//! In: a host, a checked `node.yaml`. Out: a served cluster until the host asks to stop, then an orderly
//! end: new work is refused and announced so, what runs is finished or broken off at the deadline, the
//! leadership is handed over, membership ends, the log is written.

mod edge;
mod meet;
mod peers;
mod state;
mod workers;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use meridian_cluster::{
    Cluster, Options, StartError,
    bootstrap::Origin,
    consensus::Profile,
    host::Host,
    quota::{
        onlooker::Onlooker,
        params::{Params, Planted},
    },
    version::Versions,
};
use meridian_config::{name::NodeId, node_file::NodeFile};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{Admin, AdminError, Node, Own},
    ban::Bans,
    explain::Explainer,
    identity::Issuers,
    limit::Limiter,
    listener::{tls::EdgeTls, tls::TlsError},
    report::{
        AccessLog, Metrics, cluster::ClusterPage, fabric::FabricPage, facts::FactsPage, pseudonym,
        quota::QuotaPage,
    },
    revision::{Drafts, adopt::Adopter},
    upstream::{Roots, Setup, Upstreams},
};
use edge::{DRAIN, Edge};
use state::State;
use workers::{Bound, Workers};

/// Until the peers have heard by gossip that this node drains, and send it nothing more: chitchat
/// at 100 ms a round takes a few rounds to reach everyone.
const SPREAD: Duration = Duration::from_millis(800);
/// For handing over leadership: a round trip to the farthest voter, with room.
const HAND_OVER: Duration = Duration::from_secs(2);
/// For asking peers what was revoked and blocked meanwhile, before clients are let in: several round trips to the
/// farthest. Nobody there to ask: no time at all.
const CATCH_UP: Duration = Duration::from_secs(1);
/// For hearing what this node may spend of limits, before clients are let in: longer than the ledger is without a leader.
/// Without a quorum it goes on with what it had before.
const SHARE: Duration = Duration::from_secs(6);
/// For asking peers the same before a node that began with an empty disk serves its first document: it knows nothing of
/// what was revoked, clients are served elsewhere, and a quarter of a million facts over a slow link take this long.
const LEARN: Duration = Duration::from_secs(60);
/// For each part that has been told to end. Each does at once; the bound keeps a mistake of ours from
/// keeping a node alive.
const END: Duration = Duration::from_secs(3);

/// What only tests and `meridian dev` may ask of a node. No file, flag or API leads here.
#[derive(Debug, Default)]
pub struct Hooks {
    /// A cluster on one machine: plain `http:` issuers pass, and Raft runs with the timings of one machine.
    pub dev: bool,
    /// Raft's timings, where those that follow from `dev` do not fit: a simulation's regions are far apart.
    pub profile: Option<Profile>,
    /// The versions of messages it reads, where it is to pass for a node of another release.
    pub versions: Option<Versions>,
    /// The node heeds no revocation and no block: a mistake that a simulation plants, to see whether it is noticed.
    pub deaf: bool,
    /// Mistakes in what limits rest on, that a simulation plants for the same reason.
    pub quota: Planted,
    /// Looks on at limits, for a simulation that checks what is promised of them.
    pub onlooker: Option<Arc<dyn Onlooker>>,
    /// Hears of the node once it is up.
    pub observe: Option<oneshot::Sender<Handles>>,
}

/// A running node, seen from the process that runs it.
#[derive(Debug, Clone)]
pub struct Handles {
    /// Its part in the cluster.
    pub cluster: Cluster,
    /// Where it listens for plain HTTP.
    pub http: Option<SocketAddr>,
    /// Where it listens for HTTPS.
    pub https: Option<SocketAddr>,
    /// Where its admin API listens.
    pub admin: SocketAddr,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its way to upstreams and peers.
    pub upstreams: Upstreams,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster's side.
    #[error(transparent)]
    Cluster(#[from] StartError),
    /// Edge certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The admin API.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A listener.
    #[error(
        "{key} {address} cannot be listened at: {cause}; stop what holds the port, or change {key} in the node file"
    )]
    Listen {
        /// The key in the node file.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Another process took this node's place.
    #[error(
        "another process with the id {id} started later (incarnation {incarnation}) and took this node's place; stop one of the two, or give it a node.id and certificate of its own"
    )]
    Replaced {
        /// The id that both have.
        id: NodeId,
        /// The other's incarnation.
        incarnation: u64,
    },
    /// An operator removed this node.
    #[error(
        "{id} was removed from the cluster (by entry {index} of the log); to take it in again, empty its data_dir and start it: it joins as a new node"
    )]
    Removed {
        /// This node.
        id: NodeId,
        /// Where in the log.
        index: u64,
    },
    /// The data folder.
    #[error("the node's files cannot be written: {0}; free or mend the disk of data_dir")]
    Files(io::Error),
}

/// Runs a node until its host is asked to stop. `origin` counts only while it has no log.
///
/// Resolves after everything the node has started is gone. Dropping the future abandons the node, as a
/// crash does.
pub async fn run(
    host: Arc<dyn Host>,
    file: NodeFile,
    origin: Origin,
    hooks: Hooks,
) -> Result<(), RunError> {
    let tracker = TaskTracker::new();
    let stop = CancellationToken::new();
    let outcome = serve(&host, &file, origin, hooks, &tracker, &stop).await;
    stop.cancel();
    tracker.close();
    if timeout(END, tracker.wait()).await.is_err() {
        tracing::warn!(
            left = tracker.len(),
            "some tasks did not end in time; ending without them"
        );
    }
    outcome
}

async fn serve(
    host: &Arc<dyn Host>,
    file: &NodeFile,
    origin: Origin,
    hooks: Hooks,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let dev = hooks.dev;
    let fitting = if dev { Profile::Local } else { Profile::Wan };
    let tls = match file.listen.https {
        Some(_) => Some(EdgeTls::load(host, &file.tls).await?),
        None => None,
    };
    let key = pseudonym::Key::load(host).await.map_err(RunError::Files)?;
    let drafts = Arc::new(Drafts::new(dev));
    let checked = drafts.clone();
    let options = Options {
        profile: hooks.profile.unwrap_or(fitting),
        versions: hooks.versions.unwrap_or(Versions::THIS_RELEASE),
        quota: Params::with(hooks.quota),
        onlooker: hooks.onlooker,
        check: Arc::new(move |files| checked.check(files).map(drop)),
        origin,
    };
    let cluster = Cluster::start(host.clone(), file, options, tracker, stop).await?;

    let metrics = Metrics::new(host.workers());
    let page = ClusterPage::new(
        cluster.membership().clone(),
        cluster.directory().clone(),
        cluster.quota().clone(),
    );
    metrics
        .registry()
        .register(Box::new(page))
        .expect("no other series has these names");
    let page = QuotaPage::new(cluster.quota().clone());
    metrics
        .registry()
        .register(Box::new(page))
        .expect("no other series has these names");
    let page = FactsPage::new(cluster.facts().clone());
    metrics
        .registry()
        .register(Box::new(page))
        .expect("no other series has these names");
    let page = FabricPage::new(cluster.fabric().clone(), cluster.renewals().clone());
    metrics
        .registry()
        .register(Box::new(page))
        .expect("no other series has these names");
    let issuers = Issuers::start(host.clone(), tracker.clone(), stop.clone(), dev);
    let upstreams_stop = stop.child_token();
    let membership = cluster.membership().clone();
    let upstreams = Upstreams::start(Setup {
        host: host.clone(),
        view: Arc::new(move || membership.view()),
        bulk: Arc::new(peers::FabricBulk(cluster.fabric().clone())),
        observer: Arc::new(peers::CountFailovers(metrics.path().clone())),
        roots: Roots::Native,
        tracker: tracker.clone(),
        stop: upstreams_stop.clone(),
    });
    let state = Arc::new(State::new(
        cluster.clone(),
        issuers.clone(),
        upstreams.clone(),
        metrics.path().clone(),
    ));
    let adopter = Adopter {
        own_region: file.region.clone(),
        drafts: drafts.clone(),
        issuers: issuers.clone(),
        upstreams: upstreams.clone(),
        metrics: metrics.path().clone(),
        current: state.current.clone(),
    };
    let (adopted, clock) = (state.clone(), host.clone());
    let first = learn_first(cluster.clone(), stop.clone());
    let following = adopter.follow(
        host.clone(),
        cluster.directory().watch(),
        cluster.directory().overrides(),
        move |adoption| adopted.adopted(&adoption, clock.unix_time()),
        stop.clone(),
    );
    tracker.spawn(async move {
        first.await;
        following.await;
    });

    let close_log = CancellationToken::new();
    let log_tracker = TaskTracker::new();
    let log = AccessLog::start(host.clone(), &log_tracker, close_log.clone());
    let asked = state.clone();
    let bans = if hooks.deaf {
        Bans::none(host.clone())
    } else {
        Bans::start(cluster.facts(), host.clone(), tracker, stop.clone())
    };
    let workers = Workers {
        host: host.clone(),
        node: file.id.clone(),
        region: file.region.clone(),
        tls,
        current: state.current.clone(),
        bans,
        issuers,
        limiter: Limiter::new(cluster.quota().clone()),
        upstreams: upstreams.clone(),
        metrics: metrics.path().clone(),
        log,
        key,
        health: Arc::new(move || asked.health()),
    };
    let (asked, advised) = (state.clone(), cluster.clone());
    let node = Node {
        own: Own {
            cluster: file.cluster.clone(),
            id: file.id.clone(),
            region: file.region.clone(),
        },
        directory: cluster.directory().clone(),
        drafts,
        upstreams: upstreams.clone(),
        restorer: cluster.restorer().clone(),
        view: cluster.membership().watch(),
        facts: cluster.facts().clone(),
        quota: cluster.quota().clone(),
        serving: state.current.clone(),
        health: Box::new(move || asked.health()),
        metrics: metrics.clone(),
        advice: Box::new(move || advised.advice()),
        explainer: Explainer::new(Arc::new(workers.worker(0, "explain")), workers.tls.clone()),
    };
    // The API outlives the edge and ends before Raft does.
    let admin_stop = stop.child_token();
    let admin_tracker = TaskTracker::new();
    let admin = Admin::start(
        host.clone(),
        file,
        Arc::new(node),
        &admin_tracker,
        &admin_stop,
    )
    .await?;
    if let Some(followed) = admin.followed() {
        let renewals = cluster.renewals().clone();
        tracker.spawn(renewals.follow(host.clone(), followed, stop.clone()));
    }
    for followed in workers.tls.iter().flat_map(EdgeTls::followed) {
        let renewals = cluster.renewals().clone();
        tracker.spawn(renewals.follow(host.clone(), followed, stop.clone()));
    }
    let admin = admin.local_addr();
    let mut edge = Edge::new(
        workers,
        file.listen.http,
        file.listen.https,
        tracker.clone(),
    );
    let mut marks = cluster.directory().marks();

    // One future for all of the node's life: a signal between two of them would be lost.
    let mut ending = std::pin::pin!(end(host, &cluster));
    let ready = async {
        // One that knows of no other node has nobody to wait for.
        if !file.fabric.join.is_empty() {
            meet::a_document(&cluster, state.decided()).await;
        }
        let begun = Instant::now();
        meet::all_regions(&cluster).await;
        // What was revoked and blocked while this node was away; what it knew before lies in its own files.
        let quota = cluster.quota();
        tokio::join!(
            cluster.facts().catch_up(CATCH_UP),
            quota.answered(SHARE),
            meet::a_leader(&cluster, begun),
        );
    };
    // A node that was removed hears so from the first peer it meets, and lets no client in.
    let mut early = tokio::select! {
        biased;
        ended = ending.as_mut() => Some(ended),
        () = ready => None,
    };
    marks.mark_unchanged();
    let bound = if early.is_some() {
        state.drain(true);
        cluster.quota().drain(true);
        Bound::default()
    } else if !cluster.directory().takes_work() {
        tracing::info!(
            "drained: no work is taken until `meridian undrain {}`",
            file.id
        );
        state.drain(true);
        cluster.quota().drain(true);
        Bound::default()
    } else {
        match edge.open().await {
            Ok(bound) => bound,
            Err(error) => {
                close_log.cancel();
                return Err(error);
            }
        }
    };
    state.listening(&bound, admin);
    tracker.spawn(state.clone().announce(stop.clone()));
    let Bound { http, https } = bound;
    if early.is_none() {
        tracing::info!(node = %file.id, region = %file.region, ?http, ?https, %admin, "serving");
    }
    if let Some(observe) = hooks.observe {
        // Whoever asked may have lost interest; the node runs all the same.
        let _ = observe.send(Handles {
            cluster: cluster.clone(),
            http,
            https,
            admin,
            metrics: metrics.clone(),
            upstreams: upstreams.clone(),
        });
    }

    let why = loop {
        if let Some(early) = early.take() {
            break early;
        }
        let ended = tokio::select! {
            biased;
            ended = ending.as_mut() => Some(ended),
            // Marks it as seen; its sender lives as long as the directory.
            _ = marks.changed() => None,
        };
        if let Some(ended) = ended {
            break ended;
        }
        let takes_work = cluster.directory().takes_work();
        if !takes_work && edge.is_open() {
            tracing::info!("drained or removed by an operator: no new work is taken");
            tracing::trace!(target: "meridian::decision", "drained");
            state.drain(true);
            cluster.quota().drain(true);
            edge.close(stop);
        } else if takes_work && !edge.is_open() {
            match edge.open().await {
                Ok(bound) => {
                    tracing::info!("put back by an operator: work is taken again");
                    tracing::trace!(target: "meridian::decision", "undrained");
                    state.listening(&bound, admin);
                    state.drain(false);
                    cluster.quota().drain(false);
                }
                Err(error) => break End::Broken(error),
            }
        }
    };
    tracing::info!("draining: no new work is taken");
    tracing::trace!(target: "meridian::decision", "draining");
    state.drain(true);
    cluster.quota().drain(true);
    edge.close(stop);
    let aborts = edge.aborts();
    let mut ending = std::pin::pin!(async {
        // Tunnels begin with a request of the edge; those that stand when it has ended are all there are.
        let rest = async {
            tokio::time::sleep(SPREAD).await;
            upstreams.ended().await;
        };
        tokio::join!(edge.ended(), rest);
    });
    if timeout(DRAIN, ending.as_mut()).await.is_err() {
        tracing::warn!(limit = ?DRAIN, "some requests did not end in time; they are broken off");
        for abort in aborts {
            abort.cancel();
        }
        upstreams_stop.cancel();
        let _ = timeout(END, ending).await;
    }
    // Tunnels and what is served for peers: their time is over with the edge's.
    upstreams_stop.cancel();
    if matches!(why, End::Asked) {
        let (directory, quota) = (cluster.directory(), cluster.quota());
        let parting = async { tokio::join!(directory.hand_over(), quota.part(HAND_OVER)) };
        let _ = timeout(HAND_OVER, parting).await;
    }
    // Writes that came in by this node's API are answered before Raft ends here.
    admin_stop.cancel();
    admin_tracker.close();
    let _ = timeout(END, admin_tracker.wait()).await;
    stop.cancel();
    close_log.cancel();
    log_tracker.close();
    let _ = timeout(END, log_tracker.wait()).await;
    let id = file.id.clone();
    match why {
        End::Asked => Ok(()),
        End::Replaced(incarnation) => Err(RunError::Replaced { id, incarnation }),
        End::Removed(index) => Err(RunError::Removed { id, index }),
        End::Broken(error) => Err(error),
    }
}

/// A node that began without a document has lost what it knew of revocations, or never knew any: when its first document
/// has come it asks others for them before it serves by it. Resolves at once where a document lay on its disk.
fn learn_first(cluster: Cluster, stop: CancellationToken) -> impl Future<Output = ()> + Send {
    let mut revisions = cluster.directory().watch();
    let has_one = revisions.borrow().is_some();
    async move {
        if has_one {
            return;
        }
        let learning = async {
            // Its sender lives as long as the directory.
            let _ = revisions.wait_for(Option::is_some).await;
            // The first document of a cluster of one node.
            if cluster.directory().seats().len() < 2 {
                return;
            }
            let whole = cluster.facts().learn(LEARN).await;
            tracing::trace!(target: "meridian::decision", whole, "facts learnt");
            if !whole {
                tracing::warn!(
                    limit = ?LEARN,
                    "no other node has told all that was revoked and blocked; serving without, and going on to ask"
                );
            }
        };
        stop.run_until_cancelled(learning).await;
    }
}

/// Why a node ends.
enum End {
    /// Its host asks it to stop.
    Asked,
    /// A later start of its id, with this incarnation.
    Replaced(u64),
    /// An operator removed it, by the log's entry at this index.
    Removed(u64),
    /// It cannot listen again.
    Broken(RunError),
}

/// Resolves when the node is to end.
async fn end(host: &Arc<dyn Host>, cluster: &Cluster) -> End {
    tokio::select! {
        biased;
        () = host.stop_asked() => End::Asked,
        incarnation = cluster.fabric().replaced() => End::Replaced(incarnation),
        index = cluster.fabric().expelled() => End::Removed(index),
    }
}
