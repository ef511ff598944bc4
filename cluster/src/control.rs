//! Sorts the calls of kind [`Control`](crate::fabric::Kind::Control) by topic, its first byte.
//!
//! In: calls from peers. Out: the topic's handler is asked. The fabric knows one handler a kind; several
//! parts of the control plane share this one.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    fabric::{CallError, Handler, PeerIdentity},
    host::BoxFuture,
};

/// What a control message is about: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Topic {
    /// Writes forwarded to the directory's leader.
    Directory = 1,
    /// Founding a cluster and joining it.
    Bootstrap = 2,
    /// How far the directory's leader has committed, for reads that must not be old.
    ReadIndex = 3,
    /// Who holds how many tokens of which limit.
    Quota = 4,
}

impl Topic {
    /// A message on this topic.
    pub(crate) fn address(self, message: &[u8]) -> Bytes {
        let mut body = BytesMut::with_capacity(1 + message.len());
        body.put_u8(self as u8);
        body.extend_from_slice(message);
        body.freeze()
    }
}

/// The handler of all topics.
#[derive(Default)]
pub(crate) struct Switchboard {
    topics: BTreeMap<u8, Arc<dyn Handler>>,
}

impl Switchboard {
    /// Lets `handler` answer on `topic`; it gets the message without the topic's byte.
    pub(crate) fn with(mut self, topic: Topic, handler: Arc<dyn Handler>) -> Self {
        self.topics.insert(topic as u8, handler);
        self
    }
}

impl Handler for Switchboard {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        mut body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let topic = (!body.is_empty()).then(|| body.split_to(1)[0]);
        match topic.and_then(|topic| self.topics.get(&topic)) {
            Some(handler) => Arc::clone(handler).answer(from, body),
            None => Box::pin(async move {
                Err(CallError::Refused {
                    peer: from.id,
                    cause: format!("control topic {topic:?} is unknown"),
                })
            }),
        }
    }
}
