//! How do requests come in?
//!
//! ```text
//! Host::listen ─► accept (cap) ─► tls ─► screened (HTTP/1: wire screen, slow heads, slow readers) ─► hyper ─► Service
//! ```
//!
//! - [`accept`]: one worker's loop over one listening socket, until it is told to drain;
//! - [`tls`]: certificates by SNI;
//! - [`connection`]: one connection from its first byte to its last;
//! - [`screened`]: the shell of `guard::screen`.

pub mod accept;
pub mod connection;
mod executor;
pub mod screened;
pub mod tls;

pub use accept::{Acceptor, Stops};
pub use connection::{Connection, Service};

#[cfg(test)]
mod tests;
