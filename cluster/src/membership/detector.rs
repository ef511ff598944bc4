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

/// How long a node that this one was never connected to may take: probes need a connection, which takes two of the
/// longest round trips, and one more for each packet of its handshake that is lost or overtaken by another.
const UNMET_AFTER: Duration = Duration::from_millis(1500);

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
    /// Some node is steady that was not, or vouches that did not, or the other way round.
    swayed: bool,
}

#[derive(Debug)]
struct Track {
    /// The last arrivals, newest last, [`UP_ARRIVALS`] at most.
    arrivals: VecDeque<Instant>,
    /// Silence counts from here: the last arrival, or the beginning of the connection; moved on by stalls of our own.
    since: Instant,
    /// There was a connection to it: it could be probed.
    met: bool,
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
    /// No echo was late within the last [`PROBATION`].
    is_clean: bool,
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
                    met: false,
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
                    is_clean: true,
                },
            );
        }
    }

    /// A connection to a node stands since then: its handshake went both ways, and what was silence before was the want of
    /// a connection, or the end of another one with the probes on it.
    pub fn met(&mut self, node: &NodeId, since: Instant) {
        if let Some(track) = self.tracks.get_mut(node) {
            track.met = true;
            track.since = track.since.max(since);
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

    /// Whether a node speaks for the link to it: it answers, and has not been late once within the last two seconds.
    pub fn vouches(&self, node: &NodeId) -> bool {
        let track = self.tracks.get(node);
        track.is_some_and(|track| track.met && track.liveness == Liveness::Up && track.is_clean)
    }

    /// Whether a node was suspect for its silence in the last two seconds, or late too often.
    pub fn is_on_probation(&self, node: &NodeId) -> bool {
        let track = self.tracks.get(node);
        track.is_some_and(|track| track.probation.is_some())
    }

    /// Whether what is said of any node's steadiness has changed since this was asked last.
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
            track.met = true;
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
            let before = (track.is_steady(), track.is_clean);
            let next = track.judge(now);
            self.swayed |= (track.is_steady(), track.is_clean) != before;
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
        let last = self.late.back();
        self.is_clean = !is_late && last.is_none_or(|last| *last + PROBATION < now);
    }

    fn patience(&self) -> Duration {
        if self.met { DOWN_AFTER } else { UNMET_AFTER }
    }

    fn judge(&mut self, now: Instant) -> Liveness {
        let silence = now.saturating_duration_since(self.since);
        self.probation = self.probation.filter(|until| now < *until);
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
            if self.doubted {
                Liveness::Suspect
            } else {
                Liveness::Up
            }
        } else if silence >= self.patience() || self.condemned {
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
mod tests;
