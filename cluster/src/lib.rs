//! What do the nodes agree on?
//!
//! ```text
//!             host (the doors outside: sockets, files, clock, entropy)
//!               │
//!             fabric (QUIC, mutual TLS, hello, peers, streams)
//!        ┌──────┼──────────────┐
//!   membership  consensus      bulk streams (forwarded requests, used by the node)
//!   (who is     (one log,
//!    alive)      one order)
//!        │         │
//!      View     directory (documents and their revisions)
//!        └────┬────┘
//!           facts (what must be known everywhere soon, with or without agreement)
//! ```
//!
//! - [`host`]: the doors to everything outside a node;
//! - [`fabric`]: authenticated connections between nodes;
//! - [`membership`]: gossip, probes, the failure detector, and the [`membership::View`];
//! - [`renewal`]: certificates that are replaced while a node runs;
//! - [`consensus`]: Raft groups over the fabric, their log on disk;
//! - [`control`]: sorts the control plane's calls by topic;
//! - [`directory`]: the replicated document and its revisions;
//! - [`facts`]: revocations and blocks: flooded, repaired, agreed on afterwards;
//! - [`quota`]: cluster-wide limits: who holds how many tokens of which;
//! - [`bootstrap`]: from an empty disk into the cluster, and back after a restart;
//! - [`version`]: which versions of all these messages nodes read;
//! - [`Cluster`]: all of it, put together for one node.

pub mod bootstrap;
pub mod consensus;
pub mod control;
#[cfg(test)]
mod corpus;
pub mod directory;
pub mod fabric;
pub mod facts;
#[cfg(test)]
mod fuzz;
pub mod host;
pub mod membership;
pub mod quota;
pub mod renewal;
mod start;
pub mod version;
mod wire;

pub use start::{Cluster, Options, StartError};
