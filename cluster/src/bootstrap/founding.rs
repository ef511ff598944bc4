//! The way of a node without a log into its cluster: it founds it with the others, or joins.
//!
//! In: how the reachable nodes stand, asked again and again. Out: a founded Raft group, or a seat as
//! learner in one. The core is [`super::decide`], the answering side [`super::answer`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use meridian_config::name::{NodeId, RegionName};
use tokio::time::Instant;

use super::{
    Advice, Shared,
    decide::{Own, Reason, Step, decide},
    message::{Answer, Ask, Standing},
};
use crate::{
    consensus::{Era, Seat, decode_in},
    control::Topic,
    fabric::{CallError, Kind},
    wire,
};

/// Time between two looks around. Founding on one machine should be over in a second.
const PAUSE: Duration = Duration::from_millis(200);

/// A node that does not answer within this counts as unreachable for the look.
const PATIENCE: Duration = Duration::from_secs(2);

/// The leader changes the membership twice, over the slowest path.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);

/// Looks around and acts until this node has its place in a cluster.
pub(super) async fn find_a_place(shared: Arc<Shared>) {
    let mut told = None;
    let mut ready_since = None;
    loop {
        if shared.has_log().await {
            return;
        }
        if shared.group.is_admitted() {
            ready_since.get_or_insert_with(Instant::now);
        }
        let others = shared.look_around().await;
        let own = Own {
            id: shared.own.clone(),
            region: shared.region.clone(),
            bootstrap: shared.bootstrap.clone(),
            cluster_id: shared.cluster_id(),
            awaits_restore: shared.awaits_restore(),
            lost_identity: shared.lost_identity,
            ready_for: ready_since.map(|since| since.elapsed()),
        };
        let step = decide(&own, &others);
        tracing::trace!(target: "meridian::decision", ?step, "bootstrap");
        match step {
            Step::Wait(reason) => {
                if told.as_ref() != Some(&reason) {
                    tell(&reason);
                    told = Some(reason);
                }
            }
            Step::Found { voters, nodes } => match shared.found(&voters, &nodes).await {
                Ok(()) => return,
                Err(cause) => tracing::warn!("founding the cluster failed, trying again: {cause}"),
            },
            Step::Join { through } => match shared.join(&through).await {
                Ok(()) => return,
                Err(cause) => {
                    tracing::info!(%through, "not taken into the cluster yet: {cause}");
                }
            },
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn tell(reason: &Reason) {
    match reason {
        Reason::Founder(_) | Reason::Begun(_) => tracing::info!("{reason}"),
        Reason::Missing(_)
        | Reason::NotNamed
        | Reason::Restore
        | Reason::Alone(_)
        | Reason::LostIdentity => {
            tracing::info!("waiting: {reason}");
        }
        Reason::ListsDiffer(_) | Reason::OtherCluster(..) | Reason::RestoreElsewhere(_) => {
            tracing::error!("{reason}");
        }
    }
}

impl Shared {
    /// How every node stands that answers; remembers whether one of them knows a cluster.
    pub(super) async fn look_around(&self) -> BTreeMap<NodeId, Standing> {
        let mut nodes: BTreeSet<NodeId> = self.bootstrap.clone();
        nodes.extend(self.view.borrow().members.keys().cloned());
        nodes.remove(&self.own);
        let answers = join_all(nodes.into_iter().map(|node| async move {
            let answer = self.ask(&node, &Ask::Standing, PATIENCE).await;
            (node, answer)
        }))
        .await;
        let others: BTreeMap<NodeId, Standing> = answers
            .into_iter()
            .filter_map(|(node, answer)| match answer {
                Ok(Answer::Standing(standing)) => Some((node, standing)),
                _ => None,
            })
            .collect();
        let elsewhere = others
            .iter()
            .find(|(_, standing)| standing.cluster_id.is_some())
            .map(|(node, _)| node.clone());
        self.elsewhere.send_replace(elsewhere);
        others
    }

    async fn ask(&self, node: &NodeId, ask: &Ask, patience: Duration) -> Result<Answer, CallError> {
        let (_, answer) = self.ask_in(node, ask, patience).await?;
        Ok(answer)
    }

    /// The answer, and which life of the group it lets this node into.
    async fn ask_in(
        &self,
        node: &NodeId,
        ask: &Ask,
        patience: Duration,
    ) -> Result<(Option<Era>, Answer), CallError> {
        let body: Bytes = Topic::Bootstrap.address(&wire::encode(ask));
        let answer = self
            .transport
            .call(node, Kind::Control, body, patience)
            .await?;
        decode_in(&answer).map_err(|why| CallError::unread(node, &why))
    }

    /// Founds the group, once every voter has said that it stands ready. Each step may be repeated.
    async fn found(
        &self,
        voters: &BTreeSet<NodeId>,
        nodes: &BTreeMap<NodeId, RegionName>,
    ) -> Result<(), String> {
        for advice in Advice::on_voters(voters, nodes) {
            tracing::warn!("{advice}");
        }
        let begin = Ask::Begin {
            voters: voters.clone(),
        };
        for voter in voters.iter().filter(|voter| **voter != self.own) {
            match self.ask(voter, &begin, PATIENCE).await {
                Ok(Answer::Ready) => {}
                Ok(Answer::No(why)) => return Err(format!("{voter} does not begin: {why}")),
                Ok(_) => return Err(format!("{voter} answered another question")),
                Err(error) => return Err(error.to_string()),
            }
        }
        self.group
            .admit(None, 0)
            .await
            .map_err(|error| error.to_string())?;
        let seats = voters
            .iter()
            .map(|voter| {
                let region = nodes[voter].clone();
                (voter.clone(), Seat { region, number: 0 })
            })
            .collect();
        self.group.found(seats).await?;
        tracing::info!(voters = %list(voters), "the cluster is founded");
        Ok(())
    }

    /// Asks to be taken in, following the way to the leader once.
    async fn join(&self, through: &NodeId) -> Result<(), String> {
        let text = |error: CallError| error.to_string();
        let (mut era, mut answer) = self
            .ask_in(through, &Ask::Join, JOIN_PATIENCE)
            .await
            .map_err(text)?;
        if let Answer::Leader(leader) = answer {
            (era, answer) = self
                .ask_in(&leader, &Ask::Join, JOIN_PATIENCE)
                .await
                .map_err(text)?;
        }
        match answer {
            Answer::Joined { cluster_id, seat } => {
                // The seat first: with the cluster's id and an old seat it would pass for a removed node.
                self.group
                    .admit(era, seat)
                    .await
                    .map_err(|e| e.to_string())?;
                self.settle(&cluster_id).await.map_err(|e| e.to_string())?;
                tracing::info!(%cluster_id, seat, "taken into the cluster as a learner");
                Ok(())
            }
            Answer::No(why) => Err(why),
            Answer::Leader(leader) => Err(format!("{leader} leads by now")),
            Answer::Standing(_) | Answer::Ready => Err("it answered another question".to_owned()),
        }
    }
}

fn list(nodes: &BTreeSet<NodeId>) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    names.join(", ")
}
