//! That the cluster has taken this node in, and into which of its lives. The marks of that lie beside the
//! vote, so that losing one loses the other.
//!
//! In: what the log store has marked, and messages of the group. Out: an [`Admission`], messages with their
//! era. A core; shell: [`super::Group`].

use std::fmt;

use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    host::{GroupId, LogStore, StoreError},
    wire::{self, Unreadable},
};

/// One life of a group, from a restore to the next: a random number that every message of Raft carries, so
/// that a node of the cluster that was lost never votes or writes in the one that was restored from its
/// backup, though their logs have the same indices and terms. The life that begins with a founding has none,
/// and its messages look as they did before there were eras.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Era(pub(crate) [u8; 16]);

impl fmt::Debug for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The version of the messages that brought eras.
pub(crate) const ERAS: u8 = 2;

/// A message of the group in that life of it.
pub(crate) fn encode_in<T: Serialize>(era: Option<Era>, message: &T) -> Vec<u8> {
    match era {
        None => wire::encode(message),
        Some(era) => wire::encode_as(ERAS, &(era, message)),
    }
}

/// The message that [`encode_in`] made these bytes of, and its era.
pub(crate) fn decode_in<T: DeserializeOwned>(bytes: &[u8]) -> Result<(Option<Era>, T), Unreadable> {
    if wire::version_of(bytes)? == ERAS {
        let (era, message) = wire::decode_as(ERAS, bytes)?;
        return Ok((Some(era), message));
    }
    wire::decode(bytes).map(|message| (None, message))
}

/// That a group has taken this node in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admission {
    /// Which node; unknown where an older release wrote it.
    pub(super) node: Option<NodeId>,
    /// The number of its seat; 0 for founders.
    pub(super) seat: u64,
    /// Into which life of the group.
    pub(super) era: Option<Era>,
}

/// The seat's number, in decimal: marks that the node is taken in.
const ADMITTED: &str = "admitted";
/// The era; empty: none.
const ERA: &str = "era";
/// The node's id: a log must not become another's.
const NODE: &str = "node";

impl Admission {
    /// What is marked in the store.
    pub(super) fn read(store: &dyn LogStore, group: GroupId) -> Result<Option<Self>, StoreError> {
        let Some(seat) = store.marker(group, ADMITTED)? else {
            return Ok(None);
        };
        let seat = str::from_utf8(&seat).ok();
        let era = store.marker(group, ERA)?;
        let node = store.marker(group, NODE)?;
        let node = node.and_then(|node| Some(NodeId::new(str::from_utf8(&node).ok()?)));
        Ok(Some(Self {
            node,
            // One that cannot be read counts as a founder's, the oldest.
            seat: seat.and_then(|seat| seat.parse().ok()).unwrap_or(0),
            era: era.and_then(|era| Some(Era(era[..].try_into().ok()?))),
        }))
    }

    /// Marks it, for good.
    pub(super) fn write(&self, store: &dyn LogStore, group: GroupId) -> Result<(), StoreError> {
        let era = self.era.map(|era| era.0);
        store.set_marker(group, ERA, era.as_ref().map_or(&[], |era| era))?;
        if let Some(node) = &self.node {
            store.set_marker(group, NODE, node.as_str().as_bytes())?;
        }
        store.set_marker(group, ADMITTED, self.seat.to_string().as_bytes())?;
        store.flush()
    }
}

/// Whether a message of that era is for a node that was taken in so; why not, where it is not.
pub(super) fn fits(admitted: Option<&Admission>, era: Option<Era>) -> Result<(), &'static str> {
    match admitted {
        None => Err("this node has not been taken into the cluster yet"),
        Some(admitted) if admitted.era != era => Err(
            "this node belongs to another life of the cluster (before or after a restore); empty the data_dir of the one that is left over and start it: it joins as a new node",
        ),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_an_era_looks_as_it_did_before_there_were_any() {
        let message = ("words".to_owned(), 7_u64);
        assert_eq!(encode_in(None, &message), wire::encode(&message));
        for era in [None, Some(Era([3; 16]))] {
            let bytes = encode_in(era, &message);
            assert_eq!(decode_in(&bytes), Ok((era, message.clone())));
        }
        let mut newer = encode_in(None, &message);
        newer[0] = 3;
        assert!(matches!(
            decode_in::<(String, u64)>(&newer),
            Err(Unreadable::Version { found: 3, .. })
        ));
    }
}
