//! How much may this client still use?
//!
//! ```text
//! Charge ─► Limiter (shell: shards, locks) ─► Accounts (core: who) ─► Account (core: all or none) ─► Window (core: when)
//! ```
//!
//! Each node counts on its own. [`Limiter::charge`] is the seam that the cluster-wide quota takes over:
//! what goes in and what comes out stay, the windows behind it become leased tokens.

mod account;
mod accounts;
mod limiter;
mod sliding;
mod window;

pub use account::{LimitState, Outcome};
pub use limiter::{Charge, Limiter, Payer};

/// Some instant for a test to start from.
#[cfg(test)]
fn moment() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
