//! Answers nodes that found a cluster or want to join it.
//!
//! In: calls on [`Topic::Bootstrap`](crate::control::Topic). Out: how this node stands, its readiness to
//! vote, or a seat as learner. The asking side is [`super::founding`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use meridian_config::name::NodeId;

use super::{
    Shared,
    message::{Answer, Ask, Standing},
};
use crate::{
    consensus::{ChangeMembers, Id, Seat, encode_in},
    fabric::{CallError, Handler, PeerIdentity},
    host::BoxFuture,
    wire,
};

impl Handler for Shared {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move {
            let ask: Ask = wire::decode(&body).map_err(|why| CallError::unread(&from.id, &why))?;
            let answer = match ask {
                Ask::Standing => {
                    let has_log = self.has_log().await;
                    Answer::Standing(Standing {
                        region: self.region.clone(),
                        bootstrap: self.bootstrap.clone(),
                        cluster_id: self.cluster_id(),
                        elsewhere: self.elsewhere.borrow().clone(),
                        has_log,
                    })
                }
                Ask::Begin { voters } => match self.begin(&from.id, &voters).await {
                    Ok(()) => Answer::Ready,
                    Err(why) => Answer::No(why),
                },
                Ask::Join => self.take_in(from).await,
            };
            // Where to, says the form of the answer that lets a node in.
            let joined = matches!(answer, Answer::Joined { .. });
            let era = self.group.era().filter(|_| joined);
            Ok(encode_in(era, &answer).into())
        })
    }
}

impl Shared {
    /// Stands ready to vote in the founding of `founder`.
    async fn begin(&self, founder: &NodeId, voters: &BTreeSet<NodeId>) -> Result<(), String> {
        if self.bootstrap.first() != Some(founder) {
            return Err(format!(
                "{founder} is not the first of this node's `cluster.bootstrap`"
            ));
        }
        if !voters.is_subset(&self.bootstrap) || !voters.contains(&self.own) {
            return Err("the voters are not those of this node's `cluster.bootstrap`".to_owned());
        }
        if self.lost_identity {
            return Err(
                "its file `identity` was damaged, so it may have belonged to a cluster; empty its data_dir if it did not"
                    .to_owned(),
            );
        }
        if self.cluster_id().is_some() || self.has_log().await {
            return Err("this node belongs to a cluster".to_owned());
        }
        // A founder's seat, before all that is ever agreed on.
        self.group
            .admit(None, 0)
            .await
            .map_err(|error| error.to_string())
    }

    /// Gives a node with an empty disk a seat as learner.
    ///
    /// It may have been a member in an earlier life, even a voter. Its vote of then is forgotten with its
    /// disk, so it must lose the seat first: with it, it could vote twice in one term.
    async fn take_in(&self, from: PeerIdentity) -> Answer {
        let status = self.group.status();
        match &status.leader {
            Some(leader) if *leader == self.own => {}
            Some(leader) => return Answer::Leader(leader.clone()),
            None => return Answer::No("the cluster has no leader now".to_owned()),
        }
        let Some(cluster_id) = self.cluster_id() else {
            return Answer::No("the cluster has no id yet".to_owned());
        };
        let _turn = self.seating.lock().await;
        let node = Id(from.id.clone());
        // Greater than the index of any removal that was agreed on before: what is removed later counts.
        let seat = match self.group.settled().await {
            Ok(index) => index,
            Err(why) => return Answer::No(why),
        };
        if self.group.seats().contains_key(&from.id) {
            let only = BTreeSet::from([node.clone()]);
            let removal = if status.voters.contains(&from.id) {
                ChangeMembers::RemoveVoters(only)
            } else {
                ChangeMembers::RemoveNodes(only)
            };
            if let Err(why) = self.group.change(removal, false).await {
                return Answer::No(why);
            }
        }
        let place = Seat {
            region: from.region,
            number: seat,
        };
        let addition = ChangeMembers::AddNodes(BTreeMap::from([(node, place)]));
        match self.group.change(addition, false).await {
            Ok(()) => {
                tracing::info!(node = %from.id, seat, "a node has joined as a learner");
                Answer::Joined { cluster_id, seat }
            }
            Err(why) => Answer::No(why),
        }
    }
}
