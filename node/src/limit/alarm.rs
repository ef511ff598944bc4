//! Tenants that have nearly, or all of, used a limit up: when is it worth telling?
//!
//! In: how much of a limit is used, at each charge that finds it high. Out: a [`Level`] to tell, once it is reached and
//! then not before a while has passed. A core behind a lock that a request takes only where four fifths of a limit are
//! used, and never waits for. Shell: [`super::Limiter`].

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use meridian_cluster::quota::key::KeyId;

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Four fifths of it.
    High,
    /// All of it.
    Full,
}

impl Level {
    /// Their names, as the metric's label has them, in order.
    pub const NAMES: [&str; 2] = ["80", "100"];

    /// How much of a limit these are, if that is worth telling at all.
    pub fn of(used: u64, amount: u64) -> Option<Self> {
        match used {
            used if used >= amount => Some(Self::Full),
            // 80 %, multiplied out: a quotient would round.
            used if u128::from(used) * 5 >= u128::from(amount) * 4 => Some(Self::High),
            _ => None,
        }
    }

    /// In percent.
    pub fn percent(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What is to be told of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// It is counted and logged; so many before it were only counted.
    Aloud {
        /// Not logged since the last that was.
        unlogged: u64,
    },
    /// It is only counted: enough was logged of late.
    Counted,
}

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Alarms(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: HashMap<KeyId, (Level, Instant, Duration)>,
    /// When the minute of the log began, and how many lines it has.
    minute: Option<(Instant, u32)>,
    unlogged: u64,
}

/// The same is not told again within this time, or within the limit's window.
const AGAIN: Duration = Duration::from_secs(300);

/// Limits whose last alarm is remembered: one more is told when one of these is old.
const MOST: usize = 10_000;

/// Lines of the log in a minute.
const LINES: u32 = 20;

impl Alarms {
    /// Whether a level that a limit of that window has come to is to be told.
    pub(super) fn judge(
        &self,
        key: KeyId,
        level: Level,
        window: Duration,
        now: Instant,
    ) -> Option<Tell> {
        // Another request is just being judged: the next one tells.
        let mut state = self.0.try_lock().ok()?;
        let fresh = |(_, at, pause): &(Level, Instant, Duration)| {
            now.saturating_duration_since(*at) < *pause
        };
        if let Some(known) = state.told.get(&key)
            && fresh(known)
            && known.0 >= level
        {
            return None;
        }
        if state.told.len() >= MOST {
            state.told.retain(|_, known| fresh(known));
            if state.told.len() >= MOST {
                return None;
            }
        }
        state.told.insert(key, (level, now, window.max(AGAIN)));
        let minute = Duration::from_secs(60);
        let (begun, lines) = state
            .minute
            .filter(|(begun, _)| now.saturating_duration_since(*begun) < minute)
            .unwrap_or((now, 0));
        if lines >= LINES {
            state.unlogged += 1;
            return Some(Tell::Counted);
        }
        state.minute = Some((begun, lines + 1));
        let unlogged = std::mem::take(&mut state.unlogged);
        Some(Tell::Aloud { unlogged })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const ALOUD: Option<Tell> = Some(Tell::Aloud { unlogged: 0 });

    fn key(number: u32) -> KeyId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        KeyId(bytes)
    }

    #[test]
    fn four_fifths_and_all_of_a_limit_are_levels() {
        assert_eq!(Level::of(799, 1000), None);
        assert_eq!(Level::of(800, 1000), Some(Level::High));
        assert_eq!(Level::of(999, 1000), Some(Level::High));
        assert_eq!(Level::of(1000, 1000), Some(Level::Full));
        assert_eq!(Level::of(1, 1), Some(Level::Full));
        assert_eq!(Level::of(0, 1), None);
        assert_eq!(Level::of(u64::MAX / 2, u64::MAX), None);
    }

    #[test]
    fn each_level_is_told_once_a_window_and_the_higher_one_at_once() {
        let (alarms, begin) = (Alarms::default(), crate::limit::moment());
        let judge = |level, window, after| alarms.judge(key(1), level, window, begin + after);
        let second = Duration::from_secs(1);
        assert_eq!(judge(Level::High, HOUR, second), ALOUD);
        assert_eq!(judge(Level::High, HOUR, 2 * second), None);
        assert_eq!(judge(Level::Full, HOUR, 3 * second), ALOUD);
        assert_eq!(judge(Level::High, HOUR, 4 * second), None, "it falls");
        assert_eq!(judge(Level::Full, HOUR, HOUR), None);
        assert_eq!(judge(Level::High, HOUR, HOUR + 3 * second), ALOUD);
        let of_second = |after| alarms.judge(key(2), Level::Full, second, begin + after);
        assert_eq!(of_second(second), ALOUD);
        assert_eq!(of_second(AGAIN), None);
        assert_eq!(of_second(AGAIN + second), ALOUD);
    }

    #[test]
    fn the_log_takes_so_many_lines_and_says_how_many_it_left_out() {
        let (alarms, begin) = (Alarms::default(), crate::limit::moment());
        let told = |number, now| alarms.judge(key(number), Level::Full, HOUR, now);
        for number in 0..LINES {
            assert_eq!(told(number, begin), ALOUD);
        }
        for number in LINES..LINES + 3 {
            assert_eq!(told(number, begin), Some(Tell::Counted));
        }
        let later = begin + Duration::from_secs(60);
        assert_eq!(told(99, later), Some(Tell::Aloud { unlogged: 3 }));
        assert_eq!(told(100, later), ALOUD);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (alarms, begin) = (Alarms::default(), crate::limit::moment());
        let most = u32::try_from(MOST).unwrap();
        for number in 0..most {
            assert!(
                alarms
                    .judge(key(number), Level::High, HOUR, begin)
                    .is_some()
            );
        }
        assert_eq!(alarms.judge(key(most), Level::High, HOUR, begin), None);
        assert!(
            alarms
                .judge(key(most), Level::High, HOUR, begin + HOUR)
                .is_some()
        );
    }
}
