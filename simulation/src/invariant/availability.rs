//! Availability (docs/design.md, invariant 6; section 6, the promise).
//!
//! A request that some healthy allowed region could serve fails only inside the failover budget, and the
//! 99th percentile of that budget is under a second: for each flow and fault, the longest time after it in which somebody
//! asked and nobody had a success.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use crate::workload::BUDGET;
use crate::{
    workload::{
        FaultSeen, Flow, Ground, History, Kind, Outcome, Request, client::KEEP_OFF,
        manner::OWN_ERROR,
    },
    world::Place,
};

/// How long a flow saw no success around a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The flow.
    pub flow: Flow,
    /// Which fault, by its position in the history.
    pub fault: usize,
    /// The longest time in the seconds after the fault in which a request was on its way, or asked in vain, and none had
    /// a success. That nobody asks is no outage.
    pub gap: Duration,
    /// When it began.
    pub since: Duration,
}

pub(super) fn check(history: &History) -> Vec<String> {
    let Some(serving) = history.serving_since else {
        return vec!["the nodes never came to serve every kind of request".to_owned()];
    };
    let mut wrong = Vec::new();
    for request in &history.requests {
        let why = match &request.outcome {
            Outcome::Served(_) => continue,
            Outcome::Refused(status, problem) => format!("was answered {status} {problem}"),
            Outcome::Failed(error) => format!("failed: {error}"),
        };
        let excused = request.sent < serving
            || in_budget(history, request.sent, request.done)
            || !servable(history, &request.flow, request.sent, request.done)
            || met_one_that_came_back(history, &request.flow, request.sent)
            || is_others_fault(history, request);
        if !excused {
            wrong.push(format!(
                "request {} ({} from region {}) sent at {:?} {why} at {:?}, {} tries, though a healthy region could serve it",
                request.id,
                request.flow.kind.name(),
                request.flow.from.0,
                request.sent,
                request.done,
                request.tries
            ));
        }
    }
    let outages = promised(history);
    if let Some(p99) = percentile_99(outages.iter().map(|outage| outage.gap).collect())
        && p99 >= BUDGET
    {
        let worst = outages.iter().max_by_key(|outage| outage.gap);
        let worst = worst.expect("a percentile has a value");
        wrong.push(format!(
            "the 99th percentile of outages is {p99:?}; the longest: {} from region {} saw no success for {:?} around \"{}\"",
            worst.flow.kind.name(),
            worst.flow.from.0,
            worst.gap,
            history.faults[worst.fault].what
        ));
    }
    wrong
}

/// The outages that the promise is about.
pub(super) fn promised(history: &History) -> Vec<Outage> {
    // What shows later than the budget has no outage that could keep to it.
    let mut outages = outages(history);
    outages.retain(|outage| {
        history.faults[outage.fault].budget <= BUDGET && is_alone(history, outage.fault)
    });
    outages
}

/// How long each flow saw no success around each fault during which it could be served.
pub fn outages(history: &History) -> Vec<Outage> {
    let mut successes: BTreeMap<&Flow, Vec<Duration>> = BTreeMap::new();
    let mut asked: BTreeMap<&Flow, Vec<&Request>> = BTreeMap::new();
    for request in &history.requests {
        asked.entry(&request.flow).or_default().push(request);
        let times = successes.entry(&request.flow).or_default();
        let is_served = matches!(request.outcome, Outcome::Served(_));
        // What a limit says while its tokens follow the requests is an answer, and no silence: each is judged by itself.
        if is_served || is_rate_limited(&request.outcome) && is_others_fault(history, request) {
            times.push(request.done);
        }
    }
    let mut outages = Vec::new();
    // That a limit is used up for a while is no outage.
    let judged = successes.into_iter().filter(|(flow, _)| !flow.is_limited());
    for (flow, mut times) in judged {
        times.sort();
        let asked = Asked::new(asked.remove(flow).unwrap_or_default());
        for (fault, seen) in history.faults.iter().enumerate() {
            let end = seen.at + WATCH;
            // Tokens that nobody can judge are no outage of the gateway's.
            let unasked = seen.at.saturating_sub(ASK_AGAIN);
            let unjudged = during(history, unasked, end).any(|ground| !ground.issuer);
            if unjudged || !servable(history, flow, seen.at, end) {
                continue;
            }
            let (mut gap, mut since) = (Duration::ZERO, seen.at);
            for pair in times.windows(2) {
                // What was before the fault is not its doing, and what begins at the watch's end may be the next one's.
                let from = asked.first_after(pair[0].max(seen.at));
                let lasted = pair[1].min(end).saturating_sub(from);
                if pair[1] >= seen.at && pair[0] <= end && lasted > gap {
                    (gap, since) = (lasted, from);
                }
            }
            // A flow that never succeeds again has no closing end: count up to where the watch ends.
            if let Some(last) = times.last()
                && *last < end
            {
                let from = asked.first_after((*last).max(seen.at));
                if end.saturating_sub(from) > gap {
                    (gap, since) = (end - from, from);
                }
            }
            outages.push(Outage {
                flow: flow.clone(),
                fault,
                gap,
                since,
            });
        }
    }
    outages
}

/// When a flow asked.
struct Asked {
    /// When its requests were done, in order.
    done: Vec<Duration>,
    /// And when the first was sent of each and all that were done later.
    sent: Vec<Duration>,
}

impl Asked {
    fn new(mut requests: Vec<&Request>) -> Self {
        requests.sort_by_key(|request| request.done);
        let done = requests.iter().map(|request| request.done).collect();
        let mut first = Duration::MAX;
        let mut sent: Vec<Duration> = requests
            .iter()
            .rev()
            .map(|request| {
                first = first.min(request.sent);
                first
            })
            .collect();
        sent.reverse();
        Self { done, sent }
    }

    /// The first moment from there on at which a request is on its way; that one, if none ever is.
    fn first_after(&self, from: Duration) -> Duration {
        let next = self.done.partition_point(|done| *done <= from);
        self.sent.get(next).map_or(from, |sent| from.max(*sent))
    }
}

/// Whether a fault comes alone. What is promised of outages (DESIGN section 6) is about one thing that breaks; where
/// another one breaks within the watch, or came back just before, each request is judged, and no outage. Planned stops
/// wait for each other.
fn is_alone(history: &History, fault: usize) -> bool {
    let FaultSeen { at, orderly, .. } = history.faults[fault];
    let before = at.saturating_sub(SETTLE)..at;
    let mut changes = history.grounds.iter().map(|(since, _)| since);
    // What came back in the very moment shows in its end: the ground changes by the fault itself then.
    let mut ends = history.faults.iter().filter_map(|seen| seen.ended);
    let came_back = changes.any(|since| !since.is_zero() && before.contains(since))
        || ends.any(|ended| ended == at);
    let mut others = history.faults.iter().enumerate();
    (orderly || !came_back)
        && others.all(|(other, seen)| {
            let apart = seen.at + WATCH <= at || seen.at > at + WATCH;
            other == fault || apart || orderly && seen.orderly
        })
}

fn in_budget(history: &History, sent: Duration, done: Duration) -> bool {
    let within = |at: Duration, budget: Duration| at + budget >= sent && at <= done;
    let mut faults = history.faults.iter();
    let mut strikes = history.strikes.iter();
    faults.any(|fault| within(fault.at, fault.budget)) || strikes.any(|at| within(*at, BUDGET))
}

/// Whether it was answered as it had to be: with an upstream's own error where it could not be repeated, or that its
/// token cannot be judged where the issuer kept its keys to itself (DESIGN section 7).
fn is_others_fault(history: &History, request: &Request) -> bool {
    match &request.outcome {
        limited if is_rate_limited(limited) => {
            let mut faults = history.faults.iter();
            let moved = |fault: &FaultSeen| {
                let over = fault.ended.unwrap_or(request.done);
                // Clients come home when they have kept off for a while, and the tokens are elsewhere then.
                fault.at <= request.done && over + KEEP_OFF + TOKENS_MOVE >= request.sent
            };
            request.flow.is_limited() || faults.any(moved)
        }
        Outcome::Refused(503, problem) if problem == OWN_ERROR => request.flow.kind == Kind::Order,
        Outcome::Refused(503, problem) if problem == ISSUER_UNAVAILABLE => {
            let from = request.sent.saturating_sub(ASK_AGAIN);
            during(history, from, request.done).any(|ground| !ground.issuer)
        }
        _ => false,
    }
}

/// Whether a limit turned a request away.
pub(super) fn is_rate_limited(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(429, problem) if problem == RATE_LIMITED)
}

/// Whether it may have come to a node that had been cut off from all others until just before. That one takes clients at
/// once. It tries an upstream of its own region though nothing was heard of it; but it must notice its peers before it
/// sends anything to another region, and what it sent while they came and went in the first second may be lost.
fn met_one_that_came_back(history: &History, flow: &Flow, sent: Duration) -> bool {
    let Some(ground) = during(history, sent, sent).last() else {
        return false;
    };
    let regions = flow.regions(ground.nodes.len());
    let came_back = |within: Duration| {
        let before = during(history, sent.saturating_sub(within), sent);
        let apart = before.flat_map(|ground| &ground.apart);
        apart
            .filter(|(node, place)| {
                !ground.apart.contains_key(*node) && ground.reaches(flow.from, **place)
            })
            .map(|(_, place)| *place)
            .collect::<Vec<Place>>()
    };
    let serves_itself = |place: Place| match &regions {
        Some(regions) => regions.contains(&place) && ground.upstreams[place.0],
        None => true,
    };
    !came_back(BUDGET).is_empty() || came_back(NOTICE).into_iter().any(|it| !serves_itself(it))
}

/// What was healthy at any time between two instants.
fn during(history: &History, from: Duration, to: Duration) -> impl Iterator<Item = &Ground> {
    let grounds = history.grounds.iter().enumerate();
    let seen = grounds.filter(move |(index, (since, _))| {
        let next = history.grounds.get(index + 1);
        *since <= to && next.is_none_or(|next| next.0 > from)
    });
    seen.map(|(_, (_, ground))| ground)
}

/// Whether the flow could be served all the time between two instants, and by what had been there for a while: what has
/// only just become reachable has first to be noticed.
fn servable(history: &History, flow: &Flow, from: Duration, to: Duration) -> bool {
    // Clients keep off what refused them, also while it started.
    let away = from.saturating_sub(NOTICE + KEEP_OFF);
    let at_home = during(history, away, to).all(|ground| ground.is_at_home(flow.from));
    let serves =
        |ground: &Ground| flow.servable(ground) && (at_home || flow.servable_anywhere(ground));
    let noticed = |at: Duration| {
        let before = at.saturating_sub(NOTICE);
        let mut ways: Option<BTreeSet<(Place, Place)>> = None;
        for ground in during(history, before, at) {
            let open = flow.ways(ground);
            ways = Some(match ways {
                Some(ways) => &ways & &open,
                None => open,
            });
        }
        // Clients stay with their own region's nodes as long as all are on.
        let at_home = during(history, before, at).all(|ground| ground.is_at_home(flow.from));
        let mut ways = ways.into_iter().flatten();
        ways.any(|(node, _)| !at_home || node == flow.from)
    };
    let changes = history.grounds.iter().map(|(since, _)| *since);
    let mut moments = changes
        .filter(|since| (from..=to).contains(since))
        .chain([from]);
    during(history, from.saturating_sub(NOTICE), to).all(serves) && moments.all(noticed)
}

/// By the nearest-rank method: with fewer than a hundred values, the greatest.
pub(super) fn percentile_99(mut values: Vec<Duration>) -> Option<Duration> {
    values.sort();
    let rank = (values.len() * 99).div_ceil(100);
    values.get(rank.checked_sub(1)?).copied()
}

/// Requests that move to other nodes with a fault find the tokens of their limits where they were, until the ledger
/// has a leader and has given others (docs/quota.md).
const TOKENS_MOVE: Duration = Duration::from_secs(5);

/// The problem of a limit that is used up.
const RATE_LIMITED: &str = "urn:meridian:problem:rate-limited";

/// The problem of a token whose issuer's keys cannot be had.
const ISSUER_UNAVAILABLE: &str = "urn:meridian:problem:issuer-unavailable";

/// How long an issuer that is well again may go unasked: nodes ask on a token's behalf every 10 s, and an answer takes a
/// moment (`identity::schedule` in the node).
const ASK_AGAIN: Duration = Duration::from_secs(12);

/// How long a region that comes back, or behind a link that heals, may go unnoticed. The fabric may be in the
/// middle of a dial (2 s) and then pause (1.25 s) before it dials again, a handshake takes two round trips
/// and a hello, and the detector asks for five probes (DESIGN section 6).
const NOTICE: Duration = Duration::from_secs(5);

/// How long after a fault's beginning a gap still counts as its doing.
const WATCH: Duration = Duration::from_secs(5);

/// How long after something came back its clients may still be on their way to it.
const SETTLE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Place;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn request(sent: u64, outcome: Outcome) -> Request {
        Request {
            id: sent,
            flow: Flow {
                from: Place(0),
                kind: Kind::Local,
            },
            sent: ms(sent),
            done: ms(sent + 10),
            tries: 1,
            outcome,
        }
    }

    fn served() -> Outcome {
        Outcome::Served("b".to_owned())
    }

    fn refused() -> Outcome {
        Outcome::Refused(503, "no-healthy-upstream".to_owned())
    }

    /// Two regions, serving since 0; the first loses power at 10 s. A request every 100 ms; those sent in
    /// `fails` are refused.
    fn history(fails: std::ops::Range<u64>) -> History {
        let ground = |first| Ground {
            nodes: vec![first, true],
            upstreams: vec![first, true],
            issuer: true,
            ..Ground::default()
        };
        let outcome = |sent| {
            if fails.contains(&sent) {
                refused()
            } else {
                served()
            }
        };
        History {
            requests: (0..200)
                .map(|n| request(n * 100, outcome(n * 100)))
                .collect(),
            faults: vec![FaultSeen {
                at: ms(10_000),
                what: "a loses power".to_owned(),
                area: crate::workload::Area::Nodes,
                signs: 1,
                orderly: false,
                budget: BUDGET,
                ended: None,
            }],
            grounds: vec![(ms(0), ground(true)), (ms(10_000), ground(false))],
            serving_since: Some(ms(0)),
            ..History::default()
        }
    }

    #[test]
    fn failures_inside_the_budget_pass_and_their_gap_is_told() {
        let history = history(10_000..10_700);
        assert_eq!(check(&history), Vec::<String>::new());
        assert_eq!(outages(&history)[0].gap, ms(710));
    }

    #[test]
    fn that_nobody_asks_is_no_outage_and_that_one_waits_is() {
        // The fault comes 10 ms after a success, and 490 before the next request.
        let found = |took: u64| {
            let mut history = history(0..0);
            history
                .requests
                .retain(|request| request.sent.as_millis() % 500 == 0);
            history.faults[0].at = ms(10_020);
            history.requests[21].done = ms(10_500 + took);
            (check(&history).len(), outages(&history)[0].gap)
        };
        assert_eq!(found(10), (0, ms(10)));
        assert_eq!(found(450), (0, ms(450)));
        // Those that came later had success: what is told is how long there was none.
        assert_eq!(found(1_400), (0, ms(510)));
    }

    #[test]
    fn the_word_of_a_limit_whose_tokens_follow_ends_an_outage_and_no_other_refusal_does() {
        let found = |problem: &str| {
            let mut history = history(10_000..11_600);
            for request in &mut history.requests {
                if (ms(10_400)..ms(11_600)).contains(&request.sent) {
                    request.outcome = Outcome::Refused(429, problem.to_owned());
                }
            }
            (check(&history).is_empty(), outages(&history)[0].gap)
        };
        assert_eq!(found(RATE_LIMITED), (true, ms(410)));
        let other = "urn:meridian:problem:overloaded";
        assert_eq!(found(other), (false, ms(1_610)));
    }

    #[test]
    fn an_upstreams_own_error_is_its_own_only_where_the_request_could_not_be_repeated() {
        let own = |kind| {
            let mut history = history(0..0);
            history.requests[50].outcome = Outcome::Refused(503, OWN_ERROR.to_owned());
            history.requests[50].flow.kind = kind;
            check(&history).len()
        };
        assert_eq!((own(Kind::Order), own(Kind::Local)), (0, 1));
    }

    #[test]
    fn a_token_that_cannot_be_judged_is_excused_while_its_issuer_is_away_and_for_a_moment_after() {
        let told = |sent: u64, problem: &str| {
            let mut history = history(0..0);
            let (whole, mut away) = (history.grounds[0].1.clone(), history.grounds[0].1.clone());
            away.issuer = false;
            let whole = Ground {
                issuer: true,
                ..whole
            };
            history.faults.clear();
            history.grounds = vec![
                (ms(0), whole.clone()),
                (ms(2_000), away),
                (ms(4_000), whole),
            ];
            let failed = usize::try_from(sent / 100).unwrap();
            history.requests[failed].outcome = Outcome::Refused(503, problem.to_owned());
            check(&history).len()
        };
        assert_eq!(told(1_000, ISSUER_UNAVAILABLE), 1);
        assert_eq!(told(3_000, ISSUER_UNAVAILABLE), 0);
        assert_eq!(told(3_000, "urn:meridian:problem:unauthorized"), 1);
        assert_eq!(told(15_000, ISSUER_UNAVAILABLE), 0);
        assert_eq!(told(17_000, ISSUER_UNAVAILABLE), 1);
    }

    #[test]
    fn a_fault_that_strikes_again_has_its_budget_again() {
        let mut history = history(12_000..12_800);
        assert_eq!(check(&history).len(), 8);
        history.strikes = vec![ms(12_000)];
        assert_eq!(check(&history), Vec::<String>::new());
    }

    #[test]
    fn a_fault_that_shows_late_has_its_own_budget_and_no_part_in_the_percentile() {
        let mut history = history(10_000..11_500);
        assert!(!check(&history).is_empty());
        history.faults[0].budget = ms(2_000);
        assert_eq!(check(&history), Vec::<String>::new());
    }

    #[test]
    fn a_failure_without_a_fault_is_told() {
        let wrong = check(&history(5_000..5_100));
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].contains("503 no-healthy-upstream"), "{wrong:?}");
    }

    #[test]
    fn a_gap_longer_than_the_budget_is_told() {
        let wrong = check(&history(10_000..11_000));
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].contains("saw no success for 1.01s"), "{wrong:?}");
    }

    #[test]
    fn a_flow_that_never_recovers_is_told() {
        let wrong = check(&history(10_000..20_000));
        assert!(wrong.last().unwrap().contains("saw no success for"));
        assert!(wrong.len() > 80, "{}", wrong.len());
    }

    #[test]
    fn what_nobody_could_serve_is_excused() {
        let mut history = history(5_000..20_000);
        let dark = Ground {
            nodes: vec![false, false],
            upstreams: vec![false, false],
            ..Ground::default()
        };
        history.grounds = vec![(ms(0), history.grounds[0].1.clone()), (ms(5_000), dark)];
        assert_eq!(check(&history), Vec::<String>::new());
    }

    #[test]
    fn a_region_that_came_back_may_go_unnoticed_for_a_moment_and_not_longer() {
        let back = |fails| {
            let mut history = history(fails);
            let (whole, dark) = (
                history.grounds[0].1.clone(),
                Ground {
                    nodes: vec![false, false],
                    upstreams: vec![false, false],
                    ..Ground::default()
                },
            );
            history.faults[0].at = ms(2_000);
            history.grounds = vec![
                (ms(0), whole.clone()),
                (ms(2_000), dark),
                (ms(5_000), whole),
            ];
            check(&history)
        };
        assert_eq!(back(2_000..10_000), Vec::<String>::new());
        assert_eq!(back(2_000..10_200).len(), 2);
    }

    #[test]
    fn a_node_that_was_cut_off_owes_at_once_what_its_own_region_serves_and_the_rest_when_it_has_noticed()
     {
        let judged = |kind: Kind, sent: u64| {
            let mut history = history(0..0);
            let whole = history.grounds[0].1.clone();
            let mut cut = whole.clone();
            cut.apart.insert("a-2".to_owned(), Place(0));
            history.faults.clear();
            history.grounds = vec![(ms(0), whole.clone()), (ms(2_000), cut), (ms(4_000), whole)];
            let failed = usize::try_from(sent / 100).unwrap();
            history.requests[failed].outcome = refused();
            history.requests[failed].flow.kind = kind;
            check(&history).len()
        };
        assert_eq!(
            (judged(Kind::Local, 4_500), judged(Kind::Remote, 4_500)),
            (0, 0)
        );
        assert_eq!(
            (judged(Kind::Local, 5_500), judged(Kind::Remote, 5_500)),
            (1, 0)
        );
        assert_eq!(
            (judged(Kind::Local, 9_500), judged(Kind::Remote, 9_500)),
            (1, 1)
        );
        assert_eq!(judged(Kind::Remote, 1_500), 1);
    }

    #[test]
    fn what_came_back_as_the_rest_was_cut_off_has_first_to_be_noticed() {
        // The first region was down, and the second served; the first comes back at 10 s, when the link is cut.
        let judged = |since, fails| {
            let mut history = history(fails);
            let (whole, lost) = (history.grounds[0].1.clone(), history.grounds[1].1.clone());
            let alone = Ground {
                cuts: BTreeSet::from([(Place(0), Place(1))]),
                ..whole.clone()
            };
            let back = (ms(since), whole.clone());
            history.grounds = vec![(ms(0), whole), (ms(5_000), lost), back, (ms(10_000), alone)];
            check(&history)
        };
        assert_eq!(judged(9_900, 10_000..14_800), Vec::<String>::new());
        // Noticed by then.
        assert!(!judged(9_900, 15_500..15_700).is_empty());
    }

    #[test]
    fn the_outage_of_a_fault_that_comes_with_another_is_told_and_not_judged() {
        let mut history = history(10_000..11_000);
        assert_eq!(check(&history).len(), 1);
        let other = FaultSeen {
            at: ms(12_000),
            ..history.faults[0].clone()
        };
        history.faults.push(other);
        assert_eq!(outages(&history)[0].gap, ms(1_010));
        assert_eq!(check(&history), Vec::<String>::new());
        // Or the other one ends in the moment in which it begins.
        history.faults[1].at = ms(1_000);
        let judged = [9_999, 10_000].map(|ended| {
            history.faults[1].ended = Some(ms(ended));
            check(&history).len()
        });
        assert_eq!(judged, [1, 0]);
    }

    #[test]
    fn planned_stops_may_come_together_and_not_with_what_is_not_planned() {
        let judged = |orderly: [bool; 2]| {
            let mut history = history(10_000..11_100);
            history.faults[0].orderly = orderly[0];
            history.faults.push(FaultSeen {
                at: ms(12_000),
                orderly: orderly[1],
                ..history.faults[0].clone()
            });
            let wrong = check(&history);
            wrong.iter().filter(|it| it.contains("percentile")).count()
        };
        let told = [[true, true], [true, false], [false, true], [false, false]].map(judged);
        assert_eq!(told, [1, 0, 0, 0]);
    }

    #[test]
    fn never_serving_is_told() {
        assert_eq!(check(&History::default()).len(), 1);
    }
}
