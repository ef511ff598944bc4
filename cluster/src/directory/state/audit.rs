//! Who did what: the last acts on the cluster, the same on every node.
//!
//! In: commands and what came of them, in the log's order. Out: entries in that order. A core; the shell
//! [`super::super::machine`] also writes each to the node's log, which keeps what falls out here.

use std::collections::VecDeque;

use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use super::super::actor::{Actor, clipped};

/// Entries kept. A hundred acts a day stay for more than a month.
pub(super) const KEPT: usize = 4096;

/// Bytes of entries kept: what 4096 entries of usual length take. Entries may be longer, the snapshot
/// may not.
pub(super) const KEPT_BYTES: usize = 1 << 20;

/// The longest text in an entry.
const TEXT: usize = 512;

/// One act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place in the log: counts up, with gaps.
    pub index: u64,
    /// When: ms since the Unix epoch, by the clock of the node that took it.
    pub unix_ms: u64,
    /// Who.
    pub actor: Actor,
    /// Through which node.
    pub node: NodeId,
    /// What, by the name of its command: `apply`, `rollback`, `drain`.
    pub act: String,
    /// To what.
    pub target: String,
    /// The newest revision before it; 0: none.
    pub before: u64,
    /// The newest revision after it.
    pub after: u64,
    /// Why it was refused; none: it was done.
    pub refused: Option<String>,
}

impl AuditEntry {
    /// What it takes in memory and in a snapshot, about.
    fn weight(&self) -> usize {
        let texts = [
            &self.actor.name,
            &self.actor.role,
            &self.act,
            &self.target,
            self.refused.as_ref().unwrap_or(&self.act),
        ];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        texts + self.node.as_str().len() + 64
    }
}

/// The last acts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audit {
    entries: VecDeque<AuditEntry>,
    bytes: usize,
}

impl Audit {
    /// Adds an entry; the oldest make room for it.
    pub(super) fn record(&mut self, mut entry: AuditEntry) {
        for text in [&mut entry.act, &mut entry.target]
            .into_iter()
            .chain(entry.refused.as_mut())
        {
            *text = clipped(text, TEXT);
        }
        // The names come from another node, whose release may have bounds of its own.
        entry.actor = Actor::new(&entry.actor.name, &entry.actor.role, entry.actor.from);
        self.bytes += entry.weight();
        self.entries.push_back(entry);
        while self.entries.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= oldest.weight();
        }
    }

    /// So many entries in the log's order: the first ones after that index, or without one the last there are.
    /// Facts of one command share an index, and a reader goes on after the last index that it has got: so those
    /// of one index are never parted, and a page may be longer by the rest of a command.
    pub(crate) fn page(&self, after: Option<u64>, limit: usize) -> Vec<AuditEntry> {
        let from = match after {
            Some(after) => self.entries.partition_point(|entry| entry.index <= after),
            None => self.entries.len().saturating_sub(limit),
        };
        let mut to = from.saturating_add(limit).min(self.entries.len());
        let index = |at: usize| self.entries.get(at).map(|entry| entry.index);
        while to > from && index(to).is_some() && index(to) == index(to - 1) {
            to += 1;
        }
        self.entries.range(from..to).cloned().collect()
    }

    /// The newest entry.
    pub(crate) fn newest(&self) -> Option<&AuditEntry> {
        self.entries.back()
    }
}
