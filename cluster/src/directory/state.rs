//! The directory's state and the meaning of its commands.
//!
//! In: commands in the log's order. Out: an [`Outcome`] each. A core: every replica that applies the same
//! commands has the same state. Shell: [`super::machine`].

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::command::{Action, Apply, Command, Outcome, Packed, ProposalId};

/// Revisions kept for history and rollback, the newest included. Enough for weeks of daily work, and
/// small beside the limit on bytes.
const KEPT: usize = 64;

/// Compressed bytes of documents kept beside the newest. With it a snapshot stays below the wire's limit:
/// 4 MiB, and 2 MiB for the newest.
const KEPT_BYTES: usize = 4 << 20;

/// Proposals whose outcome is remembered. A proposal is sent again within seconds, while few others come.
const SETTLED: usize = 1024;

/// The replicated state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    cluster_id: Option<String>,
    log_time: u64,
    unix_ms: u64,
    kept: BTreeMap<u64, Kept>,
    settled: VecDeque<(ProposalId, Outcome)>,
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
}

impl State {
    /// Applies the command at `index`.
    pub(crate) fn apply(&mut self, index: u64, command: Command) -> Outcome {
        self.log_time = self.log_time.max(command.log_time);
        self.unix_ms = self.unix_ms.max(command.unix_ms);
        // It was sent again because its answer was lost: the answer is the same.
        if let Some((_, outcome)) = self.settled.iter().find(|(id, _)| *id == command.id) {
            return outcome.clone();
        }
        let outcome = match command.action {
            Action::Found { cluster_id } => Outcome::Founded {
                cluster_id: self.cluster_id.get_or_insert(cluster_id).clone(),
            },
            Action::Apply(apply) => self.add(index, command.unix_ms, apply),
        };
        if self.settled.len() == SETTLED {
            self.settled.pop_front();
        }
        self.settled.push_back((command.id, outcome.clone()));
        outcome
    }

    fn add(&mut self, index: u64, unix_ms: u64, apply: Apply) -> Outcome {
        let current = self.newest_number();
        if apply.expect.is_some_and(|expected| expected != current) {
            return Outcome::Conflict { current };
        }
        let revision = current + 1;
        let summary = Summary {
            revision,
            digest: apply.digest,
            author: apply.author,
            message: apply.message,
            unix_ms,
        };
        let files = apply.files;
        self.kept.insert(revision, Kept { summary, files });
        self.forget_old();
        Outcome::Applied { revision, index }
    }

    fn forget_old(&mut self) {
        let newest = self.newest().map_or(0, |kept| kept.files.len());
        let all: usize = self.kept.values().map(|kept| kept.files.len()).sum();
        let mut older = all - newest;
        while self.kept.len() > KEPT || older > KEPT_BYTES {
            let Some((_, oldest)) = self.kept.pop_first() else {
                return;
            };
            older -= oldest.files.len();
        }
    }

    /// The newest revision.
    pub(crate) fn newest(&self) -> Option<&Kept> {
        self.kept.last_key_value().map(|(_, kept)| kept)
    }

    fn newest_number(&self) -> u64 {
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

    /// The cluster's id, once it has one.
    pub(crate) fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The greatest leader's time applied.
    pub(crate) fn log_time(&self) -> u64 {
        self.log_time
    }
}

#[cfg(test)]
mod tests;
