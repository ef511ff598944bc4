//! Who is alive: gossip for the slow truth, probes for the fast one, and the [`View`] made of both.

mod detector;
mod view;

pub use detector::{Detector, Verdict};
pub use view::{Announced, Liveness, Member, RegionHealth, View};
