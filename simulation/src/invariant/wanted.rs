//! What a scenario itself says must hold, beside what always must (`holds:` in its file).
//!
//! In: the scenario's own bounds, the [`History`], and how the invariants fared. Out: what broke. A bound is never
//! wider than the promise that every run is held to.

use std::time::Duration;

use super::{Judged, Verdict, availability};
use crate::workload::{History, Outcome};

/// A scenario's own bounds. Empty: it has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// Invariants that the run must put to the test, by their names.
    pub tries: Vec<&'static str>,
    /// 99 % of outages are shorter.
    pub outages: Option<Duration>,
    /// All nodes are equal so soon after the last fault.
    pub equal: Option<Duration>,
    /// At least this share of requests is served, from 0 to 1, of those that no limit turns away, from the moment when
    /// all nodes serve.
    pub served: Option<f64>,
    /// At least this share of the operator's documents is acknowledged, from 0 to 1.
    pub written: Option<f64>,
    /// At most so many lives of nodes go on with their share of limits because no quorum answers.
    pub unanswered: Option<usize>,
}

impl Wanted {
    /// Whether the scenario says nothing of its own.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What broke of it in a run that came to its end.
    pub(super) fn check(&self, history: &History, judged: &[Judged]) -> Vec<String> {
        let mut wrong = Vec::new();
        for name in &self.tries {
            let mut untried = judged.iter();
            if untried.any(|it| it.name == *name && it.verdict == Verdict::Untried) {
                wrong.push(format!(
                    "the run did not put this to the test, and it is to: {name}"
                ));
            }
        }
        let seen = Seen::of(history);
        if let (Some(bound), Some(seen)) = (self.outages, seen.outages)
            && seen >= bound
        {
            wrong.push(format!(
                "99 % of outages are to be shorter than {bound:?}; the 99th percentile is {seen:?}"
            ));
        }
        if let (Some(bound), Some(seen)) = (self.equal, seen.equal)
            && seen > bound
        {
            wrong.push(format!(
                "the nodes are to be equal {bound:?} after calm; they took {seen:?}"
            ));
        }
        for (what, bound, seen) in [
            ("requests are to be served", self.served, &seen.served),
            (
                "documents are to be acknowledged",
                self.written,
                &seen.written,
            ),
        ] {
            let Some(bound) = bound else { continue };
            if seen.part() < bound {
                wrong.push(format!("{} of {what}; {seen} were", percent(bound)));
            }
        }
        if let Some(bound) = self.unanswered
            && history.assumed.len() > bound
        {
            let who = history.assumed.iter();
            let who: Vec<String> = who
                .map(|it| format!("{} at {:?}", it.node, it.at))
                .collect();
            wrong.push(format!(
                "{bound} lives at most are to go on with their share of limits without a quorum's answer; these did: {}",
                who.join(", ")
            ));
        }
        wrong
    }

    /// What the run showed of it, in figures; none where it says nothing.
    pub(super) fn measured(&self, history: &History) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let seen = Seen::of(history);
        let mut parts = Vec::new();
        if !self.tries.is_empty() {
            parts.push(format!("to be tried: {}", self.tries.join(", ")));
        }
        if let (Some(_), Some(seen)) = (self.outages, seen.outages) {
            parts.push(format!("99 % of outages {} ms at most", seen.as_millis()));
        }
        if let (Some(_), Some(seen)) = (self.equal, seen.equal) {
            parts.push(format!("equal after {} ms", seen.as_millis()));
        }
        if self.served.is_some() {
            parts.push(format!("served {}", seen.served));
        }
        if self.written.is_some() {
            parts.push(format!("acknowledged {}", seen.written));
        }
        if self.unanswered.is_some() {
            let count = history.assumed.len();
            parts.push(format!("{count} lives went on unanswered"));
        }
        Some(parts.join("; "))
    }
}

/// So many of all.
struct Count {
    done: usize,
    all: usize,
}

impl Count {
    /// From 0 to 1; all of nothing.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a run has some thousands of requests"
    )]
    fn part(&self) -> f64 {
        match self.all {
            0 => 1.0,
            all => self.done as f64 / all as f64,
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} ({})",
            self.done,
            self.all,
            percent(self.part())
        )
    }
}

/// What a run showed.
struct Seen {
    outages: Option<Duration>,
    equal: Option<Duration>,
    served: Count,
    written: Count,
}

impl Seen {
    fn of(history: &History) -> Self {
        let since = history.serving_since.unwrap_or(Duration::MAX);
        let (mut served, mut written) = (Count { done: 0, all: 0 }, Count { done: 0, all: 0 });
        for request in history.requests.iter().filter(|it| it.sent >= since) {
            match &request.outcome {
                Outcome::Served(_) => served.done += 1,
                outcome if availability::is_rate_limited(outcome) => continue,
                _ => {}
            }
            served.all += 1;
        }
        for write in &history.writes {
            written.all += 1;
            written.done += usize::from(matches!(write.outcome, Some(Ok(_))));
        }
        let gaps = availability::promised(history);
        Self {
            outages: availability::percentile_99(gaps.iter().map(|outage| outage.gap).collect()),
            equal: history
                .equal_at
                .zip(history.calm_since)
                .map(|(equal, calm)| equal.saturating_sub(calm)),
            served,
            written,
        }
    }
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        invariant::{SCENARIO, judge},
        workload::{Assumed, Flow, Kind, Request},
        world::Place,
    };

    fn history() -> History {
        let request = |id, outcome| Request {
            id,
            flow: Flow {
                from: Place(0),
                kind: Kind::Local,
            },
            sent: Duration::from_secs(5),
            done: Duration::from_secs(6),
            tries: 1,
            outcome,
        };
        History {
            serving_since: Some(Duration::from_secs(4)),
            calm_since: Some(Duration::from_secs(20)),
            equal_at: Some(Duration::from_secs(23)),
            requests: vec![
                request(1, Outcome::Served("a".to_owned())),
                request(2, Outcome::Served("a".to_owned())),
                request(3, Outcome::Failed("no answer".to_owned())),
                request(
                    4,
                    Outcome::Refused(429, "urn:meridian:problem:rate-limited".to_owned()),
                ),
            ],
            assumed: vec![Assumed {
                at: Duration::from_secs(5),
                node: "a".to_owned(),
                agreed: None,
                seats: 3,
            }],
            ..History::default()
        }
    }

    fn told(wanted: &Wanted) -> Vec<String> {
        let mut violations = Vec::new();
        judge(&history(), &mut violations, false, wanted);
        let own = violations.into_iter().filter(|it| it.invariant == SCENARIO);
        own.map(|it| it.says).collect()
    }

    #[test]
    fn each_bound_is_told_when_it_is_passed_and_only_then() {
        let kept = Wanted {
            tries: vec!["convergence"],
            equal: Some(Duration::from_secs(3)),
            served: Some(0.66),
            written: Some(1.0),
            unanswered: Some(1),
            ..Wanted::default()
        };
        assert_eq!(told(&kept), [""; 0]);
        let broken = Wanted {
            tries: vec!["convergence", "residency"],
            equal: Some(Duration::from_millis(2999)),
            served: Some(0.67),
            unanswered: Some(0),
            ..Wanted::default()
        };
        assert_eq!(
            told(&broken),
            [
                "the run did not put this to the test, and it is to: residency",
                "the nodes are to be equal 2.999s after calm; they took 3s",
                "67.0 % of requests are to be served; 2 of 3 (66.7 %) were",
                "0 lives at most are to go on with their share of limits without a quorum's answer; these did: a at 5s",
            ]
        );
    }

    #[test]
    fn half_a_run_keeps_and_breaks_no_bound() {
        let wanted = Wanted {
            tries: vec!["residency"],
            ..Wanted::default()
        };
        let mut violations = Vec::new();
        let judged = judge(&history(), &mut violations, true, &wanted);
        assert_eq!(violations, []);
        let own = judged.iter().find(|it| it.name == SCENARIO).unwrap();
        assert_eq!(own.verdict, Verdict::Untried);
        let judged = judge(&history(), &mut violations, false, &Wanted::default());
        assert!(judged.iter().all(|it| it.name != SCENARIO));
    }
}
