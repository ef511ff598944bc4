//! The log of a run, in words: what went wrong, what the nodes made of it, what clients and the operator saw.
//!
//! In: the history. Out: events in the order of time, with nothing in them that only a programmer of the nodes would
//! understand. Bounded: what a node says again and again is told once with a count, and of too many the plainest go.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tracks::ms;
use crate::{
    scenario::Scenario,
    workload::{DecisionSeen, History, Outcome, Phase},
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    /// When, in ms since the run's start.
    pub(super) at: u64,
    /// What it is about.
    pub(super) kind: Topic,
    /// The node or the region that it is about; empty: the world.
    pub(super) who: String,
    /// In words.
    pub(super) says: String,
    /// How often the same happened in a row.
    #[serde(skip_serializing_if = "is_once")]
    pub(super) times: u32,
}

/// What an event is about; the later ones are the first to be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Topic {
    Run,
    Fault,
    Leader,
    Health,
    Write,
    Revocation,
    Request,
    Upstream,
    Document,
    Vote,
    Link,
    Node,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_once(times: &u32) -> bool {
    *times <= 1
}

/// Every event, and how many there would be besides.
pub(super) fn events(scenario: &Scenario, history: &History) -> (Vec<Event>, u64) {
    let mut all = Vec::new();
    progress(history, &mut all);
    leaders(history, &mut all);
    machines(history, &mut all);
    requests(scenario, history, &mut all);
    writes(history, &mut all);
    revocations(history, &mut all);
    all.extend(history.decisions.iter().filter_map(decision));
    // Stable: events of one moment stay in the order in which they were found.
    all.sort_by_key(|event| event.at);
    let mut events = fold(all);
    let before = events.len();
    let mut topics: Vec<Topic> = events.iter().map(|event| event.kind).collect();
    topics.sort();
    if let Some(last) = topics.get(MOST_EVENTS) {
        // All of the plainest topics; of the one in between the first that still fit.
        let below = topics.partition_point(|topic| topic < last);
        let mut room = MOST_EVENTS - below;
        events.retain(|event| match event.kind.cmp(last) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal if room > 0 => {
                room -= 1;
                true
            }
            _ => false,
        });
    }
    let left_out = (before - events.len()) as u64 + history.decisions_left_out;
    (events, left_out)
}

fn event(at: u64, kind: Topic, who: impl Into<String>, says: impl Into<String>) -> Event {
    let mut says: String = says.into();
    if says.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| says.is_char_boundary(*end));
        says.truncate(end.unwrap_or_default());
        says.push('…');
    }
    Event {
        at,
        kind,
        who: who.into(),
        says,
        times: 1,
    }
}

fn progress(history: &History, all: &mut Vec<Event>) {
    for step in &history.progress {
        let kind = match step.phase {
            Phase::Fault | Phase::Over => Topic::Fault,
            _ => Topic::Run,
        };
        all.push(event(ms(step.at), kind, "", step.says.clone()));
    }
}

fn leaders(history: &History, all: &mut Vec<Event>) {
    for reign in super::tracks::reigns(history, std::time::Duration::MAX) {
        let name = &history.nodes[reign.node].name;
        let says = format!("leads the cluster in term {}", reign.term);
        all.push(event(reign.from, Topic::Leader, name, says));
        if reign.to != u64::MAX {
            let says = format!("no longer leads (term {})", reign.term);
            all.push(event(reign.to, Topic::Leader, name, says));
        }
    }
}

/// Programs that stop and start.
fn machines(history: &History, all: &mut Vec<Event>) {
    let mut on: BTreeMap<usize, bool> = BTreeMap::new();
    for sight in &history.sights {
        let before = on.insert(sight.node, sight.on);
        let says = match (before, sight.on) {
            (Some(true), false) => "is gone",
            (Some(false), true) => "starts again",
            _ => continue,
        };
        let name = &history.nodes[sight.node].name;
        all.push(event(ms(sight.at), Topic::Health, name, says));
    }
}

fn requests(scenario: &Scenario, history: &History, all: &mut Vec<Event>) {
    for request in &history.requests {
        let why = match &request.outcome {
            Outcome::Served(_) => continue,
            Outcome::Refused(status, problem) => {
                format!("answered {status} {}", problem.trim_start_matches(PROBLEM))
            }
            Outcome::Failed(error) => format!("not answered: {error}"),
        };
        let took = (request.done - request.sent).as_millis();
        let kind = request.flow.kind.name();
        let says = format!("a request ({kind}) was {why}, after {took} ms");
        let from = scenario.region(request.flow.from);
        all.push(event(ms(request.sent), Topic::Request, from, says));
    }
}

fn writes(history: &History, all: &mut Vec<Event>) {
    for write in &history.writes {
        let took = write.done.map(|done| (done - write.sent).as_millis());
        let after = took.map_or_else(String::new, |took| format!(" after {took} ms"));
        let says = match &write.outcome {
            Some(Ok(revision)) => format!("a document is revision {revision}{after}"),
            Some(Err(why)) => format!("a document was refused{after}: {why}"),
            None => format!("nobody knows what became of a document{after}"),
        };
        all.push(event(ms(write.sent), Topic::Write, &write.node, says));
    }
}

fn revocations(history: &History, all: &mut Vec<Event>) {
    for (badge, revoked) in history.revocations.iter().enumerate() {
        let says = match revoked.returned {
            Some(returned) => format!(
                "token {badge} is revoked: {} nodes have it after {} ms",
                revoked.applied.len(),
                (returned - revoked.called).as_millis()
            ),
            None => format!("nobody knows whether token {badge} is revoked"),
        };
        all.push(event(
            ms(revoked.called),
            Topic::Revocation,
            &revoked.node,
            says,
        ));
    }
}

/// A node's decision in words; none for what is told elsewhere.
fn decision(decision: &DecisionSeen) -> Option<Event> {
    let text = decision.says.as_str();
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!(" {name}="))?;
        // A value ends where the next name begins.
        let ends = rest.match_indices(' ').find(|(at, _)| {
            let word = rest[at + 1..].split([' ', '=']).next().unwrap_or_default();
            let named = rest[at + 1 + word.len()..].starts_with('=');
            named
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        });
        Some(ends.map_or(rest, |(at, _)| &rest[..at]))
    };
    let named = |name: &str| field(name).unwrap_or("?").trim_matches('"').to_owned();
    let (kind, says) = if text.starts_with("verdict ") {
        let node = named("node");
        let says = match field("liveness") {
            Some("Up") => format!("takes {node} for living again"),
            Some("Suspect") => format!("has not heard {node} for a while and suspects it"),
            _ => format!("takes {node} for dead"),
        };
        (Topic::Health, says)
    } else if text.starts_with("raft asked ") {
        let (from, what) = (named("from"), named("question"));
        match what.as_str() {
            "vote" => (Topic::Vote, format!("is asked for its vote by {from}")),
            "pre-vote" => (
                Topic::Vote,
                format!("is asked by {from} whether it would vote for it"),
            ),
            _ => (Topic::Vote, format!("is sent a {what} by {from}")),
        }
    } else if text.starts_with("raft unanswered ") {
        let (to, what, error) = (named("to"), named("question"), named("error"));
        (
            Topic::Vote,
            format!("had no answer from {to} ({what}): {error}"),
        )
    } else if text.starts_with("leadership handed over ") {
        (
            Topic::Leader,
            format!("hands the lead over to {}", named("heir")),
        )
    } else if text.starts_with("revision served ") {
        (
            Topic::Document,
            format!("serves by revision {}", named("revision")),
        )
    } else if text.starts_with("revision rejected ") {
        (
            Topic::Document,
            format!("cannot serve by revision {}", named("revision")),
        )
    } else if text.starts_with("snapshot installed") {
        (
            Topic::Document,
            "took over the whole state from the leader".to_owned(),
        )
    } else if text.starts_with("endpoint health changed ") {
        let healthy = field("healthy") == Some("true");
        let health = if healthy { "healthy" } else { "unhealthy" };
        let says = format!("takes the upstream {} for {health}", named("endpoint"));
        (Topic::Upstream, says)
    } else if text.starts_with("a try at an upstream failed ") {
        let (service, failure) = (named("service"), named("failure"));
        let next = if field("again") == Some("true") {
            "tries again"
        } else {
            "gives up"
        };
        (
            Topic::Upstream,
            format!("failed to reach {service} ({failure}) and {next}"),
        )
    } else if text.starts_with("no upstream ") {
        let (service, reason) = (named("service"), named("reason"));
        (
            Topic::Upstream,
            format!("has nobody to serve {service}: {reason}"),
        )
    } else if text.starts_with("fabric connects ") {
        let (peer, plane) = (named("peer"), named("plane"));
        (Topic::Link, format!("is connected with {peer} ({plane})"))
    } else if text.starts_with("fabric loses ") {
        let (peer, plane) = (named("peer"), named("plane"));
        (
            Topic::Link,
            format!("lost its connection with {peer} ({plane})"),
        )
    } else if text.starts_with("fabric refuses ") {
        let (who, cause) = (named("who"), named("cause"));
        (
            Topic::Link,
            format!("refused a connection with {who}: {cause}"),
        )
    } else {
        (Topic::Node, text.to_owned())
    };
    Some(event(ms(decision.at), kind, &decision.node, says))
}

/// Tells what happens again and again in a short time once, with a count.
fn fold(all: Vec<Event>) -> Vec<Event> {
    let mut folded: Vec<Event> = Vec::new();
    let mut latest: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in all {
        let key = (event.who.clone(), event.says.clone());
        if let Some(first) = latest.get(&key).map(|index| &mut folded[*index])
            && event.at - first.at <= AGAIN_MS
        {
            first.times += 1;
            continue;
        }
        latest.insert(key, folded.len());
        folded.push(event);
    }
    folded
}

const PROBLEM: &str = "urn:meridian:problem:";

/// The same within this time is told once.
const AGAIN_MS: u64 = 2_000;

/// Bytes of an event's words.
const LONGEST: usize = 240;

/// About 1 MB of page.
const MOST_EVENTS: usize = 6_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario;

    fn seen(at: u64, says: &str) -> DecisionSeen {
        DecisionSeen {
            at: Duration::from_millis(at),
            node: "eu-west-1".to_owned(),
            says: says.to_owned(),
        }
    }

    fn told(history: &History) -> (Vec<Event>, u64) {
        let source = scenario::find("region-loss", |_| unreachable!("it is shipped")).unwrap();
        events(&Scenario::parse(&source).unwrap(), history)
    }

    #[test]
    fn decisions_are_told_in_words_and_repeated_ones_once() {
        let verdict = "verdict node=us-east-1 liveness=Suspect";
        let unanswered = "raft unanswered to=us-east-1 question=append error=node us-east-1 did not answer in time";
        let history = History {
            decisions: vec![
                seen(10, verdict),
                seen(20, unanswered),
                seen(30, verdict),
                seen(2_011, verdict),
            ],
            ..History::default()
        };
        let (events, left_out) = told(&history);
        assert_eq!(left_out, 0);
        assert_eq!(events.len(), 3, "{events:?}");
        assert_eq!((events[0].times, events[0].at), (2, 10));
        assert_eq!(
            events[0].says,
            "has not heard us-east-1 for a while and suspects it"
        );
        assert_eq!(
            events[1].says,
            "had no answer from us-east-1 (append): node us-east-1 did not answer in time"
        );
    }

    #[test]
    fn of_too_many_events_the_plainest_are_left_out_and_counted() {
        let mut decisions: Vec<DecisionSeen> = (0..8_000)
            .map(|n| seen(n, &format!("seats picture={n}")))
            .collect();
        decisions.push(seen(9_000, "verdict node=us-east-1 liveness=Down"));
        let history = History {
            decisions,
            decisions_left_out: 7,
            ..History::default()
        };
        let (events, left_out) = told(&history);
        assert_eq!(events.len(), MOST_EVENTS);
        assert_eq!(left_out, 8_001 - MOST_EVENTS as u64 + 7);
        assert_eq!(events.last().unwrap().says, "takes us-east-1 for dead");
    }

    #[test]
    fn an_event_is_cut_between_characters() {
        let long = event(0, Topic::Node, "a", "é".repeat(400));
        assert!(long.says.len() <= LONGEST + '…'.len_utf8());
        assert!(long.says.ends_with('…'));
    }
}
