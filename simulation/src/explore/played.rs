//! One run, as the process that asked for it sees it.
//!
//! In: what a child process left behind. Out: a [`Played`].

use std::time::Duration;

use serde::Deserialize;

/// A run in a process of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// Its seed.
    pub seed: u64,
    /// By the clock on the wall.
    pub took: Duration,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was played and judged.
    Judged {
        /// How much time passed in it.
        simulated: Duration,
        /// The hash of its trace.
        trace_hash: String,
        /// What broke; empty: all held.
        broken: Vec<Broken>,
    },
    /// There is no finding: the process ended, or was ended, before it could tell one.
    Lost(String),
}

/// An invariant that broke, in a run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Broken {
    /// Its name.
    pub invariant: String,
    /// What happened.
    pub says: String,
}

/// The part of a finding's JSON that matters here.
#[derive(Deserialize)]
struct Told {
    violations: Vec<Broken>,
    trace_hash: String,
    simulated_ms: u64,
}

impl Verdict {
    /// Reads a finding; `lost` says why there is none, should it be none.
    pub fn read(json: &[u8], lost: impl FnOnce() -> String) -> Self {
        serde_json::from_slice(json).map_or_else(
            |_| Self::Lost(lost()),
            |told: Told| Self::Judged {
                simulated: Duration::from_millis(told.simulated_ms),
                trace_hash: told.trace_hash,
                broken: told.violations,
            },
        )
    }
}

impl Played {
    /// Whether it was judged, and all held.
    pub fn held(&self) -> bool {
        self.broken().is_empty()
    }

    /// What broke. That a run was lost counts as one more invariant: each of them should end with a finding.
    pub fn broken(&self) -> Vec<Broken> {
        match &self.verdict {
            Verdict::Judged { broken, .. } => broken.clone(),
            Verdict::Lost(says) => vec![Broken {
                invariant: LOST.to_owned(),
                says: says.clone(),
            }],
        }
    }

    /// How much time passed in it.
    pub fn simulated(&self) -> Duration {
        match &self.verdict {
            Verdict::Judged { simulated, .. } => *simulated,
            Verdict::Lost(_) => Duration::ZERO,
        }
    }
}

impl Broken {
    /// What kind of breach it is: the same kind shows again when the run is played in another way, with other
    /// times, counts and names.
    pub fn symptom(&self) -> String {
        let plain = |word: &&str| word.chars().all(|letter| letter.is_ascii_alphabetic());
        let words: Vec<&str> = self.says.split_whitespace().filter(plain).take(4).collect();
        format!("{}: {}", self.invariant, words.join(" "))
    }
}

/// Stands where an invariant's name would for a run without a finding.
const LOST: &str = "no finding";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_read_and_anything_else_is_a_lost_run() {
        let json =
            br#"{"scenario":"s","seed":3,"passed":false,"trace_hash":"ab","simulated_ms":1500,
            "violations":[{"invariant":"agreement","says":"two at index 4"}]}"#;
        let read = Verdict::read(json, || unreachable!("it is a finding"));
        let broken = Broken {
            invariant: "agreement".to_owned(),
            says: "two at index 4".to_owned(),
        };
        let judged = Verdict::Judged {
            simulated: Duration::from_millis(1_500),
            trace_hash: "ab".to_owned(),
            broken: vec![broken],
        };
        assert_eq!(read, judged);
        let lost = Verdict::read(b"", || "killed".to_owned());
        let played = Played {
            seed: 3,
            took: Duration::ZERO,
            verdict: lost,
        };
        assert!(!played.held());
        assert_eq!(played.broken()[0].symptom(), "no finding: killed");
    }

    #[test]
    fn a_symptom_is_the_same_for_other_times_and_requests_and_not_for_another_breach() {
        let broken = |says: &str| Broken {
            invariant: "availability".to_owned(),
            says: says.to_owned(),
        };
        let one = broken("request 17 (local from region 0) sent at 3.5s was answered 503");
        let two = broken("request 9312 (order from region 2) sent at 71s was answered 504");
        assert_eq!(one.symptom(), two.symptom());
        let other = broken("the 99th percentile of outages is 1.2s");
        assert_ne!(one.symptom(), other.symptom());
    }
}
