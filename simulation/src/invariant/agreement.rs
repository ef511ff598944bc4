//! Agreement (docs/design.md, invariant 2).
//!
//! No two nodes apply different commands at an index (Raft's State Machine Safety, Ongaro and Ousterhout 2014,
//! figure 3); a document at revision N is byte-equal everywhere; an acknowledged write survives any minority loss.

use std::collections::BTreeMap;

use super::Breach;
use crate::workload::{Act, History, Written};

/// What was applied and shown first, and how far the history was looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By group and index: digest and node.
    commands: BTreeMap<(String, u64), (String, String)>,
    commands_seen: usize,
    /// By number: digest and node.
    revisions: BTreeMap<u64, (String, String)>,
    revisions_seen: usize,
}

impl Watch {
    pub(super) fn look(&mut self, history: &History) -> Vec<Breach> {
        let mut wrong = Vec::new();
        for seen in &history.commands[self.commands_seen..] {
            let key = (seen.group.clone(), seen.index);
            let first = self
                .commands
                .entry(key)
                .or_insert_with(|| (seen.digest.clone(), seen.node.clone()));
            if first.0 != seen.digest {
                let says = format!(
                    "{} and {} applied different commands at index {} of {}",
                    first.1, seen.node, seen.index, seen.group
                );
                wrong.push(Breach { at: seen.at, says });
            }
        }
        self.commands_seen = history.commands.len();
        for seen in &history.revisions[self.revisions_seen..] {
            let told = self.differs(seen.number, &seen.digest, &seen.node);
            wrong.extend(told.map(|says| Breach { at: seen.at, says }));
        }
        self.revisions_seen = history.revisions.len();
        wrong
    }

    fn differs(&mut self, number: u64, digest: &str, node: &str) -> Option<String> {
        let first = self
            .revisions
            .entry(number)
            .or_insert_with(|| (digest.to_owned(), node.to_owned()));
        (first.0 != digest).then(|| {
            let other = &first.1;
            format!("revision {number} is not the same at {other} and {node}")
        })
    }
}

/// What only the end shows.
pub(super) fn check_end(history: &History) -> Vec<String> {
    let mut watch = Watch::default();
    watch.look(history);
    let mut wrong = Vec::new();
    for end in &history.ends {
        for (number, digest) in &end.revisions {
            wrong.extend(watch.differs(*number, digest, &end.node));
        }
    }
    let newest = watch.revisions.keys().next_back().copied().unwrap_or(0);
    for (number, digest, through) in acknowledged(history) {
        // Nodes keep the newest 64 revisions (`Directory::history`); an older one is gone by design.
        if newest >= number + 64 {
            continue;
        }
        for end in &history.ends {
            let held = end.revisions.iter().find(|(held, _)| *held == number);
            match held {
                Some((_, held)) if held == digest => {}
                Some(_) => wrong.push(format!(
                    "revision {number}, acknowledged by {through}, is another document at {}",
                    end.node
                )),
                None => wrong.push(format!(
                    "revision {number}, acknowledged by {through}, is missing at {}",
                    end.node
                )),
            }
        }
    }
    wrong
}

/// Number, digest and node of every write that was acknowledged.
fn acknowledged(history: &History) -> impl Iterator<Item = (u64, &str, &str)> {
    history.deeds.iter().filter_map(|deed| match &deed.act {
        Act::Write {
            digest,
            outcome: Written::Made(number),
            ..
        } => Some((*number, digest.as_str(), deed.node.as_str())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::workload::{CommandSeen, Deed, EndState, RevisionSeen};

    fn check(history: &History) -> Vec<String> {
        let seen = Watch::default().look(history).into_iter();
        let mut wrong: Vec<String> = seen.map(|breach| breach.says).collect();
        wrong.extend(check_end(history));
        wrong
    }

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

    fn written(outcome: Written, digest: &str) -> Deed {
        Deed {
            node: "a".to_owned(),
            called: Duration::ZERO,
            returned: Some(Duration::ZERO),
            act: Act::Write {
                expect: None,
                digest: digest.to_owned(),
                outcome,
            },
        }
    }

    #[test]
    fn equal_histories_pass() {
        let history = History {
            commands: vec![command("a", 1, "x"), command("b", 1, "x")],
            revisions: vec![revision("a", 1, "d"), revision("b", 1, "d")],
            deeds: vec![written(Written::Made(1), "d")],
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
            deeds: vec![written(Written::Made(3), "d")],
            ends: vec![end("a", &[(3, "d")]), end("b", &[(2, "c")])],
            ..History::default()
        };
        assert_eq!(check(&history).len(), 1);
        history.deeds = vec![written(Written::Unknown, "d")];
        assert_eq!(check(&history), Vec::<String>::new());
    }

    #[test]
    fn a_second_look_tells_only_what_is_new() {
        let mut history = History {
            commands: vec![command("a", 1, "x"), command("b", 1, "y")],
            ..History::default()
        };
        let mut watch = Watch::default();
        assert_eq!(watch.look(&history).len(), 1);
        assert_eq!(watch.look(&history), []);
        let late = Duration::from_secs(3);
        history.commands.push(CommandSeen {
            at: late,
            ..command("c", 1, "z")
        });
        let told = watch.look(&history);
        assert_eq!(told.iter().map(|it| it.at).collect::<Vec<_>>(), [late]);
    }
}
