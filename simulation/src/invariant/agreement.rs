//! Agreement (DESIGN section 8, invariant 2).
//!
//! No two nodes apply different commands at an index (Raft's State Machine Safety, Ongaro and Ousterhout 2014,
//! figure 3); a document at revision N is byte-equal everywhere; an acknowledged write survives any minority loss.

use std::collections::BTreeMap;

use crate::workload::History;

pub(super) fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut commands = BTreeMap::new();
    for seen in &history.commands {
        let first = commands
            .entry((&seen.group, seen.index))
            .or_insert((&seen.digest, &seen.node));
        if *first.0 != seen.digest {
            wrong.push(format!(
                "{} and {} applied different commands at index {} of {}",
                first.1, seen.node, seen.index, seen.group
            ));
        }
    }
    let mut revisions: BTreeMap<u64, (&str, &str)> = BTreeMap::new();
    let shown = history
        .revisions
        .iter()
        .map(|seen| (seen.number, seen.digest.as_str(), seen.node.as_str()));
    let held = history.ends.iter().flat_map(|end| {
        let held = end.revisions.iter();
        held.map(|(number, digest)| (*number, digest.as_str(), end.node.as_str()))
    });
    for (number, digest, node) in shown.chain(held) {
        let first = revisions.entry(number).or_insert((digest, node));
        if first.0 != digest {
            wrong.push(format!(
                "revision {number} is not the same at {} and {node}",
                first.1
            ));
        }
    }
    for write in &history.writes {
        let Some(Ok(number)) = write.outcome else {
            continue;
        };
        // Nodes keep the newest 64 revisions (`Directory::history`); an older one is gone by design.
        let newest = revisions.keys().next_back().copied().unwrap_or(0);
        if newest >= number + 64 {
            continue;
        }
        for end in &history.ends {
            let held = end.revisions.iter().find(|(held, _)| *held == number);
            match held {
                Some((_, digest)) if *digest == write.digest => {}
                Some(_) => wrong.push(format!(
                    "revision {number}, acknowledged by {}, is another document at {}",
                    write.node, end.node
                )),
                None => wrong.push(format!(
                    "revision {number}, acknowledged by {}, is missing at {}",
                    write.node, end.node
                )),
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::workload::{CommandSeen, EndState, RevisionSeen, Write};

    fn command(node: &str, index: u64, digest: &str) -> CommandSeen {
        CommandSeen {
            at: Duration::ZERO,
            node: node.to_owned(),
            group: "directory".to_owned(),
            index,
            digest: digest.to_owned(),
        }
    }

    fn revision(node: &str, number: u64, digest: &str) -> RevisionSeen {
        RevisionSeen {
            at: Duration::ZERO,
            node: node.to_owned(),
            number,
            digest: digest.to_owned(),
        }
    }

    fn end(node: &str, revisions: &[(u64, &str)]) -> EndState {
        let owned = |(number, digest): &(u64, &str)| (*number, (*digest).to_owned());
        EndState {
            node: node.to_owned(),
            revisions: revisions.iter().map(owned).collect(),
            leadership: String::new(),
            members: String::new(),
            facts: String::new(),
        }
    }

    fn acknowledged(number: u64, digest: &str) -> Write {
        Write {
            node: "a".to_owned(),
            sent: Duration::ZERO,
            done: Some(Duration::ZERO),
            outcome: Some(Ok(number)),
            digest: digest.to_owned(),
        }
    }

    #[test]
    fn equal_histories_pass() {
        let history = History {
            commands: vec![command("a", 1, "x"), command("b", 1, "x")],
            revisions: vec![revision("a", 1, "d"), revision("b", 1, "d")],
            writes: vec![acknowledged(1, "d")],
            ends: vec![end("a", &[(1, "d")]), end("b", &[(1, "d")])],
            ..History::default()
        };
        assert_eq!(check(&history), Vec::<String>::new());
    }

    #[test]
    fn two_commands_at_one_index_are_told() {
        let history = History {
            commands: vec![command("a", 1, "x"), command("b", 1, "y")],
            ..History::default()
        };
        let told = "a and b applied different commands at index 1 of directory";
        assert_eq!(check(&history), [told]);
    }

    #[test]
    fn a_revision_that_differs_is_told_while_it_is_shown_and_at_the_end() {
        let shown = History {
            revisions: vec![revision("a", 2, "d"), revision("b", 2, "e")],
            ..History::default()
        };
        assert_eq!(check(&shown).len(), 1);
        let held = History {
            ends: vec![end("a", &[(2, "d")]), end("b", &[(2, "e")])],
            ..History::default()
        };
        assert_eq!(check(&held).len(), 1);
    }

    #[test]
    fn an_acknowledged_write_that_is_gone_is_told_and_an_unknown_one_is_not() {
        let mut history = History {
            writes: vec![acknowledged(3, "d")],
            ends: vec![end("a", &[(3, "d")]), end("b", &[(2, "c")])],
            ..History::default()
        };
        assert_eq!(check(&history).len(), 1);
        history.writes[0].outcome = None;
        assert_eq!(check(&history), Vec::<String>::new());
    }
}
