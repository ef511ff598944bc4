//! Reads that are not old: a node that has applied what the leader says sees every acknowledged write.
//!
//! In: a reader's wish, at any node. Out: nothing, once this node has applied far enough; or why it cannot
//! know. The leader's side answers [`Topic::ReadIndex`](crate::control::Topic).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::writer::{Way, another_try, way};
use crate::{
    consensus::{Group, ReadIndexError},
    control::Topic,
    fabric::{CallError, Handler, Kind, PeerIdentity, Transport},
    host::BoxFuture,
    membership::Liveness,
    wire,
};

/// Why a read could not be made sure of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This node sees fewer than a majority of the voters.
    #[error(
        "no quorum: this node reaches fewer than a majority of the voters ({}), so it cannot know whether its document is the newest; leave `consistent` out to read what it has",
        super::error::names(voters)
    )]
    NoQuorum {
        /// Who has a vote.
        voters: Vec<NodeId>,
    },
    /// No leader confirmed in time.
    #[error(
        "no leader confirmed within {patience:?} that this node's document is the newest; try again, or leave `consistent` out to read what it has"
    )]
    NoLeader {
        /// How long the read waited.
        patience: Duration,
    },
    /// This node takes no part in agreement any more.
    #[error(
        "this node takes no part in agreement any more; read through another node, or leave `consistent` out to read what it has"
    )]
    Stopped,
}

/// What the leader says to a reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// A reader that has applied this index is up to date.
    Index(u64),
    /// Ask another node, or later.
    NotNow,
}

/// Makes reads sure, and answers peers that do.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) group: Group,
    pub(super) transport: Arc<dyn Transport>,
}

impl Reader {
    /// Waits until this node has applied everything that was acknowledged before the call, at most for
    /// the profile's patience.
    pub(super) async fn catch_up(&self) -> Result<(), ReadError> {
        let patience = self.group.profile().patience();
        let deadline = Instant::now() + patience;
        let mut changes = self.group.changes();
        let mut wanted = None;
        loop {
            let status = self.group.status();
            if wanted.is_some_and(|index| status.applied_index >= index) {
                return Ok(());
            }
            let way = way(&status, self.group.own(), self.group.is_young());
            if wanted.is_none() {
                wanted = match &way {
                    Way::Here => timeout_at(deadline, self.group.read_index())
                        .await
                        .ok()
                        .and_then(Result::ok),
                    Way::There(leader) => self.ask(leader, deadline).await,
                    // A node that is about to be taken in is sent what it lacks.
                    Way::Wait | Way::Apart => None,
                    Way::NoQuorum => {
                        return Err(ReadError::NoQuorum {
                            voters: status.voters,
                        });
                    }
                    Way::Stopped => return Err(ReadError::Stopped),
                };
                if wanted.is_some() {
                    continue;
                }
            }
            if wanted.is_some() {
                // What is missing here comes with a change.
                let soon = (Instant::now() + self.group.profile().heartbeat()).min(deadline);
                if changes.next(soon).await || Instant::now() < deadline {
                    continue;
                }
                return Err(ReadError::NoLeader { patience });
            }
            if !another_try(&self.group, &mut changes, &way, deadline).await {
                return Err(ReadError::NoLeader { patience });
            }
        }
    }

    async fn ask(&self, leader: &NodeId, deadline: Instant) -> Option<u64> {
        let left = deadline.saturating_duration_since(Instant::now());
        let body = Topic::ReadIndex.address(&[]);
        let answer = self
            .transport
            .call(leader, Kind::Control, body, left)
            .await
            .ok()?;
        match wire::decode(&answer) {
            Ok(Verdict::Index(index)) => Some(index),
            Ok(Verdict::NotNow) | Err(_) => None,
        }
    }
}

/// Who leads, by its own word, for a node that is not a member yet: only a leader that a majority follows answers with an
/// index. Asks every node that is up, a few bytes each.
pub(super) async fn who_leads(
    transport: &Arc<dyn Transport>,
    group: &Group,
    deadline: Instant,
) -> Option<NodeId> {
    let left = deadline.saturating_duration_since(Instant::now());
    let view = group.view();
    let others = view
        .members
        .values()
        .filter(|member| member.id != view.own && member.liveness != Liveness::Down);
    let mut answers: FuturesUnordered<_> = others
        .map(|member| {
            let body = Topic::ReadIndex.address(&[]);
            let call = transport.call(&member.id, Kind::Control, body, left);
            async move { (member.id.clone(), call.await) }
        })
        .collect();
    while let Some((node, answer)) = answers.next().await {
        let verdict = answer.ok().and_then(|answer| wire::decode(&answer).ok());
        if let Some(Verdict::Index(_)) = verdict {
            return Some(node);
        }
    }
    None
}

impl Handler for Reader {
    fn answer(
        self: Arc<Self>,
        _: PeerIdentity,
        _: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move {
            // Longer than a round trip to a majority takes; the asker tries again.
            let deadline = Instant::now() + self.group.profile().lease();
            let verdict = match timeout_at(deadline, self.group.read_index()).await {
                Ok(Ok(index)) => Verdict::Index(index),
                Ok(Err(
                    ReadIndexError::NotLeader
                    | ReadIndexError::NoQuorum
                    | ReadIndexError::Stopped(_),
                ))
                | Err(_) => Verdict::NotNow,
            };
            tracing::trace!(target: "meridian::decision", ?verdict, "read index");
            Ok(wire::encode(&verdict).into())
        })
    }
}
