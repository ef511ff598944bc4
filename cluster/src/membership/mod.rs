//! Who is alive: gossip for the slow truth, probes for the fast one, and the [`View`] made of both.
//!
//! ```text
//! gossip (chitchat) ──► Known ──┐
//! probes ──► echoes ──► Detector ┴─► compose ──► View ──► everyone
//! ```
//!
//! - [`Membership`]: the shell; its task gossips, probes and publishes the view;
//! - [`Detector`]: verdicts from the times of echoes (core);
//! - `picture`: whom to probe, and the view (core); `announcement`: what a node says of itself (core);
//! - `gossip`: chitchat over the fabric.

mod announcement;
mod detector;
mod gossip;
mod message;
mod picture;
mod shell;
mod view;

pub use detector::{Detector, Verdict};
pub use shell::Membership;
pub use view::{Announced, Footing, Liveness, Member, RegionHealth, View};

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use samples::{samples, targets};
