//! How much bulk is under way: what a usual congestion controller allows, and never so much that a queue stands
//! before the slowest link.
//!
//! A controller that goes by loss fills the queue of the slowest link and learns from what is lost there. But
//! heartbeats and probes wait in the same queue and are lost with the rest: a large upload would look like a
//! failing region. So the bulk connection watches how long its own packets wait (as LEDBAT does, RFC 6817) and
//! keeps less under way when that is more than [`WAIT`].
//!
//! A flood must not overflow the queue at its beginning either, before it knows how much the path takes. What was
//! sent too much shows a round trip later, so the ceiling rises in one by no more than what fills the queue for
//! [`BURST`], and slowly as soon as packets wait at all (as in HyStart++, RFC 9406).
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

/// How long a queue a flood may make at its beginning, while it learns how much the path takes: with
/// [`HINT`] well below the 100 ms that a router's queue holds at least.
const BURST: Duration = Duration::from_millis(50);

/// From this wait on a queue may be building up. More than what the shortest of [`SAMPLES`] round trips differs by
/// where packets arrive up to 5 ms late each way.
const HINT: Duration = Duration::from_millis(6);

/// How much the ceiling rises in a round trip at most, as a share: while no queue has been seen, and after.
const FAST: f64 = 0.5;
const SLOW: f64 = 1.0 / 16.0;

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
            bytes,
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
    bytes: u64,
    /// The window at that time.
    window: u64,
    /// There was more to send than the window let through.
    used: bool,
}

/// The ceiling, and what it follows from.
#[derive(Debug, Clone)]
struct Room {
    ceiling: u64,
    /// No queue has been seen yet: the ceiling may rise fast.
    fresh: bool,
    /// The last few round trips waited for less than [`HINT`].
    clear: bool,
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
            clear: true,
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
            self.clear = least <= self.base() + HINT;
            self.judge(least, &trip);
        }
        self.rise(&trip);
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

    /// Raises the ceiling with each packet acknowledged, so that a round trip's worth of them raises it by the share
    /// that is allowed: a step would be a burst.
    fn rise(&mut self, trip: &Trip) {
        let wanted = trip.used && trip.window >= self.ceiling;
        if !wanted || trip.now < self.patient_until || self.looking.is_some() {
            return;
        }
        let share = if self.fresh && self.clear {
            BURST.div_duration_f64(self.base()).min(FAST)
        } else {
            SLOW
        };
        self.ceiling += scaled(trip.bytes, share);
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
            }
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
    use std::collections::VecDeque;

    use super::*;

    /// A link with a queue before it, and a sender that always has something to send and paces it as quinn does.
    struct Link {
        bytes_per_second: f64,
        length: Duration,
        /// When what was sent has left the queue.
        free: Instant,
        /// What is under way: when it was sent, and when its acknowledgement comes.
        under_way: VecDeque<(Instant, Instant)>,
        /// When the sender may send next, by its pace, and the last round trip.
        may: Instant,
        trip: Duration,
        now: Instant,
    }

    /// What a span of time over the link was like.
    #[derive(Debug)]
    struct Ride {
        /// Share of the link that was used.
        used: f64,
        /// The longest wait in the queue.
        longest: Duration,
    }

    impl Link {
        fn new(mbyte_per_second: f64, ms: u64) -> Self {
            let now = tokio::time::Instant::now().into_std();
            Self {
                bytes_per_second: mbyte_per_second * 1e6,
                length: Duration::from_millis(ms),
                free: now,
                under_way: VecDeque::new(),
                may: now,
                trip: Duration::from_millis(ms),
                now,
            }
        }

        /// Packets; larger ones on a fast link, as if several were one.
        fn packet(&self) -> u64 {
            scaled(1, self.bytes_per_second / 1e4).clamp(1_452, FLOOR / 8)
        }

        fn room(&self) -> Room {
            Room::new(14_720, self.now)
        }

        fn ride(&mut self, room: &mut Room, span: Duration) -> Ride {
            let (until, bytes) = (self.now + span, self.packet());
            #[allow(clippy::cast_precision_loss, reason = "small numbers of a test")]
            let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
            let (mut arrived, mut longest) = (Duration::ZERO, Duration::ZERO);
            while self.now < until {
                let fits = (self.under_way.len() as u64 + 1) * bytes <= room.ceiling();
                let next = self.under_way.front().map(|(_, comes)| *comes);
                if fits && next.is_none_or(|comes| self.may <= comes) {
                    self.now = self.now.max(self.may);
                    let begins = self.free.max(self.now);
                    longest = longest.max(begins - self.now);
                    self.free = begins + takes;
                    let comes = self.free + self.length;
                    self.under_way.push_back((self.now, comes));
                    #[allow(clippy::cast_precision_loss, reason = "small numbers of a test")]
                    let share = bytes as f64 / room.ceiling() as f64;
                    self.may = self.now + self.trip.mul_f64(share / 1.25);
                    continue;
                }
                let (sent, comes) = self.under_way.pop_front().expect("a window has a packet");
                self.now = comes;
                self.trip = comes - sent;
                arrived += takes;
                room.acknowledge(Trip {
                    now: comes,
                    took: self.trip,
                    bytes,
                    window: room.ceiling(),
                    used: true,
                });
            }
            Ride {
                used: arrived.div_duration_f64(span),
                longest,
            }
        }
    }

    #[test]
    fn a_link_is_used_and_its_queue_stays_short() {
        for (mut link, warm_up) in [
            (Link::new(2.5, 80), 5),
            (Link::new(125.0, 150), 20),
            (Link::new(1000.0, 1), 5),
        ] {
            let mut room = link.room();
            link.ride(&mut room, Duration::from_secs(warm_up));
            let ride = link.ride(&mut room, Duration::from_secs(30));
            assert!(ride.used > 0.85, "{ride:?}");
            assert!(ride.longest < 2 * WAIT, "{ride:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_flood_overflows_no_queue_and_then_fills_the_link() {
        for mbyte_per_second in [1.0, 2.5, 2.7, 3.1, 10.0] {
            for ms in [2, 40, 80, 150, 220, 300] {
                let mut link = Link::new(mbyte_per_second, ms);
                let mut room = link.room();
                let ride = link.ride(&mut room, Duration::from_secs(10));
                assert!(
                    ride.longest < Duration::from_millis(80),
                    "{mbyte_per_second} MB/s, {ms} ms: {ride:?}"
                );
                let ride = link.ride(&mut room, Duration::from_secs(5));
                assert!(
                    ride.used > 0.8,
                    "{mbyte_per_second} MB/s, {ms} ms: {ride:?}"
                );
            }
        }
    }

    #[test]
    fn a_path_that_becomes_longer_is_believed_in_time() {
        let mut link = Link::new(10.0, 40);
        let mut room = link.room();
        link.ride(&mut room, Duration::from_secs(30));
        link.length = Duration::from_millis(120);
        link.ride(&mut room, 3 * MEMORY);
        let ride = link.ride(&mut room, Duration::from_secs(60));
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
            bytes: 1_452,
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
