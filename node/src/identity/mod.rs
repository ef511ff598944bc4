//! Who sends this request?
//!
//! ```text
//! headers ─► bearer ─► Verified (cache) ───────────────────────────────────────► Identity
//!              └─ miss ► token (parse) ─► keys (signature) ─► rules (claims) ────┘
//!                                          ▲
//!        Issuers: a task per issuer ─ schedule ─ fetch (discovery, JWKS) ─ saved
//! ```
//!
//! [`Issuers`] is shared by a node's workers and outlives revisions; each worker has one [`Identifier`];
//! [`Rules`] is what a revision says about tokens, compiled once. No text of a token ever reaches an
//! error or a log.

mod bearer;
mod claims;
mod discovery;
mod fetch;
mod identifier;
mod issuer;
mod issuers;
mod keys;
mod rules;
mod saved;
mod schedule;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;
mod verified;

pub use identifier::Identifier;
pub(crate) use identifier::claimed_issuer;
pub use issuer::IssuerStatus;
pub use issuers::Issuers;
pub use rules::Rules;
