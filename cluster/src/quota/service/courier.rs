//! Brings asks to the ledger's leader, wherever it is.
//!
//! In: what is to be said. Out: the leader's reply, or none. A node that has no part in the ledger remembers who led
//! last, and else asks the voters, the nearest first; each says who leads as far as it knows.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use meridian_config::name::NodeId;
use tokio::time::{Instant, timeout_at};

use super::{
    desk::Desk,
    message::{Reply, Said},
};
use crate::{
    consensus::Group,
    control::Topic,
    directory::Directory,
    fabric::{CallError, Kind, Transport},
    membership::Liveness,
    wire,
};

/// How many nodes are tried for one ask: the one that led last, and two that know better.
const HOPS: usize = 4;

/// How long an ask may take: an election is over by then, and the next ask says all of it again.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Finds the leader.
pub(super) struct Courier {
    pub(super) own: NodeId,
    pub(super) group: Group,
    pub(super) directory: Directory,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) desk: Arc<Desk>,
    pub(super) last: Mutex<Option<NodeId>>,
}

impl Courier {
    /// The leader's reply; none where no leader was found in time.
    pub(super) async fn say(&self, said: Said) -> Option<Reply> {
        let (_, reply) = self.ask(said).await?;
        Some(reply)
    }

    /// The same, and who replied.
    pub(super) async fn ask(&self, said: Said) -> Option<(NodeId, Reply)> {
        let deadline = Instant::now() + PATIENCE;
        let mut tried: Vec<NodeId> = Vec::new();
        let mut next = self.guess();
        while let Some(to) = next.take() {
            if tried.len() == HOPS || tried.contains(&to) {
                break;
            }
            let reply = self.call(&to, said.clone(), deadline).await;
            tried.push(to.clone());
            next = match reply {
                Some(Reply::NotHere { leader }) => {
                    self.forget(&to);
                    leader.filter(|leader| !tried.contains(leader))
                }
                Some(reply) => {
                    self.remember(to.clone());
                    return Some((to, reply));
                }
                None => {
                    self.forget(&to);
                    None
                }
            };
            if next.is_none() {
                next = self.voters().into_iter().find(|id| !tried.contains(id));
            }
        }
        None
    }

    /// Whom to ask first.
    fn guess(&self) -> Option<NodeId> {
        let (_, leader) = self.group.leadership();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        leader
            .or_else(|| last.clone())
            .or_else(|| self.voters().into_iter().next())
    }

    /// Voters that are up, this node first, then the nearest.
    fn voters(&self) -> Vec<NodeId> {
        let view = self.group.view();
        let mut voters: Vec<(Option<Duration>, NodeId)> = self
            .directory
            .status()
            .voters
            .into_iter()
            .filter_map(|voter| {
                if voter == self.own {
                    return Some((None, voter));
                }
                let member = view.members.get(&voter)?;
                let up = member.liveness != Liveness::Down;
                up.then(|| (Some(member.rtt.unwrap_or(PATIENCE)), voter))
            })
            .collect();
        voters.sort();
        voters.into_iter().map(|(_, voter)| voter).collect()
    }

    pub(super) async fn call(&self, to: &NodeId, said: Said, deadline: Instant) -> Option<Reply> {
        if *to == self.own {
            let region = self.group.view().own_region.clone();
            let answered = self.desk.settle(&self.own, &region, said);
            return timeout_at(deadline, answered).await.ok();
        }
        let body: Bytes = Topic::Quota.address(&wire::encode(&said));
        let left = deadline.saturating_duration_since(Instant::now());
        let called = self.transport.call(to, Kind::Control, body, left).await;
        let read = called.and_then(|answer| {
            wire::decode::<Reply>(&answer).map_err(|why| CallError::unread(to, &why))
        });
        let sound = read.and_then(|reply| match &reply {
            Reply::Granted { grant, .. } => match grant.check() {
                Ok(()) => Ok(reply),
                Err(why) => Err(CallError::Refused {
                    peer: to.clone(),
                    cause: why.to_string(),
                }),
            },
            _ => Ok(reply),
        });
        match sound {
            Ok(reply) => Some(reply),
            Err(error) => {
                tracing::debug!("the quota's ledger was not asked: {error}");
                None
            }
        }
    }

    fn remember(&self, leader: NodeId) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(leader);
    }

    fn forget(&self, node: &NodeId) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.take_if(|known| known == node);
    }
}
