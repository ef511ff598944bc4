//! What nodes ask each other before they are one cluster, and when one comes late.
//!
//! In and out: the body of a call on [`Topic::Bootstrap`](crate::control::Topic), encoded by
//! [`crate::wire`]. The asking side is [`super::founding`], the answering side [`super::answer`].

use std::collections::BTreeSet;

use meridian_config::name::{NodeId, RegionName};
use serde::{Deserialize, Serialize};

/// A question to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// How do you stand?
    Standing,
    /// I found the cluster with these voters, you among them: be ready.
    Begin {
        /// The voters.
        voters: BTreeSet<NodeId>,
    },
    /// Take me in as a learner; my disk is empty.
    Join,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// So I stand.
    Standing(Standing),
    /// I am ready to vote.
    Ready,
    /// You are taken in.
    Joined {
        /// The cluster's id.
        cluster_id: String,
        /// The number of the seat.
        seat: u64,
    },
    /// Ask that node, it leads.
    Leader(NodeId),
    /// No, or not now, and why.
    No(String),
}

/// How a node stands towards the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Its region.
    pub(super) region: RegionName,
    /// The nodes that its `node.yaml` names as founders.
    pub(super) bootstrap: BTreeSet<NodeId>,
    /// The cluster's id, where it knows one.
    pub(super) cluster_id: Option<String>,
    /// A node that it can reach and that knows a cluster's id.
    pub(super) elsewhere: Option<NodeId>,
    /// It holds a Raft log.
    pub(super) has_log: bool,
}
