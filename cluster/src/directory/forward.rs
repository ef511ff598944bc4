//! A write on its way to the leader, and the leader's side of it.
//!
//! In: a write that another node accepted, as a call on [`Topic::Directory`](crate::control::Topic). Out:
//! what came of it. The asking side is [`super::writer`].

use std::sync::Arc;

use bytes::Bytes;
use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use super::{
    DocumentCheck,
    actor::Actor,
    command::{Action, Command, Outcome, ProposalId, check_message},
    machine::Shown,
    marks::{self, MarkError, Scene},
};
use crate::{
    consensus::{Group, ProposeError},
    fabric::{CallError, Handler, PeerIdentity},
    host::{BoxFuture, Host, blocking},
    wire,
};

/// A write that has been accepted somewhere and waits to be proposed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Write {
    pub(crate) id: ProposalId,
    /// The accepting node's wall clock.
    pub(crate) unix_ms: u64,
    pub(crate) actor: Actor,
    pub(crate) action: Action,
}

/// What the leader says to a write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// It is committed and applied, with this outcome.
    Settled(Outcome),
    /// Nothing was written: another node leads, or none.
    NotLeader,
    /// It was written, but not confirmed in time: ask again under the same id.
    Unknown,
    /// The document does not pass the leader's check, which may be of another release.
    Invalid(Vec<String>),
    /// Raft has stopped on that node.
    Stopped(String),
    /// The decision about a node is not in order by what the leader sees.
    Mark(MarkError),
}

/// Proposes writes while this node leads.
#[derive(Clone)]
pub(crate) struct Proposer {
    pub(super) host: Arc<dyn Host>,
    pub(super) group: Group,
    pub(super) shown: Arc<Shown>,
    pub(super) check: DocumentCheck,
}

impl Proposer {
    /// Proposes a write that the node `via` took and waits for its outcome, at most as long as a write
    /// may wait.
    pub(super) async fn propose(&self, write: Write, via: NodeId) -> Verdict {
        let level = self.shown.state().level();
        if !write.action.fits(level) {
            return Verdict::Invalid(vec![format!(
                "the cluster has agreed on version {level} of what is replicated, and this needs version {}; `meridian status` says which nodes have still to be upgraded",
                write.action.since()
            )]);
        }
        if let Err(mistakes) = self.examine(&write.action).await {
            return Verdict::Invalid(mistakes);
        }
        if let Err(why) = self.check_mark(&write.action) {
            return Verdict::Mark(why);
        }
        let now = u64::try_from(self.host.unix_time().as_millis()).unwrap_or(u64::MAX);
        let command = Command {
            id: write.id,
            log_time: self.shown.state().log_time().max(now),
            unix_ms: write.unix_ms,
            actor: write.actor,
            node: via,
            action: write.action,
        };
        let proposal = self.group.propose(command.encode().into());
        let patience = self.group.profile().patience();
        let verdict = match tokio::time::timeout(patience, proposal).await {
            Err(_) | Ok(Err(ProposeError::Unknown)) => Verdict::Unknown,
            Ok(Err(ProposeError::NotLeader)) => Verdict::NotLeader,
            Ok(Err(ProposeError::Stopped(why))) => Verdict::Stopped(why),
            Ok(Ok((_, answer))) => match wire::decode(&answer) {
                Ok(outcome) => Verdict::Settled(outcome),
                Err(why) => Verdict::Stopped(why.to_string()),
            },
        };
        tracing::trace!(target: "meridian::decision", id = ?write.id, ?verdict, "proposed");
        verdict
    }

    /// Whether a decision about a node is in order by what this node sees.
    pub(super) fn check_mark(&self, action: &Action) -> Result<(), MarkError> {
        let Action::Mark { node, decision } = action else {
            return Ok(());
        };
        let state = self.shown.state();
        let scene = Scene {
            view: &self.group.view(),
            seats: &self.group.seats().into_keys().collect(),
            voters: &self.group.status().voters,
            marks: &state.marks,
        };
        marks::check(*decision, node, &scene)
    }

    /// Whether the action may be proposed, as far as it carries what can be wrong.
    async fn examine(&self, action: &Action) -> Result<(), Vec<String>> {
        let (message, files) = match action {
            Action::Apply(apply) => (&apply.message, Some(apply.files.clone())),
            Action::Rollback(back) => {
                let state = self.shown.state();
                let kept = state.documents.revision(back.revision);
                // One that is not kept is refused when the command is applied.
                (&back.message, kept.map(|kept| kept.files.clone()))
            }
            Action::Found { .. }
            | Action::Note(_)
            | Action::KeepFacts(_)
            | Action::Mark { .. }
            | Action::Acknowledge(_)
            | Action::Raise { .. }
            | Action::FoundLedger(_)
            | Action::ClearQuota { .. } => return Ok(()),
            Action::SetQuota(wish) => return wish.check(),
        };
        check_message(message)?;
        let Some(files) = files else {
            return Ok(());
        };
        let check = Arc::clone(&self.check);
        // A large document takes long enough to hold up heartbeats.
        blocking(&*self.host, move || {
            let files = files.unpack().map_err(|why| vec![why.to_string()])?;
            check(&files)
        })
        .await
    }
}

impl Handler for Proposer {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move {
            let write: Write =
                wire::decode(&body).map_err(|why| CallError::unread(&from.id, &why))?;
            Ok(wire::encode(&self.propose(write, from.id).await).into())
        })
    }
}
