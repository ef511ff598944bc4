//! A planned stop loses nothing (DESIGN section 7: a lost node costs no request and no write; STYLE, the written order
//! of a shutdown).
//!
//! Judged where nothing but planned stops goes wrong: every request is served, and every write is acknowledged within
//! the time that one election would take. With accidents among the faults the failover budget applies instead.

use std::time::Duration;

use meridian_cluster::consensus::Profile;

use super::availability;
use crate::workload::{History, Outcome};

pub(super) fn check(history: &History) -> Vec<String> {
    let planned = !history.faults.is_empty() && history.faults.iter().all(|fault| fault.orderly);
    let Some(serving) = history.serving_since.filter(|_| planned) else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    for request in history.requests.iter().filter(|it| it.sent >= serving) {
        // A limit's word is no loss.
        let limited = request.flow.is_limited() && availability::is_rate_limited(&request.outcome);
        if !limited && !matches!(request.outcome, Outcome::Served(_)) {
            wrong.push(format!(
                "request {} ({} from region {}) sent at {:?} was lost to a planned stop: {:?}, {} tries",
                request.id,
                request.flow.kind.name(),
                request.flow.from.0,
                request.sent,
                request.outcome,
                request.tries
            ));
        }
    }
    let bound = election();
    for write in history.writes.iter().filter(|it| it.sent >= serving) {
        let says = match (&write.outcome, write.done) {
            (Some(Ok(_)), Some(done)) if done <= write.sent + bound => continue,
            (Some(Ok(_)), Some(done)) => format!("took {:?}", done - write.sent),
            (Some(Err(why)), _) => format!("was refused: {why}"),
            _ => "has no sure outcome".to_owned(),
        };
        wrong.push(format!(
            "the write sent to {} at {:?} {says}; nothing but planned stops went wrong, which may cost it {bound:?} at most",
            write.node, write.sent
        ));
    }
    wrong
}

/// The lease that must expire and the longest wait of a candidate: what a write may lose to an election of the
/// profile that simulated nodes run with.
fn election() -> Duration {
    Profile::Wan.lease() * 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        workload::{BUDGET, FaultSeen, Flow, Kind, Request, Write},
        world::Place,
    };

    fn history(
        orderly: bool,
        outcome: Outcome,
        write: Option<Result<u64, String>>,
        took: Duration,
    ) -> History {
        let second = Duration::from_secs(1);
        History {
            serving_since: Some(Duration::ZERO),
            faults: vec![FaultSeen {
                at: second,
                what: "a is stopped".to_owned(),
                area: crate::workload::Area::Nodes,
                signs: 1,
                orderly,
                budget: BUDGET,
                ended: None,
            }],
            requests: vec![Request {
                id: 1,
                flow: Flow {
                    from: Place(0),
                    kind: Kind::Local,
                },
                sent: second,
                done: second,
                tries: 1,
                outcome,
            }],
            writes: vec![Write {
                node: "a".to_owned(),
                sent: second,
                done: Some(second + took),
                outcome: write,
            }],
            ..History::default()
        }
    }

    #[test]
    fn whatever_a_planned_stop_costs_is_told() {
        let served = || Outcome::Served("b".to_owned());
        let lost = || Outcome::Failed("broken".to_owned());
        let wrong = |outcome, write, took| check(&history(true, outcome, write, took)).len();
        assert_eq!(wrong(served(), Some(Ok(1)), election()), 0);
        assert_eq!(wrong(lost(), Some(Ok(1)), election()), 1);
        assert_eq!(wrong(served(), Some(Ok(1)), 2 * election()), 1);
        assert_eq!(wrong(served(), Some(Err("no".to_owned())), election()), 1);
        assert_eq!(wrong(served(), None, election()), 1);
    }

    #[test]
    fn among_accidents_the_failover_budget_applies_instead() {
        let lost = Outcome::Failed("broken".to_owned());
        let history = history(false, lost, None, Duration::ZERO);
        assert_eq!(check(&history), Vec::<String>::new());
    }
}
