//! Awaiting a condition under a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take that has no bound of its own: a debug build on a busy machine with two
/// cores starts a cluster in some seconds.
pub const LONG: Duration = Duration::from_secs(60);

/// Looks every 20 ms until `look` finds what is awaited; panics with its last complaint when the time is up.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(complaint) if Instant::now() >= deadline => {
                panic!("{what}: not within {within:?}; last seen: {complaint}")
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}
