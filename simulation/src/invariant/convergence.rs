//! Convergence (docs/design.md, invariant 8).
//!
//! Faults off, all nodes are equal within 10 s: one document, one leader, everybody `Up` in everybody's eyes, the same
//! revocations.

use std::time::Duration;

use crate::workload::{EndState, History};

pub(super) fn check(history: &History) -> Vec<String> {
    let Some(calm) = history.calm_since else {
        return vec!["the run ended before its faults did".to_owned()];
    };
    let mut wrong = Vec::new();
    match history.equal_at {
        None => wrong.push(format!(
            "the nodes were not equal within {LIMIT:?} of calm: {:?}",
            history.ends
        )),
        Some(at) if at - calm > LIMIT => wrong.push(format!(
            "the nodes took {:?} of calm to become equal; the limit is {LIMIT:?}",
            at - calm
        )),
        Some(_) => {}
    }
    // What was equal must stay so.
    for pair in history.ends.windows(2) {
        let [a, b] = pair else { continue };
        let seen = |end: &EndState| {
            (
                end.revisions.clone(),
                end.leadership.clone(),
                end.members.clone(),
                end.facts.clone(),
            )
        };
        if seen(a) != seen(b) {
            wrong.push(format!("at the end {a:?} is not equal to {b:?}"));
        }
    }
    wrong
}

/// How long the nodes may take.
pub const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn history(equal_at: Option<u64>) -> History {
        History {
            calm_since: Some(Duration::from_secs(20)),
            equal_at: equal_at.map(Duration::from_secs),
            ..History::default()
        }
    }

    #[test]
    fn equal_in_time_passes_late_and_never_are_told() {
        assert!(check(&history(Some(30))).is_empty());
        assert_eq!(check(&history(Some(31))).len(), 1);
        assert_eq!(check(&history(None)).len(), 1);
        assert_eq!(check(&History::default()).len(), 1);
    }

    #[test]
    fn nodes_that_drift_apart_again_are_told() {
        let end = |node: &str, revision| EndState {
            node: node.to_owned(),
            revisions: vec![(revision, "d".to_owned())],
            leadership: "a leads".to_owned(),
            members: "a b".to_owned(),
            facts: "0".to_owned(),
        };
        let mut history = history(Some(21));
        history.ends = vec![end("a", 1), end("b", 1)];
        assert!(check(&history).is_empty());
        history.ends = vec![end("a", 1), end("b", 2)];
        assert_eq!(check(&history).len(), 1);
        history.ends = vec![end("a", 1), end("b", 1)];
        history.ends[1].facts = "1".to_owned();
        assert_eq!(check(&history).len(), 1);
    }
}
