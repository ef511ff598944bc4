//! The scenes that utilisation is measured in, and the floors that it has to reach.

use std::time::Duration;

use super::scene::{Happening, NODES, Outcome, Scene, Stage};
use crate::quota::terms::{OnLapse, POOLED_MOST};

/// A limit, and how its requests wait.
#[derive(Debug, Clone, Copy)]
struct Kept {
    name: &'static str,
    limit: u64,
    window: Duration,
    wait: Duration,
    /// How long a scene is, in seconds. What happens does so after a third of it.
    span: u64,
    /// On so many seeds, added up: of a few requests chance makes much.
    plays: u64,
    /// The least that is admitted of what the strict limiter admits.
    floor: f64,
}

const BURST: &str = "burst at one node";
const CUT: &str = "a region cut off for 60 s";
const LOST: &str = "a region lost";
const MOVED: &str = "a region lost, its clients move";
const GONE: &str = "a region lost, its clients move, declared gone";
const DENIED: &str = "a region lost, its clients move, on_lapse: deny";
const LEADERS: &str = "the leader's region lost";
const SUN: &str = "follow the sun";
const CHANGED: &str = "limit changed during a cut";
const RESTARTS: &str = "restarts in order";
const CRASHES: &str = "crashes";

/// Scenes that every run of the tests plays; `MERIDIAN_QUOTA_SCENES=all` plays all, or those with another word in
/// their name.
const USUAL: [&str; 4] = [
    "one busy node of nine",
    "shift to another region",
    CUT,
    CHANGED,
];

const HOUR: Kept = Kept {
    name: "1000 an hour",
    limit: 1000,
    window: Duration::from_secs(3600),
    wait: Duration::ZERO,
    span: 3 * 3600,
    plays: 1,
    floor: 0.96,
};

const SECOND: Kept = Kept {
    name: "200 a second",
    limit: 200,
    window: Duration::from_secs(1),
    wait: Duration::ZERO,
    span: 180,
    plays: 1,
    floor: 0.85,
};

const WAITING: Kept = Kept {
    name: "200 a second, waiting 400 ms",
    wait: Duration::from_millis(400),
    floor: 0.93,
    ..SECOND
};

const TINY: Kept = Kept {
    name: "10 a minute, waiting 400 ms",
    limit: 10,
    window: Duration::from_secs(60),
    wait: Duration::from_millis(400),
    span: 1800,
    plays: 8,
    floor: 0.95,
};

impl Kept {
    /// Requests a second that use it up.
    fn rate(&self) -> f64 {
        self.limit as f64 / self.window.as_secs_f64()
    }

    fn scene(&self, streams: Vec<Vec<(u64, f64)>>, script: Vec<(u64, Happening)>) -> Scene {
        let streams = streams.into_iter().map(|stream| {
            let rates = stream.into_iter();
            rates
                .map(|(from, part)| (from, part * self.rate()))
                .collect()
        });
        Scene {
            limit: self.limit,
            cost: 1,
            window: self.window,
            wait: self.wait,
            on_lapse: OnLapse::Base,
            seats: NODES,
            seconds: self.span,
            streams: streams.collect(),
            script,
        }
    }

    /// All scenes, by name. Rates are parts of what the limit is; a fifth more comes than may be admitted.
    fn scenes(&self) -> Vec<(&'static str, Scene)> {
        use Happening::{Crash, Cut, Gone, Heal, Lead, Leaderless, Leave, Publish, Start};
        let then = self.span / 3;
        let (begin, each) = (1, ALL / NODES as f64);
        let all = || vec![vec![(begin, each)]; NODES];
        let only = |node: usize, rates: Vec<(u64, f64)>, others: f64| {
            let others = vec![(begin, others)];
            let stream = |at| {
                if at == node {
                    rates.clone()
                } else {
                    others.clone()
                }
            };
            (0..NODES).map(stream).collect::<Vec<_>>()
        };
        let region = |region: usize| (region * 3..region * 3 + 3).collect::<Vec<_>>();
        let moved = |lost: usize| {
            let stream = |at: usize| match at / 3 == lost {
                true => vec![(begin, each), (then, 0.0)],
                false => vec![(begin, each), (then, each * 1.5)],
            };
            (0..NODES).map(stream).collect::<Vec<_>>()
        };
        let mut shifted = only(0, vec![(begin, ALL), (then, 0.0)], 0.0);
        shifted[7] = vec![(begin, 0.0), (then, ALL)];
        let sun = (0..NODES).map(|at| {
            let day = |third: u64| {
                if third == at as u64 / 3 {
                    ALL / 3.3
                } else {
                    ALL / 66.0
                }
            };
            let turn = self.span / 6;
            (0..6)
                .map(|part| (begin + part * turn, day(part % 3)))
                .collect()
        });
        let storm = |stop: fn(Vec<usize>) -> Happening| {
            let pause = (self.span / 30).max(4);
            let restarts = (0..NODES as u64).flat_map(|at| {
                let node = vec![usize::try_from(at).expect("few")];
                let when = then + at * pause;
                [(when, stop(node.clone())), (when + 2, Start(node))]
            });
            restarts.collect::<Vec<_>>()
        };
        let cut = || vec![(then, Cut(region(2))), (then + 60, Heal(region(2)))];
        let (less, more) = (self.limit * 7 / 10, self.limit);
        let mut changed = cut();
        changed.push((then + 20, Publish(Some(less))));
        changed.push((2 * then, Publish(Some(more))));
        vec![
            ("balanced", self.scene(all(), vec![])),
            (
                "one busy node of nine",
                self.scene(only(4, vec![(begin, ALL)], 0.0), vec![]),
            ),
            (
                "one busy node, others a little",
                self.scene(only(4, vec![(begin, 1.0)], 0.025), vec![]),
            ),
            ("shift to another region", self.scene(shifted, vec![])),
            (
                BURST,
                self.scene(
                    only(7, vec![(begin, 0.05), (then, 3.0), (2 * then, 0.05)], 0.05),
                    vec![],
                ),
            ),
            (CUT, self.scene(all(), cut())),
            (LOST, self.scene(all(), vec![(then, Crash(region(2)))])),
            (MOVED, self.scene(moved(2), vec![(then, Crash(region(2)))])),
            (
                GONE,
                self.scene(
                    moved(2),
                    vec![(then, Crash(region(2))), (then + 60, Gone(region(2)))],
                ),
            ),
            (
                DENIED,
                Scene {
                    on_lapse: OnLapse::Deny,
                    ..self.scene(moved(2), vec![(then, Crash(region(2)))])
                },
            ),
            (
                LEADERS,
                self.scene(
                    all(),
                    vec![
                        (then, Crash(region(0))),
                        (then, Leaderless),
                        (then + 3, Lead(1)),
                    ],
                ),
            ),
            (SUN, self.scene(sun.collect(), vec![])),
            (CHANGED, self.scene(all(), changed)),
            (
                "deleted and created",
                self.scene(
                    all(),
                    vec![
                        (then, Publish(None)),
                        (then + 30, Publish(Some(self.limit))),
                    ],
                ),
            ),
            (RESTARTS, self.scene(all(), storm(Leave))),
            (CRASHES, self.scene(all(), storm(Crash))),
        ]
    }
}

/// How much comes of what may be admitted.
const ALL: f64 = 1.2;

fn play(scene: &Scene, seed: u64) -> Outcome {
    let played = Stage::new(scene, seed).play();
    played.unwrap_or_else(|why| panic!("{why}"))
}

/// Plays all scenes of a limit, and prints and checks what came of them.
fn measure(kept: Kept) {
    println!(
        "{:<47} {:>9} {:>9} {:>9} {:>8} {:>9} {:>11}",
        kept.name, "ideal", "strict", "admitted", "of ideal", "of strict", "messages/s"
    );
    let mut low = Vec::new();
    let asked = std::env::var("MERIDIAN_QUOTA_SCENES").ok();
    for (name, scene) in kept.scenes() {
        let plays = match asked.as_deref() {
            // A shorter one is over before that makes a difference.
            Some("all") => name != DENIED || scene.window > Duration::from_secs(60),
            Some(word) => name.contains(word),
            None => USUAL.contains(&name),
        };
        if !plays {
            continue;
        }
        let mut outcome = play(&scene, 1);
        for seed in 1..kept.plays {
            outcome.add(&play(&scene, 1 + seed));
        }
        println!(
            "{name:<47} {:>9} {:>9} {:>9} {:>6.1} % {:>7.1} % {:>11.3}",
            outcome.ideal,
            outcome.strict,
            outcome.admitted,
            outcome.part() * 100.0,
            outcome.strict_part() * 100.0,
            outcome.messages_a_second(),
        );
        if std::env::var_os("MERIDIAN_QUOTA_WHERE").is_some() {
            for third in &outcome.whereabouts {
                println!("    {}", third.line(scene.limit));
            }
        }
        if outcome.strict_part() < kept.floor {
            low.push((name, outcome.strict_part(), kept.floor));
        }
    }
    assert!(
        low.is_empty(),
        "{}: less than the floor: {low:?}",
        kept.name
    );
}

#[test]
fn an_hours_limit_is_used_up_in_all_scenes() {
    measure(HOUR);
}

#[test]
fn a_seconds_limit_is_used_up_in_all_scenes() {
    measure(SECOND);
}

#[test]
fn a_seconds_limit_whose_requests_wait_is_used_up_in_all_scenes() {
    measure(WAITING);
}

#[test]
fn a_tiny_limit_is_used_up_in_all_scenes() {
    measure(TINY);
}

/// A node that was declared gone comes back when the others have had its base for long, and use all of a limit, or ask
/// for much more than that: they give it back, and it is not left without base of that.
#[test]
fn a_node_that_comes_to_a_limit_in_full_use_has_its_base_soon() {
    use Happening::{Crash, Gone, Start};
    let minute = Kept {
        name: "600 a minute",
        limit: 600,
        window: Duration::from_secs(60),
        span: 900,
        ..SECOND
    };
    for (kept, most) in [(SECOND, 5), (minute, 60)] {
        for (asked, by_it) in [(ALL, true), (ALL, false), (20.0, true), (20.0, false)] {
            let then = kept.span / 3;
            let mut streams = vec![vec![(1, asked / 8.0)]; NODES];
            if !by_it {
                streams[8] = vec![];
            }
            let script = vec![
                (then, Crash(vec![8])),
                (then + 1, Gone(vec![8])),
                (2 * then, Start(vec![8])),
            ];
            let outcome = play(&kept.scene(streams, script), 1);
            let seconds = outcome.without_base as f64 / 3.0;
            println!(
                "{}, {asked} of it asked for, by it: {by_it}: without base for {seconds:.1} s, {:.1} % of strict, {:.1} messages a second",
                kept.name,
                outcome.strict_part() * 100.0,
                outcome.messages_a_second()
            );
            assert!(outcome.without_base > 0, "it came when all was given away");
            assert!(seconds < f64::from(most), "{}: {seconds} s", kept.name);
        }
    }
}

/// Two nodes lend what they have of a day's limit to another, which uses it up; then they crash. What they lent does not come
/// back for a day; of other limits they have base as soon as they begin.
#[test]
fn a_node_that_crashes_after_it_lent_of_a_days_limit_has_its_base_of_others_soon() {
    use Happening::{Ask, Crash, Start};
    let then = SECOND.span / 3;
    let mut script: Vec<_> = (5..45).map(|second| (second, Ask(0))).collect();
    script.push((then, Crash(vec![4, 8])));
    script.push((then + 2, Start(vec![4, 8])));
    let outcome = play(&SECOND.scene(vec![vec![(1, ALL / 9.0)]; NODES], script), 1);
    let seconds = outcome.without_base as f64 / 3.0;
    println!(
        "without base for {seconds:.1} s, {:.1} % of strict",
        outcome.strict_part() * 100.0,
    );
    assert!(outcome.without_whole > 300, "it is to the end: {outcome:?}");
    assert!(seconds < 5.0, "{seconds} s");
    assert!(outcome.strict_part() > SECOND.floor, "{outcome:?}");
}

/// Requests that cost more than one, under a limit of which a node's share is little beside that. Where they wait, they get what
/// there is; where not, those that come to one node do, once it is known there what they take.
fn measure_great_costs(limit: u64, seconds: u64, cost: u32) {
    let whole = limit as f64 / seconds as f64 / f64::from(cost);
    let mut low = Vec::new();
    for (name, nodes, part, wait, floor) in [
        ("all", 0..NODES, ALL, 400, 0.9),
        ("all", 0..NODES, ALL, 3000, 0.92),
        ("three", 3..6, ALL, 400, 0.92),
        ("three, too much", 3..6, 9.0, 400, 0.92),
        ("all", 0..NODES, ALL, 0, 0.1),
        ("three", 3..6, ALL, 0, 0.25),
        ("three, too much", 3..6, 9.0, 0, 0.85),
        ("one", 4..5, ALL, 400, 0.92),
        ("one", 4..5, ALL, 0, 0.92),
        ("one, rarely", 4..5, 0.3, 400, 0.8),
        ("one, rarely", 4..5, 0.3, 0, 0.85),
    ] {
        // Neither is a limit that may be.
        if wait == 0 && limit <= POOLED_MOST.into() || wait > 1000 * seconds {
            continue;
        }
        let each = part * whole / nodes.len() as f64;
        let stream = |at| nodes.contains(&at).then_some((1, each));
        let scene = Scene {
            limit,
            cost,
            window: Duration::from_secs(seconds),
            wait: Duration::from_millis(wait),
            on_lapse: OnLapse::Base,
            seats: NODES,
            seconds: 300 + 10 * seconds,
            streams: (0..NODES)
                .map(|at| stream(at).into_iter().collect())
                .collect(),
            script: vec![],
        };
        let outcome = play(&scene, 1);
        println!(
            "{limit} in {seconds} s, cost {cost}, {name}, waiting {wait} ms: {} of {} ({:.1} %), {:.2} messages a second",
            outcome.admitted,
            outcome.ideal,
            outcome.part() * 100.0,
            outcome.messages_a_second()
        );
        if outcome.part() < floor {
            low.push((name, wait, outcome.part(), floor));
        }
    }
    assert!(low.is_empty(), "less than the floor: {low:?}");
}

#[test]
fn requests_that_cost_about_a_nodes_share_are_admitted() {
    measure_great_costs(100, 60, 7);
}

#[test]
fn requests_that_cost_more_than_half_of_a_limit_are_admitted() {
    measure_great_costs(100, 10, 60);
}

#[test]
fn requests_that_cost_more_than_one_of_a_small_limit_are_admitted() {
    measure_great_costs(60, 60, 7);
}

#[test]
fn requests_that_cost_most_of_a_nodes_share_are_admitted() {
    measure_great_costs(1000, 60, 50);
}

/// Of a short window, of which tokens are kept at hand.
#[test]
fn requests_that_cost_a_part_of_a_seconds_limit_are_admitted() {
    measure_great_costs(200, 1, 4);
}

/// In a cluster that has just begun base is split anew as nodes come. Nobody has spent of the coarser parts, and none of
/// them is missing for a window.
#[test]
fn an_hours_limit_is_there_at_once_in_a_cluster_whose_nodes_come_one_by_one() {
    let kept = Kept { span: 120, ..HOUR };
    let busy = |at: usize| match at % 3 {
        0 => vec![(10, 15.0)],
        _ => vec![],
    };
    let scene = Scene {
        seats: 3,
        ..kept.scene((0..NODES).map(busy).collect(), vec![])
    };
    let outcome = play(&scene, 1);
    assert_eq!(
        (outcome.admitted, outcome.ideal),
        (1000, 1000),
        "{outcome:?}"
    );
}

#[test]
fn a_balanced_hours_limit_costs_few_messages_and_an_idle_one_none() {
    for (part, most) in [(0.8, 0.1), (0.0, 0.0)] {
        let each = part / NODES as f64;
        let scene = HOUR.scene(vec![vec![(1, each)]; NODES], vec![]);
        let outcome = play(&scene, 1);
        println!(
            "{part} of {}: {:.3} messages a second",
            HOUR.name,
            outcome.messages_a_second()
        );
        assert!(outcome.messages_a_second() <= most);
        assert!(outcome.part() > 0.96 || outcome.came == 0, "{outcome:?}");
    }
}
