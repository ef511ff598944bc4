//! What a node can tell of a Raft group without asking anyone.
//!
//! In: openraft's metrics, who is alive, whom this node follows. Out: a [`GroupStatus`], and word when it
//! may have changed. Pair: [`super::group`].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use meridian_config::name::NodeId;
use openraft::{
    Instant as _, RaftMetrics, ServerState, alias::WatchReceiverOf,
    async_runtime::watch::WatchReceiver as _,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};

use super::{
    Profile,
    answer::Heard,
    types::{Id, LogId, Types},
};
use crate::membership::{Liveness, View};

/// What a node knows of a Raft group, without asking anyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The leader, where one is known to lead now: a quorum has acknowledged it within its lease.
    pub leader: Option<NodeId>,
    /// This node's part.
    pub role: Role,
    /// The current term.
    pub term: u64,
    /// The last index that this node knows to be committed; 0: none.
    pub commit_index: u64,
    /// The last index that this node has applied; 0: none.
    pub applied_index: u64,
    /// Nodes with a vote, in order.
    pub voters: Vec<NodeId>,
    /// Nodes that have the log but no vote, in order.
    pub learners: Vec<NodeId>,
    /// The voters are being changed: old and new ones must agree, each by a majority.
    pub changing: bool,
    /// Whether this node sees a majority of the voters `Up`.
    pub quorum: bool,
}

/// A node's part in a Raft group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It orders the writes.
    Leader,
    /// It has a vote.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It has the log, no vote.
    Learner,
    /// Its disk failed, or the node is stopping: it takes no part.
    Stopped,
}

/// Made before the first look at the status, so that no change is missed between look and wait.
pub(crate) struct Changes {
    pub(super) metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) heard: watch::Receiver<Option<Heard>>,
}

impl Changes {
    /// Waits for a change, or until `deadline`; `false` at the deadline. Cancel-safe.
    pub(crate) async fn next(&mut self, deadline: Instant) -> bool {
        let ended = tokio::select! {
            biased;
            () = tokio::time::sleep_until(deadline) => return false,
            changed = self.metrics.changed() => changed.is_err(),
            changed = self.view.changed() => changed.is_err(),
            changed = self.heard.changed() => changed.is_err(),
        };
        if ended {
            // A sender is gone: the group stops. The pause keeps the caller from spinning meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

/// The status by what is known now.
pub(super) fn tell(
    metrics: &RaftMetrics<Types>,
    own: &NodeId,
    profile: Profile,
    heard: Option<&Heard>,
    view: &View,
) -> GroupStatus {
    let membership = &metrics.membership_config;
    let voters: Vec<NodeId> = sorted(membership.voter_ids());
    let sets = membership.get_joint_config();
    let learners = sorted(membership.membership().learner_ids());
    let role = if metrics.running_state.is_err() {
        Role::Stopped
    } else {
        match metrics.state {
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Stopped,
        }
    };
    let leader = leader(metrics, own, profile, heard);
    let index = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index);
    GroupStatus {
        leader,
        role,
        term: metrics.current_term,
        commit_index: index(&metrics.local_committed),
        applied_index: index(&metrics.last_applied),
        changing: sets.len() > 1,
        quorum: !sets.is_empty() && sets.iter().all(|voters| has_majority(voters, own, view)),
        voters,
        learners,
    }
}

/// The leader, where a quorum has acknowledged it within its lease.
pub(super) fn leader(
    metrics: &RaftMetrics<Types>,
    own: &NodeId,
    profile: Profile,
    heard: Option<&Heard>,
) -> Option<NodeId> {
    let lease = profile.lease() + profile.heartbeat();
    let leader = &metrics.current_leader.as_ref()?.0;
    let leads = if leader == own {
        // A restarted or cut-off leader still calls itself so.
        let alone = || sorted(metrics.membership_config.voter_ids()).len() == 1;
        let acked = metrics.last_quorum_acked.as_ref();
        metrics.running_state.is_ok()
            && metrics.state == ServerState::Leader
            && (acked.is_some_and(|acked| acked.elapsed() < lease) || alone())
    } else {
        heard.is_some_and(|heard| heard.leader == *leader && heard.at.elapsed() < lease)
    };
    leads.then(|| leader.clone())
}

fn sorted(ids: impl Iterator<Item = Id>) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = ids.map(|id| id.0).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Whether a majority of the voters is `Up`; this node itself is.
fn has_majority(voters: &BTreeSet<Id>, own: &NodeId, view: &View) -> bool {
    let is_up = |voter: &NodeId| {
        let member = view.members.get(voter);
        voter == own || member.is_some_and(|member| member.liveness == Liveness::Up)
    };
    let up = voters.iter().filter(|voter| is_up(&voter.0)).count();
    2 * up > voters.len()
}
