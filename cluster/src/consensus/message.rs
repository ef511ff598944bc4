//! What Raft peers say to each other.
//!
//! In and out: the body of a call of kind [`crate::fabric::Kind::Raft`], encoded by [`crate::wire`]. The
//! asking side is [`super::network`], the answering side [`super::answer`]. Snapshots go another way:
//! [`super::transfer`].

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::types::{Id, Types};
use crate::host::GroupId;

/// A message to a group of the peer.
#[derive(Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) group: GroupId,
    pub(super) question: Question,
}

/// What is asked.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) enum Question {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    TransferLeader(TransferLeaderRequest<Types>),
}

/// The answer to a question, of the same variant unless it failed.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) enum Answer {
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    TransferLeader(TransferLeaderResponse<Types>),
    /// The peer takes no Raft messages (yet, or any more), and why.
    Unavailable(String),
}

impl Question {
    /// The node in whose name the question is asked; the connection must be that node's.
    pub(super) fn asker(&self) -> &Id {
        let vote = match self {
            Self::Append(request) => &request.vote,
            Self::Vote(request) | Self::PreVote(request) => &request.vote,
            Self::TransferLeader(request) => request.from_leader(),
        };
        &vote.leader_id.node_id
    }

    /// The question's name in traces.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Append(_) => "append",
            Self::Vote(_) => "vote",
            Self::PreVote(_) => "pre-vote",
            Self::TransferLeader(_) => "transfer-leader",
        }
    }
}
