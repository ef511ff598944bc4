//! The wait for an answer's head: bounded from the request's end, not from its beginning.
//!
//! Enters: the exchange, the limits, how far the request's body has come. Leaves: what the exchange
//! yields, or [`Late`]. An upload may take long as long as it moves.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::Instant;

use super::outgoing::Progress;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From the request's end to the answer's head.
    pub(crate) response: Duration,
    /// Between two pieces of the request's body.
    pub(crate) idle: Duration,
}

/// Whose silence ended the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// The upstream's.
    Upstream,
    /// The client's, in the middle of its body.
    Client,
}

/// Waits within the limits. Dropping it drops the exchange.
pub(crate) async fn within<T>(
    limits: Limits,
    progress: Option<&Progress>,
    exchange: impl Future<Output = T>,
) -> Result<T, Late> {
    let mut exchange = pin!(exchange);
    let mut deadline = Instant::now() + limits.response;
    loop {
        tokio::select! {
            biased;
            done = &mut exchange => return Ok(done),
            () = tokio::time::sleep_until(deadline) => {}
        }
        let now = Instant::now();
        let Some(progress) = progress else {
            return Err(Late::Upstream);
        };
        let (limit, whose) = if progress.ended() {
            (limits.response, Late::Upstream)
        } else {
            (limits.idle.max(limits.response), Late::Client)
        };
        let due = progress.last() + limit;
        if due <= now {
            return Err(whose);
        }
        // Looks again when the response could be due, because the body may end before it is.
        deadline = due.min(now + limits.response);
    }
}
