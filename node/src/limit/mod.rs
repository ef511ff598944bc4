//! How much may this client still use?
//!
//! ```text
//! Charge ─► Limiter ─► charging ─► the quota's Holder: tokens that this node has of limits which all nodes share
//! ```
//!
//! Nothing is asked of another node on the way; docs/quota.md says how tokens come here.

mod alarm;
mod charging;
mod counts;
mod former;
mod item;
mod limiter;
mod outcome;
mod overload;
mod paid;
mod prefix;
mod state;

pub use alarm::Level;
pub use counts::{Count, counts};
pub use former::Former;
pub use limiter::{Charge, Charged, Limiter, Payer};
pub use outcome::{LimitState, Outcome, Why};
pub use overload::Pressure;
pub use paid::Paid;

/// Some instant for a test to start from.
#[cfg(test)]
fn moment() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
