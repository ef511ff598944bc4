//! Who may spend which quota: one limit over all regions, decided without a message in a request's way.
//!
//! A limit of `L` requests per window `W` is `L` tokens, each the right to admit one unit of cost once per `W`.
//! A token is in one place: in the pool, held by a node, or cooling in the ledger. Nodes spend what they hold;
//! the ledger, a Raft group, books who holds how many and never sees a request.
//!
//! ```text
//! request ─► charge ─► cells ◄─ holder ─────────────────── QuotaAsk ──► leader ── entry ──► ledger (every voter)
//!               ▲                                                          │                   │
//!               └───────────────────────── QuotaGrant ─────────────────────┴───── answers ◄────┘
//! ```
//!
//! - [`terms`]: what a limit is to the quota, and a node's base share of it;
//! - [`key`]: what names a limit of a tenant in the ledger;
//! - [`params`]: leases, drift, ticks;
//! - [`message`]: what nodes, leader and ledger say to each other;
//! - [`clock`]: the two clocks of a node, as a charge reads them;
//! - [`pace`]: how a window moves, in slots;
//! - [`cell`]: one key's tokens at one node, free and cooling;
//! - [`lease`]: until when a node may spend what it holds;
//! - [`mod@charge`]: several limits of a request, all or none;
//! - [`rate`]: how much is asked of a key;
//! - [`holder`]: the keys of a node: what requests charge, and what is asked of the ledger for them;
//! - [`ledger`]: who holds how many tokens of which key;
//! - [`leader`]: what the leader remembers of wishes: caps, pushes, recalls;
//! - [`audit`], [`onlooker`]: for those who check what is promised;
//! - [`service`]: the tasks, messages and files around all of these, on a running node.
//!
//! docs/quota.md says how it works and why a limit holds.

mod atomic;
pub mod audit;
pub mod cell;
pub mod charge;
pub mod clock;
pub mod holder;
pub mod key;
pub mod leader;
pub mod lease;
pub mod ledger;
pub mod message;
#[cfg(test)]
mod model;
pub mod onlooker;
pub mod pace;
pub mod params;
pub mod rate;
#[cfg(test)]
mod samples;
pub mod service;
pub mod terms;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use samples::{samples, targets};
