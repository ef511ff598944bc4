//! What operators read and wrote, counted: whether the judgement of the admin side had something to judge.

use serde::Serialize;

use crate::workload::{Act, History, Written};

/// Reads that must not be old, and writes, by outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deeds {
    /// Reads that were answered.
    pub reads: usize,
    /// Writes that became a revision.
    pub made: usize,
    /// Writes that found another revision than the expected one.
    pub conflicts: usize,
    /// Reads and writes that were refused or had no sure answer.
    pub unsure: usize,
}

impl Deeds {
    pub(super) fn of(history: &History) -> Self {
        let mut counts = Self::default();
        for deed in &history.deeds {
            let count = match &deed.act {
                Act::Read(Some(_)) => &mut counts.reads,
                Act::Write { outcome, .. } => match outcome {
                    Written::Made(_) => &mut counts.made,
                    Written::Conflict(_) => &mut counts.conflicts,
                    Written::Unknown | Written::Nothing => &mut counts.unsure,
                },
                Act::Read(None) => &mut counts.unsure,
            };
            *count += 1;
        }
        counts
    }
}
