//! Why a write is not made, and why a directory does not open.

use std::{io, time::Duration};

use meridian_config::name::{NodeId, TenantId};

use super::marks::MarkError;
use crate::consensus::GroupError;

/// Why a write was not made, or is not known to have been made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// This node sees fewer than a majority of the voters; nothing was written.
    #[error(
        "no quorum: this node reaches fewer than a majority of the voters ({}); nothing was written, try again when they are back",
        names(voters)
    )]
    NoQuorum {
        /// Who has a vote.
        voters: Vec<NodeId>,
    },
    /// No leader was elected in time; nothing was written.
    #[error("no leader was elected within {patience:?}; nothing was written, try again")]
    NoLeader {
        /// How long the write waited.
        patience: Duration,
    },
    /// The write was sent, but no answer came in time: it may have been made or may yet be.
    #[error(
        "the write was not confirmed within {patience:?} and may or may not take effect; look at the history before trying again"
    )]
    Unconfirmed {
        /// How long the write waited.
        patience: Duration,
    },
    /// This node belongs to no cluster yet.
    #[error(
        "the cluster is not founded yet: all nodes of `cluster.bootstrap` must be running and reach each other; nothing was written"
    )]
    NotFounded,
    /// This node is about to join, and found no leader among the nodes that it reaches; nothing was written.
    #[error(
        "this node is not a member of the cluster yet, and found no leader among the nodes that it reaches within {patience:?}; nothing was written, try again or write through another node"
    )]
    NotMember {
        /// How long the write waited.
        patience: Duration,
    },
    /// Another revision than the expected one is the newest; nothing was written.
    #[error(
        "revision {current}{} is the newest, not the expected {expected}; look at what changed and apply again",
        of(author)
    )]
    Conflict {
        /// What the author expected.
        expected: u64,
        /// What is.
        current: u64,
        /// Who applied that; empty where there is none.
        author: String,
    },
    /// The revision to go back to is not kept; nothing was written.
    #[error("revision {revision} is not kept; {}", kept_now(*.kept))]
    NotKept {
        /// Which one.
        revision: u64,
        /// The oldest and the newest that are, as this node knows it.
        kept: Option<(u64, u64)>,
    },
    /// The document is longer than the cluster keeps.
    #[error("the document is {length} bytes long, {limit} is the most; nothing was written")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The document does not pass the check; one line a mistake.
    #[error("the document is not valid; nothing was written:\n{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// The decision about a node is not in order; nothing was written.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// No more limits of tenants are kept; nothing changed.
    #[error(
        "as many tenants have limits of their own as the cluster keeps (10 000, 4 MiB of text); clear some, or give the tenants a plan in the document"
    )]
    OverridesFull,
    /// The tenant has its plan's limits; nothing changed.
    #[error(
        "nothing was set for tenant {0}: it has the limits of its plan, if the document names it, and there is nothing to clear"
    )]
    NotSet(TenantId),
    /// This node takes no part in agreement any more.
    #[error("this node takes no part in agreement any more: {cause}; write through another node")]
    Stopped {
        /// Why.
        cause: String,
    },
}

pub(super) fn names(nodes: &[NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    names.join(", ")
}

fn of(author: &str) -> String {
    if author.is_empty() {
        String::new()
    } else {
        format!(" by {author}")
    }
}

fn kept_now(kept: Option<(u64, u64)>) -> String {
    match kept {
        None => "there is no revision yet".to_owned(),
        Some((oldest, newest)) => format!("{oldest} to {newest} are"),
    }
}

/// Why the directory could not be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The node's files could not be read.
    #[error("the node's files cannot be read: {0}; mend the disk and start the node again")]
    Files(#[from] io::Error),
    /// Its Raft group could not be started.
    #[error(transparent)]
    Group(#[from] GroupError),
}
