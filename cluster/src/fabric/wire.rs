//! What two nodes say to each other first, and why they part: the hello and the close codes.
//!
//! In: bytes from an authenticated but unjudged peer. Out: a [`Hello`], or what is wrong with it. Every
//! message starts with a version byte; decoding is limited in size and never panics.
//!
//! The hello has two forms. TLS settles which one a connection uses (ALPN), before either side has said
//! anything: the first form is that of version 1, whose nodes know no other; the second says which versions
//! its node reads, and whatever a later version adds at its end is passed over. So it is the last form.

use std::net::SocketAddr;

use meridian_config::name::{NodeId, RegionName};
use serde::{Deserialize, Serialize};

use super::{PeerIdentity, refusals::Refusal, roster::Plane, spiffe::SpiffeId};
use crate::{
    version::{FIRST, Versions},
    wire::{decode_prefix, encode_as},
};

/// How a hello looks on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Of nodes that read version 1 alone, and to them.
    First,
    /// Of all others.
    Second,
}

impl Form {
    /// The protocols (ALPN) that a node with these versions speaks on a plane, the best one first. Planes
    /// have names of their own, so that a bulk port dialled as control says so.
    pub(super) fn protocols(plane: Plane, versions: Versions) -> Vec<Vec<u8>> {
        let mut forms = Vec::new();
        if versions.newest > FIRST {
            forms.push(Self::Second);
        }
        if versions.oldest == FIRST {
            forms.push(Self::First);
        }
        let protocols = forms.into_iter();
        protocols.map(|form| form.protocol(plane)).collect()
    }

    /// The form that goes with a protocol.
    pub(super) fn of(plane: Plane, protocol: &[u8]) -> Option<Self> {
        let forms = [Self::First, Self::Second];
        let mut forms = forms.into_iter();
        forms.find(|form| form.protocol(plane) == protocol)
    }

    fn protocol(self, plane: Plane) -> Vec<u8> {
        format!("meridian-{}/{}", plane.name(), self.version()).into_bytes()
    }

    /// The version that brought it.
    fn version(self) -> u8 {
        match self {
            Self::First => FIRST,
            Self::Second => 2,
        }
    }
}

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
    /// The versions of messages it reads. The second form has them behind all this.
    #[serde(skip)]
    pub(super) versions: Versions,
}

/// Why a hello is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelloFault {
    /// No version in common.
    #[error(
        "it reads versions {theirs} of the messages between nodes, this node {ours}; run releases that are next to each other"
    )]
    Version {
        /// The peer's.
        theirs: Versions,
        /// This node's.
        ours: Versions,
    },
    /// It does not read what the cluster has agreed on.
    #[error(
        "it reads versions {theirs} of the messages between nodes, and the cluster has agreed on version {level}; run the release on it that the other nodes run"
    )]
    Level {
        /// The peer's.
        theirs: Versions,
        /// The cluster's.
        level: u8,
    },
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
            Self::Version { .. } | Self::Level { .. } => Refusal::Version,
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
    pub(super) fn encode(&self, form: Form) -> Vec<u8> {
        match form {
            Form::First => encode_as(form.version(), self),
            Form::Second => encode_as(form.version(), &(self, self.versions)),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(bytes: &[u8], form: Form) -> Result<Self, HelloFault> {
        let body = match bytes.split_first() {
            Some((version, body)) if *version == form.version() && bytes.len() <= HELLO_LIMIT => {
                body
            }
            _ => return Err(HelloFault::Malformed),
        };
        let malformed = |_| HelloFault::Malformed;
        match form {
            Form::First => match decode_prefix::<Self>(body).map_err(malformed)? {
                (hello, used) if used == body.len() => Ok(hello),
                _ => Err(HelloFault::Malformed),
            },
            Form::Second => {
                // A later version may say more behind this.
                let ((hello, versions), _) =
                    decode_prefix::<(Self, Versions)>(body).map_err(malformed)?;
                Ok(Self { versions, ..hello })
            }
        }
    }

    /// Checks the hello against the certificate of the connection and against this node's own hello, and by
    /// what the cluster has agreed on.
    pub(super) fn judge(
        &self,
        certificate: &SpiffeId,
        own: &Self,
        agreed: Agreed,
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
        if self.versions.common(own.versions).is_none() {
            return Err(HelloFault::Version {
                theirs: self.versions,
                ours: own.versions,
            });
        }
        if !self.versions.reads(agreed.level) {
            return Err(HelloFault::Level {
                theirs: self.versions,
                level: agreed.level,
            });
        }
        let removed = agreed.removed;
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

/// What the cluster has agreed on that bears on a peer, as far as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    /// The version of what is replicated.
    pub(super) level: u8,
    /// Where in the log the peer's id was removed.
    pub(super) removed: Option<u64>,
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
    /// The message is in a version that this node does not read.
    Unreadable = 6,
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
            versions: Versions::THIS_RELEASE,
        }
    }

    const FORMS: [Form; 2] = [Form::First, Form::Second];

    const NOTHING: Agreed = Agreed {
        level: FIRST,
        removed: None,
    };

    fn certificate() -> SpiffeId {
        SpiffeId {
            cluster: "test".into(),
            region: "eu".into(),
            node: "n1".into(),
        }
    }

    #[test]
    fn a_hello_reads_back_as_it_was_written() {
        let second = hello().encode(Form::Second);
        assert_eq!(Hello::decode(&second, Form::Second), Ok(hello()));
        let first = hello().encode(Form::First);
        let versions = Versions::first();
        let silent = Hello {
            versions,
            ..hello()
        };
        assert_eq!(Hello::decode(&first, Form::First), Ok(silent));
        assert_eq!(
            Hello::decode(&first, Form::Second),
            Err(HelloFault::Malformed)
        );
    }

    #[test]
    fn what_a_later_version_adds_to_a_hello_is_passed_over() {
        let mut bytes = hello().encode(Form::Second);
        bytes.extend_from_slice(b"and more");
        assert_eq!(Hello::decode(&bytes, Form::Second), Ok(hello()));
    }

    #[test]
    fn a_node_offers_the_forms_that_its_versions_know() {
        let versions = |oldest, newest| Versions { oldest, newest };
        let offers = |versions| {
            let protocols = Form::protocols(Plane::Bulk, versions).into_iter();
            protocols
                .map(|protocol| Form::of(Plane::Bulk, &protocol).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(offers(versions(1, 1)), [Form::First]);
        assert_eq!(offers(versions(1, 2)), [Form::Second, Form::First]);
        assert_eq!(offers(versions(2, 3)), [Form::Second]);
        let control = &Form::protocols(Plane::Control, versions(1, 1))[0];
        assert_eq!(Form::of(Plane::Bulk, control), None);
    }

    #[test]
    fn a_peer_without_a_common_version_and_one_below_the_level_are_refused() {
        let mut theirs = hello();
        let own = hello();
        theirs.versions = Versions {
            oldest: 3,
            newest: 4,
        };
        let fault = theirs.judge(&certificate(), &own, NOTHING).unwrap_err();
        assert!(fault.to_string().contains("3-4"), "{fault}");
        theirs.versions = Versions::RELEASE_BEFORE;
        assert!(theirs.judge(&certificate(), &own, NOTHING).is_ok());
        let raised = Agreed {
            level: 2,
            ..NOTHING
        };
        let fault = theirs.judge(&certificate(), &own, raised).unwrap_err();
        assert_eq!(fault.cause(), Refusal::Version);
        assert!(own.judge(&certificate(), &own, raised).is_ok());
    }

    #[test]
    fn a_hello_that_claims_another_name_or_region_than_its_certificate_is_refused() {
        let mut liar = hello();
        liar.node = "n2".into();
        let own = hello();
        assert!(matches!(
            liar.judge(&certificate(), &own, NOTHING),
            Err(HelloFault::Node { .. })
        ));
        let mut liar = hello();
        liar.region = "us".into();
        assert!(matches!(
            liar.judge(&certificate(), &own, NOTHING),
            Err(HelloFault::Region { .. })
        ));
    }

    #[test]
    fn cluster_ids_are_compared_only_when_both_have_one() {
        let (mut theirs, mut own) = (hello(), hello());
        theirs.cluster_id = "a".into();
        assert!(theirs.judge(&certificate(), &own, NOTHING).is_ok());
        own.cluster_id = "b".into();
        assert!(matches!(
            theirs.judge(&certificate(), &own, NOTHING),
            Err(HelloFault::ClusterId { .. })
        ));
    }

    #[test]
    fn a_removed_node_is_known_by_its_old_seat_and_may_come_again_with_none_or_a_new_one() {
        let (mut theirs, own) = (hello(), hello());
        let removed = |theirs: &Hello| {
            let removal = Agreed {
                removed: Some(40),
                ..NOTHING
            };
            let judged = theirs.judge(&certificate(), &own, removal);
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
            for form in FORMS {
                let _ = Hello::decode(&bytes, form);
            }
        }

        #[test]
        fn a_cut_hello_is_malformed(at in 1_usize..40) {
            for form in FORMS {
                let whole = hello().encode(form);
                let cut = &whole[..at.min(whole.len() - 1)];
                prop_assert_eq!(Hello::decode(cut, form), Err(HelloFault::Malformed));
            }
        }
    }
}
