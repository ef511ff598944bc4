//! From one node's empty disk to a running cluster, and back into it after a restart.
//!
//! ```text
//! start ─► identity (whose data folder is it?) ─► Directory::open (serves what the disk has)
//!            │
//!            ├─ a log on disk: Raft goes on
//!            └─ none: founding ─► decide (core) ─► found with the others │ join as a learner
//! then, while this node leads: steward ─► seats (core): the cluster's id, the voters' seats
//! ```
//!
//! A node takes part in Raft only when the cluster has taken it in; the mark of that lies beside its vote
//! in the log store. So a node whose disk was emptied cannot vote before it has lost its old seat.

mod answer;
mod decide;
mod founding;
mod identity;
mod message;
mod seats;
mod steward;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, io, sync::Arc};

use meridian_config::name::{NodeId, RegionName};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    consensus::{Foundation, Group, Profile},
    control::{Switchboard, Topic},
    directory::{Directory, DocumentCheck, OpenError},
    fabric::{Handler, Kind, Transport},
    host::Host,
    membership::View,
};
use identity::Identity;

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
    /// The timings, the same on all nodes.
    pub profile: Profile,
    /// Says whether a document is one.
    pub check: DocumentCheck,
    /// Told the cluster's id as soon as it is known, for every hello from then on.
    pub set_cluster_id: Arc<dyn Fn(&str) + Send + Sync>,
    /// The node's tasks.
    pub tracker: TaskTracker,
    /// The node's end.
    pub stop: CancellationToken,
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
    /// The file that says whose folder it is cannot be read.
    #[error(
        "the file `identity` in data_dir is damaged: {0}; move data_dir aside and start the node again, it rejoins as a learner"
    )]
    DamagedIdentity(String),
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
    group: Group,
    cluster_id: watch::Sender<Option<String>>,
    set_cluster_id: Arc<dyn Fn(&str) + Send + Sync>,
    /// A node seen lately that knows a cluster.
    elsewhere: watch::Sender<Option<NodeId>>,
}

/// Opens the directory, which serves at once what the disk has, and brings this node into its cluster in
/// the background. `register` hooks the handlers up to the fabric: those of kinds Raft, Snapshot and Control.
pub async fn start(
    start: Start,
    register: &(dyn Fn(Kind, Arc<dyn Handler>) + Sync),
) -> Result<Directory, BootstrapError> {
    let identity = Identity::claim(&*start.host, &start.cluster, &start.own).await?;
    if let Some(cluster_id) = &identity.cluster_id {
        (start.set_cluster_id)(cluster_id);
    }
    let opened = Directory::open(
        Arc::clone(&start.host),
        Arc::clone(&start.transport),
        start.check,
        |group| Foundation {
            host: Arc::clone(&start.host),
            transport: Arc::clone(&start.transport),
            group,
            own: start.own.clone(),
            profile: start.profile,
            view: start.view.clone(),
            tracker: start.tracker.clone(),
            stop: start.stop.clone(),
        },
    )
    .await?;
    let shared = Arc::new(Shared {
        host: start.host,
        transport: start.transport,
        view: start.view,
        own: start.own,
        region: start.region,
        cluster: start.cluster,
        bootstrap: start.bootstrap.into_iter().collect(),
        group: opened.group,
        cluster_id: watch::Sender::new(identity.cluster_id),
        set_cluster_id: start.set_cluster_id,
        elsewhere: watch::Sender::new(None),
    });
    register(Kind::Raft, opened.raft.raft);
    register(Kind::Snapshot, opened.raft.snapshots);
    let control = Switchboard::default()
        .with(Topic::Directory, opened.writes)
        .with(Topic::Bootstrap, Arc::clone(&shared) as Arc<dyn Handler>);
    register(Kind::Control, Arc::new(control));
    let directory = opened.directory;
    spawn_until_stop(&start.tracker, &start.stop, {
        let directory = directory.clone();
        async move {
            tokio::join!(
                follow_cluster_id(Arc::clone(&shared), directory.cluster_id()),
                founding::find_a_place(Arc::clone(&shared)),
                steward::serve(shared, directory.clone()),
            );
        }
    });
    Ok(directory)
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

impl Shared {
    fn cluster_id(&self) -> Option<String> {
        self.cluster_id.borrow().clone()
    }

    /// Remembers the cluster's id for good and puts it into every hello.
    async fn settle(&self, cluster_id: &str) -> io::Result<()> {
        if self.cluster_id().as_deref() == Some(cluster_id) {
            return Ok(());
        }
        Identity {
            cluster: self.cluster.clone(),
            node: self.own.clone(),
            cluster_id: Some(cluster_id.to_owned()),
        }
        .save(&*self.host)
        .await?;
        (self.set_cluster_id)(cluster_id);
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
