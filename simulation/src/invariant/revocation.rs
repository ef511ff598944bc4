//! Revocation (docs/design.md, invariant 4).
//!
//! No node that can hear the revoker admits a revoked token later than 1 s after `revoke` returned; none does after
//! it applied it, restart included. What a node could not hear it must heed once it can: within 10 s, as invariant 8
//! has it. A node that lost its disk remembers nothing, and asks others before it serves again: it is excused for what
//! one of them had not applied by the receipt, or has lost as well. One that lost a part of its disk serves by the rest
//! at once, and must hear again of what it has forgotten.

use std::{collections::BTreeMap, time::Duration};

use super::Breach;
use crate::workload::{Ground, History, Outcome, Presented, Revoked};

/// Who has heeded what, and how far the history was looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When a node was first seen to heed a revocation.
    heeded: BTreeMap<(u64, String), Duration>,
    seen: usize,
}

impl Watch {
    pub(super) fn look(&mut self, history: &History) -> Vec<Breach> {
        let mut wrong = Vec::new();
        for seen in &history.presented[self.seen..] {
            // Everything that may excuse it lies before its outcome, which is known.
            if is_revoked(&seen.outcome) {
                let key = (seen.badge, seen.node.clone());
                let first = self.heeded.entry(key).or_insert(seen.done);
                if has_forgotten(history, seen, *first) {
                    *first = seen.done;
                }
            }
            let told = self.judge(history, seen);
            wrong.extend(told.map(|says| Breach {
                at: seen.done,
                says,
            }));
        }
        self.seen = history.presented.len();
        wrong
    }

    fn judge(&self, history: &History, seen: &Presented) -> Option<String> {
        let Some(revoked) = revocation(history, seen.badge) else {
            return is_revoked(&seen.outcome).then(|| {
                format!(
                    "{} refused badge {} as revoked, which nobody had revoked",
                    seen.node, seen.badge
                )
            });
        };
        if is_revoked(&seen.outcome) && seen.done < revoked.called {
            return Some(format!(
                "{} refused badge {} at {:?}, before it was revoked at {:?}",
                seen.node, seen.badge, seen.done, revoked.called
            ));
        }
        if !matches!(seen.outcome, Outcome::Served(_)) {
            return None;
        }
        let first = self.heeded.get(&(seen.badge, seen.node.clone()));
        let why = match (revoked.returned, first) {
            (_, Some(first)) if seen.sent >= *first && !has_forgotten(history, seen, *first) => {
                format!("which it had refused as revoked by {first:?}")
            }
            (Some(returned), _)
                if seen.sent >= returned
                    && revoked.applied.contains(&seen.node)
                    && !has_forgotten(history, seen, returned) =>
            {
                format!("which it had applied by the receipt of {returned:?}")
            }
            (Some(returned), _) if could_hear(history, revoked, returned, seen) => {
                format!("which was revoked by {returned:?} where it could hear it")
            }
            (Some(returned), _) if has_long_heard(history, revoked, returned, seen) => {
                format!(
                    "which was revoked by {returned:?}, though it has heard others for {CATCH_UP:?}"
                )
            }
            _ => return None,
        };
        Some(format!(
            "{} admitted badge {} sent at {:?}, {why}",
            seen.node, seen.badge, seen.sent
        ))
    }
}

/// Whether a request was refused because its token is revoked.
pub fn is_revoked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(401, problem) if problem == "urn:meridian:problem:token-revoked")
}

fn revocation(history: &History, badge: u64) -> Option<&Revoked> {
    history.revocations.get(usize::try_from(badge).ok()?)
}

/// Whether the node may have forgotten the revocation since then: it lost its disk, and need not have heard of it from
/// others before it served again.
fn has_forgotten(history: &History, seen: &Presented, since: Duration) -> bool {
    let lost = || {
        history
            .disks_lost
            .iter()
            .filter(|lost| lost.at <= seen.sent)
    };
    let mut own = lost().filter(|lost| lost.node == seen.node && lost.at >= since);
    let all_know = revocation(history, seen.badge).is_some_and(|revoked| {
        let others = history.nodes.iter().map(|node| &node.name);
        let mut others = others.filter(|node| **node != seen.node);
        others.all(|node| {
            let knew = *node == revoked.node || revoked.applied.contains(node);
            knew && !lost().any(|lost| lost.node == *node && lost.at >= revoked.called)
        })
    });
    own.any(|lost| !(lost.whole && all_know))
}

/// Whether the node could hear the revoker well before, during and after the call.
fn could_hear(history: &History, revoked: &Revoked, returned: Duration, seen: &Presented) -> bool {
    let until = returned + SPREAD;
    let from = revoked.called.saturating_sub(MEETING);
    seen.sent > until
        && joined(history, revoked, seen, from, until)
        && !has_forgotten(history, seen, returned)
}

/// Whether the node has been in touch with the revoker's region for so long that it must have caught up.
fn has_long_heard(
    history: &History,
    revoked: &Revoked,
    returned: Duration,
    seen: &Presented,
) -> bool {
    let from = seen.sent.saturating_sub(CATCH_UP);
    from >= returned
        && joined(history, revoked, seen, from, seen.sent)
        && !has_forgotten(history, seen, from)
}

/// Whether the regions of the revoker and of the node heard each other all the time, and both nodes were there.
fn joined(
    history: &History,
    revoked: &Revoked,
    seen: &Presented,
    from: Duration,
    until: Duration,
) -> bool {
    let grounds = &history.grounds;
    let first = grounds.iter().rposition(|(at, _)| *at <= from);
    let Some(first) = first else {
        return false;
    };
    let during = grounds[first..].iter().take_while(|(at, _)| *at <= until);
    // One way that was open all the time, not one way after another: a link that has only just healed is none yet.
    let mut all_along: Option<Ground> = None;
    for (_, ground) in during {
        let Some(steady) = &mut all_along else {
            all_along = Some(ground.clone());
            continue;
        };
        for (steady, now) in steady.nodes.iter_mut().zip(&ground.nodes) {
            *steady &= now;
        }
        steady.cuts.extend(&ground.cuts);
        steady.apart.extend(ground.apart.clone());
    }
    all_along.is_some_and(|ground| {
        let apart = |node| ground.apart.contains_key(node);
        ground.joined(revoked.place, seen.place) && !apart(&revoked.node) && !apart(&seen.node)
    })
}

/// After `revoke` returned.
const SPREAD: Duration = Duration::from_secs(1);

/// For nodes that have just come to hear each other to connect: a dial that lost a packet is given up after two
/// seconds.
const MEETING: Duration = Duration::from_secs(4);

/// For a node that missed it to compare with others.
const CATCH_UP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        workload::{DiskLost, NodeKnown},
        world::Place,
    };

    fn check(history: &History) -> Vec<String> {
        let told = Watch::default().look(history).into_iter();
        told.map(|breach| breach.says).collect()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A badge at node b (region 1), sent then.
    fn presented(sent: u64, outcome: Outcome) -> Presented {
        Presented {
            badge: 0,
            node: "b".to_owned(),
            place: Place(1),
            sent: ms(sent),
            done: ms(sent + 5),
            outcome,
        }
    }

    fn served() -> Outcome {
        Outcome::Served("r".to_owned())
    }

    fn refused() -> Outcome {
        Outcome::Refused(401, "urn:meridian:problem:token-revoked".to_owned())
    }

    /// Revoked through node a (region 0) at 20 s, with a receipt at 20.2 s that names these nodes.
    fn history(applied: &[&str], presented: Vec<Presented>) -> History {
        let ground = Ground {
            nodes: vec![true, true],
            upstreams: vec![true, true],
            ..Ground::default()
        };
        History {
            revocations: vec![Revoked {
                node: "a".to_owned(),
                place: Place(0),
                called: ms(20_000),
                returned: Some(ms(20_200)),
                applied: applied.iter().map(ToString::to_string).collect(),
                slowest: ms(200),
            }],
            presented,
            grounds: vec![(ms(0), ground)],
            ..History::default()
        }
    }

    /// The same with the link cut from 10 s on, and whole again from then on.
    fn cut_until(until: u64, mut history: History) -> History {
        let whole = history.grounds[0].1.clone();
        let cut = Ground {
            cuts: BTreeSet::from([(Place(0), Place(1))]),
            ..whole.clone()
        };
        history
            .grounds
            .extend([(ms(10_000), cut), (ms(until), whole)]);
        history
    }

    #[test]
    fn a_node_that_can_hear_has_a_second() {
        let good = history(
            &[],
            vec![presented(21_200, served()), presented(21_300, refused())],
        );
        assert_eq!(check(&good), Vec::<String>::new());
        let late = history(&[], vec![presented(21_201, served())]);
        assert_eq!(check(&late).len(), 1, "{:?}", check(&late));
    }

    #[test]
    fn a_node_that_has_acknowledged_has_no_time_at_all() {
        let late = history(&["b"], vec![presented(20_200, served())]);
        assert!(
            check(&late)[0].contains("by the receipt"),
            "{:?}",
            check(&late)
        );
        // It was on its way already.
        let early = history(&["b"], vec![presented(20_199, served())]);
        assert_eq!(check(&early), Vec::<String>::new());
    }

    #[test]
    fn a_node_that_has_refused_it_never_admits_it_again() {
        // Even where it could not hear the revoker: it has heard of it somehow, and restarted since.
        let forgetful = vec![presented(20_050, refused()), presented(20_055, served())];
        let told = check(&cut_until(60_000, history(&[], forgetful)));
        assert!(told[0].contains("had refused"), "{told:?}");
    }

    #[test]
    fn what_a_cut_held_back_is_excused_for_a_while() {
        let told = |sent| {
            check(&cut_until(
                40_000,
                history(&[], vec![presented(sent, served())]),
            ))
        };
        assert_eq!(told(30_000), Vec::<String>::new());
        assert_eq!(told(49_999), Vec::<String>::new());
        assert_eq!(told(50_001).len(), 1);
    }

    #[test]
    fn a_node_that_is_cut_off_from_its_own_region_cannot_hear() {
        let told = |node: &str| {
            let mut history = history(&[], vec![presented(21_201, served())]);
            let mut apart = history.grounds[0].1.clone();
            apart.apart.insert(node.to_owned(), Place(0));
            history.grounds.push((ms(18_000), apart));
            let revoker = history.revocations[0].node.clone();
            (revoker, check(&history).len())
        };
        let (revoker, _) = told("b");
        assert_eq!(told("b").1, 0);
        assert_eq!(told(&revoker).1, 0);
        assert_eq!(told("another").1, 1);
    }

    fn nodes(names: &[&str]) -> Vec<NodeKnown> {
        let nodes = names.iter().map(|name| NodeKnown {
            name: (*name).to_owned(),
            place: Place(0),
        });
        nodes.collect()
    }

    fn lost(node: &str, at: u64, whole: bool) -> DiskLost {
        DiskLost {
            node: node.to_owned(),
            at: ms(at),
            whole,
        }
    }

    #[test]
    fn a_node_with_an_empty_disk_asks_the_others_before_it_serves() {
        let told = |applied: &[&str], lost: Vec<DiskLost>| {
            let mut history = history(applied, vec![presented(29_900, served())]);
            history.nodes = nodes(&["a", "b", "c"]);
            history.disks_lost = lost;
            check(&history).len()
        };
        let whole = || lost("b", 25_000, true);
        // All others know it: there is no excuse.
        assert_eq!(told(&["b", "c"], vec![whole()]), 1);
        // One may not: it may have been the one that was asked.
        assert_eq!(told(&["b"], vec![whole()]), 0);
        assert_eq!(told(&["b", "c"], vec![lost("c", 24_000, true), whole()]), 0);
        // It served by what was left on its disk.
        assert_eq!(told(&["b", "c"], vec![lost("b", 25_000, false)]), 0);
    }

    #[test]
    fn a_node_that_lost_its_disk_may_forget_and_must_hear_of_it_again() {
        // Known by the receipt, by its own refusal, and by having heard.
        let lost_disk = |at| lost("b", at, true);
        let told = |at: u64, sent: u64| {
            let seen = vec![presented(20_050, refused()), presented(sent, served())];
            let mut history = history(&["b"], seen);
            history.nodes = nodes(&["a", "b", "c"]);
            history.disks_lost = vec![lost_disk(at)];
            check(&history).len()
        };
        assert_eq!(told(25_000, 24_900), 1);
        assert_eq!(told(25_000, 29_900), 0);
        // It has heard the others for ten seconds without a break since.
        assert_eq!(told(25_000, 35_100), 1);
        assert_eq!(told(19_000, 29_900), 1);
    }

    #[test]
    fn a_node_that_heard_of_it_again_after_it_lost_its_disk_never_admits_it_again() {
        let seen = vec![
            presented(20_050, refused()),
            presented(26_000, refused()),
            presented(27_000, served()),
        ];
        let mut history = history(&[], seen);
        history.nodes = nodes(&["a", "b", "c"]);
        history.disks_lost = vec![lost("b", 25_000, true)];
        let told = check(&history);
        assert!(told[0].contains("by 26.005s"), "{told:?}");
    }

    #[test]
    fn a_link_that_has_just_healed_is_no_promise() {
        let told = |until| {
            check(&cut_until(
                until,
                history(&[], vec![presented(22_000, served())]),
            ))
        };
        assert_eq!(told(17_000), Vec::<String>::new());
        assert_eq!(told(15_900).len(), 1);
    }

    #[test]
    fn one_way_after_another_is_no_way() {
        // Over the third region until shortly before it is revoked, then over a link that has only just healed.
        let told = |changes: u64| {
            let mut history = history(&[], vec![presented(22_000, served())]);
            let cut = |from, to| Ground {
                nodes: vec![true; 3],
                upstreams: vec![true; 3],
                cuts: BTreeSet::from([(Place(from), Place(to))]),
                ..Ground::default()
            };
            history.grounds = vec![(ms(0), cut(0, 1)), (ms(changes), cut(2, 1))];
            check(&history).len()
        };
        assert_eq!(told(19_900), 0);
        assert_eq!(told(15_000), 1);
    }

    #[test]
    fn a_badge_that_stands_is_not_refused_as_revoked() {
        let mut history = history(&[], vec![presented(19_000, refused())]);
        assert_eq!(check(&history).len(), 1);
        history.revocations.clear();
        assert_eq!(check(&history).len(), 1);
    }
}
