//! Raft's calls to peers, over the fabric.
//!
//! In: openraft's questions. Out: calls of kind Raft on a [`Transport`], one stream each. The peer's side
//! is [`super::answer`]. Snapshots are sent by [`super::send`].

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{
    OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::sync::watch;

use super::{
    admission::{Admission, Era, encode_in},
    grants::{Grants, Holds},
    log::LogReader,
    message::{Answer, Ask, Question},
    types::{Id, Seat, Snapshot, Types, Vote},
};
use crate::{
    fabric::{CallError, Kind, Transport},
    host::{GroupId, Host},
    wire,
};

/// How slow a path may be before a large message on it counts as lost: 128 KiB/s. openraft gives
/// AppendEntries one heartbeat interval, in which a document may not cross an ocean.
const SLOWEST_BYTES_PER_MILLI: u64 = 128;

/// Makes links to peers.
pub(super) struct Network {
    pub(super) host: Arc<dyn Host>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) own: Id,
    pub(super) group: GroupId,
    /// Once the cluster has taken this node in.
    pub(super) admitted: watch::Receiver<Option<Admission>>,
    /// This node's log.
    pub(super) log: LogReader,
    pub(super) grants: Grants,
}

/// A link to one peer.
pub(super) struct Link {
    pub(super) host: Arc<dyn Host>,
    pub(super) transport: Arc<dyn Transport>,
    own: Id,
    pub(super) target: Id,
    pub(super) group: GroupId,
    admitted: watch::Receiver<Option<Admission>>,
    log: LogReader,
    grants: Grants,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: Id, _: &Seat) -> Link {
        Link {
            host: Arc::clone(&self.host),
            transport: Arc::clone(&self.transport),
            own: self.own.clone(),
            target,
            group: self.group,
            admitted: self.admitted.clone(),
            log: self.log.clone(),
            grants: self.grants.clone(),
        }
    }
}

impl Link {
    /// The life of the group that this node takes part in.
    pub(super) fn era(&self) -> Option<Era> {
        let admitted = self.admitted.borrow();
        admitted.as_ref().and_then(|admitted| admitted.era)
    }

    /// Whether the peer is known to hold all entries of a request, from its grant of this leader's vote.
    async fn holds(&self, request: &AppendEntriesRequest<Types>) -> bool {
        let Some(entry) = request.entries.last() else {
            return false;
        };
        let index = entry.log_id.index;
        let grants = &self.grants;
        if let Holds::IfHereIs(last) = grants.holds(&self.target, &request.vote, index) {
            // A log that cannot be read here says nothing; the peer will.
            let here = self.log.log_id(last.index).await;
            let agrees = here.is_ok_and(|here| here.as_ref() == Some(&last));
            grants.settle(&self.target, &last, agrees);
        }
        grants.holds(&self.target, &request.vote, index) == Holds::Yes
    }

    async fn ask(
        &self,
        action: RPCTypes,
        question: Question,
        patience: Duration,
    ) -> Result<Answer, RPCError<Types>> {
        let name = question.name();
        let ask = Ask {
            group: self.group,
            question,
        };
        let body = encode_in(self.era(), &ask);
        // A refusal here would be made by every peer, for ever: never send it.
        if body.len() > wire::LIMIT {
            return Err(RPCError::Network(NetworkError::from_string(
                "a Raft message is longer than the wire's limit",
            )));
        }
        let allowance = Duration::from_millis(body.len() as u64 / SLOWEST_BYTES_PER_MILLI);
        let answer = self
            .transport
            .call(
                &self.target.0,
                Kind::Raft,
                Bytes::from(body),
                patience + allowance,
            )
            .await
            .map_err(|error| {
                tracing::trace!(
                    target: "meridian::decision",
                    to = %self.target,
                    question = name,
                    %error,
                    "raft unanswered"
                );
                self.failure(action, patience, error)
            })?;
        match wire::decode(&answer) {
            // Not `Unreachable`: the peer may be ready at any moment, and that error backs off long.
            Ok(Answer::Unavailable(why)) => Err(RPCError::Network(NetworkError::from_string(why))),
            Ok(answer) => Ok(answer),
            Err(unreadable) => Err(RPCError::Network(NetworkError::new(&unreadable))),
        }
    }

    pub(super) fn failure(
        &self,
        action: RPCTypes,
        patience: Duration,
        error: CallError,
    ) -> RPCError<Types> {
        match error {
            CallError::Unreachable(_) => RPCError::Unreachable(Unreachable::new(&error)),
            CallError::Late(_) => RPCError::Timeout(Timeout {
                action,
                id: self.own.clone(),
                target: self.target.clone(),
                timeout: patience,
            }),
            CallError::Broken(_) | CallError::Unreadable { .. } | CallError::Refused { .. } => {
                RPCError::Network(NetworkError::new(&error))
            }
        }
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        if self.holds(&rpc).await {
            return Ok(AppendEntriesResponse::Success);
        }
        let question = Question::Append(rpc);
        match self
            .ask(RPCTypes::AppendEntries, question, option.hard_ttl())
            .await?
        {
            Answer::Append(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let vote = rpc.vote.clone();
        let question = Question::Vote(rpc);
        match self
            .ask(RPCTypes::Vote, question, option.hard_ttl())
            .await?
        {
            Answer::Vote(response) => {
                if response.vote_granted {
                    let last = response.last_log_id.clone();
                    self.grants.note(&self.target, &vote, last);
                }
                Ok(response)
            }
            _ => Err(mismatch()),
        }
    }

    // openraft's default grants every pre-vote.
    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let question = Question::PreVote(rpc);
        match self
            .ask(RPCTypes::Vote, question, option.hard_ttl())
            .await?
        {
            Answer::Vote(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let question = Question::TransferLeader(request);
        match self
            .ask(RPCTypes::TransferLeader, question, option.hard_ttl())
            .await?
        {
            Answer::TransferLeader(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }
}

pub(super) fn mismatch() -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string(
        "the peer answered another question than the one asked",
    ))
}
