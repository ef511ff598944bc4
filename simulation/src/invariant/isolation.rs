//! Isolation (DESIGN section 5): bulk at a link's limit never looks like a dead node.
//!
//! While nothing goes wrong but floods of bulk, no node is taken for silent or dead, nobody asks for votes, no
//! message of Raft's goes unanswered, and every read that must not be old is answered. A group elects its first leader when
//! it is founded, which the second one may be after all nodes serve: votes count from the first flood on.

use crate::workload::History;

pub(super) fn check(history: &History) -> Vec<String> {
    let Some(since) = history.serving_since.filter(|_| history.only_floods) else {
        return Vec::new();
    };
    let flooded = history.faults.first().map_or(since, |fault| fault.at);
    let doubts = history.doubts.iter().filter(|doubt| {
        let from = if doubt.says.starts_with("raft asked ") {
            flooded
        } else {
            since
        };
        doubt.at >= from
    });
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
    use crate::workload::{Area, BUDGET, DoubtSeen, FaultSeen, ReadSeen};

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

    #[test]
    fn a_vote_is_told_from_the_first_flood_on() {
        let mut history = history(true);
        history.reads.clear();
        for doubt in &mut history.doubts {
            doubt.says = "raft asked from=b group=directory question=vote".to_owned();
        }
        let flood = |at| FaultSeen {
            at: Duration::from_secs(at),
            what: "a floods b".to_owned(),
            area: Area::Links,
            signs: 1,
            orderly: false,
            budget: BUDGET,
            ended: None,
        };
        history.faults = vec![flood(6)];
        assert_eq!(check(&history).len(), 1);
        history.faults = vec![flood(7)];
        assert!(check(&history).is_empty());
    }
}
