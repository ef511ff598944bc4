//! Answers the Raft calls of peers.
//!
//! In: calls of kind Raft. Out: what this node's Raft instance says to them. The asking side is
//! [`super::network`].

use std::sync::Arc;

use bytes::Bytes;
use meridian_config::name::NodeId;
use openraft::raft::AppendEntriesResponse;
use tokio::{sync::watch, time::Instant};

use super::{
    admission::{Admission, decode_in, fits},
    message::{Answer, Ask, Question},
    types::Raft,
};
use crate::{
    fabric::{CallError, Handler, PeerIdentity},
    host::{BoxFuture, GroupId},
    wire,
};

/// A leader this node has followed, and when it last did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) leader: NodeId,
    pub(super) at: Instant,
}

/// The answering side of one group.
pub(super) struct Answerer {
    pub(super) group: GroupId,
    pub(super) raft: Raft,
    /// Whether this node is a member. One with an empty disk takes no part before the cluster has taken
    /// it in: it may have voted in an earlier life that it does not remember.
    pub(super) admitted: watch::Receiver<Option<Admission>>,
    pub(super) heard: watch::Sender<Option<Heard>>,
}

/// The answering sides of all groups.
pub(super) struct Answerers(pub(super) Vec<Arc<Answerer>>);

impl Handler for Answerers {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move {
            let refused = |cause: String| CallError::Refused {
                peer: from.id.clone(),
                cause,
            };
            let (era, ask): (_, Ask) =
                decode_in(&body).map_err(|why| CallError::unread(&from.id, &why))?;
            let Some(group) = self.0.iter().find(|each| each.group == ask.group) else {
                return Err(refused(format!("no group {} here", ask.group)));
            };
            if ask.question.asker().0 != from.id {
                return Err(refused("a Raft message in another node's name".to_owned()));
            }
            tracing::trace!(
                target: "meridian::decision",
                from = %from.id,
                group = ask.group.name(),
                question = ask.question.name(),
                length = body.len(),
                "raft asked"
            );
            let fits = fits(group.admitted.borrow().as_ref(), era);
            let answer = match fits {
                Ok(()) => group.ask_raft(&from.id, ask.question).await,
                Err(why) => Answer::Unavailable(why.to_owned()),
            };
            Ok(wire::encode(&answer).into())
        })
    }
}

impl Answerer {
    async fn ask_raft(&self, from: &NodeId, question: Question) -> Answer {
        let stopped = |why: String| Answer::Unavailable(format!("Raft has stopped here: {why}"));
        match question {
            Question::Append(request) => match self.raft.append_entries(request).await {
                Ok(response) => {
                    if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                        self.heard.send_replace(Some(Heard {
                            leader: from.clone(),
                            at: Instant::now(),
                        }));
                    }
                    Answer::Append(response)
                }
                Err(error) => stopped(error.to_string()),
            },
            Question::Vote(request) => match self.raft.vote(request).await {
                Ok(response) => Answer::Vote(response),
                Err(error) => stopped(error.to_string()),
            },
            Question::PreVote(request) => match self.raft.pre_vote(request).await {
                Ok(response) => Answer::Vote(response),
                Err(error) => stopped(error.to_string()),
            },
            Question::TransferLeader(request) => {
                match self.raft.handle_transfer_leader(request).await {
                    Ok(response) => Answer::TransferLeader(response),
                    Err(error) => stopped(error.to_string()),
                }
            }
        }
    }
}
