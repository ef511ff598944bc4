//! What must hold, whatever breaks: one file each, citing its source.
//!
//! In: the [`History`] of a run. Out: every [`Violation`]. Each is a plain function over what was seen, so
//! that a test can hand it a history that is wrong.

mod agreement;
mod at_most_once;
mod availability;
mod bounded;
mod convergence;
mod faults_happened;
mod isolation;
mod linearizable;
mod measured;
mod nothing_collapses;
mod planned_stops;
mod quota;
mod residency;
mod revocation;
mod wanted;

use std::{collections::BTreeMap, time::Duration};

pub use availability::{BUDGET, Outage, outages};
pub use convergence::LIMIT as EQUAL;
pub use quota::Tried;
pub use revocation::is_revoked;
pub use wanted::Wanted;

use serde::Serialize;

use crate::workload::History;

/// Something that must never happen, and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// What happened.
    pub says: String,
    /// When, in simulated time, where one instant shows it; none: the whole run does.
    #[serde(rename = "at_ms", serialize_with = "as_ms")]
    pub at: Option<Duration>,
}

/// A breach that one instant shows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Breach {
    at: Duration,
    says: String,
}

/// Looks at a run while it goes on, for what no later event can excuse. It remembers how far it has looked, so that a
/// look costs what has come since.
#[derive(Debug, Default)]
pub struct Watch {
    agreement: agreement::Watch,
    at_most_once: at_most_once::Watch,
    revocation: revocation::Watch,
    residency: residency::Watch,
    quota: quota::Watch,
    bounded: bounded::Watch,
    linearizable: linearizable::Watch,
    collapses: nothing_collapses::Watch,
}

impl Watch {
    /// What broke since the last look. `now`: the simulated time; [`Duration::MAX`]: the run is over.
    pub fn look(&mut self, history: &History, now: Duration) -> Vec<Violation> {
        let mut found = vec![
            ("agreement", self.agreement.look(history)),
            ("at most once", self.at_most_once.look(history)),
            ("revocation", self.revocation.look(history)),
            ("residency", self.residency.look(history)),
            ("bounded", self.bounded.look(history)),
            ("linearizable admin", self.linearizable.look(history, now)),
            ("nothing collapses", self.collapses.look(history)),
        ];
        found.extend(self.quota.look(history, now));
        let mut violations = Vec::new();
        for (invariant, breaches) in found {
            violations.extend(breaches.into_iter().map(|breach| Violation {
                invariant,
                says: breach.says,
                at: Some(breach.at),
            }));
        }
        violations
    }
}

/// Says each breach in a sentence.
type Check = fn(&History) -> Vec<String>;

/// Checks every invariant over a run that has come to its end.
pub fn check(history: &History) -> Vec<Violation> {
    let checks: [(&'static str, Check); 7] = [
        ("agreement", agreement::check_end),
        ("availability", availability::check),
        ("at most once", at_most_once::check_end),
        ("convergence", convergence::check),
        ("isolation", isolation::check),
        ("planned stops", planned_stops::check),
        ("faults happened", faults_happened::check),
    ];
    let mut violations = Watch::default().look(history, Duration::MAX);
    for (invariant, check) in checks {
        for says in check(history) {
            violations.push(Violation {
                invariant,
                says,
                at: None,
            });
        }
    }
    violations
}

/// What an invariant promises to the users of the gateway.
#[derive(Debug, Clone, Copy)]
struct Promise {
    /// The invariant's name.
    name: &'static str,
    /// In a sentence for a reader who did not write the code.
    says: &'static str,
    /// It holds at every moment, so that a run which did not come to its end is judged by it too.
    always: bool,
    /// What the run showed of it, with figures; none: the run did not put it to the test.
    measure: fn(&History) -> Option<String>,
}

/// How one invariant fared in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The invariant's name.
    pub name: &'static str,
    /// What is promised.
    pub promises: &'static str,
    /// Whether it held.
    pub verdict: Verdict,
    /// What the run showed of it; none where it was not tried.
    pub measured: Option<String>,
    /// How often it broke.
    pub breaches: usize,
}

/// Whether an invariant held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It did.
    Held,
    /// It did not.
    Broke,
    /// The run did not put it to the test.
    Untried,
}

/// The name of the breach where the conductor got stuck.
pub const PROGRESS: &str = "progress";

/// The name under which a scenario's own bounds are judged.
pub const SCENARIO: &str = "scenario";

/// The invariants by their names, those that every run is held to.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROMISES.iter().map(|promise| promise.name)
}

/// How every invariant fared, and what the scenario itself wants; of the violations of each the first are kept. `half`:
/// the run did not come to its end, and what is promised about ends was not tried.
pub fn judge(
    history: &History,
    violations: &mut Vec<Violation>,
    half: bool,
    wanted: &Wanted,
) -> Vec<Judged> {
    let progress = Promise {
        name: PROGRESS,
        says: "The cluster comes up, serves, outlives its faults, and takes one more document.",
        always: false,
        measure: measured::progress,
    };
    let judged = |promise: &Promise| {
        let told = violations.iter().filter(|it| it.invariant == promise.name);
        let breaches = told.count();
        let tried = breaches > 0 || promise.always || !half;
        let measured = (promise.measure)(history).filter(|_| tried);
        let verdict = match (breaches, &measured) {
            (0, Some(_)) => Verdict::Held,
            (0, None) => Verdict::Untried,
            _ => Verdict::Broke,
        };
        Judged {
            name: promise.name,
            promises: promise.says,
            verdict,
            measured,
            breaches,
        }
    };
    let all = [&progress].into_iter().chain(&PROMISES);
    let mut all: Vec<Judged> = all.map(judged).collect();
    if let Some(measured) = wanted.measured(history) {
        let broken = match half {
            true => Vec::new(),
            false => wanted.check(history, &all),
        };
        all.push(Judged {
            name: SCENARIO,
            promises: "What the scenario itself says must hold.",
            verdict: match (half, broken.is_empty()) {
                (true, _) => Verdict::Untried,
                (false, true) => Verdict::Held,
                (false, false) => Verdict::Broke,
            },
            measured: (!half).then_some(measured),
            breaches: broken.len(),
        });
        violations.extend(broken.into_iter().map(|says| Violation {
            invariant: SCENARIO,
            says,
            at: None,
        }));
    }
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    violations.retain(|violation| {
        let count = kept.entry(violation.invariant).or_default();
        *count += 1;
        *count <= MOST_TOLD
    });
    all
}

impl Verdict {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broke => "broke",
            Self::Untried => "untried",
        }
    }
}

/// Every invariant but [`PROGRESS`].
const PROMISES: [Promise; 20] = [
    Promise {
        name: "agreement",
        says: "All nodes apply the same commands in the same order, and an acknowledged document is never lost.",
        always: true,
        measure: measured::agreement,
    },
    Promise {
        name: "availability",
        says: "A request that a healthy region could serve fails at most in the second after a fault; 99 % of outages are shorter than a second.",
        always: false,
        measure: measured::availability,
    },
    Promise {
        name: "at most once",
        says: "A request that must not be repeated reaches an upstream at most once.",
        always: true,
        measure: measured::at_most_once,
    },
    Promise {
        name: "convergence",
        says: "Ten seconds after the last fault all nodes are equal: one document, one leader, everybody up, the same revocations.",
        always: false,
        measure: measured::convergence,
    },
    Promise {
        name: "revocation",
        says: "A revoked token is refused within a second by every node that can hear of it, and by one that has heard of it for ever.",
        always: true,
        measure: measured::revocation,
    },
    Promise {
        name: "linearizable admin",
        says: "What operators read and write has one order that all of them could have seen.",
        always: true,
        measure: measured::linearizable,
    },
    Promise {
        name: "residency",
        says: "No upstream outside a tenant's zones sees a byte of its requests.",
        always: true,
        measure: measured::residency,
    },
    Promise {
        name: quota::WINDOWS,
        says: "No window of a limit admits more than it says, whichever nodes are asked and whatever breaks.",
        always: true,
        measure: measured::quota,
    },
    Promise {
        name: quota::LEDGER,
        says: "Each token of a limit is in one place, none is given that is not there, and all replicas of the ledger agree.",
        always: true,
        measure: measured::quota_ledger,
    },
    Promise {
        name: quota::BOOKED,
        says: "No node acts on more tokens than the ledger books for it.",
        always: true,
        measure: measured::quota_booked,
    },
    Promise {
        name: quota::REST,
        says: "A token that was spent is spent again a window later at the earliest.",
        always: true,
        measure: measured::quota_rest,
    },
    Promise {
        name: quota::WHOLE,
        says: "A request that one limit denies costs none of the others anything.",
        always: true,
        measure: measured::quota_whole,
    },
    Promise {
        name: quota::LEASES,
        says: "A node out of contact spends its base at most, and what it held beyond is given to others only a window after it has stopped.",
        always: true,
        measure: measured::quota_leases,
    },
    Promise {
        name: quota::LIVES,
        says: "A node that was started again spends nothing that an earlier life of it, or others, may have spent within the window.",
        always: true,
        measure: measured::quota_lives,
    },
    Promise {
        name: quota::REPEATS,
        says: "What nodes and ledger have said to each other before changes nothing.",
        always: true,
        measure: measured::quota_repeats,
    },
    Promise {
        name: "bounded",
        says: "What nodes hold in queues and tables stays under its stated bounds.",
        always: true,
        measure: measured::bounded,
    },
    Promise {
        name: "isolation",
        says: "Bulk that fills a link never makes a node look dead, and never holds up a read that must not be old.",
        always: false,
        measure: measured::isolation,
    },
    Promise {
        name: "nothing collapses",
        says: "No node ends by itself, and no task panics.",
        always: true,
        measure: measured::nothing_collapses,
    },
    Promise {
        name: "planned stops",
        says: "Where nodes are only stopped in an orderly way, no request fails and no write is refused.",
        always: false,
        measure: measured::planned_stops,
    },
    Promise {
        name: "faults happened",
        says: "Every fault of the scenario left a sign: a run in which nothing went wrong would prove nothing.",
        always: false,
        measure: measured::faults_happened,
    },
];

/// Breaches of one invariant that are kept in words: one that repeats for every request says nothing new.
const MOST_TOLD: usize = 200;

fn as_ms<S: serde::Serializer>(at: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.as_millis()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fared(judged: &[Judged], name: &str) -> Verdict {
        judged.iter().find(|one| one.name == name).unwrap().verdict
    }

    #[test]
    fn what_a_run_did_not_try_is_no_promise_kept_and_half_a_run_tries_no_end() {
        let history = History {
            calm_since: Some(Duration::from_secs(1)),
            equal_at: Some(Duration::from_secs(2)),
            ..History::default()
        };
        let judged = judge(&history, &mut Vec::new(), false, &Wanted::default());
        assert_eq!(fared(&judged, "convergence"), Verdict::Held);
        assert_eq!(fared(&judged, "isolation"), Verdict::Untried);
        let judged = judge(&history, &mut Vec::new(), true, &Wanted::default());
        assert_eq!(fared(&judged, "convergence"), Verdict::Untried);
        assert_eq!(fared(&judged, PROGRESS), Verdict::Untried);
        assert_eq!(fared(&judged, "nothing collapses"), Verdict::Held);
    }

    #[test]
    fn breaches_are_all_counted_and_not_all_kept() {
        let violation = Violation {
            invariant: "nothing collapses",
            says: "it panicked".to_owned(),
            at: None,
        };
        let mut violations = vec![violation; 300];
        let judged = judge(
            &History::default(),
            &mut violations,
            false,
            &Wanted::default(),
        );
        assert_eq!(fared(&judged, "nothing collapses"), Verdict::Broke);
        let breaches = judged.iter().map(|one| one.breaches);
        assert_eq!(breaches.max(), Some(300));
        assert_eq!(violations.len(), MOST_TOLD);
    }

    #[test]
    fn every_breach_has_its_promise() {
        let history = History {
            collapses: vec![(Duration::ZERO, "it panicked".to_owned())],
            ..History::default()
        };
        for violation in check(&history) {
            let named = PROMISES.iter().any(|it| it.name == violation.invariant);
            assert!(named, "{violation:?}");
        }
    }
}
