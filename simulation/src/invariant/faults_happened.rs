//! Every fault of the scenario really happened: a fault that never fires proves nothing.

use crate::workload::History;

pub(super) fn check(history: &History) -> Vec<String> {
    let silent = history.faults.iter().filter(|fault| fault.signs == 0);
    silent
        .map(|fault| {
            format!(
                "\"{}\" at {:?} left no sign: nothing was down and nothing was lost",
                fault.what, fault.at
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::workload::{BUDGET, FaultSeen};

    #[test]
    fn a_fault_without_a_sign_is_told() {
        let fault = |signs| FaultSeen {
            at: Duration::ZERO,
            what: "a loses power".to_owned(),
            area: crate::workload::Area::Nodes,
            signs,
            orderly: false,
            budget: BUDGET,
            ended: None,
        };
        let history = History {
            faults: vec![fault(3), fault(0)],
            ..History::default()
        };
        assert_eq!(check(&history).len(), 1);
    }
}
