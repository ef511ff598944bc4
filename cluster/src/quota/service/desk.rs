//! Takes what other nodes say about quotas, and this node says to itself.
//!
//! In: calls on [`Topic::Quota`](crate::control::Topic). Out: replies. Asks go to the task that leads
//! ([`super::leading`]) and wait for its batch; news go to the keeper ([`super::keeping`]).

use std::sync::Arc;

use bytes::Bytes;
use meridian_config::name::{NodeId, RegionName};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    lone::Lone,
    member::Members,
    message::{Holdings, Reply, Said, Told},
};
use crate::{
    consensus::Group,
    directory::Directory,
    fabric::{CallError, Handler, PeerIdentity},
    host::BoxFuture,
    quota::{
        holder::Holder,
        ledger::machine::Shown,
        message::{QuotaAsk, QuotaGrant},
    },
    wire,
};

/// Asks that wait for a batch, and news that wait for the keeper, at most: a further one is said again a tick later.
pub(super) const INBOX: usize = 4096;

/// Keys of one look at most.
const LOOK_MOST: usize = 256;

/// An ask that waits for the leader's batch.
pub(super) struct Asked {
    pub(super) ask: QuotaAsk,
    pub(super) region: RegionName,
    /// Since when it waits.
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// Where messages come in.
pub(crate) struct Desk {
    pub(super) group: Group,
    pub(super) directory: Directory,
    pub(super) shown: Arc<Shown>,
    pub(super) members: Arc<Members>,
    pub(super) asked: mpsc::Sender<Asked>,
    pub(super) news: mpsc::Sender<QuotaGrant>,
    pub(super) holder: Arc<Holder>,
    /// What this node has begun without a quorum's word.
    pub(super) lone: Arc<Lone>,
}

impl Desk {
    /// What is to be replied to a node's message.
    pub(super) async fn settle(&self, from: &NodeId, region: &RegionName, said: Said) -> Reply {
        let (_, leader) = self.group.leadership();
        if leader.as_ref() != Some(self.group.own())
            && !matches!(said, Said::News(_) | Said::Tell(_))
        {
            return Reply::NotHere { leader };
        }
        match said {
            Said::Ask(ask) => {
                let (reply, heard) = oneshot::channel();
                let region = region.clone();
                let asked = Asked {
                    ask,
                    region,
                    since: Instant::now(),
                    reply,
                };
                match self.asked.try_send(asked) {
                    // Its batch was not agreed on, or the node stops.
                    Ok(()) => heard.await.unwrap_or(Reply::Later),
                    Err(_) => Reply::Later,
                }
            }
            Said::News(grant) => {
                // Full: it is said again.
                let _ = self.news.try_send(grant);
                Reply::Heard
            }
            Said::Tell(keys) => Reply::Told(Told {
                alone: self.lone.tell(),
                spent: keys.iter().map(|key| self.holder.spent(*key)).collect(),
            }),
            Said::Join { seat } => self.members.take_in(from, region, seat).await,
            Said::Look(keys) => {
                let applied = self.shown.applied();
                let standing = |key| applied.ledger.standing(key).map(Holdings::from);
                Reply::Standings(keys.iter().map(standing).collect())
            }
        }
    }

    /// Why a message is not one of ours.
    fn refusal(&self, from: &NodeId, said: &Said) -> Option<String> {
        match said {
            Said::Ask(ask) if ask.node != *from => {
                Some("an ask for tokens in another node's name".to_owned())
            }
            Said::Ask(ask) => ask.check().err().map(|why| why.to_string()),
            Said::News(grant) if grant.check().is_err() => {
                grant.check().err().map(|why| why.to_string())
            }
            Said::News(_) if !self.directory.status().voters.contains(from) => {
                Some("a grant from a node that has no part in the ledger".to_owned())
            }
            Said::Look(keys) | Said::Tell(keys) if keys.len() > LOOK_MOST => Some(format!(
                "a look at {} keys; {LOOK_MOST} are the most",
                keys.len()
            )),
            Said::News(_) | Said::Join { .. } | Said::Look(_) | Said::Tell(_) => None,
        }
    }
}

impl Handler for Desk {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move {
            let said: Said =
                wire::decode(&body).map_err(|why| CallError::unread(&from.id, &why))?;
            if let Some(cause) = self.refusal(&from.id, &said) {
                let peer = from.id;
                return Err(CallError::Refused { peer, cause });
            }
            let reply = self.settle(&from.id, &from.region, said).await;
            Ok(wire::encode(&reply).into())
        })
    }
}
