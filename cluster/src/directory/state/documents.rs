//! The document and its revisions.
//!
//! In: documents to apply and revisions to go back to, in the log's order. Out: an [`Outcome`] each. A core.

use std::collections::BTreeMap;

use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use super::super::{
    changes::Changes,
    command::{Ack, Acknowledge, Apply, Outcome, Rollback},
    packed::Packed,
};

/// Revisions kept for history and rollback, the newest included. Enough for weeks of daily work, and
/// small beside the limit on bytes.
pub(super) const KEPT: usize = 64;

/// Nodes whose acks are kept with a revision. Larger clusters still say live who runs the newest.
const ACKS: usize = 256;

/// Compressed bytes of documents, with what is kept beside each, apart from the newest. With it a snapshot stays below the wire's limit:
/// 4 MiB, 2 MiB for the newest, and 1 MiB of audit entries.
const KEPT_BYTES: usize = 4 << 20;

/// The revisions that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Documents {
    kept: BTreeMap<u64, Kept>,
}

/// A revision as the state keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) summary: Summary,
    pub(crate) files: Packed,
}

/// A revision without its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its number.
    pub revision: u64,
    /// BLAKE3 over names and texts, in hex.
    pub digest: String,
    /// Who applied it.
    pub author: String,
    /// What the author said about it.
    pub message: String,
    /// When it was proposed: ms since the Unix epoch, by the proposing node's clock.
    pub unix_ms: u64,
    /// The revision whose document it repeats, where it came of a rollback.
    pub rollback_of: Option<u64>,
    /// What it changes.
    pub changes: Changes,
    /// What the nodes have made of it, as far as it is on record.
    pub acks: BTreeMap<NodeId, Ack>,
}

impl Kept {
    /// What it takes in memory and in a snapshot, about.
    fn weight(&self) -> usize {
        let acks: usize = self.summary.acks.values().map(Ack::weight).sum();
        self.files.len() + self.summary.changes.weight() + acks
    }
}

/// Who makes a revision, and when.
#[derive(Clone, Copy)]
pub(super) struct Maker<'a> {
    pub(super) index: u64,
    pub(super) author: &'a str,
    pub(super) unix_ms: u64,
}

impl Documents {
    pub(super) fn apply(&mut self, maker: Maker<'_>, apply: Apply) -> Outcome {
        if let Some(conflict) = self.conflict(apply.expect) {
            return conflict;
        }
        let summary = Summary {
            revision: self.newest_number() + 1,
            digest: apply.digest,
            author: maker.author.to_owned(),
            message: apply.message,
            unix_ms: maker.unix_ms,
            rollback_of: None,
            changes: apply.changes,
            acks: BTreeMap::new(),
        };
        self.add(maker.index, summary, apply.files)
    }

    pub(super) fn roll_back(&mut self, maker: Maker<'_>, back: Rollback) -> Outcome {
        if let Some(conflict) = self.conflict(back.expect) {
            return conflict;
        }
        let Some(old) = self.kept.get(&back.revision).cloned() else {
            return Outcome::NotKept;
        };
        let summary = Summary {
            revision: self.newest_number() + 1,
            digest: old.summary.digest,
            author: maker.author.to_owned(),
            message: back.message,
            unix_ms: maker.unix_ms,
            rollback_of: Some(back.revision),
            changes: back.changes,
            acks: BTreeMap::new(),
        };
        self.add(maker.index, summary, old.files)
    }

    /// Writes down what nodes have made of a revision. Of one that is not kept nobody asks any more.
    pub(super) fn acknowledge(&mut self, index: u64, said: Acknowledge) -> Outcome {
        if let Some(kept) = self.kept.get_mut(&said.revision) {
            let acks = &mut kept.summary.acks;
            for (node, ack) in said.acks {
                if acks.len() < ACKS || acks.contains_key(&node) {
                    acks.insert(node, Ack::new(ack.unix_ms, ack.rejected.as_deref()));
                }
            }
            self.forget_old();
        }
        Outcome::Done { index }
    }

    fn conflict(&self, expect: Option<u64>) -> Option<Outcome> {
        let current = self.newest_number();
        let fits = expect.is_none_or(|expected| expected == current);
        (!fits).then(|| Outcome::Conflict {
            current,
            author: self
                .newest()
                .map(|newest| newest.summary.author.clone())
                .unwrap_or_default(),
        })
    }

    fn add(&mut self, index: u64, summary: Summary, files: Packed) -> Outcome {
        let revision = summary.revision;
        self.kept.insert(revision, Kept { summary, files });
        self.forget_old();
        Outcome::Applied { revision, index }
    }

    fn forget_old(&mut self) {
        let newest = self.newest().map_or(0, Kept::weight);
        let all: usize = self.kept.values().map(Kept::weight).sum();
        let mut older = all - newest;
        while self.kept.len() > KEPT || older > KEPT_BYTES {
            let Some((_, oldest)) = self.kept.pop_first() else {
                return;
            };
            older -= oldest.weight();
        }
    }

    /// The newest revision.
    pub(crate) fn newest(&self) -> Option<&Kept> {
        self.kept.last_key_value().map(|(_, kept)| kept)
    }

    /// Its number; 0: there is none yet.
    pub(crate) fn newest_number(&self) -> u64 {
        self.newest().map_or(0, |kept| kept.summary.revision)
    }

    /// The revision of that number, where it is still kept.
    pub(crate) fn revision(&self, number: u64) -> Option<&Kept> {
        self.kept.get(&number)
    }

    /// The kept revisions, the newest first.
    pub(crate) fn history(&self) -> Vec<Summary> {
        let newest_first = self.kept.values().rev();
        newest_first.map(|kept| kept.summary.clone()).collect()
    }
}
