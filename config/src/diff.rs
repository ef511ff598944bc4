//! What changes between two documents.
//!
//! In: the files of both. Out: the changes, path by path; comments, layout, order of keys and the split
//! into files do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    diagnose::{Findings, Path, Source},
    document,
    tree::{Node, Value},
};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something new stands at this path.
    Add {
        /// Where.
        path: String,
        /// The new value, on one line.
        value: String,
    },
    /// Something else stands at this path.
    Replace {
        /// Where.
        path: String,
        /// The old value, on one line.
        from: String,
        /// The new value, on one line.
        to: String,
    },
    /// Nothing stands at this path any more.
    Remove {
        /// Where.
        path: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A whole section is told by its path alone; it can be read in the document.
            Self::Add { path, value } if value.starts_with('{') => write!(f, "+ {path}"),
            Self::Add { path, value } => write!(f, "+ {path}: {}", cut(value)),
            Self::Replace { path, from, to } => {
                write!(f, "~ {path}: {} -> {}", cut(from), cut(to))
            }
            Self::Remove { path } => write!(f, "- {path}"),
        }
    }
}

/// What changes from `old` to `new`, in the order of the paths. Files that are not valid YAML are compared
/// as texts.
pub fn changes(old: &[Source], new: &[Source]) -> Vec<Change> {
    match (tree(old), tree(new)) {
        (Some(old), Some(new)) => {
            let mut changes = Vec::new();
            compare(&old, &new, &Path::default(), &mut changes);
            changes
        }
        _ => texts(old, new),
    }
}

fn tree(sources: &[Source]) -> Option<Node> {
    document::tree(sources, &mut Findings::in_sources(sources))
}

fn compare(old: &Node, new: &Node, path: &Path, changes: &mut Vec<Change>) {
    if let (Value::Map(old), Value::Map(new)) = (&old.value, &new.value) {
        let mut keys: BTreeMap<&str, (Option<&Node>, Option<&Node>)> = BTreeMap::new();
        // Of a key that stands twice, readers take the first.
        for (key, node) in old {
            keys.entry(&key.text).or_default().0.get_or_insert(node);
        }
        for (key, node) in new {
            keys.entry(&key.text).or_default().1.get_or_insert(node);
        }
        for (key, pair) in keys {
            let here = path.key(key);
            match pair {
                (Some(old), Some(new)) => compare(old, new, &here, changes),
                (Some(_), None) => changes.push(Change::Remove {
                    path: here.to_string(),
                }),
                // A section that is new is told name by name.
                (
                    None,
                    Some(Node {
                        value: Value::Map(entries),
                        ..
                    }),
                ) if *path == Path::default() && !entries.is_empty() => {
                    for (name, node) in entries {
                        changes.push(Change::Add {
                            path: here.key(&name.text).to_string(),
                            value: node.inline(),
                        });
                    }
                }
                (None, Some(new)) => changes.push(Change::Add {
                    path: here.to_string(),
                    value: new.inline(),
                }),
                (None, None) => {}
            }
        }
        return;
    }
    let (from, to) = (old.inline(), new.inline());
    if from != to {
        changes.push(Change::Replace {
            path: path.to_string(),
            from,
            to,
        });
    }
}

fn texts(old: &[Source], new: &[Source]) -> Vec<Change> {
    let names: BTreeSet<&str> = old
        .iter()
        .chain(new)
        .map(|file| file.name.as_str())
        .collect();
    names
        .into_iter()
        .filter_map(|name| {
            let of = |files: &[Source]| -> Option<String> {
                let file = files.iter().find(|file| file.name == name)?;
                Some(format!("{} bytes", file.text.len()))
            };
            let text = |files: &'_ [Source]| files.iter().position(|file| file.name == name);
            let same = match (text(old), text(new)) {
                (Some(was), Some(is)) => old[was].text == new[is].text,
                _ => false,
            };
            let path = format!("file {name}");
            match (of(old), of(new)) {
                _ if same => None,
                (Some(from), Some(to)) => Some(Change::Replace { path, from, to }),
                (Some(_), None) => Some(Change::Remove { path }),
                (None, value) => Some(Change::Add {
                    path,
                    value: value.unwrap_or_default(),
                }),
            }
        })
        .collect()
}

/// A value as it fits a line.
fn cut(value: &str) -> String {
    if value.chars().count() <= MAX_SHOWN {
        return value.to_owned();
    }
    let mut shown: String = value.chars().take(MAX_SHOWN).collect();
    shown.push('…');
    shown
}

/// Two of these and a path fit a wide terminal's line.
const MAX_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(name: &str, text: &str) -> Source {
        Source {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        changes(&[source("a.yaml", old)], &[source("a.yaml", new)])
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn each_change_is_told_by_its_path() {
        let old = "meridian: 1\ntenants:\n  acme: { plan: premium }\n  gone: {}\nroutes:\n  x: { limits: [20/second] }\n";
        let new = "meridian: 1\ntenants:\n  acme: { plan: standard, aliases: [org_1] }\n  foo: { plan: premium }\nroutes:\n  x: { limits: [30/second, 5/30s] }\nplans:\n  premium: { limits: [1/hour] }\n";
        assert_eq!(
            told(old, new),
            [
                "+ plans.premium",
                "~ routes.x.limits: [20/second] -> [30/second, 5/30s]",
                "+ tenants.acme.aliases: [org_1]",
                "~ tenants.acme.plan: premium -> standard",
                "+ tenants.foo",
                "- tenants.gone",
            ]
        );
    }

    #[test]
    fn layout_comments_order_and_files_do_not_count() {
        let one = "meridian: 1\ntenants: { a: { plan: p }, b: {} }\n";
        let other = [
            source("z.yaml", "# all of it\ntenants:\n  b: {}\n"),
            source(
                "m.yaml",
                "tenants:\n  a:\n    plan: \"p\" # the plan\nmeridian: 1\n",
            ),
        ];
        assert_eq!(changes(&[source("a.yaml", one)], &other), []);
    }

    #[test]
    fn the_first_document_is_all_new() {
        let new = [source("a.yaml", "meridian: 1\ntenants: { a: {} }\n")];
        let told: Vec<String> = changes(&[], &new).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["+ meridian: 1", "+ tenants.a"]);
    }

    #[test]
    fn of_a_key_that_stands_twice_the_first_counts() {
        assert_eq!(told("a: 1\na: 2\n", "a: 1\n"), [""; 0]);
        assert_eq!(told("a: 1\n", "a: 2\na: 1\n"), ["~ a: 1 -> 2"]);
    }

    #[test]
    fn what_is_not_yaml_is_compared_as_text() {
        assert_eq!(told("a: [", "a: 1"), ["~ file a.yaml: 4 bytes -> 4 bytes"]);
        assert_eq!(told("a: [", "a: ["), [""; 0]);
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself(text in "([a-c]{1,2}: ?[\\[\\]{}0-9x,'\"-]{0,6}\n| {2}[a-c]: [0-9x]{1,3}\n){0,8}") {
            prop_assert_eq!(told(&text, &text), Vec::<String>::new());
        }
    }
}
