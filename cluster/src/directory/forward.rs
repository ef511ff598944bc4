//! A write on its way to the leader, and the leader's side of it.
//!
//! In: a write that another node accepted, as a call on [`Topic::Directory`](crate::control::Topic). Out:
//! what came of it. The asking side is [`super::writer`].

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    DocumentCheck,
    command::{Action, Command, Outcome, ProposalId},
    machine::Shown,
};
use crate::{
    consensus::{Group, ProposeError},
    fabric::{CallError, Handler, PeerIdentity},
    host::{BoxFuture, Host},
    wire,
};

/// A write that has been accepted somewhere and waits to be proposed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Write {
    pub(crate) id: ProposalId,
    /// The accepting node's wall clock.
    pub(crate) unix_ms: u64,
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
    /// Proposes a write and waits for its outcome, at most as long as a write may wait.
    pub(super) async fn propose(&self, write: Write) -> Verdict {
        if let Action::Apply(apply) = &write.action {
            let files = match apply.files.unpack() {
                Ok(files) => files,
                Err(why) => return Verdict::Invalid(vec![why.to_string()]),
            };
            if let Err(mistakes) = apply.check_remarks().and_then(|()| (self.check)(&files)) {
                return Verdict::Invalid(mistakes);
            }
        }
        let now = u64::try_from(self.host.unix_time().as_millis()).unwrap_or(u64::MAX);
        let command = Command {
            id: write.id,
            log_time: self.shown.state().log_time().max(now),
            unix_ms: write.unix_ms,
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
}

impl Handler for Proposer {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move {
            let write: Write = wire::decode(&body).map_err(|why| CallError::Refused {
                peer: from.id,
                cause: why.to_string(),
            })?;
            Ok(wire::encode(&self.propose(write).await).into())
        })
    }
}
