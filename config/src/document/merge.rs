//! Several files as one document.
//!
//! In: the trees of all sources. Out: one tree. Names under `regions`, `plans`, `issuers`, `tenants`,
//! `services` and `routes` may be spread over files; a name or any other section that is defined twice is
//! a mistake that names both places.

use std::collections::BTreeMap;

use crate::{
    diagnose::{Findings, Path, Place},
    tree::{Key, Node, Value, entries, wrong_kind},
};

/// Merges the trees of a document.
pub(super) fn merge(nodes: Vec<Node>, findings: &mut Findings) -> Node {
    let mut merged: Vec<(Key, Node)> = Vec::new();
    let mut place = None;
    for node in nodes {
        place.get_or_insert(node.place);
        if entries(&node, &Path::default(), findings).is_none() {
            continue;
        }
        let Value::Map(sections) = node.value else {
            continue;
        };
        // A key that stands twice in one map has been reported with the tree.
        let before = merged.len();
        for (key, section) in sections {
            match merged
                .iter_mut()
                .position(|(known, _)| *known.text == key.text)
            {
                None => merged.push((key, section)),
                Some(index) if index >= before => {}
                Some(index) => {
                    let (first, into) = &mut merged[index];
                    add(first, into, &key, section, findings);
                }
            }
        }
    }
    let place = place.unwrap_or(Place {
        source: 0,
        line: 1,
        column: 1,
    });
    Node {
        value: Value::Map(merged),
        place,
        named: place,
    }
}

/// Adds a section of a later file to the same section of an earlier one.
fn add(first: &Key, into: &mut Node, key: &Key, section: Node, findings: &mut Findings) {
    if key.text == "meridian" {
        if into.value != section.value {
            twice(&key.text, first.place, key.place, "is different", findings);
        }
        return;
    }
    if !NAMED.contains(&key.text.as_str()) {
        twice(&key.text, first.place, key.place, "is defined", findings);
        return;
    }
    let Value::Map(more) = section.value else {
        // An empty section adds nothing.
        if section.value != Value::Null {
            wrong_kind(&section, "a map", &Path::default().key(&key.text), findings);
        }
        return;
    };
    let Value::Map(all) = &mut into.value else {
        // The reader reports the first one if it is not a map; an empty one gives way.
        if into.value == Value::Null {
            into.value = Value::Map(more);
        }
        return;
    };
    let mut known: BTreeMap<String, Place> = BTreeMap::new();
    for (name, _) in all.iter() {
        known.entry(name.text.clone()).or_insert(name.place);
    }
    for (name, node) in more {
        match known.get(&name.text).copied() {
            // Twice in one file has been reported with the tree.
            Some(at) if at.source == name.place.source => {}
            Some(at) => {
                let path = format!("{}.{}", key.text, name.text);
                twice(&path, at, name.place, "is defined", findings);
            }
            None => {
                known.insert(name.text.clone(), name.place);
                all.push((name, node));
            }
        }
    }
}

fn twice(path: &str, first: Place, second: Place, how: &str, findings: &mut Findings) {
    let other = findings.name(first);
    findings.mistake(
        second,
        format!("{path}: {how} here and at {other}; keep one of them"),
    );
}

/// The sections whose names may be spread over several files.
const NAMED: [&str; 6] = [
    "regions", "plans", "issuers", "tenants", "services", "routes",
];
