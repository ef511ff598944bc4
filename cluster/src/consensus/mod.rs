//! Raft groups over the fabric: one log, one order, on every node.
//!
//! ```text
//!            Group (propose, change, status; begin: from a backup)
//!              │
//!            openraft ── network ──► Transport ──► answer (on the peer) ──► its openraft
//!            │      │       └ send ──► Transport (bulk) ──► receive (on the peer): snapshots
//!          log    state_machine ──► Machine (what commands mean)
//!           │              │
//!        LogStore        Files (snapshot, and what the machine wants durable)
//! ```
//!
//! openraft appears only in this folder. The group's id is in every message, storage key and metric.

mod admission;
mod answer;
mod begin;
mod examine;
mod grants;
mod group;
mod log;
mod message;
mod network;
mod receive;
#[cfg(test)]
mod samples;
mod send;
mod state_machine;
mod status;
#[cfg(test)]
mod tests;
mod timing;
mod transfer;
mod types;

pub use group::GroupError;
#[cfg(test)]
pub(crate) use samples::{samples, targets};
pub use status::{GroupStatus, Role};
pub use timing::Profile;

pub(crate) use admission::{ERAS, Era, decode_in, encode_in};
pub(crate) use examine::set_file_aside;
pub(crate) use group::{Answering, Foundation, Group, ProposeError, ReadIndexError};
pub(crate) use openraft::ChangeMembers;
pub(crate) use state_machine::Machine;
pub(crate) use status::Changes;
pub(crate) use types::{Id, Seat};
