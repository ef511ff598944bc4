//! Trees of texts that were read a moment ago.
//!
//! A document is read by the node that checks it, twice more to tell what it changes, and again when it is adopted;
//! in a simulation by every node of a cluster. In: a text. Out: its tree, parsed or remembered.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::Node;

/// The longest text that is remembered, in bytes. Its tree takes some ten times as much.
const LONGEST: usize = 16 << 10;

/// How many are.
const KEPT: usize = 8;

pub(super) struct Read {
    text: String,
    nodes: Vec<Node>,
}

/// The last texts that were read.
pub(super) struct Recent(Mutex<VecDeque<Arc<Read>>>);

/// Those of this process.
pub(super) static RECENT: Recent = Recent::new();

impl Recent {
    const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// The tree of a text: as it was parsed before, or by `parse`. A text that could not be parsed is not remembered.
    pub(super) fn tree<E>(
        &self,
        text: &str,
        parse: impl FnOnce() -> Result<Vec<Node>, E>,
    ) -> Result<Vec<Node>, E> {
        if text.len() > LONGEST {
            return parse();
        }
        let known = self.with(|recent| recent.iter().find(|read| read.text == text).cloned());
        if let Some(read) = known {
            return Ok(read.nodes.clone());
        }
        let nodes = parse()?;
        let read = Arc::new(Read {
            text: text.to_owned(),
            nodes: nodes.clone(),
        });
        self.with(|recent| {
            recent.truncate(KEPT - 1);
            recent.push_front(read);
        });
        Ok(nodes)
    }

    fn with<T>(&self, act: impl FnOnce(&mut VecDeque<Arc<Read>>) -> T) -> T {
        // Whatever a thread did that panicked, each entry is whole.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{
        diagnose::{Findings, Source},
        tree::{Value, parse},
    };

    #[test]
    fn a_text_is_parsed_once_while_it_is_recent_and_a_long_one_each_time() {
        let recent = Recent::new();
        let parsed = Cell::new(0);
        let read = |text: &str| {
            recent
                .tree(text, || {
                    parsed.set(parsed.get() + 1);
                    Ok::<_, ()>(Vec::new())
                })
                .unwrap();
        };
        read("once: 1 # of this test");
        read("once: 1 # of this test");
        assert_eq!(parsed.get(), 1);
        for other in 0..KEPT {
            read(&format!("other: {other} # of this test"));
        }
        read("once: 1 # of this test");
        assert_eq!(parsed.get(), KEPT + 2);
        let long = "x".repeat(LONGEST + 1);
        read(&long);
        read(&long);
        assert_eq!(parsed.get(), KEPT + 4);
        assert_eq!(
            recent.tree("not: [", || Err::<Vec<Node>, _>("broken")),
            Err("broken")
        );
        assert_eq!(
            recent.tree("not: [", || Err::<Vec<Node>, _>("still")),
            Err("still")
        );
    }

    #[test]
    fn a_remembered_text_has_the_places_of_the_file_that_it_stands_in_now() {
        let source = |name: &str, text: &str| Source {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let (text, twice) = ("first: { a: 1 }", "b: 1\nb: 2");
        let (one, two) = ([source("a", text)], [source("b", twice), source("c", text)]);
        parse(&one, &mut Findings::in_sources(&one)).unwrap();
        let again = |findings: &mut Findings| parse(&two, findings).unwrap();
        let mut findings = Findings::in_sources(&two);
        let nodes = again(&mut findings);
        let Value::Map(entries) = &nodes[1].value else {
            panic!("not a map: {nodes:?}");
        };
        assert_eq!(entries[0].0.place.source, 1);
        assert_eq!(entries[0].1.named.source, 1);
        // Mistakes are found each time, in a text that is remembered too.
        assert!(findings.end().is_err());
        let mut findings = Findings::in_sources(&two);
        again(&mut findings);
        assert!(findings.end().is_err());
    }
}
