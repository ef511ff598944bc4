//! No program ends by itself, and no task panics: a node answers trouble with an error, never with its death.

use super::Breach;
use crate::workload::History;

/// How far the history was looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: usize,
}

impl Watch {
    pub(super) fn look(&mut self, history: &History) -> Vec<Breach> {
        let new = history.collapses[self.seen..].iter();
        self.seen = history.collapses.len();
        new.map(|(at, says)| Breach {
            at: *at,
            says: says.clone(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_collapse_is_told_once() {
        let at = Duration::from_secs(4);
        let says = "eu-west-1 ended: the disk is full".to_owned();
        let history = History {
            collapses: vec![(at, says.clone())],
            ..History::default()
        };
        let mut watch = Watch::default();
        assert_eq!(watch.look(&history), [Breach { at, says }]);
        assert_eq!(watch.look(&history), []);
    }
}
