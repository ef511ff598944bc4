//! From one node's empty disk to a running cluster, and back into it after a restart.
//!
//! ```text
//! start ─► identity (whose data folder is it?) ─► Directory::open (serves what the disk has)
//!            │
//!            ├─ a log on disk: Raft goes on
//!            └─ none: founding ─► decide (core) ─► found with the others │ join as a learner
//!                                               └─► wait for a backup: restore
//! then, while this node leads: steward ─► seats (core): the cluster's id, the voters' seats
//!                              rollout: puts on record which nodes serve the newest revision
//! ```
//!
//! A node takes part in Raft only when the cluster has taken it in; the mark of that lies beside its vote
//! in the log store. So a node whose disk was emptied cannot vote before it has lost its old seat.

mod advice;
mod answer;
mod decide;
mod founding;
mod identity;
mod level;
mod message;
mod restore;
mod rollout;
#[cfg(test)]
mod samples;
mod seats;
mod steward;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use samples::{samples, targets};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use meridian_config::name::{NodeId, RegionName};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    consensus::{Answering, Foundation, Group, Profile},
    control::{Switchboard, Topic},
    directory::{Directory, DocumentCheck, Marks, OpenError},
    fabric::{Handler, Kind, Transport},
    host::Host,
    membership::View,
    quota::{
        onlooker::Onlooker,
        params::Params,
        service::{Parts, Quota},
    },
    version::Versions,
};
pub use advice::Advice;
use identity::Identity;
pub use restore::{Origin, RestoreError, Restored, Restorer};
pub use seats::GRACE;

/// What a node needs to become part of its cluster.
pub struct Start {
    /// The doors outside.
    pub host: Arc<dyn Host>,
    /// The way to the other nodes.
    pub transport: Arc<dyn Transport>,
    /// Who is alive.
    pub view: watch::Receiver<Arc<View>>,
    /// This node.
    pub own: NodeId,
    /// Its region.
    pub region: RegionName,
    /// The cluster's name.
    pub cluster: String,
    /// The nodes that found the cluster together; read only while there is no log.
    pub bootstrap: Vec<NodeId>,
    /// Where the cluster comes from while there is no log.
    pub origin: Origin,
    /// The timings, the same on all nodes.
    pub profile: Profile,
    /// Says whether a document is one.
    pub check: DocumentCheck,
    /// The versions of messages this node reads.
    pub versions: Versions,
    /// Counts this node's starts.
    pub incarnation: u64,
    /// The times that the quota rests on.
    pub quota: Params,
    /// Looks on at limits, in a simulation.
    pub onlooker: Option<Arc<dyn Onlooker>>,
    /// Told what goes into every hello from then on.
    pub greeting: Arc<dyn Greeting>,
    /// The node's tasks.
    pub tracker: TaskTracker,
    /// The node's end.
    pub stop: CancellationToken,
}

/// What peers are told of this node's membership, and whom it turns away: the fabric.
pub trait Greeting: Send + Sync + 'static {
    /// The cluster's id, as soon as it is known, and the number of this node's seat in it.
    fn set_member(&self, cluster_id: &str, seat: u64);
    /// Nodes that are members no more, with the index of their removal: whoever comes under such an id and
    /// an older seat is turned away, this node itself included.
    fn set_removed(&self, removed: BTreeMap<NodeId, u64>);
    /// The version that the cluster has agreed on: whoever does not read it is turned away.
    fn set_level(&self, level: u8);
}

/// Why a node cannot become part of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The data folder belongs to another cluster.
    #[error(
        "data_dir belongs to the cluster {stored}, node.yaml says {configured}; correct `cluster.name`, or give this node a data_dir of its own"
    )]
    OtherCluster {
        /// The cluster it belongs to.
        stored: String,
        /// The cluster in `node.yaml`.
        configured: String,
    },
    /// The data folder belongs to another node.
    #[error(
        "data_dir belongs to the node {stored}, node.yaml says {configured}; correct `node.id`, or give this node a data_dir of its own"
    )]
    OtherNode {
        /// The node it belongs to.
        stored: NodeId,
        /// The node in `node.yaml`.
        configured: NodeId,
    },
    /// The file that says whose folder it is was written by a release that this one does not know.
    #[error("the file `identity` in data_dir cannot be read: {0}")]
    UnknownIdentity(String),
    /// The node's files could not be read or written.
    #[error("data_dir cannot be read or written: {0}; mend the disk and start the node again")]
    Files(#[from] io::Error),
    /// The directory could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What the parts of bootstrap share.
struct Shared {
    host: Arc<dyn Host>,
    transport: Arc<dyn Transport>,
    view: watch::Receiver<Arc<View>>,
    own: NodeId,
    region: RegionName,
    cluster: String,
    bootstrap: BTreeSet<NodeId>,
    origin: Origin,
    /// Its identity was damaged: it may have been a member, and founds nothing.
    lost_identity: bool,
    group: Group,
    cluster_id: watch::Sender<Option<String>>,
    greeting: Arc<dyn Greeting>,
    /// Held while a node is taken in, and while the leader makes sure of what all members read.
    seating: Mutex<()>,
    /// What the identity file holds: the cluster's id and this node's seat.
    settled: Mutex<Option<(String, u64)>>,
    /// A node seen lately that knows a cluster.
    elsewhere: watch::Sender<Option<NodeId>>,
    /// Ids and eras of new clusters; held by whoever begins one.
    ids: Mutex<StdRng>,
}

/// Opens the directory, which serves at once what the disk has, and brings this node into its cluster in
/// the background, and what restores a backup there. `register` hooks the handlers up to the fabric: those of kinds Raft, Snapshot and Control.
pub async fn start(
    start: Start,
    register: &(dyn Fn(Kind, Arc<dyn Handler>) + Sync),
) -> Result<(Directory, Quota, Restorer), BootstrapError> {
    let identity = Identity::claim(&*start.host, &start.cluster, &start.own).await?;
    let lost_identity = Identity::was_lost(&*start.host).await?;
    if let Some(cluster_id) = &identity.cluster_id {
        start.greeting.set_member(cluster_id, identity.seat);
    }
    let foundation = |group| Foundation {
        host: Arc::clone(&start.host),
        transport: Arc::clone(&start.transport),
        group,
        own: start.own.clone(),
        profile: start.profile,
        view: start.view.clone(),
        tracker: start.tracker.clone(),
        stop: start.stop.clone(),
    };
    let opened = Directory::open(
        Arc::clone(&start.host),
        Arc::clone(&start.transport),
        start.check,
        start.versions,
        foundation,
    )
    .await?;
    let cluster_id = watch::Sender::new(identity.cluster_id.clone());
    let parts = Parts {
        host: Arc::clone(&start.host),
        transport: Arc::clone(&start.transport),
        directory: opened.directory.clone(),
        electorate: opened.group.clone(),
        cluster_id: cluster_id.subscribe(),
        own: start.own.clone(),
        incarnation: start.incarnation,
        params: start.quota,
        onlooker: start.onlooker,
        tracker: start.tracker.clone(),
        stop: start.stop.clone(),
    };
    let ledger = Quota::open(parts, foundation)
        .await
        .map_err(OpenError::from)?;
    let ids = start.host.entropy("cluster-id");
    let shared = Arc::new(Shared {
        host: start.host,
        transport: start.transport,
        view: start.view,
        own: start.own,
        region: start.region,
        cluster: start.cluster,
        bootstrap: start.bootstrap.into_iter().collect(),
        origin: start.origin,
        lost_identity,
        ids: Mutex::new(StdRng::from_seed(ids)),
        group: opened.group,
        settled: Mutex::new(identity.cluster_id.map(|id| (id, identity.seat))),
        cluster_id,
        greeting: start.greeting,
        seating: Mutex::default(),
        elsewhere: watch::Sender::new(None),
    });
    if shared.origin == Origin::Restore && !shared.awaits_restore() {
        tracing::warn!(
            "--await-restore has no effect here: a backup is restored at the lowest id of `cluster.bootstrap`"
        );
    }
    let (raft, snapshots) = Answering::handlers(vec![opened.raft, ledger.raft]);
    register(Kind::Raft, raft);
    register(Kind::Snapshot, snapshots);
    let control = Switchboard::default()
        .with(Topic::Directory, opened.writes)
        .with(Topic::ReadIndex, opened.reads)
        .with(Topic::Quota, ledger.desk)
        .with(Topic::Bootstrap, Arc::clone(&shared) as Arc<dyn Handler>);
    register(Kind::Control, Arc::new(control));
    let directory = opened.directory;
    let restorer = Restorer {
        shared: Arc::clone(&shared),
        directory: directory.clone(),
        tracker: start.tracker.clone(),
    };
    spawn_until_stop(&start.tracker, &start.stop, {
        let directory = directory.clone();
        async move {
            tokio::join!(
                follow_cluster_id(Arc::clone(&shared), directory.cluster_id()),
                follow_removals(Arc::clone(&shared), directory.marks()),
                follow_level(Arc::clone(&shared), directory.level()),
                founding::find_a_place(Arc::clone(&shared)),
                rollout::record(Arc::clone(&shared), directory.clone()),
                steward::serve(shared, directory.clone()),
            );
        }
    });
    Ok((directory, ledger.quota, restorer))
}

fn spawn_until_stop(
    tracker: &TaskTracker,
    stop: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tracker.spawn(async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = work => {}
        }
    });
}

/// The group agrees on the id; each node remembers it in its own file.
async fn follow_cluster_id(shared: Arc<Shared>, mut agreed: watch::Receiver<Option<String>>) {
    loop {
        let id = agreed.borrow_and_update().clone();
        if let Some(id) = id
            && let Err(error) = shared.settle(&id).await
        {
            tracing::error!("the cluster's id could not be written to data_dir: {error}");
        }
        if agreed.changed().await.is_err() {
            return;
        }
    }
}

/// Turns away whoever does not read what the cluster has agreed on.
async fn follow_level(shared: Arc<Shared>, mut level: watch::Receiver<u8>) {
    loop {
        let agreed = *level.borrow_and_update();
        shared.greeting.set_level(agreed);
        if level.changed().await.is_err() {
            return;
        }
    }
}

/// Turns removed nodes away once they have left the group. Not before: while a removed voter is being
/// replaced its answers may be needed. Itself a node takes for removed when it hears of it, or a peer
/// says so.
async fn follow_removals(shared: Arc<Shared>, mut marks: watch::Receiver<Arc<Marks>>) {
    let mut changes = shared.group.changes();
    let mut told = None;
    loop {
        let removed = &marks.borrow_and_update().removed.clone();
        let seats = shared.group.seats();
        let gone: BTreeMap<NodeId, u64> = removed
            .iter()
            .filter(|(node, _)| !seats.contains_key(*node))
            .map(|(node, mark)| (node.clone(), mark.index))
            .collect();
        if told.as_ref() != Some(&gone) {
            shared.greeting.set_removed(gone.clone());
            told = Some(gone);
        }
        let pause = Instant::now() + REMOVALS_PAUSE;
        tokio::select! {
            biased;
            changed = marks.changed() => if changed.is_err() { return },
            // A removed node leaves the group by a change of its own.
            _ = changes.next(pause) => {}
        }
    }
}

/// Looks at who has left at least this often; changes of the group come sooner.
const REMOVALS_PAUSE: Duration = Duration::from_secs(5);

impl Shared {
    fn cluster_id(&self) -> Option<String> {
        self.cluster_id.borrow().clone()
    }

    /// Remembers the cluster's id for good and puts it into every hello.
    async fn settle(&self, cluster_id: &str) -> io::Result<()> {
        let seat = self.group.seat_number();
        if self.settled.lock().await.as_ref() == Some(&(cluster_id.to_owned(), seat)) {
            return Ok(());
        }
        Identity {
            cluster: self.cluster.clone(),
            node: self.own.clone(),
            cluster_id: Some(cluster_id.to_owned()),
            seat,
        }
        .save(&*self.host)
        .await?;
        *self.settled.lock().await = Some((cluster_id.to_owned(), seat));
        self.greeting.set_member(cluster_id, seat);
        self.cluster_id.send_replace(Some(cluster_id.to_owned()));
        Ok(())
    }

    /// Whether this node holds a Raft log. A disk that does not answer counts as one that does: nothing
    /// is founded on it.
    async fn has_log(&self) -> bool {
        match self.group.has_log().await {
            Ok(has_log) => has_log,
            Err(error) => {
                tracing::error!("{error}");
                true
            }
        }
    }
}
