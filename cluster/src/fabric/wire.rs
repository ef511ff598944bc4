//! What two nodes say to each other first, and why they part: the hello and the close codes.
//!
//! In: bytes from an authenticated but unjudged peer. Out: a [`Hello`], or what is wrong with it. Every
//! message starts with a version byte; decoding is limited in size and never panics.

use std::net::SocketAddr;

use meridian_config::name::{NodeId, RegionName};
use serde::{Deserialize, Serialize};

use super::{PeerIdentity, refusals::Refusal, spiffe::SpiffeId};

/// The protocol of the control connection (ALPN), so that a bulk port dialled as control says so.
pub(super) const CONTROL_PROTOCOL: &[u8] = b"meridian-control/1";

/// The protocol of the bulk connection.
pub(super) const BULK_PROTOCOL: &[u8] = b"meridian-bulk/1";

/// The version of all messages between nodes.
pub(super) const WIRE_VERSION: u8 = 1;

/// Bytes of a hello at most: names are short, so more than this is no hello.
pub(super) const HELLO_LIMIT: usize = 4096;

/// The first message on a connection, from both sides, the dialling side first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// The cluster's name.
    pub(super) cluster: String,
    /// The cluster's id; empty before bootstrap.
    pub(super) cluster_id: String,
    /// Who speaks.
    pub(super) node: NodeId,
    /// Its region.
    pub(super) region: RegionName,
    /// Counts its starts.
    pub(super) incarnation: u64,
    /// Where others reach its control endpoint.
    pub(super) control: SocketAddr,
    /// Where others reach its bulk endpoint.
    pub(super) bulk: SocketAddr,
    /// The number of its seat in the cluster; 0 for founders and before it has one.
    pub(super) seat: u64,
}

/// Why a hello is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelloFault {
    /// Another version.
    #[error(
        "it speaks version {0} of the fabric's protocol, this node version {WIRE_VERSION}; run versions that are next to each other"
    )]
    Version(u8),
    /// Not a hello.
    #[error("its first message is not a hello")]
    Malformed,
    /// It goes by a name that is not its own.
    #[error(
        "it says it is node {claim}, but its certificate is for node {certificate}; give each node its own certificate (meridian ca issue)"
    )]
    Node {
        /// What the hello says.
        claim: NodeId,
        /// What the certificate says.
        certificate: NodeId,
    },
    /// It claims a region that is not its own.
    #[error(
        "it says it is in region {claim}, but its certificate is for region {certificate}; correct its node.region, or issue its certificate again (meridian ca issue)"
    )]
    Region {
        /// What the hello says.
        claim: RegionName,
        /// What the certificate says.
        certificate: RegionName,
    },
    /// Another cluster by name.
    #[error(
        "it belongs to cluster {theirs}, this node to {ours}; correct fabric.join or cluster.name"
    )]
    ClusterName {
        /// The peer's.
        theirs: String,
        /// This node's.
        ours: String,
    },
    /// Another cluster by id: two clusters were bootstrapped under one name.
    #[error(
        "its data folder belongs to cluster {theirs}, this node's to {ours}; empty the data_dir of the node that is in the wrong cluster and start it again"
    )]
    ClusterId {
        /// The peer's.
        theirs: String,
        /// This node's.
        ours: String,
    },
    /// It was a member and was removed since.
    #[error(
        "it was removed from the cluster (by entry {0} of the log); to take it in again, stop it, empty its data_dir and start it: it joins as a new node"
    )]
    Removed(u64),
}

impl HelloFault {
    /// The cause to count.
    pub(super) fn cause(&self) -> Refusal {
        match self {
            Self::Version(_) => Refusal::Version,
            Self::Malformed => Refusal::Hello,
            Self::Node { .. } => Refusal::Node,
            Self::Region { .. } => Refusal::Region,
            Self::ClusterName { .. } => Refusal::ClusterName,
            Self::ClusterId { .. } => Refusal::ClusterId,
            Self::Removed(_) => Refusal::Removed,
        }
    }
}

impl Hello {
    /// Version byte and body.
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HelloFault> {
        match bytes.split_first() {
            Some((&WIRE_VERSION, body)) => decode(body).ok_or(HelloFault::Malformed),
            Some((&version, _)) => Err(HelloFault::Version(version)),
            None => Err(HelloFault::Malformed),
        }
    }

    /// Checks the hello against the certificate of the connection and against this node's own hello, and
    /// whether the node was removed, by the log's entry `removed`.
    pub(super) fn judge(
        &self,
        certificate: &SpiffeId,
        own: &Self,
        removed: Option<u64>,
    ) -> Result<PeerIdentity, HelloFault> {
        if self.node != certificate.node {
            return Err(HelloFault::Node {
                claim: self.node.clone(),
                certificate: certificate.node.clone(),
            });
        }
        if self.region != certificate.region {
            return Err(HelloFault::Region {
                claim: self.region.clone(),
                certificate: certificate.region.clone(),
            });
        }
        if self.cluster != own.cluster {
            return Err(HelloFault::ClusterName {
                theirs: self.cluster.clone(),
                ours: own.cluster.clone(),
            });
        }
        if !same_cluster(&self.cluster_id, &own.cluster_id) {
            return Err(HelloFault::ClusterId {
                theirs: self.cluster_id.clone(),
                ours: own.cluster_id.clone(),
            });
        }
        if let Some(removal) = removed.filter(|removal| self.is_removed(*removal)) {
            return Err(HelloFault::Removed(removal));
        }
        Ok(PeerIdentity {
            id: self.node.clone(),
            region: self.region.clone(),
            incarnation: self.incarnation,
        })
    }
}

impl Hello {
    /// Whether the removal of this node's id by the log's entry `removal` means this node: it was a member
    /// before. One with an empty disk has no cluster id, and may join.
    pub(super) fn is_removed(&self, removal: u64) -> bool {
        !self.cluster_id.is_empty() && self.seat < removal
    }
}

/// Before bootstrap a node has no cluster id, and only names are compared.
pub(super) fn same_cluster(a: &str, b: &str) -> bool {
    a.is_empty() || b.is_empty() || a == b
}

/// Version byte and bincode.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = vec![WIRE_VERSION];
    bincode::serde::encode_into_std_write(message, &mut bytes, bincode::config::standard())
        .expect("plain structs always encode, and a Vec takes all bytes");
    bytes
}

/// Reads the body after the version byte; `None` for anything but exactly one message.
fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<T> {
    let limits = bincode::config::standard().with_limit::<HELLO_LIMIT>();
    match bincode::serde::decode_from_slice(body, limits) {
        Ok((message, used)) if used == body.len() => Some(message),
        _ => None,
    }
}

/// Why a connection is closed (QUIC application error code).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Close {
    /// The node stops.
    Shutdown = 1,
    /// Both sides dialled; the other connection stays.
    Duplicate = 2,
    /// A later start of this node is known. The reason is its incarnation in decimal.
    Stale = 3,
    /// The hello was refused; the reason says why.
    Refused = 4,
    /// The peer was taken for dead.
    Down = 5,
    /// A node dialled itself.
    Itself = 6,
    /// No hello came in time.
    Silent = 7,
    /// The peer was removed from the cluster. The reason is the removal's index in the log, in decimal.
    Removed = 8,
}

impl Close {
    /// The code on the wire.
    pub(super) fn code(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(self as u32)
    }

    /// Reads a code back.
    pub(super) fn of(code: quinn::VarInt) -> Option<Self> {
        [
            Self::Shutdown,
            Self::Duplicate,
            Self::Stale,
            Self::Refused,
            Self::Down,
            Self::Itself,
            Self::Silent,
            Self::Removed,
        ]
        .into_iter()
        .find(|close| close.code() == code)
    }
}

/// Why a stream is reset (QUIC application error code).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reset {
    /// The sender gave the message up.
    Abandoned = 1,
    /// A kind this version does not take, or not on this connection.
    Unsupported = 2,
    /// The message is too large.
    TooLarge = 3,
    /// The handler failed.
    Failed = 4,
    /// A queue is full.
    Overloaded = 5,
}

impl Reset {
    /// The code on the wire.
    pub(super) fn code(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(self as u32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            cluster: "test".into(),
            cluster_id: String::new(),
            node: "n1".into(),
            region: "eu".into(),
            incarnation: 7,
            control: "10.0.0.1:7400".parse().unwrap(),
            bulk: "10.0.0.1:7450".parse().unwrap(),
            seat: 0,
        }
    }

    fn certificate() -> SpiffeId {
        SpiffeId {
            cluster: "test".into(),
            region: "eu".into(),
            node: "n1".into(),
        }
    }

    #[test]
    fn a_hello_reads_back_as_it_was_written() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
    }

    #[test]
    fn a_hello_of_another_version_is_told_so() {
        let mut bytes = hello().encode();
        bytes[0] = 9;
        assert_eq!(Hello::decode(&bytes), Err(HelloFault::Version(9)));
    }

    #[test]
    fn a_hello_that_claims_another_name_or_region_than_its_certificate_is_refused() {
        let mut liar = hello();
        liar.node = "n2".into();
        let own = hello();
        assert!(matches!(
            liar.judge(&certificate(), &own, None),
            Err(HelloFault::Node { .. })
        ));
        let mut liar = hello();
        liar.region = "us".into();
        assert!(matches!(
            liar.judge(&certificate(), &own, None),
            Err(HelloFault::Region { .. })
        ));
    }

    #[test]
    fn cluster_ids_are_compared_only_when_both_have_one() {
        let (mut theirs, mut own) = (hello(), hello());
        theirs.cluster_id = "a".into();
        assert!(theirs.judge(&certificate(), &own, None).is_ok());
        own.cluster_id = "b".into();
        assert!(matches!(
            theirs.judge(&certificate(), &own, None),
            Err(HelloFault::ClusterId { .. })
        ));
    }

    #[test]
    fn a_removed_node_is_known_by_its_old_seat_and_may_come_again_with_none_or_a_new_one() {
        let (mut theirs, own) = (hello(), hello());
        let removed = |theirs: &Hello| {
            let judged = theirs.judge(&certificate(), &own, Some(40));
            judged == Err(HelloFault::Removed(40))
        };
        assert!(!removed(&theirs), "its disk is empty");
        theirs.cluster_id = "a".into();
        theirs.seat = 39;
        assert!(removed(&theirs));
        theirs.seat = 40;
        assert!(!removed(&theirs), "it was taken in since");
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Hello::decode(&bytes);
        }

        #[test]
        fn a_cut_hello_is_malformed(at in 1_usize..40) {
            let whole = hello().encode();
            prop_assert_eq!(Hello::decode(&whole[..at.min(whole.len() - 1)]), Err(HelloFault::Malformed));
        }
    }
}
