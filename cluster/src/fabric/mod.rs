//! Authenticated connections between nodes: QUIC with mutual TLS.

mod transport;

pub use transport::{CallError, Handler, Kind, PeerIdentity, Transport};
