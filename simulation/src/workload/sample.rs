//! What nodes hold, seen from outside and from inside, each amount beside its bound.

use std::time::Duration;

use serde::Serialize;

/// What a node held at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Duration,
    /// Which node.
    pub node: String,
    /// Each kind of thing.
    pub held: Vec<Held>,
}

/// How many of a kind of thing a node holds, and may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The kind, in words.
    pub what: &'static str,
    /// How many.
    pub count: u64,
    /// How many at most.
    pub bound: u64,
}
