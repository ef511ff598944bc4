//! What a revision changes, as it is kept beside it.
//!
//! In: the documents before and after. Out: counts and the first lines. A core. It is computed once, by the
//! node that takes the document: later its predecessor may not be kept any more, and no two nodes must
//! ever differ about it.

use meridian_config::diff::{self, Change};
use serde::{Deserialize, Serialize};

use super::SourceFile;

/// Bytes of lines kept with a revision: a hundred changes, more than is read in a history. The whole
/// difference can be had from the two documents.
const KEPT_BYTES: usize = 8 << 10;

/// What a revision changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The revision it was compared with; 0: with nothing. Its predecessor, unless it was applied over
    /// whichever was the newest while another came between.
    pub base: u64,
    /// Names and settings that are new.
    pub added: u64,
    /// Those with another value.
    pub replaced: u64,
    /// Those that are gone.
    pub removed: u64,
    /// The first changes, a line each.
    pub lines: Vec<String>,
    /// How many lines there would be more.
    pub left_out: u64,
}

impl Changes {
    /// What changes from the document of revision `base` to another.
    pub fn between(base: u64, old: &[SourceFile], new: &[SourceFile]) -> Self {
        let mut all = Self {
            base,
            ..Self::default()
        };
        if old == new {
            return all;
        }
        let mut room = KEPT_BYTES;
        for change in diff::changes(old, new) {
            match &change {
                Change::Add { .. } => all.added += 1,
                Change::Replace { .. } => all.replaced += 1,
                Change::Remove { .. } => all.removed += 1,
            }
            let line = change.to_string();
            if all.left_out == 0 && line.len() <= room {
                room -= line.len();
                all.lines.push(line);
            } else {
                all.left_out += 1;
            }
        }
        if all.lines.is_empty() && all.left_out == 0 {
            all.lines
                .push("~ comments, layout or file names only".to_owned());
        }
        all
    }

    /// Whether the two documents are the same, byte for byte.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.left_out == 0
    }

    /// What it takes in memory and in a snapshot, about.
    pub(super) fn weight(&self) -> usize {
        self.lines.iter().map(|line| line.len() + 8).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<SourceFile> {
        vec![SourceFile {
            name: "gateway.yaml".to_owned(),
            text: text.to_owned(),
        }]
    }

    #[test]
    fn changes_are_counted_and_told() {
        let old = file("tenants: { a: { plan: p }, b: {} }\n");
        let new = file("tenants: { a: { plan: q }, c: {}, d: {} }\n");
        let changes = Changes::between(4, &old, &new);
        assert_eq!(changes.base, 4);
        assert_eq!(
            (changes.added, changes.replaced, changes.removed),
            (2, 1, 1)
        );
        assert_eq!(changes.lines[0], "~ tenants.a.plan: p -> q");
        assert!(Changes::between(4, &old, &old).is_empty());
        let comment = file("# why\ntenants: { a: { plan: p }, b: {} }\n");
        let changes = Changes::between(4, &old, &comment);
        assert!(!changes.is_empty());
        assert_eq!(
            (changes.added, changes.replaced, changes.removed),
            (0, 0, 0)
        );
    }

    #[test]
    fn many_changes_are_counted_and_the_first_are_kept() {
        let tenants: String = (0..10_000)
            .map(|n| format!("  tenant-{n}: {{}}\n"))
            .collect();
        let changes = Changes::between(0, &[], &file(&format!("tenants:\n{tenants}")));
        assert_eq!(changes.added, 10_000);
        assert_eq!(changes.lines.len() as u64 + changes.left_out, 10_000);
        assert!(changes.lines.len() > 100);
        let bytes: usize = changes.lines.iter().map(String::len).sum();
        assert!(bytes <= KEPT_BYTES, "{bytes}");
    }
}
