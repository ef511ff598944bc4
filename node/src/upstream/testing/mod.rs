//! A small world in memory for the tests here and in [`crate::forward`]: upstreams that answer real HTTP
//! over in-memory streams, nodes, and the streams between them. Time may be paused.

mod message;
mod node;
mod world;

pub(crate) use message::{Count, answer, fed, full, request, service, text, until, with_body};
pub(crate) use node::{Failovers, Node, document, view};
pub(crate) use world::World;
