//! Does it hold when things break?
//!
//! Many nodes in one process on one seed: the gateway's own code over a false network, disk, clock and
//! entropy. The same seed gives the same events, at the grain of a millisecond.
//!
//! - [`world`]: the false world, which knows nothing of what runs in it.

pub mod world;
