//! How a server that is not itself under test behaves: as it should, slowly, with errors, or not at all.
//!
//! In: what a scenario's faults say. Out: what becomes of each request, and how many were not answered as usual.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use rand::{RngExt, rngs::StdRng};

use super::serve::Response;
use crate::world::Seed;

/// What a server does with requests. Clones are one.
#[derive(Debug, Clone)]
pub struct Manner(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    ways: Ways,
    random: StdRng,
    touched: u64,
}

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ways {
    /// Every answer takes this much longer.
    pub slow: Duration,
    /// The share of requests that are answered 503, 0 to 1.
    pub errors: f64,
    /// Requests are taken and never answered.
    pub hangs: bool,
}

impl Manner {
    /// As it should; `name` labels what it draws.
    pub fn new(seed: Seed, name: &str) -> Self {
        Self(Arc::new(Mutex::new(State {
            ways: Ways::default(),
            random: seed.stream(&format!("manner/{name}")),
            touched: 0,
        })))
    }

    /// Says what is wrong with the server from now on.
    pub fn set(&self, ways: Ways) {
        self.with(|state| state.ways = ways);
    }

    /// What is wrong with it.
    pub fn ways(&self) -> Ways {
        self.with(|state| state.ways)
    }

    /// Requests that it did not treat as usual.
    pub fn touched(&self) -> u64 {
        self.with(|state| state.touched)
    }

    /// Waits as long as it lets a request wait, and says what it answers instead of the truth.
    pub(super) async fn meet(&self) -> Option<Response> {
        let (ways, errs) = self.with(|state| {
            let ways = state.ways;
            let errs = ways.errors > 0.0 && state.random.random_bool(ways.errors);
            state.touched += u64::from(errs || ways.hangs || !ways.slow.is_zero());
            (ways, errs)
        });
        if ways.hangs {
            // Whoever waits gives up, or the machine goes down.
            std::future::pending::<()>().await;
        }
        if !ways.slow.is_zero() {
            tokio::time::sleep(ways.slow).await;
        }
        errs.then(error)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ways {
    /// Both at once.
    pub fn and(self, other: Self) -> Self {
        Self {
            slow: self.slow + other.slow,
            errors: 1.0 - (1.0 - self.errors) * (1.0 - other.errors),
            hangs: self.hangs || other.hangs,
        }
    }

    /// Whether a node may count on a server that behaves so: it answers health checks in time, and rightly.
    pub fn are_well(self) -> bool {
        !self.hangs && self.errors == 0.0 && self.slow <= UNNOTICED
    }
}

/// An error of the server's own.
fn error() -> Response {
    let body = format!("{{\"type\":\"{OWN_ERROR}\"}}");
    http::Response::builder()
        .status(http::StatusCode::SERVICE_UNAVAILABLE)
        .header("content-type", "application/problem+json")
        .body(Full::new(Bytes::from(body)))
        .expect("constant headers are valid")
}

/// The problem type by which an upstream's own error is told from the gateway's.
pub const OWN_ERROR: &str = "urn:simulated:upstream-error";

/// So much slower than usual a server passes its health checks, whose patience is 250 ms (`workload::document`).
const UNNOTICED: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_a_little_slow_is_well_and_one_that_errs_or_hangs_is_not() {
        let slow = |ms| Ways {
            slow: Duration::from_millis(ms),
            ..Ways::default()
        };
        assert!(Ways::default().are_well() && slow(200).are_well());
        assert!(!slow(200).and(slow(1)).are_well());
        let errs = Ways {
            errors: 0.5,
            ..Ways::default()
        };
        assert!(!errs.are_well());
        assert!((errs.and(errs).errors - 0.75).abs() < 1e-9);
        let hangs = Ways {
            hangs: true,
            ..Ways::default()
        };
        assert!(!Ways::default().and(hangs).are_well());
    }

    #[test]
    fn the_asked_for_share_of_requests_is_answered_with_an_error_and_counted() {
        let manner = Manner::new(Seed(1), "test");
        manner.set(Ways {
            errors: 0.25,
            ..Ways::default()
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut errors = 0;
        for _ in 0..1_000 {
            errors += u64::from(runtime.block_on(manner.meet()).is_some());
        }
        assert!((200..300).contains(&errors), "{errors}");
        assert_eq!(manner.touched(), errors);
    }
}
