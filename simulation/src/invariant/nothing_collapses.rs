//! No program ends by itself, and no task panics: a node answers trouble with an error, never with its death.

use crate::workload::History;

pub(super) fn check(history: &History) -> Vec<String> {
    history.collapses.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collapse_is_told() {
        let history = History {
            collapses: vec!["eu-west-1 ended: the disk is full".to_owned()],
            ..History::default()
        };
        assert_eq!(check(&history), ["eu-west-1 ended: the disk is full"]);
    }
}
