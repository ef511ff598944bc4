//! The admin API: how operators and their tools talk to the cluster, at any node.
//!
//! ```text
//! HTTP ─► server (limits, TLS) ─► access (who, which role) ─► api (what) ─► the node behind it
//!                └─► the probes of report::health (no token needed)
//! ```
//!
//! - [`server`], [`tls`]: connections and their limits;
//! - [`access`]: tokens and roles;
//! - [`api`]: the resources; [`body`]: the JSON both sides speak; [`fault`]: refusals;
//! - [`events`]: what happens, for those who listen;
//! - [`administered`]: the node behind the API; [`moment`]: times as text;
//! - [`rollout`]: who runs a revision.

mod access;
mod administered;
mod api;
pub(crate) mod body;
mod events;
mod fault;
pub(crate) mod moment;
pub(crate) mod rollout;
mod server;
#[cfg(test)]
mod testing;
mod tls;

pub use access::Role;
pub(crate) use access::{AdminToken, entry};
pub(crate) use administered::{Node, Own};
pub use server::{Admin, AdminError};
pub use tls::AdminTlsError;
