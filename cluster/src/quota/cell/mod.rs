//! One key's tokens at one node: which are free, and when those that were spent are free again.
//!
//! ```text
//!            take                     book at the second reading of the clock
//!   free ────────────► cool (in flight) ────────────► cool, counted in a slot
//!     ▲                   │ undo                              │ the slot has gone by
//!     └───────────────────┴───────────────────────────────────┘
//! ```
//!
//! - [`balance`]: how many are free and how many cool, in one word, so that no token is ever in both or in
//!   neither;
//! - [`ring`]: those that cool, by the slot in which they are free again;
//! - [`exact`]: for limits of a few tokens: those that cool, each by its own instant;
//! - [`Cell`]: the three together.
//!
//! Everything is atomic and nothing waits: a thread that stands still anywhere holds up no other, and makes
//! tokens free later than they could be, never earlier. Shell: [`super::charge`].

mod balance;
mod exact;
mod narrow;
mod ring;

pub use balance::{Held, Short};
pub use narrow::{Bound, Cell, Reach, Traffic, WHOLE};

#[cfg(test)]
pub(super) use narrow::NARROW_BYTES;
