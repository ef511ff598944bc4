//! Does it hold when things break?
//!
//! Many nodes in one process on one seed: the gateway's own code over a false network, disk, clock and
//! entropy. The same seed gives the same events, at the grain of a millisecond.
//!
//! - [`world`]: the false world, which knows nothing of what runs in it;
//! - [`scenario`]: what a run does, and the runs themselves;
//! - [`books`]: looks on at the tokens of nodes' limits;
//! - [`gateway`]: the node under test;
//! - [`notes`]: what it says of its decisions, taken down;
//! - [`flawed`]: mistakes that are planted around it;
//! - [`workload`]: clients, upstreams and the rest around the nodes, and the oracle of what they saw;
//! - [`invariant`]: what must hold;
//! - [`report`]: what a run found, for people and for programs;
//! - [`explore`]: many runs instead of one.

pub mod books;
pub mod explore;
pub mod flawed;
pub mod gateway;
pub mod invariant;
pub mod notes;
pub mod report;
pub mod scenario;
pub mod workload;
pub mod world;
