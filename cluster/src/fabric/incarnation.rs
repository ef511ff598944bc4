//! Counts a node's starts, so that a later life of a node is told from an earlier one, and spaces them.
//!
//! In: the stored count and the wall clock. Out: a greater one, stored before anyone hears of it, and how
//! long gossip should wait.

use std::{io, sync::Arc, time::Duration};

use crate::host::{Host, blocking};

const FILE: &str = "incarnation";

/// The incarnation of this start: the greater of the stored one plus one and the wall clock in ms.
///
/// The clock makes it grow even on a wiped disk; the file makes it grow even when the clock went back.
pub(super) async fn next(host: &Arc<dyn Host>) -> io::Result<u64> {
    let files = host.files();
    let stored = blocking(&**host, move || files.read(FILE)).await?;
    let stored = stored
        .and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<u64>().ok())
        .unwrap_or(0);
    let clock = u64::try_from(host.unix_time().as_millis()).unwrap_or(u64::MAX - 1);
    let incarnation = clock.max(stored.saturating_add(1));
    store(host, incarnation).await?;
    Ok(incarnation)
}

/// Stores an incarnation durably.
pub(super) async fn store(host: &Arc<dyn Host>, incarnation: u64) -> io::Result<()> {
    let files = host.files();
    blocking(&**host, move || {
        files.write(FILE, incarnation.to_string().as_bytes())
    })
    .await
}

const STARTS: &str = "starts";

/// Starts in a row that need no pause.
const BURST: u32 = 20;

/// Between two starts in the long run.
///
/// Gossip carries every incarnation of a node in each message until it forgets it, after ten minutes: at this
/// pace at most 52 of them, some 2.7 kB, however fast a supervisor starts a node that crashes again and again.
/// A message has room for 64 kB.
const SPACING: Duration = Duration::from_secs(20);

/// How long this start should stay out of gossip, because there were too many before it. At most
/// [`SPACING`].
///
/// It counts on the node's own disk; a node that is wiped each time is not slowed.
pub(super) async fn pace(host: &Arc<dyn Host>) -> io::Result<Duration> {
    let files = host.files();
    let stored = blocking(&**host, move || files.read(STARTS)).await?;
    let due = stored
        .and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok())
        .map_or(Duration::ZERO, Duration::from_millis);
    let (wait, due) = paced(due, host.unix_time());
    let (files, due) = (host.files(), due.as_millis().to_string());
    blocking(&**host, move || files.write(STARTS, due.as_bytes())).await?;
    Ok(wait)
}

/// The generic cell rate algorithm (ITU-T I.371) over a node's starts: `due` is when the next start would
/// have come if all had come at an even pace. The wait, and the new `due`.
fn paced(due: Duration, now: Duration) -> (Duration, Duration) {
    // No further ahead than one start too many: the clock may have been set back.
    let due = due.clamp(now, now + SPACING * (BURST + 1));
    (due.saturating_sub(now + SPACING * BURST), due + SPACING)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fabric::testing::{EPOCH, TestHost};

    #[tokio::test]
    async fn each_start_counts_higher_even_when_the_clock_stands() {
        let host = TestHost::at(EPOCH);
        let first = next(&host).await.unwrap();
        assert_eq!(u128::from(first), EPOCH.as_millis());
        assert_eq!(next(&host).await.unwrap(), first + 1);
    }

    #[tokio::test]
    async fn a_start_after_a_wipe_counts_by_the_clock() {
        let before = next(&TestHost::at(EPOCH)).await.unwrap();
        let after = next(&TestHost::at(EPOCH + Duration::from_secs(1)))
            .await
            .unwrap();
        assert_eq!(after, before + 1000);
    }

    #[tokio::test]
    async fn a_node_that_starts_again_and_again_waits_and_a_quiet_one_does_not() {
        let host = TestHost::at(EPOCH);
        for start in 0..BURST {
            assert_eq!(pace(&host).await.unwrap(), Duration::ZERO, "{start}");
        }
        assert_eq!(pace(&host).await.unwrap(), Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(pace(&host).await.unwrap(), SPACING);
        }
    }

    proptest! {
        /// However the starts fall, and if each lives on until the next, those that gossip are at most
        /// the burst, one, and one for each spacing.
        #[test]
        fn ten_minutes_hold_no_more_starts_than_gossip_has_room_for(
            gaps in prop::collection::vec(1_u64..40_000, 1..2000),
        ) {
            let (mut due, mut now) = (Duration::ZERO, EPOCH);
            let mut gossiped: Vec<Duration> = Vec::new();
            for gap in gaps {
                let (wait, next) = paced(due, now);
                due = next;
                let gap = Duration::from_millis(gap);
                if wait < gap {
                    gossiped.push(now + wait);
                }
                now += gap;
            }
            let span = Duration::from_secs(600);
            for (first, start) in gossiped.iter().enumerate() {
                let within = gossiped[first..].iter().take_while(|later| **later <= *start + span);
                prop_assert!(within.count() <= 52);
            }
        }
    }
}
