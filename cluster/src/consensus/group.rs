//! One running Raft group of this node.
//!
//! In: commands to agree on, changes of membership. Out: the machine's answers once a quorum holds the
//! command, and the group's [`GroupStatus`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use meridian_config::name::NodeId;
use openraft::{
    ChangeMembers,
    async_runtime::watch::WatchReceiver as _,
    errors::{ClientWriteError, LinearizableReadError, RaftError},
    raft::ReadPolicy,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Changes, GroupStatus, Profile, Role,
    admission::{Admission, Era},
    answer::{Answerer, Answerers, Heard},
    examine,
    grants::Grants,
    log::Log,
    network::Network,
    receive::{Receiver, Receivers},
    state_machine::{Machine, StateMachine},
    status,
    types::{Id, Payload, Raft, Seat},
};
use crate::{
    fabric::{Handler, Transport},
    host::{GroupId, Host, LogStore, StoreError, blocking},
    membership::{Liveness, View},
};

/// What a group stands on.
pub(crate) struct Foundation {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) group: GroupId,
    pub(crate) own: NodeId,
    pub(crate) profile: Profile,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// Why a group could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The log store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log is another node's.
    #[error(
        "the log in data_dir is of node {stored}, node.yaml says {configured}; correct `node.id`, or give this node a data_dir of its own"
    )]
    OtherNode {
        /// The node it belongs to.
        stored: NodeId,
        /// The node in `node.yaml`.
        configured: NodeId,
    },
    /// What the disk holds does not make a state.
    #[error(
        "the state of Raft group {group} could not be read back: {cause}; move data_dir aside and start the node again, it rejoins as a learner"
    )]
    State {
        /// Which group.
        group: GroupId,
        /// What is wrong.
        cause: String,
    },
}

/// Why a command was not agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProposeError {
    /// Another node leads, or none: nothing was written.
    NotLeader,
    /// It was written here and may or may not be agreed on: ask again under the same proposal id.
    Unknown,
    /// Raft has stopped on this node.
    Stopped(String),
}

/// Who answers peers on behalf of a group.
pub(crate) struct Answering {
    raft: Arc<Answerer>,
    snapshots: Arc<Receiver>,
}

impl Answering {
    /// The handlers of all groups of a node: of calls of kind Raft, and of kind Snapshot.
    pub(crate) fn handlers(groups: Vec<Self>) -> (Arc<dyn Handler>, Arc<dyn Handler>) {
        let (raft, snapshots) = groups
            .into_iter()
            .map(|group| (group.raft, group.snapshots))
            .unzip();
        (Arc::new(Answerers(raft)), Arc::new(Receivers(snapshots)))
    }
}

/// Why a leader cannot say how far a reader must have applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadIndexError {
    /// Another node leads, or none.
    NotLeader,
    /// No majority confirmed in time that this node still leads.
    NoQuorum,
    /// Raft has stopped on this node.
    Stopped(String),
}

/// A handle to a running group.
#[derive(Clone)]
pub(crate) struct Group {
    pub(super) raft: Raft,
    pub(super) own: NodeId,
    profile: Profile,
    view: watch::Receiver<Arc<View>>,
    heard: watch::Receiver<Option<Heard>>,
    /// Once the cluster has taken this node in.
    admitted: watch::Sender<Option<Admission>>,
    host: Arc<dyn Host>,
    store: Arc<dyn LogStore>,
    group: GroupId,
    /// What voters said when they granted this node's vote.
    grants: Grants,
    /// When it began on this node.
    born: Instant,
    /// Whether this node has seen a majority of the voters since.
    met: Arc<AtomicBool>,
}

impl Group {
    /// Reads the group's state back from disk and takes part in it, if the cluster has taken this node
    /// in.
    pub(crate) async fn start(
        on: Foundation,
        machine: Box<dyn Machine>,
    ) -> Result<(Self, Answering), GroupError> {
        let host = Arc::clone(&on.host);
        let group = on.group;
        let own = on.own.clone();
        let (store, was_admitted) =
            blocking(&*on.host, move || examine::open(&*host, group, &own)).await?;
        let (admitted, is_admitted) = watch::channel(was_admitted);
        let log = Log::new(Arc::clone(&on.host), Arc::clone(&store), group, &on.tracker);
        let grants = Grants::default();
        let raft = Raft::new(
            Id(on.own.clone()),
            on.profile.config(group),
            Network {
                host: Arc::clone(&on.host),
                transport: Arc::clone(&on.transport),
                own: Id(on.own.clone()),
                group,
                admitted: is_admitted.clone(),
                log: log.reader(),
                grants: grants.clone(),
            },
            log,
            StateMachine::new(Arc::clone(&on.host), group, machine),
        )
        .await
        .map_err(|fatal| GroupError::State {
            group,
            cause: fatal.to_string(),
        })?;
        let (heard, hearing) = watch::channel(None);
        let answerer = Arc::new(Answerer {
            group,
            raft: raft.clone(),
            admitted: is_admitted.clone(),
            heard,
        });
        let receiver = Arc::new(Receiver {
            host: Arc::clone(&on.host),
            group,
            raft: raft.clone(),
            admitted: is_admitted,
            coming: Mutex::new(None),
        });
        on.tracker.spawn({
            let (receiver, stop) = (Arc::clone(&receiver), on.stop.clone());
            async move { stop.run_until_cancelled(receiver.forget_idle()).await }
        });
        on.tracker.spawn({
            let (raft, stop) = (raft.clone(), on.stop.clone());
            async move {
                stop.cancelled().await;
                // An error means that it had stopped before.
                let _ = raft.shutdown().await;
            }
        });
        let handle = Self {
            raft,
            own: on.own,
            profile: on.profile,
            view: on.view,
            heard: hearing,
            admitted,
            host: on.host,
            store,
            group,
            grants,
            born: Instant::now(),
            met: Arc::default(),
        };
        let answering = Answering {
            raft: answerer,
            snapshots: receiver,
        };
        Ok((handle, answering))
    }

    /// Proposes a command as leader; the answer is the machine's, with the command's index.
    pub(crate) async fn propose(&self, command: Bytes) -> Result<(u64, Bytes), ProposeError> {
        match self.raft.client_write(Payload(command)).await {
            Ok(written) => Ok((written.log_id.index, written.data.0)),
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                Err(ProposeError::Unknown)
            }
            Err(RaftError::APIError(_)) => Err(ProposeError::NotLeader),
            Err(RaftError::Fatal(fatal)) => Err(ProposeError::Stopped(fatal.to_string())),
        }
    }

    /// As leader: the index that a reader must have applied to see every write that was acknowledged
    /// before this call (ReadIndex; Ongaro, Consensus, section 6.4). A majority confirms first that this
    /// node still leads.
    pub(crate) async fn read_index(&self) -> Result<u64, ReadIndexError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(reading) => Ok(reading.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => {
                Err(ReadIndexError::NotLeader)
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadIndexError::NoQuorum)
            }
            Err(RaftError::Fatal(fatal)) => Err(ReadIndexError::Stopped(fatal.to_string())),
        }
    }

    /// Whether the cluster has taken this node in.
    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted.borrow().is_some()
    }

    /// The number of this node's seat; 0 for founders, and without one.
    pub(crate) fn seat_number(&self) -> u64 {
        let admitted = self.admitted.borrow();
        admitted.as_ref().map_or(0, |admitted| admitted.seat)
    }

    /// Which life of the group this node takes part in.
    pub(crate) fn era(&self) -> Option<Era> {
        let admitted = self.admitted.borrow();
        admitted.as_ref().and_then(|admitted| admitted.era)
    }

    /// Remembers for good that the cluster has taken this node in, in that life of it and under this seat
    /// number, and begins to answer peers.
    pub(crate) async fn admit(&self, era: Option<Era>, seat: u64) -> Result<(), StoreError> {
        let (store, group) = (Arc::clone(&self.store), self.group);
        let admission = Admission {
            node: Some(self.own.clone()),
            seat,
            era,
        };
        let written = admission.clone();
        blocking(&*self.host, move || written.write(&*store, group)).await?;
        self.admitted.send_replace(Some(admission));
        Ok(())
    }

    /// As leader: an index up to which everything is agreed on and applied here, all that was acknowledged
    /// before the call included.
    pub(crate) async fn settled(&self) -> Result<u64, String> {
        let settled = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match tokio::time::timeout(self.profile.patience(), settled).await {
            Ok(Ok(read)) => Ok(read.log_id().index),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("a majority of the voters did not answer in time".to_owned()),
        }
    }

    /// Whether the group has a log on this node: it was founded, and this node has heard of it.
    pub(crate) async fn has_log(&self) -> Result<bool, StoreError> {
        let (store, group) = (Arc::clone(&self.store), self.group);
        blocking(&*self.host, move || super::log::exists(&*store, group)).await
    }

    /// Founds the group: every voter must have an empty log and be admitted.
    pub(crate) async fn found(&self, voters: BTreeMap<NodeId, Seat>) -> Result<(), String> {
        let voters: BTreeMap<Id, Seat> = voters
            .into_iter()
            .map(|(node, seat)| (Id(node), seat))
            .collect();
        self.raft
            .initialize(voters)
            .await
            .map_err(|error| error.to_string())
    }

    /// Changes who belongs to the group, as leader.
    ///
    /// Voters that lose their vote stay as learners if `retain` is set, and leave otherwise.
    pub(crate) async fn change(
        &self,
        change: ChangeMembers<Id, Seat>,
        retain: bool,
    ) -> Result<(), String> {
        // Whoever is taken in anew may come with an empty disk under the id of a voter.
        self.grants.forget();
        match self.raft.change_membership(change, retain).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// As leader: lets the voter that is up and has most of the log lead instead, a `fit` one before others.
    /// Waits until another leads, at most for the lease; without such a voter nothing happens.
    pub(crate) async fn hand_over(&self, fit: impl Fn(&NodeId) -> bool) {
        let status = self.status();
        if status.role != Role::Leader {
            return;
        }
        let progress = self.progress();
        let view = self.view.borrow().clone();
        let is_up = |node: &NodeId| {
            let member = view.members.get(node);
            member.is_some_and(|member| member.liveness == Liveness::Up)
        };
        let others = status.voters.iter().filter(|voter| **voter != self.own);
        let heir = others.filter(|voter| is_up(voter)).max_by_key(|voter| {
            let matching = progress.get(*voter).copied();
            (fit(voter), matching, (*voter).clone())
        });
        let Some(heir) = heir else { return };
        let begun = Instant::now();
        tracing::trace!(target: "meridian::decision", %heir, "leadership handed over");
        let mut changes = self.changes();
        let deadline = Instant::now() + self.profile.lease();
        if self
            .raft
            .trigger()
            .transfer_leader(Id(heir.clone()))
            .await
            .is_err()
        {
            return;
        }
        while self.status().leader.is_none_or(|leader| leader == self.own) {
            if !changes.next(deadline).await {
                return;
            }
        }
        tracing::info!(%heir, took = ?begun.elapsed(), "leadership handed over");
    }

    /// Who is alive.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Every node of the group with its seat.
    pub(crate) fn seats(&self) -> BTreeMap<NodeId, Seat> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .membership_config
            .nodes()
            .map(|(id, seat)| (id.0.clone(), seat.clone()))
            .collect()
    }

    /// As leader: how far each other node's log agrees with ours; 0 where nothing is known.
    pub(crate) fn progress(&self) -> BTreeMap<NodeId, u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .replication
            .iter()
            .flatten()
            .map(|(id, matching)| {
                let index = matching.as_ref().map_or(0, |matching| matching.index);
                (id.0.clone(), index)
            })
            .collect()
    }

    /// The group as this node sees it now.
    pub(crate) fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let (heard, view) = (self.heard.borrow().clone(), self.view.borrow().clone());
        let status = status::tell(&metrics, &self.own, self.profile, heard.as_ref(), &view);
        if status.quorum {
            self.met.store(true, Ordering::Relaxed);
        }
        status
    }

    /// The term and the leader as this node sees them now, for onlookers who look often: cheaper than
    /// [`status`](Self::status), and without its effect on [`is_young`](Self::is_young).
    pub(crate) fn leadership(&self) -> (u64, Option<NodeId>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heard = self.heard.borrow();
        let leader = status::leader(&metrics, &self.own, self.profile, heard.as_ref());
        (metrics.current_term, leader)
    }

    /// Tells when something changes that [`status`](Self::status) tells.
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            metrics: self.raft.metrics(),
            view: self.view.clone(),
            heard: self.heard.clone(),
        }
    }

    /// Whether this node has only just started and met no majority yet: it may still have to dial the others and to
    /// hear who is up, and that it sees none proves nothing. Two leases at most: less than a write's patience, so
    /// that one that comes first still hears the truth.
    pub(crate) fn is_young(&self) -> bool {
        !self.met.load(Ordering::Relaxed) && self.born.elapsed() < 2 * self.profile.lease()
    }

    /// The group's timings.
    pub(crate) fn profile(&self) -> Profile {
        self.profile
    }

    /// This node.
    pub(crate) fn own(&self) -> &NodeId {
        &self.own
    }
}
