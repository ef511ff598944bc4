//! Authenticated connections between nodes: QUIC with mutual TLS.
//!
//! ```text
//! node.yaml ─► Trust, FabricSettings ─► Fabric ─┬─ control: calls, gossip, probes
//!                                               └─ bulk: forwarded requests (its own runtime)
//! ```
//!
//! - [`Authority`]: the cluster's own CA;
//! - [`Trust`]: what a node shows and whom it believes (`spiffe`, `verifier`);
//! - [`Fabric`]: connections, made by `dial` (again by `redial`) and `link`, kept by the core `roster`;
//! - [`Transport`], [`Handler`]: calls to a peer, and who answers them (`calls`);
//! - [`BulkStream`]: a forwarded request's stream (`bulk`).

mod alert;
mod authority;
mod bulk;
mod calls;
mod courteous;
mod dial;
mod endpoint;
mod incarnation;
mod link;
mod mesh;
mod redial;
mod refusals;
mod rest;
mod roster;
#[cfg(test)]
mod samples;
mod settings;
mod shared;
mod spiffe;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_os;
#[cfg(test)]
mod tests_rotation;
#[cfg(test)]
mod tests_versions;
mod transport;
mod trust;
mod verifier;
mod wire;

pub use authority::{Authority, AuthorityError, Issued};
pub use bulk::BulkStream;
pub use calls::MESSAGE_LIMIT;
#[cfg(test)]
pub(crate) use calls::Sent;
pub use mesh::{Fabric, FabricError, Peer};
#[cfg(test)]
pub(crate) use samples::{samples, targets};
pub use settings::FabricSettings;
pub(crate) use shared::{Datagram, Received};
pub use spiffe::{NoIdentity, SpiffeId};
pub use transport::{CallError, Handler, Kind, PeerIdentity, Transport};
pub use trust::{Trust, TrustError, TrustPem};
