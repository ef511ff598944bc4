//! Authenticated connections between nodes: QUIC with mutual TLS.
//!
//! - [`Authority`]: the cluster's own CA;
//! - [`Trust`]: what a node shows and whom it believes;
//! - [`Transport`], [`Handler`]: calls to a peer, and who answers them.

mod authority;
mod spiffe;
#[cfg(test)]
pub(crate) mod testing;
mod transport;
mod trust;
mod verifier;

pub use authority::{Authority, AuthorityError, Issued};
pub use spiffe::{NoIdentity, SpiffeId};
pub use transport::{CallError, Handler, Kind, PeerIdentity, Transport};
pub use trust::{Trust, TrustError, TrustPem};
