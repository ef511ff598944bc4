//! Counts a node's starts, so that a later life of a node is told from an earlier one.
//!
//! In: the stored count and the wall clock. Out: a greater one, stored before anyone hears of it.

use std::{io, sync::Arc};

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
