//! What a run showed of each promise, in figures, for a reader who did not write the code.
//!
//! In: the [`History`]. Out: a sentence; none where the run did not put the promise to the test. Whether it held is
//! not said here.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use super::{is_revoked, outages, quota};
use crate::workload::{History, Outcome, Phase, TokensDeed, TokensSeen};

#[allow(clippy::unnecessary_wraps, reason = "one of a table of measures")]
pub(super) fn progress(history: &History) -> Option<String> {
    let mut text = String::new();
    let at = |phase| {
        let mut steps = history.progress.iter();
        steps.find(|step| step.phase == phase).map(|step| step.at)
    };
    let steps = [
        ("the first document went in after", at(Phase::Document)),
        ("all served after", history.serving_since),
        ("the last fault was over after", history.calm_since),
        ("all were equal after", history.equal_at),
    ];
    for (says, at) in steps {
        if let Some(at) = at {
            let separator = if text.is_empty() { "" } else { ", " };
            write!(text, "{separator}{says} {}", seconds(at))
                .expect("formatting into a String cannot fail");
        }
    }
    if text.is_empty() {
        text.push_str("the nodes never saw each other");
    }
    Some(text)
}

pub(super) fn agreement(history: &History) -> Option<String> {
    if history.commands.is_empty() && history.revisions.is_empty() {
        return None;
    }
    let indexes: BTreeSet<_> = history
        .commands
        .iter()
        .map(|seen| (&seen.group, seen.index))
        .collect();
    let acknowledged = history.writes.iter();
    let acknowledged = acknowledged.filter(|write| matches!(write.outcome, Some(Ok(_))));
    Some(format!(
        "{} commands at {} places of the log compared, {} acknowledged documents looked for at {} nodes in the end",
        history.commands.len(),
        indexes.len(),
        acknowledged.count(),
        history.ends.len()
    ))
}

pub(super) fn availability(history: &History) -> Option<String> {
    let since = history.serving_since?;
    let sent = history.requests.iter().filter(|it| it.sent >= since);
    let lost = sent
        .clone()
        .filter(|it| !matches!(it.outcome, Outcome::Served(_)));
    let (sent, lost) = (sent.count(), lost.count());
    if sent == 0 {
        return None;
    }
    let gaps = outages(history);
    let longest = gaps.iter().map(|outage| outage.gap).max();
    let longest = longest.map_or_else(String::new, |gap| {
        let (count, faults) = (gaps.len(), history.faults.len());
        format!(
            "; longest time without a success {} ms, of {count} looked at around {faults} faults",
            gap.as_millis()
        )
    });
    Some(format!("{sent} requests, {lost} not served{longest}"))
}

pub(super) fn at_most_once(history: &History) -> Option<String> {
    if history.orders.is_empty() {
        return None;
    }
    let mut once = BTreeSet::new();
    let mut again = BTreeSet::new();
    for arrival in &history.arrivals {
        if history.orders.contains(&arrival.id) && !once.insert(arrival.id) {
            again.insert(arrival.id);
        }
    }
    Some(format!(
        "{} such requests, {} reached an upstream, {} more than once",
        history.orders.len(),
        once.len(),
        again.len()
    ))
}

pub(super) fn convergence(history: &History) -> Option<String> {
    let calm = history.calm_since?;
    let nodes = history.ends.len();
    Some(history.equal_at.map_or_else(
        || format!("{nodes} nodes, never equal"),
        |at| {
            format!(
                "{nodes} nodes, equal {} ms after calm",
                (at - calm).as_millis()
            )
        },
    ))
}

pub(super) fn revocation(history: &History) -> Option<String> {
    if history.revocations.is_empty() {
        return None;
    }
    let returned = history
        .revocations
        .iter()
        .filter(|it| it.returned.is_some());
    let slowest = returned
        .clone()
        .map(|it| it.slowest)
        .max()
        .unwrap_or_default();
    let refused = history
        .presented
        .iter()
        .filter(|it| is_revoked(&it.outcome));
    Some(format!(
        "{} tokens revoked, {} with a receipt, the slowest node on one took {} ms; presented {} times, {} times refused as revoked",
        history.revocations.len(),
        returned.count(),
        slowest.as_millis(),
        history.presented.len(),
        refused.count()
    ))
}

pub(super) fn linearizable(history: &History) -> Option<String> {
    let deeds = history.deeds.len();
    (deeds > 0).then(|| format!("{deeds} reads and writes of operators, put in one order"))
}

pub(super) fn residency(history: &History) -> Option<String> {
    let confined = &history.confined;
    let arrived = history.arrivals.iter();
    let arrived = arrived.filter(|arrival| confined.contains_key(&arrival.id));
    let (sent, arrived) = (confined.len(), arrived.count());
    (sent > 0)
        .then(|| format!("{sent} requests of confined tenants, {arrived} reached an upstream"))
}

pub(super) fn quota(history: &History) -> Option<String> {
    let given_back = history.charges.iter().filter(|it| it.back).count();
    let keys: BTreeSet<&str> = history.charges.iter().map(|it| &*it.key).collect();
    let fullest = super::quota::windows::fullest(history)?;
    let text = format!(
        "{} charges to {} limits, the fullest window {fullest:.0} %",
        history.charges.len() - 2 * given_back,
        keys.len()
    );
    Some(match history.assumed.len() {
        0 => text,
        starts => format!("{text}; {starts} starts without a quorum"),
    })
}

pub(super) fn quota_ledger(history: &History) -> Option<String> {
    let changes = quota::tried(history).changes;
    let entry = |seen: &&TokensSeen| matches!(&seen.what, TokensDeed::Applied(applied) if !applied.changed.is_empty());
    let entries = history.tokens.iter().filter(entry).count();
    (changes > 0).then(|| format!("{changes} changes of keys by {entries} entries"))
}

pub(super) fn quota_booked(history: &History) -> Option<String> {
    let compared = quota::tried(history).compared;
    (compared > 0).then(|| format!("{compared} comparisons of a node's tokens with the ledger"))
}

pub(super) fn quota_rest(history: &History) -> Option<String> {
    let rested = quota::tried(history).rested;
    (rested > 0).then(|| format!("{rested} charges"))
}

pub(super) fn quota_whole(history: &History) -> Option<String> {
    let settled = quota::tried(history).settled;
    (settled > 0).then(|| format!("{settled} looks at limits in use"))
}

pub(super) fn quota_leases(history: &History) -> Option<String> {
    let tried = quota::tried(history);
    let (late, lapses) = (tried.late, tried.lapses);
    (late + lapses > 0).then(|| {
        format!("{late} charges at nodes whose lease was over, {lapses} leases ended by the ledger")
    })
}

pub(super) fn quota_lives(history: &History) -> Option<String> {
    let tried = quota::tried(history);
    let (lives, charged) = (tried.lives, tried.charged);
    (lives + charged > 0)
        .then(|| format!("{lives} lives that left tokens behind, {charged} charges to later lives"))
}

pub(super) fn quota_repeats(history: &History) -> Option<String> {
    let tried = quota::tried(history);
    let (answered, again) = (tried.answered, tried.again);
    (again > 0).then(|| {
        format!("{answered} asks answered, {again} messages heard again or by another life")
    })
}

pub(super) fn bounded(history: &History) -> Option<String> {
    let looks = history.samples.len();
    let held = history.samples.iter().map(|sample| sample.held.len());
    (looks > 0).then(|| {
        format!(
            "{looks} looks at nodes, {} amounts in all",
            held.sum::<usize>()
        )
    })
}

pub(super) fn isolation(history: &History) -> Option<String> {
    let since = history.serving_since.filter(|_| history.only_floods)?;
    let doubts = history.doubts.iter().filter(|doubt| doubt.at >= since);
    let slowest = history.reads.iter().filter_map(|read| read.took).max();
    Some(format!(
        "{} reads that must not be old, the slowest {} ms; {} doubts about a node",
        history.reads.len(),
        slowest.unwrap_or_default().as_millis(),
        doubts.count()
    ))
}

#[allow(clippy::unnecessary_wraps, reason = "one of a table of measures")]
pub(super) fn nothing_collapses(history: &History) -> Option<String> {
    let nodes = history.nodes.len();
    let collapses = history.collapses.len();
    Some(format!("{nodes} nodes, {collapses} collapses or panics"))
}

pub(super) fn planned_stops(history: &History) -> Option<String> {
    let planned = !history.faults.is_empty() && history.faults.iter().all(|fault| fault.orderly);
    let since = history.serving_since.filter(|_| planned)?;
    let sent = history.requests.iter().filter(|it| it.sent >= since);
    let lost = sent
        .clone()
        .filter(|it| !matches!(it.outcome, Outcome::Served(_)));
    let writes = history.writes.iter().filter(|it| it.sent >= since);
    let slowest = writes
        .clone()
        .filter_map(|it| Some(it.done? - it.sent))
        .max();
    Some(format!(
        "{} stops; {} requests, {} lost; {} writes, the slowest {} ms",
        history.faults.len(),
        sent.count(),
        lost.count(),
        writes.count(),
        slowest.unwrap_or_default().as_millis()
    ))
}

pub(super) fn faults_happened(history: &History) -> Option<String> {
    if history.faults.is_empty() {
        return None;
    }
    let silent = history.faults.iter().filter(|fault| fault.signs == 0);
    let signs: u64 = history.faults.iter().map(|fault| fault.signs).sum();
    Some(format!(
        "{} faults, {} of them without a sign, {signs} signs in all",
        history.faults.len(),
        silent.count()
    ))
}

fn seconds(at: Duration) -> String {
    format!("{:.1} s", at.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{FaultSeen, Revoked};

    #[test]
    fn what_was_not_tried_is_not_measured() {
        let nothing = History::default();
        for measure in [
            agreement,
            availability,
            at_most_once,
            convergence,
            revocation,
            isolation,
            linearizable,
            residency,
            quota,
            bounded,
            planned_stops,
            faults_happened,
        ] {
            assert_eq!(measure(&nothing), None);
        }
        assert_eq!(
            progress(&nothing).unwrap(),
            "the nodes never saw each other"
        );
    }

    #[test]
    fn figures_are_those_of_the_history() {
        let second = Duration::from_secs(1);
        let history = History {
            serving_since: Some(second),
            calm_since: Some(20 * second),
            equal_at: Some(20 * second + Duration::from_millis(880)),
            orders: BTreeSet::from([1, 2]),
            arrivals: [1, 1, 7]
                .map(|id| crate::workload::Arrival {
                    id,
                    at: second,
                    region: crate::world::Place(0),
                })
                .to_vec(),
            faults: vec![FaultSeen {
                at: second,
                what: "a loses power".to_owned(),
                area: crate::workload::Area::Nodes,
                signs: 2,
                orderly: false,
                budget: crate::workload::BUDGET,
                ended: None,
            }],
            revocations: vec![Revoked {
                node: "a".to_owned(),
                place: crate::world::Place(0),
                called: second,
                returned: Some(2 * second),
                applied: BTreeSet::new(),
                slowest: Duration::from_millis(321),
            }],
            ..History::default()
        };
        assert_eq!(
            at_most_once(&history).unwrap(),
            "2 such requests, 1 reached an upstream, 1 more than once"
        );
        assert_eq!(
            convergence(&history).unwrap(),
            "0 nodes, equal 880 ms after calm"
        );
        assert_eq!(
            faults_happened(&history).unwrap(),
            "1 faults, 0 of them without a sign, 2 signs in all"
        );
        assert!(revocation(&history).unwrap().contains("took 321 ms"));
        assert!(
            progress(&history)
                .unwrap()
                .starts_with("all served after 1.0 s")
        );
    }
}
