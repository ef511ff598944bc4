//! How far a node's wall clock is from that of the ledger's leader.
//!
//! In: when an ask was sent and answered by the node's own clock, and what the leader's clock said. Out: the offset, how
//! sure it is, and a line in the log where it is more than the quota allows for. By a node's own wall clock it counts
//! fixed windows and ends limits that were set for a while. The arithmetic is NTP's (RFC 5905, sections 8 and 10).

use std::{collections::VecDeque, time::Duration};

use meridian_config::name::NodeId;
use tokio::time::Instant;

use super::message::Reading;
use crate::quota::{clock::Now, params::Params};

/// So many answers are remembered: the one that took the least time on the way says most (RFC 5905, section 10).
const REMEMBERED: usize = 8;

/// How far a node's wall clock is from the leader's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// How far it is ahead, in ms; less than 0: behind.
    pub ahead_ms: i64,
    /// By how much that may be wrong at most, in ms: half of what the ask and its answer took on the way.
    pub within_ms: u64,
}

impl Offset {
    /// By an answer to what was sent at `sent_ms` of the node's monotonic clock; none if that is still to come.
    pub(super) fn measure(sent_ms: u64, now: Now, leader: Reading) -> Option<Self> {
        let took_ms = (now.monotonic.0 / NS_PER_MS).checked_sub(sent_ms)?;
        let within_ms = took_ms.saturating_sub(leader.held_ms) / 2;
        // What the leader's clock shows by now, if the answer took half of the way's time.
        let shows_ms = leader.unix_ms.saturating_add(within_ms);
        let ahead_ms = i128::from(now.unix.0 / NS_PER_MS) - i128::from(shows_ms);
        Some(Self {
            ahead_ms: i64::try_from(ahead_ms).unwrap_or(match ahead_ms < 0 {
                true => i64::MIN,
                false => i64::MAX,
            }),
            within_ms,
        })
    }

    /// How far it is ahead and by how much that may be wrong, in seconds.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds beyond 2^53 are 285 000 years"
    )]
    pub fn seconds(self) -> (f64, f64) {
        (self.ahead_ms as f64 / 1e3, self.within_ms as f64 / 1e3)
    }

    /// Whether the clocks are apart by more than that, however long each way took.
    fn surpasses(self, bound: Duration) -> bool {
        let surely = self.ahead_ms.unsigned_abs().saturating_sub(self.within_ms);
        u128::from(surely) > bound.as_millis()
    }

    /// Whether they are apart by no more than that, however long each way took.
    fn keeps(self, bound: Duration) -> bool {
        let perhaps = self.ahead_ms.unsigned_abs().saturating_add(self.within_ms);
        u128::from(perhaps) <= bound.as_millis()
    }
}

/// What a node has measured lately.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// Whose clock it was.
    leader: Option<NodeId>,
    last: VecDeque<Offset>,
    /// When the log was last told that the clocks are apart; none while they are not.
    told: Option<Instant>,
}

impl Offsets {
    /// Remembers what an answer of that leader says, and tells the surest of the last ones.
    pub(super) fn take(&mut self, offset: Offset, leader: &NodeId) -> Offset {
        if self.leader.as_ref() != Some(leader) {
            self.leader = Some(leader.clone());
            self.forget();
        }
        self.last.push_back(offset);
        if self.last.len() > REMEMBERED {
            self.last.pop_front();
        }
        let newest_first = self.last.iter().rev();
        let surest = newest_first.min_by_key(|offset| offset.within_ms);
        let surest = surest.copied().unwrap_or(offset);
        self.tell(surest);
        surest
    }

    /// The node's clocks have been set: what was measured says nothing any more.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }

    /// Tells the log, now and then.
    fn tell(&mut self, offset: Offset) {
        let bound = Params::DEFAULT.offset;
        if offset.surpasses(bound) {
            if self.told.is_none_or(|told| told.elapsed() >= AGAIN) {
                self.told = Some(Instant::now());
                let leader = self.leader.as_ref().map_or("-", NodeId::as_str);
                tracing::warn!(
                    leader,
                    ahead_ms = offset.ahead_ms,
                    within_ms = offset.within_ms,
                    "this node's wall clock and that of the quota's leader are apart by over {} ms: limits with `window: fixed` begin their windows by as much apart; see that both are set (NTP)",
                    bound.as_millis()
                );
            }
        } else if self.told.is_some() && offset.keeps(bound) {
            self.told = None;
            tracing::info!(
                ahead_ms = offset.ahead_ms,
                "this node's wall clock agrees with that of the quota's leader again"
            );
        }
    }
}

/// While clocks stay apart the log is told so often.
const AGAIN: Duration = Duration::from_hours(1);

const NS_PER_MS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::clock::{Monotonic, Unix};

    const BOUND: Duration = Duration::from_millis(250);

    /// At a node whose clock is ahead by `ahead_ms`: an ask went out at 1000, was at the leader after `there_ms`, was
    /// held, and its answer took `back_ms`.
    fn measured(ahead_ms: i64, there_ms: u64, held_ms: u64, back_ms: u64) -> Offset {
        let epoch = 1_800_000_000_000;
        let told = 1000 + there_ms + held_ms;
        let back = told + back_ms;
        let now = Now {
            monotonic: Monotonic(back * NS_PER_MS),
            unix: Unix((epoch + back).saturating_add_signed(ahead_ms) * NS_PER_MS),
        };
        let unix_ms = epoch + told;
        Offset::measure(1000, now, Reading { unix_ms, held_ms }).unwrap()
    }

    #[test]
    fn a_way_as_long_there_as_back_tells_the_offset_exactly_however_long_the_ask_was_held() {
        for ahead_ms in [0, 3, -3, 400, -400, 22_000, -22_000] {
            for held_ms in [0, 150, 5000] {
                let offset = measured(ahead_ms, 40, held_ms, 40);
                let within_ms = 40;
                assert_eq!(
                    offset,
                    Offset {
                        ahead_ms,
                        within_ms
                    }
                );
                assert_eq!(offset.surpasses(BOUND), ahead_ms.abs() >= 400);
            }
        }
    }

    #[test]
    fn no_delay_alone_looks_like_a_clock_that_is_off() {
        for (there_ms, back_ms) in [(0, 3000), (3000, 0), (1, 900)] {
            for ahead_ms in [0, 250, -250] {
                let offset = measured(ahead_ms, there_ms, 10, back_ms);
                assert!(!offset.surpasses(BOUND), "{offset:?}");
                let wrong = (offset.ahead_ms - ahead_ms).unsigned_abs();
                assert!(wrong <= offset.within_ms + 1, "{offset:?}");
            }
        }
    }

    #[test]
    fn the_answer_that_took_the_least_time_counts_until_eight_others_have_come() {
        let mut offsets = Offsets::default();
        let mut take = |offset, leader: &str| offsets.take(offset, &leader.into());
        let (quick, slow) = (measured(300, 5, 0, 5), measured(300, 0, 0, 900));
        assert_eq!(take(slow, "eu-1"), slow);
        assert_eq!(take(quick, "eu-1"), quick);
        for _ in 1..REMEMBERED {
            assert_eq!(take(slow, "eu-1"), quick);
        }
        assert_eq!(take(slow, "eu-1"), slow);
        // Of two as quick the newer one.
        let newer = measured(0, 5, 0, 5);
        assert_eq!(take(quick, "eu-1"), quick);
        assert_eq!(take(newer, "eu-1"), newer);
        // Another's clock is another matter.
        assert_eq!(take(slow, "us-1"), slow);
        offsets.forget();
        let slower = measured(300, 0, 0, 2000);
        assert_eq!(offsets.take(slower, &"us-1".into()), slower);
    }

    #[test]
    fn whatever_a_leader_says_is_taken() {
        let now = Now {
            monotonic: Monotonic(2000 * NS_PER_MS),
            unix: Unix(0),
        };
        let words = [0, 1, u64::MAX / 2, u64::MAX];
        for (unix_ms, held_ms) in words.into_iter().flat_map(|a| words.map(|b| (a, b))) {
            let reading = Reading { unix_ms, held_ms };
            let offset = Offset::measure(1000, now, reading).unwrap();
            assert_eq!(offset.surpasses(BOUND), unix_ms > 1000, "{offset:?}");
            assert_eq!(Offset::measure(2001, now, reading), None);
        }
    }
}
