//! One worker's idle connections, by endpoint.
//!
//! Enters: connections whose exchange has ended cleanly. Leaves: the one used last (its buffers are warm
//! and its upstream least likely to have given up), if it is still open. The worker is one thread, so
//! the mutex is never contended; it is there because a node's futures may move between threads.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::Instant;

use super::link::{Http1, Http2, Link, Wire};

/// A worker's idle connections.
#[derive(Default)]
pub(crate) struct Pool {
    shelves: Mutex<BTreeMap<u64, Shelf>>,
}

#[derive(Default)]
struct Shelf {
    http1: Vec<Idle>,
    http2: Option<Shared>,
    limit: Duration,
}

struct Idle {
    link: Box<Http1>,
    since: Instant,
}

struct Shared {
    link: Http2,
    used: Instant,
}

impl Pool {
    /// An open connection to the endpoint with this number, if there is one.
    pub(crate) fn take(&self, endpoint: u64, now: Instant) -> Option<Wire> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.get_mut(&endpoint)?;
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(shared) = &mut shelf.http2 {
            if shared.link.ready(&mut cx) {
                shared.used = now;
                return Some(Wire::Http2(shared.link.clone()));
            }
            shelf.http2 = None;
        }
        while let Some(mut idle) = shelf.http1.pop() {
            if now.duration_since(idle.since) < shelf.limit && idle.link.ready(&mut cx) {
                return Some(Wire::Http1(idle.link));
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended; past the bound it is closed.
    pub(crate) fn put(&self, endpoint: u64, link: Box<Http1>, limit: Duration, now: Instant) {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.entry(endpoint).or_default();
        shelf.limit = limit;
        if shelf.http1.len() < MOST_IDLE {
            shelf.http1.push(Idle { link, since: now });
        }
    }

    /// Shares an HTTP/2 connection from now on. Where one is shared already the new one serves its own
    /// request only and ends with it.
    pub(crate) fn share(&self, endpoint: u64, link: &Http2, limit: Duration, now: Instant) {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.entry(endpoint).or_default();
        shelf.limit = limit;
        let mut cx = Context::from_waker(Waker::noop());
        if !shelf
            .http2
            .as_mut()
            .is_some_and(|shared| shared.link.ready(&mut cx))
        {
            shelf.http2 = Some(Shared {
                link: link.clone(),
                used: now,
            });
        }
    }

    /// Closes what has been idle for too long or was closed by the upstream.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cx = Context::from_waker(Waker::noop());
        shelves.retain(|_, shelf| {
            let limit = shelf.limit;
            shelf.http1.retain_mut(|idle| {
                now.duration_since(idle.since) < limit && idle.link.ready(&mut cx)
            });
            shelf.http2.take_if(|shared| {
                now.duration_since(shared.used) >= limit || !shared.link.ready(&mut cx)
            });
            !shelf.http1.is_empty() || shelf.http2.is_some()
        });
    }

    /// How many connections are kept.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        let shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        shelves
            .values()
            .map(|shelf| shelf.http1.len() + usize::from(shelf.http2.is_some()))
            .sum()
    }
}

/// Idle connections kept for one endpoint by one worker: as many as a busy worker's clients use at once,
/// so that a steady load opens no connections. Those past it are closed when their exchange ends.
const MOST_IDLE: usize = 256;
