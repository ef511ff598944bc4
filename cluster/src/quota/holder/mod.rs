//! What a node holds: the keys that it has met, and what it asks of the ledger for them.
//!
//! ```text
//!   request ── resolve, charge, park ──► Holder ◄── Keeper ── tick: QuotaAsk ──►
//!              (any thread, no lock)     (keys)      (one task)  ◄── QuotaGrant ── taken in
//! ```
//!
//! - [`Holder`]: the side of the requests;
//! - [`Keeper`]: the side of the ledger: each tick it looks at the keys that are in use, asks, hands back, and
//!   takes in what it is given;
//! - [`key`]: a key's cell with what the two sides must know of it;
//! - [`row`]: what the keeper thinks of a key in use: how fast it goes, what to ask and hand back;
//! - [`moves`]: what a grant and a farewell do to a key's tokens;
//! - [`base`]: which part of every limit is this node's own, and since when;
//! - [`remains`]: what a life that ends in order leaves of that for the next one to wait for;
//! - [`waiting`]: requests that wait for a grant.
//!
//! A core, but for being shared: the clock is an argument, and the shell sends what `tick` returns, calls
//! `grant` with what comes, and ticks early when [`Holder::poll_hungry`] says so.

mod base;
mod holding;
mod keeper;
mod key;
mod look;
mod moves;
mod remains;
mod row;
mod waiting;

pub use holding::{Crowded, Holder};
pub use keeper::{Farewell, Keeper, Turn, Who};
pub use key::{KeyHandle, OnEmpty};
pub use look::Holding;
pub use remains::Remains;
pub use waiting::{Parked, Unparked};
