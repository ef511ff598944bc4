//! What may an operator say?
//!
//! ```text
//! text ──► tree of values ──► raw types (private) ──► checked types (public): cannot be wrong
//!               │                   │                        │
//!               └───────────────► diagnose ◄─────────────────┘    every mistake, with its place
//! ```
//!
//! - [`document`]: `gateway.yaml`, the whole cluster's desired state;
//! - [`node_file`]: `node.yaml`, what one process needs before it can talk to anyone;
//! - [`units`]: durations, sizes, rates;
//! - [`name`]: the names operators give to things;
//! - [`diagnose`]: what is wrong, where, and what would be right;
//! - [`diff`]: what changes between two documents.

pub mod diagnose;
pub mod diff;
pub mod document;
pub mod name;
pub mod node_file;
mod read;
#[cfg(test)]
mod schema_test;
mod tree;
pub mod units;
