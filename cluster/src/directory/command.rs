//! What the directory's group agrees on: commands, and what came of them.
//!
//! In: a document or a fact of the cluster, and who asks for it. Out: bytes for the log, encoded by
//! [`crate::wire`]. The version in front is the first that knows the action: no command is proposed before
//! the cluster has agreed on it. The core that gives them meaning is [`super::state`].

use std::{collections::BTreeMap, fmt, sync::Arc};

use meridian_config::name::{NodeId, TenantId};
use serde::{Deserialize, Serialize};

use super::{
    actor::{Actor, clipped},
    changes::Changes,
    founders::Founders,
    marks::Decision,
    overrides::{SetQuota, Unset},
    packed::Packed,
};
use crate::{
    facts::{Fact, FactId},
    version::{FIRST, Versions},
    wire::{self, Unreadable},
};

/// The longest message: it stands in the history, which every node keeps.
const MESSAGE_LIMIT: usize = 4096;

/// Distinguishes one proposal from every other, so that one that is sent again is applied once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ProposalId(pub(crate) [u8; 16]);

impl fmt::Debug for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    /// Which proposal it is.
    pub(crate) id: ProposalId,
    /// The leader's time in ms: orders entries, expires leases. `apply` takes the maximum.
    pub(crate) log_time: u64,
    /// The proposing node's wall clock in ms: for display and purging.
    pub(crate) unix_ms: u64,
    /// Who asks for it.
    pub(crate) actor: Actor,
    /// The node that took it, as its certificate says.
    pub(crate) node: NodeId,
    /// What is to be done.
    pub(crate) action: Action,
}

/// What a command does. A new one stands at the end, says in [`Action::since`] which version brought it and
/// in [`Action::act`] how the audit names it, and has its meaning in the part of [`super::state`] that it
/// changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Gives the cluster its id; the first one stays.
    Found {
        /// The id.
        cluster_id: String,
    },
    /// Makes a document the newest revision.
    Apply(Apply),
    /// Makes a kept revision's document the newest revision again.
    Rollback(Rollback),
    /// Writes down an act that changes nothing of this state.
    Note(Note),
    /// Keeps facts of the fast lane.
    KeepFacts(Vec<Arc<Fact>>),
    /// Takes a node out, puts it back, or forgets it.
    Mark {
        /// Which node.
        node: NodeId,
        /// What was decided.
        decision: Decision,
    },
    /// Writes down what nodes have made of a revision.
    Acknowledge(Acknowledge),
    /// Agrees on a version of what is replicated: every member reads it. A lesser one changes nothing.
    Raise {
        /// The version.
        level: u8,
    },
    /// Settles who founds the quota's ledger; the first word on it stays.
    FoundLedger(Founders),
    /// Sets limits of a tenant in place of its plan's.
    SetQuota(SetQuota),
    /// Gives a tenant its plan's limits back.
    ClearQuota {
        /// Whose.
        tenant: TenantId,
    },
}

/// A document to become the newest revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Apply {
    /// The files.
    pub(crate) files: Packed,
    /// BLAKE3 over names and texts, in hex.
    pub(crate) digest: String,
    /// What the author says about it.
    pub(crate) message: String,
    /// The revision that must be the newest, where the author knows one; 0: none yet.
    pub(crate) expect: Option<u64>,
    /// What it changes, as the node that took it has found.
    pub(crate) changes: Changes,
}

/// A kept revision to become the newest again, under a number of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rollback {
    /// Which one.
    pub(crate) revision: u64,
    /// What the author says about it.
    pub(crate) message: String,
    /// As of [`Apply::expect`].
    pub(crate) expect: Option<u64>,
    /// As of [`Apply::changes`].
    pub(crate) changes: Changes,
}

/// What nodes have made of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acknowledge {
    /// Which one.
    pub(crate) revision: u64,
    /// What each has said.
    pub(crate) acks: BTreeMap<NodeId, Ack>,
}

/// What a node has made of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// When: ms since the Unix epoch, by the node's clock.
    pub unix_ms: u64,
    /// Why it does not serve it; none: it does.
    pub rejected: Option<String>,
}

impl Ack {
    /// An ack whose reason is short enough to keep; the node's log has the rest.
    pub(crate) fn new(unix_ms: u64, rejected: Option<&str>) -> Self {
        Self {
            unix_ms,
            rejected: rejected.map(|reason| clipped(reason, 256)),
        }
    }

    /// What it takes in memory and in a snapshot, about.
    pub(crate) fn weight(&self) -> usize {
        self.rejected.as_ref().map_or(0, String::len) + 48
    }
}

/// An act that is made elsewhere than in this state, for the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What was done, by the name of its command: `drain`, `remove`, `backup`.
    pub act: String,
    /// What it was done to.
    pub target: String,
    /// Why it was not done; none where it was.
    pub refused: Option<String>,
}

/// How the audit names a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    /// By the name of the operator's command.
    pub(crate) name: String,
    /// What it is done to.
    pub(crate) target: String,
}

impl Action {
    /// The version that brought it: no older node knows it.
    pub(crate) fn since(&self) -> u8 {
        match self {
            Self::Found { .. }
            | Self::Apply(_)
            | Self::Rollback(_)
            | Self::Note(_)
            | Self::KeepFacts(_)
            | Self::Mark { .. }
            | Self::Acknowledge(_) => FIRST,
            Self::Raise { .. }
            | Self::FoundLedger(_)
            | Self::SetQuota(_)
            | Self::ClearQuota { .. } => 2,
        }
    }

    /// Whether it may be proposed in a cluster that has agreed on this version.
    pub(crate) fn fits(&self, level: u8) -> bool {
        // The leader proposes a raise after it has seen to it that everybody can read it.
        matches!(self, Self::Raise { .. }) || self.since() <= level
    }

    /// How the audit names it, asked at this time (ms since the Unix epoch); none for what no operator asked for.
    pub(crate) fn act(&self, unix_ms: u64) -> Option<Act> {
        let (name, target) = match self {
            // Each fact has an entry of its own, under the name of the operator who made it.
            Self::Found { .. }
            | Self::KeepFacts(_)
            | Self::Acknowledge(_)
            | Self::Raise { .. }
            | Self::FoundLedger(_) => return None,
            Self::Apply(_) => ("apply", "document".to_owned()),
            Self::Rollback(back) => ("rollback", format!("revision {}", back.revision)),
            Self::Note(note) => (note.act.as_str(), note.target.clone()),
            Self::Mark { node, decision } => (decision.name(), node.to_string()),
            Self::SetQuota(wish) => ("quota set", wish.target(unix_ms)),
            Self::ClearQuota { tenant } => ("quota clear", tenant.to_string()),
        };
        Some(Act {
            name: name.to_owned(),
            target,
        })
    }
}

/// Whether a message is short enough to keep, or a line that says it is not.
pub(crate) fn check_message(message: &str) -> Result<(), Vec<String>> {
    if message.len() <= MESSAGE_LIMIT {
        return Ok(());
    }
    Err(vec![format!(
        "the message is {} bytes long; {MESSAGE_LIMIT} is the most",
        message.len()
    )])
}

/// What came of a command; the same on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The cluster has this id.
    Founded {
        /// The id, perhaps of an earlier command.
        cluster_id: String,
    },
    /// The document is this revision, by the log entry at this index.
    Applied {
        /// The revision.
        revision: u64,
        /// Where in the log it was applied first.
        index: u64,
    },
    /// Another revision than the expected one was the newest.
    Conflict {
        /// The newest.
        current: u64,
        /// Who applied it; empty where there is none.
        author: String,
    },
    /// The revision to go back to is not kept any more, or never was.
    NotKept,
    /// It is done, by the log entry at this index.
    Done {
        /// Where in the log it was applied first.
        index: u64,
    },
    /// The facts are kept, but for these: there was no room for them.
    FactsKept {
        /// Ids of facts that are not kept.
        refused: Vec<FactId>,
    },
    /// The tenant's limits stay as they are.
    Unset(Unset),
}

impl Outcome {
    /// Why the command changed nothing; none where it did what it says.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self {
            Self::Founded { .. }
            | Self::Applied { .. }
            | Self::Done { .. }
            | Self::FactsKept { .. } => None,
            Self::Conflict { current: 0, .. } => Some("there is no revision yet".to_owned()),
            Self::Conflict { current, author } => {
                Some(format!("revision {current} of {author} was the newest"))
            }
            Self::NotKept => Some("the revision is not kept".to_owned()),
            Self::Unset(why) => Some(why.to_string()),
        }
    }
}

impl Command {
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::encode_as(self.action.since(), self)
    }

    /// Reads a command as a node does that reads these versions.
    pub(crate) fn decode(bytes: &[u8], versions: Versions) -> Result<Self, Unreadable> {
        let (found, known) = (wire::version_of(bytes)?, versions.newest);
        if found > known {
            return Err(Unreadable::Version { found, known });
        }
        let command: Self = wire::decode_as(found, bytes)?;
        if command.action.since() == found {
            Ok(command)
        } else {
            let why = format!("version {found} did not bring this action");
            Err(Unreadable::Malformed(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_that_is_too_long_to_keep_is_told_so() {
        assert!(check_message(&"x".repeat(MESSAGE_LIMIT)).is_ok());
        let lines = check_message(&"x".repeat(MESSAGE_LIMIT + 1)).unwrap_err();
        assert!(lines[0].contains("4097"), "{lines:?}");
    }

    #[test]
    fn a_node_of_the_release_before_does_not_read_what_it_cannot_know() {
        let command = |action| Command {
            id: ProposalId([1; 16]),
            log_time: 1,
            unix_ms: 1,
            actor: Actor::system(),
            node: "a".into(),
            action,
        };
        let raise = command(Action::Raise { level: 2 });
        let before = Versions::RELEASE_BEFORE;
        assert_eq!(
            Command::decode(&raise.encode(), before),
            Err(Unreadable::Version { found: 2, known: 1 })
        );
        let now = Versions::THIS_RELEASE;
        assert_eq!(Command::decode(&raise.encode(), now), Ok(raise));
        let older = command(Action::KeepFacts(Vec::new()));
        assert_eq!(Command::decode(&older.encode(), before), Ok(older.clone()));
        // No command has two forms.
        let mut dressed = older.encode();
        dressed[0] = 2;
        assert!(Command::decode(&dressed, now).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>) {
            let _ = Command::decode(&bytes, Versions::THIS_RELEASE);
        }
    }
}
