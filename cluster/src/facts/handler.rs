//! Answers peers' messages about facts.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Fact, Shared,
    keeper::Source,
    message::{BYTES, FACTS, FETCHED, IDS, Message, Reply},
};
use crate::{
    fabric::{CallError, Handler, PeerIdentity},
    host::BoxFuture,
    wire,
};

/// Answers calls of kind `Facts`.
pub(super) struct Answers(pub(super) Arc<Shared>);

impl Handler for Answers {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move {
            let message = wire::decode(&body).map_err(|why| CallError::unread(&from.id, &why))?;
            let reply = answer(&self.0, from, message).await?;
            Ok(wire::encode(&reply).into())
        })
    }
}

async fn answer(
    shared: &Arc<Shared>,
    from: PeerIdentity,
    message: Message,
) -> Result<Reply, CallError> {
    let refused = |cause: &str| CallError::Refused {
        peer: from.id.clone(),
        cause: cause.to_owned(),
    };
    match message {
        Message::Heed(facts) => {
            if facts.len() > FACTS {
                return Err(refused("too many facts in one message"));
            }
            if !all_sound(shared, &facts) {
                return Err(refused("a fact that no operator could have made"));
            }
            let count = facts.len();
            let acks = shared.take_in(facts, Source::Peer(from.id.clone())).await;
            if acks.len() == count {
                Ok(Reply::Acks(acks))
            } else {
                Err(refused("this node is stopping"))
            }
        }
        Message::Applied { node, facts } => {
            for (fact, ack) in &facts {
                shared.receipts.hear(fact, &node, *ack);
            }
            Ok(Reply::Noted)
        }
        Message::Digests => Ok(Reply::Digests(shared.held().digests().buckets().to_vec())),
        Message::Ids(buckets) => Ok(Reply::Ids(shared.held().ids(&buckets, IDS))),
        Message::Fetch(ids) => {
            let ids = ids.get(..FETCHED).unwrap_or(&ids);
            Ok(Reply::Facts(shared.held().fetch(ids, FETCHED, BYTES)))
        }
    }
}

/// Whether every fact keeps its bounds: a peer's operator was asked the same.
pub(super) fn all_sound(shared: &Shared, facts: &[Arc<Fact>]) -> bool {
    let unsound = facts.iter().filter(|fact| fact.check().is_err()).count();
    shared.count_unsound(unsound as u64);
    unsound == 0
}
