//! Verdicts over made-up times of echoes.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

const TICK: Duration = Duration::from_millis(25);

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn peer() -> NodeId {
    "us-east-1".into()
}

#[test]
fn a_doubted_node_is_suspect_until_it_answers_and_down_when_it_does_not() {
    let mut detector = Detector::default();
    let began = start();
    for id in ["a", "b"] {
        detector.watch(&id.into(), true, began);
        detector.met(&id.into(), began);
    }
    let mut now = began;
    let mut tick = |detector: &mut Detector, ms| {
        while now < began + Duration::from_millis(ms) {
            now += TICK;
            detector.tick(now);
        }
        ["a", "b"].map(|id| detector.verdict(&id.into()).expect("it is watched"))
    };
    assert_eq!(tick(&mut detector, 200), [Liveness::Suspect; 2]);
    detector.heard(&"a".into(), began + Duration::from_millis(200));
    let both = tick(&mut detector, 475);
    assert_eq!(both, [Liveness::Up, Liveness::Suspect]);
    assert_eq!(tick(&mut detector, 500)[1], Liveness::Down);
}

/// A detector whose one peer has just answered, and that moment.
fn living() -> (Detector, Instant) {
    let mut detector = Detector::default();
    let mut now = start();
    detector.watch(&peer(), false, now);
    for _ in 0..UP_ARRIVALS {
        now += PROBE_INTERVAL;
        detector.heard(&peer(), now);
        detector.tick(now);
    }
    assert_eq!(detector.verdict(&peer()), Some(Liveness::Up));
    (detector, now)
}

/// Ticks until `until` and gives all changes with their times after `from`.
fn ticks(detector: &mut Detector, from: Instant, until: Duration) -> Vec<(Duration, Liveness)> {
    let mut changes = Vec::new();
    let mut since = Duration::ZERO;
    while since < until {
        since += TICK;
        for verdict in detector.tick(from + since) {
            changes.push((since, verdict.liveness));
        }
    }
    changes
}

#[test]
fn silence_makes_a_node_suspect_and_then_dead() {
    let (mut detector, now) = living();
    assert_eq!(
        ticks(&mut detector, now, Duration::from_secs(5)),
        [
            (SUSPECT_AFTER, Liveness::Suspect),
            (DOWN_AFTER, Liveness::Down)
        ]
    );
}

#[test]
fn an_echo_ends_a_suspicion() {
    let (mut detector, now) = living();
    ticks(&mut detector, now, Duration::from_millis(400));
    let later = now + Duration::from_millis(410);
    detector.heard(&peer(), later);
    assert_eq!(
        detector.tick(later),
        [Verdict {
            node: peer(),
            liveness: Liveness::Up
        }]
    );
}

/// It is silent for so long again and again; whether it was steady after each silence.
fn steady_after(detector: &mut Detector, now: &mut Instant, silences: &[u64]) -> Vec<bool> {
    let after = |silence: &u64| {
        let silence = Duration::from_millis(*silence);
        ticks(detector, *now, silence);
        *now += silence;
        detector.heard(&peer(), *now);
        detector.tick(*now);
        assert_eq!(detector.verdict(&peer()), Some(Liveness::Up));
        detector.is_steady(&peer())
    };
    silences.iter().map(after).collect()
}

#[test]
fn a_suspect_that_answers_is_steady_again_after_two_good_seconds() {
    let (mut detector, mut now) = living();
    let all: Vec<u64> = [100, 100, 400].into_iter().chain([100; 24]).collect();
    let steady = steady_after(&mut detector, &mut now, &all);
    let expected: Vec<bool> = (0..all.len()).map(|at| !(2..22).contains(&at)).collect();
    assert_eq!(steady, expected);
}

#[test]
fn a_node_whose_echo_is_late_comes_after_others_at_once_and_until_it_answers() {
    let (mut detector, now) = living();
    ticks(&mut detector, now, Duration::from_millis(125));
    assert!(detector.is_steady(&peer()) && !detector.has_swayed());
    ticks(&mut detector, now + Duration::from_millis(125), TICK);
    assert!(!detector.is_steady(&peer()) && detector.has_swayed());
    let later = now + Duration::from_millis(160);
    detector.heard(&peer(), later);
    detector.tick(later);
    assert!(detector.is_steady(&peer()) && detector.has_swayed());
    assert!(!detector.has_swayed(), "told once");
}

#[test]
fn a_link_that_loses_much_is_not_steady_before_anybody_is_suspect_and_in_between() {
    let (mut detector, mut now) = living();
    let often = [200, 100, 200, 100, 200, 100, 250, 100, 200, 310, 100, 450];
    let steady = steady_after(&mut detector, &mut now, &often);
    let expected: Vec<bool> = (0..often.len()).map(|at| at < 4).collect();
    assert_eq!(steady, expected);
    // Now and then one is lost anywhere.
    let (mut detector, mut now) = living();
    let seldom = [
        200, 100, 200, 100, 100, 100, 100, 100, 100, 200, 100, 100, 100,
    ];
    let steady = steady_after(&mut detector, &mut now, &seldom);
    assert_eq!(steady, [true; 13]);
}

#[test]
fn the_word_of_others_shortens_a_suspicion_and_does_nothing_else() {
    let (mut detector, now) = living();
    detector.condemn(&peer());
    assert_eq!(detector.tick(now + TICK), []);
    assert_eq!(detector.verdict(&peer()), Some(Liveness::Up));

    ticks(&mut detector, now, SUSPECT_AFTER);
    detector.condemn(&peer());
    assert_eq!(
        detector.tick(now + SUSPECT_AFTER + TICK),
        [Verdict {
            node: peer(),
            liveness: Liveness::Down
        }]
    );
}

#[test]
fn a_dead_node_is_suspect_after_two_answers_and_up_after_five_within_a_second() {
    let (mut detector, now) = living();
    ticks(&mut detector, now, Duration::from_secs(2));
    let mut now = now + Duration::from_secs(2);
    use Liveness::{Down, Suspect, Up};
    let told = [(); UP_ARRIVALS].map(|()| answers(&mut detector, &mut now));
    assert_eq!(told, [Down, Suspect, Suspect, Suspect, Up]);

    // Silent again before that, it has to begin anew.
    let (mut detector, now) = living();
    ticks(&mut detector, now, Duration::from_secs(2));
    let mut now = now + Duration::from_secs(2);
    let twice =
        |detector: &mut Detector, now: &mut Instant| [(); 2].map(|()| answers(detector, now));
    assert_eq!(twice(&mut detector, &mut now), [Down, Suspect]);
    let changes = ticks(&mut detector, now, Duration::from_secs(1));
    assert_eq!(changes, [(SUSPECT_AFTER, Down)]);
    now += Duration::from_secs(1);
    assert_eq!(twice(&mut detector, &mut now), [Down, Suspect]);
}

/// It answers the next probe; the verdict then.
fn answers(detector: &mut Detector, now: &mut Instant) -> Liveness {
    *now += PROBE_INTERVAL;
    detector.heard(&peer(), *now);
    detector.tick(*now);
    detector.verdict(&peer()).expect("it is watched")
}

#[test]
fn our_own_stall_is_not_their_silence() {
    let (mut detector, now) = living();
    let woken = now + Duration::from_secs(30);
    assert_eq!(detector.tick(woken), []);
    assert_eq!(detector.tick(woken + TICK), []);
    let later = ticks(&mut detector, woken, Duration::from_secs(1));
    assert_eq!(later.last().map(|change| change.1), Some(Liveness::Down));
}

#[test]
fn a_node_that_says_goodbye_is_down_at_once() {
    let (mut detector, now) = living();
    assert_eq!(
        detector.gone(&peer()).map(|v| v.liveness),
        Some(Liveness::Down)
    );
    assert_eq!(detector.gone(&peer()), None);
    assert_eq!(detector.tick(now + TICK), []);
}

#[test]
fn twelve_hours_of_jitter_and_fivefold_loss_bring_no_false_death() {
    for seed in 0..12 {
        let worst = an_hour(StdRng::seed_from_u64(seed));
        assert!(worst < Liveness::Down, "seed {seed}: {worst:?}");
    }
}

/// The worst verdict in an hour at 20 ms jitter and 5 % loss each way, probed as the shell does. Without
/// the probes of what is overdue some of these hours see a death.
fn an_hour(mut random: StdRng) -> Liveness {
    let (mut detector, start) = living();
    let mut pending: BTreeMap<Instant, ()> = BTreeMap::new();
    let mut now = start;
    let mut worst = Liveness::Up;
    for tick in 0..3600 * 1000 / 25_u32 {
        now += TICK;
        let probed = match tick % 4 {
            0 => true,
            2 => detector.overdue(now).next().is_some(),
            _ => false,
        };
        if probed {
            let lost = random.random_bool(0.05) || random.random_bool(0.05);
            let jitter = Duration::from_micros(random.random_range(0..40_000));
            if !lost {
                pending.insert(now + Duration::from_millis(150) + jitter, ());
            }
        }
        while let Some(entry) = pending.first_entry().filter(|entry| *entry.key() <= now) {
            detector.heard(&peer(), *entry.key());
            entry.remove();
        }
        detector.tick(now);
        worst = worst.max(detector.verdict(&peer()).unwrap());
    }
    worst
}

proptest! {
    #[test]
    fn whatever_arrives_a_verdict_follows_the_silence(
        gaps in prop::collection::vec(1u64..900, 1..60),
    ) {
        let (mut detector, mut now) = living();
        let (mut returning, mut probation) = (false, None);
        for gap in gaps {
            let end = now + Duration::from_millis(gap);
            let mut at = now;
            while at + TICK <= end {
                at += TICK;
                detector.tick(at);
                let silence = at - now;
                let verdict = detector.verdict(&peer()).unwrap();
                returning |= verdict == Liveness::Down;
                if silence >= DOWN_AFTER {
                    prop_assert_eq!(verdict, Liveness::Down);
                    probation = None;
                } else if silence >= SUSPECT_AFTER {
                    prop_assert_ne!(verdict, Liveness::Up);
                    probation = (!returning).then_some(at + PROBATION);
                }
            }
            now = end;
            detector.heard(&peer(), now);
            detector.tick(now);
            let verdict = detector.verdict(&peer()).unwrap();
            returning &= verdict != Liveness::Up;
            prop_assert!(returning || verdict == Liveness::Up, "{:?}", verdict);
            // Late echoes make it unsteady too.
            let on_probation = probation.is_some_and(|until| now < until);
            prop_assert!(!on_probation || !detector.is_steady(&peer()));
        }
    }
}

#[test]
fn a_node_that_was_never_connected_may_take_its_time_and_one_that_was_has_the_same_as_others() {
    let mut detector = Detector::default();
    let began = start();
    for id in ["never", "late", "known"] {
        detector.watch(&id.into(), false, began);
    }
    detector.met(&"known".into(), began - Duration::from_secs(5));
    let met = Duration::from_millis(900);
    let mut told = Vec::new();
    for ms in (25..3000).step_by(25) {
        let since = Duration::from_millis(ms);
        if since == met {
            detector.met(&"late".into(), began + since);
        }
        for Verdict { node, liveness } in detector.tick(began + since) {
            told.push((since, node.to_string(), liveness));
        }
    }
    use Liveness::{Down, Suspect, Up};
    let expected = [
        (SUSPECT_AFTER, "known", Suspect),
        (SUSPECT_AFTER, "late", Suspect),
        (SUSPECT_AFTER, "never", Suspect),
        (DOWN_AFTER, "known", Down),
        (met, "late", Up),
        (met + SUSPECT_AFTER, "late", Suspect),
        (met + DOWN_AFTER, "late", Down),
        (UNMET_AFTER, "never", Down),
    ];
    let expected = expected.map(|(since, node, liveness)| (since, node.to_owned(), liveness));
    assert_eq!(told, expected);
}
