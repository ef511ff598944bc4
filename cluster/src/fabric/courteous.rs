//! How much bulk is under way: what a usual congestion controller allows, and never so much that a queue stands
//! before the slowest link.
//!
//! A controller that goes by loss fills the queue of the slowest link and learns from what is lost there. But
//! heartbeats and probes wait in the same queue and are lost with the rest: a large upload would look like a
//! failing region. So the bulk connection watches how long its own packets wait (as LEDBAT does, RFC 6817) and
//! keeps less under way when that is more than [`WAIT`].
//!
//! In: packets acknowledged, with their round trips. Out: a ceiling for the window of quinn's Cubic. [`Room`] is
//! the core. Where others fill the queue all the same, [`FLOOR`] is what bulk goes on with: it yields to them.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

/// How long bulk's packets may wait in queues. A tenth of a Raft heartbeat between regions; much less and
/// jitter would be taken for it.
const WAIT: Duration = Duration::from_millis(25);

/// Bytes under way that bulk may always have.
const FLOOR: u64 = 64 << 10;

/// Round trips of which the shortest tells whether a queue stands: one alone may have been held up elsewhere.
const SAMPLES: u32 = 8;

/// So often bulk makes way for a round trip, to see how long the path is without it.
const LOOK: Duration = Duration::from_secs(10);

/// How long the shortest round trip counts. A path that has become longer is believed after this.
const MEMORY: Duration = Duration::from_secs(30);

/// Makes the controllers of bulk connections.
pub(super) struct Courteous;

impl ControllerFactory for Courteous {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let usual = Arc::new(CubicConfig::default()).build(now, mtu);
        Box::new(Guarded {
            room: Room::new(usual.initial_window(), now),
            usual,
        })
    }
}

/// Cubic under a ceiling.
struct Guarded {
    usual: Box<dyn Controller>,
    room: Room,
}

impl Controller for Guarded {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.usual.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        let window = self.window();
        self.room.acknowledge(Trip {
            now,
            took: now.saturating_duration_since(sent),
            window,
            used: !app_limited,
        });
        // Cubic must not grow on the strength of what the ceiling held back.
        let held_back = self.room.ceiling() < self.usual.window();
        self.usual
            .on_ack(now, sent, bytes, app_limited || held_back, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        let held_back = self.room.ceiling() < self.usual.window();
        self.usual.on_end_acks(
            now,
            in_flight,
            app_limited || held_back,
            largest_packet_num_acked,
        );
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.usual
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.usual.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.usual.window().min(self.room.ceiling())
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            usual: self.usual.clone_box(),
            room: self.room.clone(),
        })
    }

    fn initial_window(&self) -> u64 {
        self.usual.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A packet and its acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Trip {
    now: Instant,
    took: Duration,
    /// The window at that time.
    window: u64,
    /// There was more to send than the window let through.
    used: bool,
}

/// The ceiling, and what it follows from.
#[derive(Debug, Clone)]
struct Room {
    ceiling: u64,
    /// No queue has been seen yet: the ceiling rises fast.
    fresh: bool,
    /// The shortest round trips of this span of [`MEMORY`] and of the one before.
    shortest: [Duration; 2],
    span_began: Instant,
    /// The shortest of the last few, and how many they are.
    last: (Duration, u32),
    round: Round,
    /// After a change its effect is awaited.
    patient_until: Instant,
    /// When bulk makes way next; and while it does, the ceiling to go back to.
    look_at: Instant,
    looking: Option<u64>,
}

/// One round trip.
#[derive(Debug, Clone, Copy)]
struct Round {
    ends: Instant,
    used: bool,
}

impl Room {
    fn new(window: u64, now: Instant) -> Self {
        Self {
            ceiling: window.max(FLOOR),
            fresh: true,
            shortest: [Duration::MAX; 2],
            span_began: now,
            last: (Duration::MAX, 0),
            round: Round {
                ends: now,
                used: false,
            },
            patient_until: now,
            look_at: now + LOOK,
            looking: None,
        }
    }

    /// How many bytes may be under way.
    fn ceiling(&self) -> u64 {
        self.ceiling
    }

    fn acknowledge(&mut self, trip: Trip) {
        if trip.now.saturating_duration_since(self.span_began) >= MEMORY {
            self.shortest = [Duration::MAX, self.shortest[0]];
            self.span_began = trip.now;
        }
        self.shortest[0] = self.shortest[0].min(trip.took);
        self.round.used |= trip.used;
        let (least, count) = self.last;
        let (least, count) = (least.min(trip.took), count + 1);
        self.last = (least, count);
        if count >= SAMPLES {
            self.last = (Duration::MAX, 0);
            self.judge(least, &trip);
        }
        if trip.now >= self.round.ends {
            self.end_round(&trip);
        }
    }

    /// The path without a queue.
    fn base(&self) -> Duration {
        self.shortest[0].min(self.shortest[1])
    }

    /// Lowers the ceiling to what leaves half the queue that may stand, if more does.
    fn judge(&mut self, least: Duration, trip: &Trip) {
        let base = self.base();
        if least <= base + WAIT || trip.now < self.patient_until || self.looking.is_some() {
            return;
        }
        self.fresh = false;
        let fits = (base + WAIT / 2).div_duration_f64(least);
        self.ceiling = scaled(trip.window, fits).max(FLOOR);
        // What was sent before the change still has to come through.
        self.patient_until = trip.now + 2 * least;
    }

    fn end_round(&mut self, trip: &Trip) {
        self.round.ends = trip.now + trip.took;
        let used = std::mem::take(&mut self.round.used);
        if let Some(before) = self.looking.take() {
            self.ceiling = before;
            self.patient_until = trip.now + trip.took;
            return;
        }
        if trip.now >= self.look_at {
            self.look_at = trip.now + LOOK;
            if !self.fresh && used {
                self.looking = Some(self.ceiling);
                self.ceiling = (self.ceiling / 2).max(FLOOR);
                return;
            }
        }
        if used && trip.now >= self.patient_until && trip.window >= self.ceiling {
            let growth = if self.fresh { 1.5 } else { 1.0 + 1.0 / 16.0 };
            self.ceiling = scaled(self.ceiling, growth);
        }
    }
}

/// A window times a factor.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "windows are far below what a double counts exactly, and factors positive"
)]
fn scaled(window: u64, factor: f64) -> u64 {
    (window as f64 * factor) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link with a queue before it: what is under way beyond its own length stands in the queue.
    struct Link {
        bytes_per_second: f64,
        length: Duration,
    }

    /// What a span of time over the link was like.
    #[derive(Debug)]
    struct Ride {
        /// Share of the link that was used.
        used: f64,
        /// The longest queue.
        longest: Duration,
    }

    impl Link {
        fn ride(&self, room: &mut Room, now: &mut Instant, span: Duration) -> Ride {
            let began = *now;
            let (mut sent, mut longest) = (0.0, Duration::ZERO);
            while *now < began + span {
                #[allow(clippy::cast_precision_loss, reason = "small numbers of a test")]
                let window = room.ceiling() as f64;
                let fills = Duration::from_secs_f64(window / self.bytes_per_second);
                let took = self.length.max(fills);
                longest = longest.max(took - self.length);
                sent += window;
                let packets = 64;
                for packet in 1..=packets {
                    room.acknowledge(Trip {
                        now: *now + took * packet / packets,
                        took,
                        window: room.ceiling(),
                        used: true,
                    });
                }
                *now += took;
            }
            let could = self.bytes_per_second * (*now - began).as_secs_f64();
            Ride {
                used: sent / could,
                longest,
            }
        }
    }

    fn link(mbyte_per_second: f64, ms: u64) -> Link {
        Link {
            bytes_per_second: mbyte_per_second * 1e6,
            length: Duration::from_millis(ms),
        }
    }

    #[test]
    fn a_link_is_used_and_its_queue_stays_short() {
        for (link, warm_up) in [
            (link(2.5, 80), 5),
            (link(125.0, 150), 20),
            (link(1000.0, 1), 5),
        ] {
            let mut now = tokio::time::Instant::now().into_std();
            let mut room = Room::new(14_720, now);
            link.ride(&mut room, &mut now, Duration::from_secs(warm_up));
            let ride = link.ride(&mut room, &mut now, Duration::from_secs(60));
            assert!(ride.used > 0.85, "{ride:?}");
            assert!(ride.longest < 2 * WAIT, "{ride:?}");
        }
    }

    #[test]
    fn a_path_that_becomes_longer_is_believed_in_time() {
        let mut now = tokio::time::Instant::now().into_std();
        let mut room = Room::new(14_720, now);
        link(10.0, 40).ride(&mut room, &mut now, Duration::from_secs(30));
        let longer = link(10.0, 120);
        longer.ride(&mut room, &mut now, 3 * MEMORY);
        let ride = longer.ride(&mut room, &mut now, Duration::from_secs(60));
        assert!(ride.used > 0.8, "{ride:?}");
        assert!(ride.longest < 3 * WAIT, "{ride:?}");
    }

    #[test]
    fn where_others_fill_the_queue_bulk_goes_on_with_little() {
        let now = tokio::time::Instant::now().into_std();
        let mut room = Room::new(14_720, now);
        let trip = |at: u64, took: u64| Trip {
            now: now + Duration::from_millis(at),
            took: Duration::from_millis(took),
            window: 1 << 20,
            used: true,
        };
        room.acknowledge(trip(0, 40));
        for at in 1..3000 {
            let mut late = trip(at * 10, 400);
            late.window = room.ceiling();
            room.acknowledge(late);
        }
        assert_eq!(room.ceiling(), FLOOR);
    }
}
