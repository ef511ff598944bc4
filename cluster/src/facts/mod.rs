//! The fast lane: facts that must be known everywhere soon, with or without a quorum.
//!
//! ```text
//! operator ─► Facts::publish ─┐                       ┌─► journal (the node's own files)
//! peers ─► handler ───────────┼─► keeper ─► held ─────┼─► index ─► the request path
//! digests ─► repair ─► pull ──┤   (one task) (core)   ├─► spread ─► every node in reach, and on from there
//! directory ─► lasting ───────┘                       └─► digest, in gossip
//!                 ▲  the leader proposes what is not agreed on yet  │
//!                 └─────────────────────────────────────────────────┘
//! ```
//!
//! - `fact`, `set`, `digest`: what a fact is, and sets of them that come out the same in any order (cores);
//! - `held`: what this node heeds (core); [`Index`]: the same for readers on the request path;
//! - `keeper`: the one task that changes it; `journal`, `segments`: its files;
//! - `spread`, `receipt`: a new fact's way, and who has applied it;
//! - `repair`: what the flood has missed; `lasting`: how facts become agreed on.
//!
//! Facts expire, each by the clock of the node that heeds it, and are idempotent, so that neither order nor
//! repetition matters and no leader is needed. At the bound a new fact is refused to the operator with the
//! reason, and one from a peer is counted and complained about; nothing that is held is given up for it.

mod digest;
mod fact;
mod handler;
mod held;
mod index;
mod journal;
mod keeper;
mod lasting;
mod message;
mod receipt;
mod repair;
#[cfg(test)]
pub(crate) mod samples;
mod segments;
mod set;
mod shared;
mod shell;
mod spread;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use fact::tests::revocation;

pub use digest::{Digest, NoDigest};
pub use fact::{Claim, Fact, FactId, LIFE_LIMIT_MS, NoFactId, Revocation, TEXT_LIMIT, Unsound};
pub use index::{Index, Presented};
pub use message::Ack;
pub use receipt::{NodeReceipt, Reached, Receipt, Wait};
#[cfg(test)]
pub(crate) use samples::{samples, targets};
pub(crate) use set::FactSet;
pub use set::{BYTES_LIMIT, COUNT_LIMIT, Taken};
use shared::Shared;
pub(crate) use shell::Parts;
pub use shell::{Facts, Listed, PublishError, Standing, Wanted};
