//! Isolation (DESIGN section 5): bulk at a link's limit never looks like a dead node.
//!
//! While nothing goes wrong but floods of bulk, no node is taken for silent or dead, nobody asks for votes, no
//! message of Raft's goes unanswered, and every read that must not be old is answered.

use crate::workload::History;

pub(super) fn check(history: &History) -> Vec<String> {
    let Some(since) = history.serving_since.filter(|_| history.only_floods) else {
        return Vec::new();
    };
    let doubts = history.doubts.iter().filter(|doubt| doubt.at >= since);
    let doubts = doubts.map(|doubt| {
        format!(
            "{} at {:?}, while only bulk was heavy: {}",
            doubt.node, doubt.at, doubt.says
        )
    });
    let unanswered = history.reads.iter().filter(|read| read.took.is_none());
    let unanswered = unanswered.map(|read| {
        format!(
            "a read at {} at {:?} was not answered, while only bulk was heavy",
            read.node, read.at
        )
    });
    doubts.chain(unanswered).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::workload::{DoubtSeen, ReadSeen};

    fn history(only_floods: bool) -> History {
        let doubt = |at| DoubtSeen {
            at: Duration::from_secs(at),
            node: "a".to_owned(),
            says: "verdict node=b liveness=Suspect".to_owned(),
        };
        let read = |took| ReadSeen {
            at: Duration::from_secs(6),
            node: "a".to_owned(),
            took,
        };
        History {
            only_floods,
            serving_since: Some(Duration::from_secs(5)),
            doubts: vec![doubt(4), doubt(6)],
            reads: vec![read(Some(Duration::from_millis(80))), read(None)],
            ..History::default()
        }
    }

    #[test]
    fn a_doubt_and_an_unanswered_read_are_told_where_only_bulk_was_heavy() {
        assert_eq!(check(&history(true)).len(), 2);
        assert!(check(&history(false)).is_empty());
    }
}
