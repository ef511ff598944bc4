//! What nodes, leaders, upstreams and links were like over time, as steps: from then on, this.
//!
//! In: sights of nodes, and the world's own knowledge. Out: tracks, each a list of steps with the time in ms first.

use std::time::Duration;

use meridian_cluster::membership::Liveness;
use serde::Serialize;

use crate::{
    workload::{Ground, History, Sight},
    world::Place,
};

/// A node over time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct NodeTrack {
    /// `[at, 1]` from when its program runs, `[at, 0]` from when it does not, `[at, 2]` from when it runs but hears
    /// nobody.
    pub(super) on: Vec<[u64; 2]>,
    /// `[at, up, suspect, down, unknown]`: how many of the others that run take it for what.
    pub(super) seen: Vec<[u64; 5]>,
    /// `[at, term, leader, revision]`, in its own eyes; a leader's number is its position plus one, 0: none.
    pub(super) knows: Vec<[u64; 4]>,
}

/// A time during which a node led.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Reign {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) term: u64,
    pub(super) node: usize,
}

/// A time during which nothing passed from one region to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CutTrack {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Positions of the regions.
    pub(super) regions: [usize; 2],
    /// The way back was cut too.
    pub(super) both: bool,
}

/// Milliseconds since the run's start.
pub(super) fn ms(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// Every node's, and how many steps were left out.
pub(super) fn nodes(history: &History) -> (Vec<NodeTrack>, u64) {
    let count = history.nodes.len();
    let mut tracks = vec![NodeTrack::default(); count];
    let mut now: Vec<Option<&Sight>> = vec![None; count];
    for together in history.sights.chunk_by(|one, other| one.at == other.at) {
        let at = ms(together[0].at);
        for sight in together {
            now[sight.node] = Some(sight);
            let leader = sight.leader.map_or(0, |leader| leader as u64 + 1);
            let track = &mut tracks[sight.node];
            step(&mut track.knows, [at, sight.term, leader, sight.revision]);
        }
        for (index, track) in tracks.iter_mut().enumerate() {
            let [up, suspect, down, unknown] = seen(&now, index);
            step(&mut track.seen, [at, up, suspect, down, unknown]);
        }
    }
    for (index, track) in tracks.iter_mut().enumerate() {
        track.on = truth(history, index);
    }
    let most = (MOST_STEPS / count.max(1)).max(LEAST_STEPS);
    let mut left_out = 0;
    for track in &mut tracks {
        left_out += thin(&mut track.on, most) + thin(&mut track.seen, most);
        left_out += thin(&mut track.knows, most);
    }
    (tracks, left_out)
}

/// Whether a node's program runs, and hears anybody: by sights of it and by the world's own word.
fn truth(history: &History, node: usize) -> Vec<[u64; 2]> {
    let name = &history.nodes[node].name;
    let mut sights = history
        .sights
        .iter()
        .filter(|sight| sight.node == node)
        .peekable();
    let mut grounds = history.grounds.iter().peekable();
    let (mut on, mut apart) = (false, false);
    let mut track = Vec::new();
    loop {
        let next = [sights.peek().map(|it| it.at), grounds.peek().map(|it| it.0)];
        let Some(at) = next.into_iter().flatten().min() else {
            return track;
        };
        if let Some(sight) = sights.next_if(|sight| sight.at == at) {
            on = sight.on;
        } else if let Some((_, ground)) = grounds.next() {
            apart = ground.apart.contains_key(name);
        }
        let state = match (on, apart) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        step(&mut track, [ms(at), state]);
    }
}

/// How many of the others take a node for up, suspect, down, or do not know it.
fn seen(now: &[Option<&Sight>], node: usize) -> [u64; 4] {
    let mut counts = [0; 4];
    for sight in now.iter().flatten() {
        if sight.node == node || !sight.on || sight.others.is_empty() {
            continue;
        }
        let index = match sight.others.get(node).copied().flatten() {
            Some(Liveness::Up) => 0,
            Some(Liveness::Suspect) => 1,
            Some(Liveness::Down) => 2,
            None => 3,
        };
        counts[index] += 1;
    }
    counts
}

/// When which node led: it says so itself, and a quorum has acknowledged it within its lease.
pub(super) fn reigns(history: &History, end: Duration) -> Vec<Reign> {
    let mut over: Vec<Reign> = Vec::new();
    let mut open: Vec<Option<Reign>> = vec![None; history.nodes.len()];
    for sight in &history.sights {
        let leads = sight.on && sight.leader == Some(sight.node);
        let open = &mut open[sight.node];
        let goes_on = leads && open.as_ref().is_some_and(|it| it.term == sight.term);
        if goes_on {
            continue;
        }
        let at = ms(sight.at);
        over.extend(open.take().map(|reign| Reign { to: at, ..reign }));
        if leads {
            *open = Some(Reign {
                from: at,
                to: ms(end),
                term: sight.term,
                node: sight.node,
            });
        }
    }
    over.extend(open.into_iter().flatten());
    over.sort_by_key(|reign| (reign.from, reign.term));
    over
}

/// By region: `[at, 1]` from when its upstream runs, `[at, 0]` from when it does not.
pub(super) fn upstreams(history: &History, regions: usize) -> Vec<Vec<[u64; 2]>> {
    let mut tracks = vec![Vec::new(); regions];
    for (at, ground) in &history.grounds {
        for (track, on) in tracks.iter_mut().zip(&ground.upstreams) {
            step(track, [ms(*at), u64::from(*on)]);
        }
    }
    tracks
}

/// Every link that was cut, and when.
pub(super) fn cuts(history: &History, regions: usize, end: Duration) -> Vec<CutTrack> {
    let mut cuts = Vec::new();
    for from in (0..regions).map(Place) {
        for to in (0..regions).map(Place).filter(|to| *to != from) {
            let state = |ground: &Ground| {
                let way = ground.cuts.contains(&(from, to));
                let back = ground.cuts.contains(&(to, from));
                // A link that is cut both ways is told once.
                (way && !(back && to < from)).then_some(back)
            };
            let mut open: Option<CutTrack> = None;
            for (at, ground) in &history.grounds {
                let state = state(ground);
                if open.as_ref().map(|cut| cut.both) == state {
                    continue;
                }
                let at = ms(*at);
                cuts.extend(open.take().map(|cut| CutTrack { to: at, ..cut }));
                open = state.map(|both| CutTrack {
                    from: at,
                    to: ms(end),
                    regions: [from.0, to.0],
                    both,
                });
            }
            cuts.extend(open);
        }
    }
    cuts.sort_by_key(|cut| cut.from);
    cuts
}

/// Adds a step where it says something new; a later one at the same time replaces the earlier.
fn step<const N: usize>(track: &mut Vec<[u64; N]>, step: [u64; N]) {
    if track.last().is_some_and(|last| last[0] == step[0]) {
        track.pop();
    }
    if track.last().is_none_or(|last| last[1..] != step[1..]) {
        track.push(step);
    }
}

/// Leaves out steps that follow their predecessor soonest, until there are few enough; how many.
fn thin<const N: usize>(track: &mut Vec<[u64; N]>, most: usize) -> u64 {
    let before = track.len();
    let mut apart = 100;
    while track.len() > most {
        let mut kept: Vec<[u64; N]> = Vec::new();
        for next in track.drain(..) {
            match kept.last_mut() {
                // The later one says how it went on.
                Some(last) if next[0] - last[0] < apart => {
                    let at = last[0];
                    *last = next;
                    last[0] = at;
                }
                _ => kept.push(next),
            }
        }
        *track = kept;
        apart *= 2;
    }
    (before - track.len()) as u64
}

/// Steps of all nodes' tracks of one kind: about 1 MB of page.
const MOST_STEPS: usize = 60_000;

/// Of one node, however many there are.
const LEAST_STEPS: usize = 200;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::workload::NodeKnown;

    fn sight(at: u64, node: usize, on: bool, leader: Option<usize>, other: Liveness) -> Sight {
        Sight {
            at: Duration::from_millis(at),
            node,
            on,
            term: if on { 1 } else { 0 },
            leader,
            revision: 1,
            others: if on { vec![Some(other); 2] } else { Vec::new() },
        }
    }

    fn history(sights: Vec<Sight>) -> History {
        let node = |name: &str, place| NodeKnown {
            name: name.to_owned(),
            place: Place(place),
        };
        History {
            nodes: vec![node("a", 0), node("b", 1)],
            sights,
            ..History::default()
        }
    }

    #[test]
    fn a_node_is_seen_by_the_others_that_run() {
        let history = history(vec![
            sight(0, 0, true, Some(0), Liveness::Up),
            sight(0, 1, true, Some(0), Liveness::Up),
            sight(500, 1, true, None, Liveness::Down),
            sight(900, 0, false, None, Liveness::Up),
            sight(900, 1, false, None, Liveness::Up),
        ]);
        let (tracks, left_out) = nodes(&history);
        assert_eq!(left_out, 0);
        assert_eq!(tracks[0].on, [[0, 1], [900, 0]]);
        let seen = [[0, 1, 0, 0, 0], [500, 0, 0, 1, 0], [900, 0, 0, 0, 0]];
        assert_eq!(tracks[0].seen, seen);
        assert_eq!(
            tracks[1].knows,
            [[0, 1, 1, 1], [500, 1, 0, 1], [900, 0, 0, 1]]
        );
    }

    #[test]
    fn a_node_that_runs_and_hears_nobody_is_cut_off() {
        let ground = |apart: &[&str]| Ground {
            apart: apart
                .iter()
                .map(|name| ((*name).to_owned(), Place(0)))
                .collect(),
            ..Ground::default()
        };
        let at = Duration::from_millis;
        let history = History {
            grounds: vec![
                (at(0), ground(&[])),
                (at(700), ground(&["a"])),
                (at(800), ground(&["a"])),
                (at(950), ground(&[])),
            ],
            ..history(vec![
                sight(0, 0, true, None, Liveness::Up),
                sight(900, 0, false, None, Liveness::Up),
            ])
        };
        let (tracks, _) = nodes(&history);
        assert_eq!(tracks[0].on, [[0, 1], [700, 2], [900, 0]]);
    }

    #[test]
    fn a_reign_ends_with_its_node_or_its_term() {
        let up = Liveness::Up;
        let mut later = sight(300, 1, true, Some(1), up);
        later.term = 2;
        let history = history(vec![
            sight(100, 0, true, Some(0), up),
            sight(200, 0, false, None, up),
            later,
        ]);
        let reign = |from, to, term, node| Reign {
            from,
            to,
            term,
            node,
        };
        assert_eq!(
            reigns(&history, Duration::from_secs(1)),
            [reign(100, 200, 1, 0), reign(300, 1_000, 2, 1)]
        );
    }

    #[test]
    fn a_link_that_is_cut_both_ways_is_told_once() {
        let (a, b) = (Place(0), Place(1));
        let ground = |cuts: &[(Place, Place)]| Ground {
            nodes: vec![true; 2],
            upstreams: vec![true; 2],
            cuts: cuts.iter().copied().collect::<BTreeSet<_>>(),
            ..Ground::default()
        };
        let second = Duration::from_secs(1);
        let history = History {
            grounds: vec![
                (Duration::ZERO, ground(&[])),
                (second, ground(&[(a, b), (b, a)])),
                (2 * second, ground(&[(b, a)])),
                (3 * second, ground(&[])),
            ],
            ..history(Vec::new())
        };
        let cut = |from, to, regions, both| CutTrack {
            from,
            to,
            regions,
            both,
        };
        let told = [
            cut(1_000, 2_000, [0, 1], true),
            cut(2_000, 3_000, [1, 0], false),
        ];
        assert_eq!(cuts(&history, 2, 5 * second), told);
        assert_eq!(upstreams(&history, 2), [[[0, 1]], [[0, 1]]]);
    }

    #[test]
    fn a_track_that_flaps_for_long_is_thinned_and_ends_as_it_did() {
        let mut track: Vec<[u64; 2]> = (0..10_000).map(|n| [n * 50, n % 2]).collect();
        let left_out = thin(&mut track, 300);
        assert!(track.len() <= 300 && track.len() > 50);
        assert_eq!(left_out, 10_000 - track.len() as u64);
        assert_eq!(track.last().unwrap()[1], 1);
    }
}
