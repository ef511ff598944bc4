//! Who answers: a verdict on each probed node from the times its echoes arrive.
//!
//! In: echoes, ticks, and other nodes' verdicts. Out: changes of [`Liveness`]. A core; its shell probes
//! and calls [`Detector::tick`] more often than every `STALL`.
//!
//! Only echoes count, not the peer's own probes: over a link that is cut one way those would still
//! arrive, while nothing we send does.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use meridian_config::name::NodeId;

use super::Liveness;

/// Between two probes of one node.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// Silence after which a node is suspect: two probes in a row lost, and a third late.
const SUSPECT_AFTER: Duration = Duration::from_millis(300);

/// Silence after which a node is taken for dead. Failover has a second in all; the other half is for
/// noticing by gossip, retrying and dialling.
const DOWN_AFTER: Duration = Duration::from_millis(500);

/// An echo is late when the last one is this old: an interval, and 20 ms of jitter on each way twice.
const OVERDUE_AFTER: Duration = Duration::from_millis(150);

/// A dead node must answer this many probes within [`UP_WITHIN`]: a link that flaps does not flap routing.
const UP_ARRIVALS: usize = 5;

/// A dead node that has answered this many is no longer dead for certain.
const SUSPECT_ARRIVALS: usize = 2;

/// See [`UP_ARRIVALS`].
const UP_WITHIN: Duration = Duration::from_secs(1);

/// So long after such a silence a node is steady again. A link that loses a third of its packets is silent for
/// `SUSPECT_AFTER` about once a second, and answers in between: what is sent over it then crawls, and breaks with a longer
/// silence, while a region behind a whole link could have served it.
const PROBATION: Duration = Duration::from_secs(2);

/// So many late echoes within [`OFTEN_WITHIN`] make a node unsteady before it is ever suspect. Where a third of all packets
/// is lost that takes less than a second. At 1 % each way it comes every few minutes, and costs no more than a preference.
const OFTEN: usize = 3;

/// See [`OFTEN`].
const OFTEN_WITHIN: Duration = Duration::from_secs(1);

/// A gap between two ticks above this means that this process did not run (a suspended machine, a busy
/// core): what was silent meanwhile was us.
const STALL: Duration = Duration::from_millis(100);

/// A change of verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// On whom.
    pub node: NodeId,
    /// What it is from now on.
    pub liveness: Liveness,
}

/// Verdicts on all probed nodes.
#[derive(Debug, Default)]
pub struct Detector {
    tracks: BTreeMap<NodeId, Track>,
    ticked: Option<Instant>,
    /// Some node is steady that was not, or the other way round.
    swayed: bool,
}

#[derive(Debug)]
struct Track {
    /// The last arrivals, newest last, [`UP_ARRIVALS`] at most.
    arrivals: VecDeque<Instant>,
    /// Silence counts from here: the last arrival, moved on by stalls of our own.
    since: Instant,
    liveness: Liveness,
    /// Another node says that it is down.
    condemned: bool,
    /// Nothing has come from it yet, and its neighbours are silent.
    doubted: bool,
    /// It was taken for dead and answers again, not yet often enough to be `Up`.
    returning: bool,
    /// It was suspect for its silence, or late too often, and is not steady until then.
    probation: Option<Instant>,
    /// When its echoes were late, newest last, [`OFTEN`] at most.
    late: VecDeque<Instant>,
    /// The silence that goes on was found late already.
    is_late: bool,
}

impl Detector {
    /// Begins to judge a node: `Up` at first, for gossip has just heard of it; `Suspect` until it answers where
    /// `doubted`, for gossip is late, and it may have gone with the silent nodes in whose place it is probed.
    pub fn watch(&mut self, node: &NodeId, doubted: bool, now: Instant) {
        if !self.tracks.contains_key(node) {
            self.tracks.insert(
                node.clone(),
                Track {
                    arrivals: VecDeque::with_capacity(UP_ARRIVALS),
                    since: now,
                    liveness: if doubted {
                        Liveness::Suspect
                    } else {
                        Liveness::Up
                    },
                    condemned: false,
                    doubted,
                    returning: false,
                    probation: None,
                    late: VecDeque::with_capacity(OFTEN),
                    is_late: false,
                },
            );
        }
    }

    /// Stops judging a node: it is not probed any more.
    pub fn forget(&mut self, node: &NodeId) {
        self.tracks.remove(node);
    }

    /// The nodes that are judged.
    pub fn watched(&self) -> impl Iterator<Item = &NodeId> {
        self.tracks.keys()
    }

    /// Nodes whose next echo is late: probe them twice as often, so that a few lost datagrams are not
    /// taken for a death.
    ///
    /// At 1 % loss each way four echoes in a row are lost once in six million probes, which a few dozen
    /// pairs of nodes send in two hours. With these, six have to be lost in a row.
    pub(super) fn overdue(&self, now: Instant) -> impl Iterator<Item = &NodeId> {
        self.tracks
            .iter()
            .filter(move |(_, track)| {
                track.liveness != Liveness::Down
                    && now.saturating_duration_since(track.since) >= OVERDUE_AFTER
            })
            .map(|(node, _)| node)
    }

    /// The verdict on a node; `None` where it is not judged.
    pub fn verdict(&self, node: &NodeId) -> Option<Liveness> {
        self.tracks.get(node).map(|track| track.liveness)
    }

    /// Whether a node is not late now, and was neither suspect for its silence of late nor late too often, so that requests
    /// may go there before others.
    pub fn is_steady(&self, node: &NodeId) -> bool {
        self.tracks.get(node).is_none_or(Track::is_steady)
    }

    /// Whether [`is_steady`](Self::is_steady) has changed for any node since this was asked last.
    pub fn has_swayed(&mut self) -> bool {
        std::mem::take(&mut self.swayed)
    }

    /// An echo has come from a node. A change it brings is told at the next tick.
    pub fn heard(&mut self, node: &NodeId, now: Instant) {
        if let Some(track) = self.tracks.get_mut(node) {
            if track.arrivals.len() == UP_ARRIVALS {
                track.arrivals.pop_front();
            }
            track.arrivals.push_back(now);
            track.since = track.since.max(now);
            track.condemned = false;
            track.doubted = false;
        }
    }

    /// Another node says that this one is down. That alone decides nothing; it ends a suspicion early.
    pub fn condemn(&mut self, node: &NodeId) {
        if let Some(track) = self.tracks.get_mut(node) {
            track.condemned = true;
        }
    }

    /// A node's connection was closed by itself, or it said that it leaves: no need to wait.
    pub fn gone(&mut self, node: &NodeId) -> Option<Verdict> {
        let track = self.tracks.get_mut(node)?;
        track.arrivals.clear();
        track.returning = false;
        track.probation = None;
        (track.liveness != Liveness::Down).then(|| {
            track.liveness = Liveness::Down;
            Verdict {
                node: node.clone(),
                liveness: Liveness::Down,
            }
        })
    }

    /// Judges all nodes as of `now`, and says what has changed.
    pub fn tick(&mut self, now: Instant) -> Vec<Verdict> {
        let gap = self
            .ticked
            .replace(now)
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if gap > STALL {
            for track in self.tracks.values_mut() {
                track.since = (track.since + gap).min(now);
            }
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (node, track) in &mut self.tracks {
            let was_steady = track.is_steady();
            let next = track.judge(now);
            self.swayed |= track.is_steady() != was_steady;
            if next != track.liveness {
                track.liveness = next;
                changes.push(Verdict {
                    node: node.clone(),
                    liveness: next,
                });
            }
        }
        changes
    }
}

impl Track {
    fn is_steady(&self) -> bool {
        self.probation.is_none() && !self.is_late
    }

    fn note_lateness(&mut self, silence: Duration, now: Instant) {
        let is_late = silence >= OVERDUE_AFTER;
        if is_late && !self.is_late {
            if self.late.len() == OFTEN {
                self.late.pop_front();
            }
            self.late.push_back(now);
            let first = self.late.front().filter(|_| self.late.len() == OFTEN);
            if first.is_some_and(|first| now.saturating_duration_since(*first) <= OFTEN_WITHIN) {
                self.probation = Some(now + PROBATION);
            }
        }
        self.is_late = is_late;
    }

    fn judge(&mut self, now: Instant) -> Liveness {
        let silence = now.saturating_duration_since(self.since);
        self.note_lateness(silence, now);
        if self.liveness == Liveness::Down || self.returning {
            let often = self.arrivals.len() == UP_ARRIVALS
                && self
                    .arrivals
                    .front()
                    .is_some_and(|first| now.saturating_duration_since(*first) <= UP_WITHIN);
            // A suspect node is asked where there is no other.
            let answers = silence < SUSPECT_AFTER && self.arrivals.len() >= SUSPECT_ARRIVALS;
            self.returning = answers && !often;
            if !answers {
                if self.liveness != Liveness::Down {
                    self.arrivals.clear();
                }
                return Liveness::Down;
            }
            return if often {
                Liveness::Up
            } else {
                Liveness::Suspect
            };
        }
        if silence < SUSPECT_AFTER {
            self.condemned = false;
            self.probation = self.probation.filter(|until| now < *until);
            if self.doubted {
                Liveness::Suspect
            } else {
                Liveness::Up
            }
        } else if silence >= DOWN_AFTER || self.condemned {
            self.arrivals.clear();
            self.probation = None;
            Liveness::Down
        } else {
            self.probation = Some(now + PROBATION);
            Liveness::Suspect
        }
    }
}

#[cfg(test)]
mod tests {
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
}
