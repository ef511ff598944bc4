//! Brings a write to the leader, from any node.
//!
//! In: a write. Out: its outcome, or why there is none. One write may be sent several times under one
//! proposal id; it is applied once.

use std::{sync::Arc, time::Duration};

use meridian_config::name::NodeId;
use tokio::time::{Instant, timeout_at};

use super::{
    WriteError,
    command::Outcome,
    forward::{Proposer, Verdict, Write},
    read,
};
use crate::{
    consensus::{Changes, Group, GroupStatus, Role},
    control::Topic,
    fabric::{CallError, Kind, Transport},
    membership::Liveness,
    wire,
};

/// Where a write, or a read that must not be old, goes now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// This node leads.
    Here,
    /// Another node does.
    There(NodeId),
    /// Nobody does, but a majority is up: an election is due.
    Wait,
    /// This node knows no voters: it is not a member of the group yet. Others may be.
    Apart,
    /// Too few voters are up for anything to be agreed on.
    NoQuorum,
    /// This node takes no part.
    Stopped,
}

/// The core: where it goes, given what the node knows. `young`: it has only just started and may have a majority
/// still to meet, so that seeing none proves nothing yet.
pub(super) fn way(status: &GroupStatus, own: &NodeId, young: bool) -> Way {
    if status.role == Role::Stopped {
        return Way::Stopped;
    }
    match &status.leader {
        _ if status.voters.is_empty() => Way::Apart,
        _ if !status.quorum && young => Way::Wait,
        _ if !status.quorum => Way::NoQuorum,
        Some(leader) if leader == own => Way::Here,
        Some(leader) => Way::There(leader.clone()),
        None => Way::Wait,
    }
}

/// Waits until another try may end otherwise: the way is another one, or a while has passed. False at the deadline.
///
/// Not any change will do. A leader that hands its lead over refuses at once, and its refusal alone makes openraft
/// report a change: trying again at each would spin until another leads.
pub(super) async fn another_try(
    group: &Group,
    changes: &mut Changes,
    before: &Way,
    deadline: Instant,
) -> bool {
    let begun = Instant::now();
    let soon = (begun + group.profile().heartbeat()).min(deadline);
    while changes.next(soon).await {
        let now = way(&group.status(), group.own(), group.is_young());
        if now != *before || begun.elapsed() >= REST {
            return true;
        }
    }
    Instant::now() < deadline
}

/// Between two tries the same way: far less than an election, and long enough to be no load.
const REST: Duration = Duration::from_millis(20);

/// Brings writes to the leader.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) proposer: Proposer,
    pub(super) transport: Arc<dyn Transport>,
}

impl Writer {
    /// Sends the write until it is settled, at most for the profile's patience.
    pub(super) async fn write(&self, write: Write) -> Result<Outcome, WriteError> {
        let group = &self.proposer.group;
        let patience = group.profile().patience();
        let deadline = Instant::now() + patience;
        let mut changes = group.changes();
        // Whether the write may be in somebody's log without our knowing.
        let mut doubtful = false;
        loop {
            let status = group.status();
            let way = way(&status, group.own(), group.is_young());
            tracing::trace!(target: "meridian::decision", id = ?write.id, ?way, "write");
            let verdict = match &way {
                Way::Here => {
                    let proposed = timeout_at(
                        deadline,
                        self.proposer.propose(write.clone(), group.own().clone()),
                    );
                    Some(proposed.await.unwrap_or(Verdict::Unknown))
                }
                Way::There(leader) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.try_forward(leader, &write, left).await
                }
                Way::Apart => match read::who_leads(&self.transport, group, deadline).await {
                    Some(leader) => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        self.try_forward(&leader, &write, left).await
                    }
                    // Another leader may be due, and this node's own founding or taking in: it may be told next.
                    None if doubtful || group.is_young() || meets_members(group) => None,
                    None => return Err(WriteError::NotFounded),
                },
                // It may be agreed on already. A majority that is out of sight, be it for a stall of this machine, may
                // be back within the patience, and then the answer is a sure one.
                Way::NoQuorum if doubtful => None,
                Way::Wait => None,
                Way::NoQuorum => {
                    return Err(WriteError::NoQuorum {
                        voters: status.voters,
                    });
                }
                Way::Stopped => {
                    return Err(WriteError::Stopped {
                        cause: "its disk failed, or the node is stopping".to_owned(),
                    });
                }
            };
            match verdict {
                Some(Verdict::Settled(outcome)) => return Ok(outcome),
                Some(Verdict::Invalid(mistakes)) => return Err(WriteError::Invalid(mistakes)),
                Some(Verdict::Mark(why)) => return Err(WriteError::Mark(why)),
                Some(Verdict::Stopped(cause)) if way_is_here(&status, group.own()) => {
                    return Err(WriteError::Stopped { cause });
                }
                // A leader that stopped, for its disk failed, may have had others agree on it before.
                Some(Verdict::Unknown | Verdict::Stopped(_)) => doubtful = true,
                Some(Verdict::NotLeader) | None => {}
            }
            if !another_try(group, &mut changes, &way, deadline).await {
                return Err(if doubtful {
                    WriteError::Unconfirmed { patience }
                } else if way == Way::Apart && meets_members(group) {
                    WriteError::NotMember { patience }
                } else if way == Way::Apart {
                    WriteError::NotFounded
                } else {
                    WriteError::NoLeader { patience }
                });
            }
        }
    }

    /// What a leader says to the write; none where it never left this node.
    async fn try_forward(&self, leader: &NodeId, write: &Write, left: Duration) -> Option<Verdict> {
        match self.forward(leader, write, left).await {
            Ok(verdict) => Some(verdict),
            Err(CallError::Unreachable(_)) => None,
            Err(_) => Some(Verdict::Unknown),
        }
    }

    async fn forward(
        &self,
        leader: &NodeId,
        write: &Write,
        left: Duration,
    ) -> Result<Verdict, CallError> {
        let body = Topic::Directory.address(&wire::encode(write));
        let answer = self
            .transport
            .call(leader, Kind::Control, body, left)
            .await?;
        wire::decode(&answer).map_err(|why| CallError::unread(leader, &why))
    }
}

/// Whether some other node that is up shows a document: there is a cluster.
fn meets_members(group: &Group) -> bool {
    let view = group.view();
    let mut members = view.members.values();
    members.any(|member| {
        let other = member.id != view.own && member.liveness != Liveness::Down;
        other && member.announced.revision > 0
    })
}

fn way_is_here(status: &GroupStatus, own: &NodeId) -> bool {
    status.leader.as_ref() == Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(leader: Option<&str>, quorum: bool) -> GroupStatus {
        GroupStatus {
            leader: leader.map(NodeId::from),
            role: Role::Follower,
            term: 1,
            commit_index: 1,
            applied_index: 1,
            voters: ["a", "b", "c"].map(NodeId::from).to_vec(),
            learners: Vec::new(),
            changing: false,
            quorum,
        }
    }

    #[test]
    fn a_write_goes_to_the_leader_while_a_majority_is_up() {
        let own = NodeId::from("a");
        let way = |status: &GroupStatus| super::way(status, &own, false);
        assert_eq!(way(&status(Some("a"), true)), Way::Here);
        assert_eq!(way(&status(Some("b"), true)), Way::There("b".into()));
        assert_eq!(way(&status(None, true)), Way::Wait);
        // Even a leader: what it wrote now would be agreed on by nobody, or much later.
        assert_eq!(way(&status(Some("a"), false)), Way::NoQuorum);
    }

    #[test]
    fn a_node_that_has_just_started_waits_to_meet_a_majority() {
        let own = NodeId::from("a");
        assert_eq!(way(&status(None, false), &own, true), Way::Wait);
        assert_eq!(
            way(&status(Some("b"), true), &own, true),
            Way::There("b".into())
        );
        assert_eq!(way(&status(None, false), &own, false), Way::NoQuorum);
    }

    #[test]
    fn a_node_that_knows_no_voters_is_no_member_yet() {
        let status = GroupStatus {
            voters: Vec::new(),
            ..status(None, false)
        };
        assert_eq!(way(&status, &NodeId::from("a"), false), Way::Apart);
        assert_eq!(way(&status, &NodeId::from("a"), true), Way::Apart);
    }
}
