//! A cluster that begins again with what an earlier one had: from a backup, on empty nodes.
//!
//! In: a backup, at the founder with the lowest id, which was started to wait for one. Out: a cluster of one voter that
//! holds all of it; the other nodes join it as they join any cluster. It has an id and an era of its own, so
//! that a node left over from the earlier one is refused by the fabric, and by Raft where it has lost its
//! identity.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use meridian_config::name::NodeId;
use rand::{RngExt as _, rngs::StdRng};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::Shared;
use crate::{
    consensus::{Era, Seat},
    directory::{Actor, Backup, Directory, NotABackup, Note},
    host::blocking,
    membership::Liveness,
};

/// Where the cluster of a node without a log comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// The named nodes found it, or it is there already.
    #[default]
    Founding,
    /// The named node with the lowest id founds none and waits for a backup.
    Restore,
}

/// Restores the cluster from a backup. Clones share it.
#[derive(Clone)]
pub struct Restorer {
    pub(super) shared: Arc<Shared>,
    pub(super) directory: Directory,
    pub(super) tracker: TaskTracker,
}

/// What a restore has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The cluster's new id.
    pub cluster_id: String,
    /// Its newest revision; 0: none.
    pub revision: u64,
    /// Revocations and blocks in it.
    pub facts: u64,
}

/// Why nothing was restored. Where not said otherwise, nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// It was not started for that.
    #[error(
        "this node does not wait for a restore; a backup is restored onto empty nodes: start {} with `meridian node --config FILE --await-restore` and an empty data_dir, and restore there",
        of_first(.0.as_ref())
    )]
    NotAwaited(Option<NodeId>),
    /// It belongs to a cluster, or did.
    #[error(
        "the data_dir of this node is not empty: {0}; a backup is restored onto empty nodes, so stop it, move data_dir aside and start it again with --await-restore"
    )]
    NotEmpty(&'static str),
    /// There is a cluster already.
    #[error(
        "{0} can be reached and belongs to a cluster already; stop it and move its data_dir aside if that cluster is lost, or let this node join it: start it without --await-restore"
    )]
    Elsewhere(NodeId),
    /// The bytes are no backup.
    #[error(transparent)]
    NotABackup(#[from] NotABackup),
    /// It is of another cluster.
    #[error(
        "the backup is of the cluster {theirs}, node.yaml says {ours}; take the right file, or correct `cluster.name`"
    )]
    OtherCluster {
        /// The backup's.
        theirs: String,
        /// This node's.
        ours: String,
    },
    /// Another one is under way.
    #[error("another restore is under way; look at `meridian status`")]
    UnderWay,
    /// It could not be written.
    #[error("the backup could not be installed: {0}; mend that, and restore again")]
    Failed(String),
}

fn of_first(first: Option<&NodeId>) -> String {
    first.map_or_else(
        || "the lowest id of `cluster.bootstrap`".to_owned(),
        |first| format!("{first}, the lowest id of `cluster.bootstrap`,"),
    )
}

/// An empty cluster id is not settled within this only when the disk is broken.
const SETTLED: Duration = Duration::from_secs(10);

/// How long a node that is up may take to say where it belongs.
const ANSWERS: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Restorer {
    /// Makes the backup the state of a new cluster of which this node is the first member. Returns when it
    /// leads that cluster. Once it has begun it goes on if the future is dropped.
    pub async fn restore(&self, backup: Bytes, actor: Actor) -> Result<Restored, RestoreError> {
        let all = self.clone();
        let restoring = self.tracker.spawn(async move {
            let mut ids = all
                .shared
                .ids
                .try_lock()
                .map_err(|_| RestoreError::UnderWay)?;
            all.restore_now(backup, actor, &mut ids).await
        });
        restoring
            .await
            .unwrap_or_else(|broken| Err(RestoreError::Failed(broken.to_string())))
    }

    async fn restore_now(
        &self,
        backup: Bytes,
        actor: Actor,
        ids: &mut StdRng,
    ) -> Result<Restored, RestoreError> {
        let shared = &self.shared;
        self.may_restore().await?;
        let backup = blocking(&*shared.host, move || Backup::read(&backup)).await?;
        let about = backup.about;
        if about.cluster != shared.cluster {
            return Err(RestoreError::OtherCluster {
                theirs: about.cluster,
                ours: shared.cluster.clone(),
            });
        }
        let cluster_id = new_cluster_id(ids);
        let index = about.index + 1;
        let restored = backup.state.restored(cluster_id.clone());
        let state = blocking(&*shared.host, move || Bytes::from(restored.encode())).await;
        shared
            .group
            .admit(Some(Era(ids.random())), index)
            .await
            .map_err(|error| RestoreError::Failed(error.to_string()))?;
        let region = shared.region.clone();
        let seat = Seat {
            region,
            number: index,
        };
        shared
            .group
            .begin_with(state, index, seat)
            .await
            .map_err(RestoreError::Failed)?;
        tracing::info!(
            %cluster_id,
            of = %about.cluster_id,
            revision = about.revision,
            made_by = %about.node,
            "the cluster is restored from a backup; this node is its only voter until others join"
        );
        let note = Note {
            act: "restore".to_owned(),
            target: format!(
                "backup of {} at revision {} by {}",
                about.cluster_id, about.revision, about.node
            ),
            refused: None,
        };
        if let Err(error) = self.directory.note(actor, note).await {
            tracing::warn!("the restore has no entry in the audit: {error}");
        }
        let mut settled = shared.cluster_id.subscribe();
        // Late on a broken disk, which is told in the log; it stands restored all the same.
        let _ = tokio::time::timeout(SETTLED, settled.wait_for(Option::is_some)).await;
        Ok(Restored {
            cluster_id,
            revision: about.revision,
            facts: about.facts,
        })
    }

    /// Whether this node waits for a backup.
    pub fn is_awaited(&self) -> bool {
        self.shared.awaits_restore() && self.shared.cluster_id().is_none()
    }

    /// Only the one founder that founds, with nothing on its disk, while no reachable node has anything either.
    async fn may_restore(&self) -> Result<(), RestoreError> {
        let shared = &self.shared;
        let not_empty = if shared.cluster_id().is_some() {
            Some("it belongs to a cluster")
        } else if shared.has_log().await {
            Some("it holds a log")
        } else if shared.lost_identity {
            Some("its identity was damaged")
        } else if self.directory.current().is_some() {
            Some("it holds a revision")
        } else {
            None
        };
        if !shared.awaits_restore() {
            return Err(RestoreError::NotAwaited(shared.bootstrap.first().cloned()));
        }
        if let Some(what) = not_empty {
            return Err(RestoreError::NotEmpty(what));
        }
        // A node that has just started is up before it can say where it belongs.
        let deadline = Instant::now() + ANSWERS;
        let mut others = shared.look_around().await;
        while Instant::now() < deadline {
            let view = shared.view.borrow().clone();
            let silent = view.members.values().any(|member| {
                let up = member.liveness == Liveness::Up && member.id != shared.own;
                up && !others.contains_key(&member.id)
            });
            if !silent {
                break;
            }
            sleep(LOOK_AGAIN).await;
            others = shared.look_around().await;
        }
        let member = others.into_iter().find_map(|(node, standing)| {
            if standing.has_log || standing.cluster_id.is_some() {
                return Some(node);
            }
            standing.elsewhere.filter(|node| *node != shared.own)
        });
        member.map_or(Ok(()), |node| Err(RestoreError::Elsewhere(node)))
    }
}

impl Shared {
    /// Whether this node, as long as it has no log, waits for a backup.
    pub(super) fn awaits_restore(&self) -> bool {
        self.origin == Origin::Restore && self.bootstrap.first() == Some(&self.own)
    }
}

/// A new cluster's id.
pub(super) fn new_cluster_id(ids: &mut StdRng) -> String {
    let bytes: [u8; 16] = ids.random();
    bytes.iter().fold(String::new(), |mut id, byte| {
        write!(id, "{byte:02x}").expect("writing to a string does not fail");
        id
    })
}
