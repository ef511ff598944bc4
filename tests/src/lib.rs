//! The shipped binary, seen from outside.
//!
//! ```text
//! client (ours, curl, websockets) ─► meridian, as processes ─► upstream (FastAPI under uvicorn, or the demo's)
//!                                        └─► identity provider (ours, over HTTPS)
//! ```
//!
//! This library holds what the tests in `tests/` share:
//!
//! - [`binary`] runs `meridian` commands; [`process`] keeps one running;
//! - [`dev`] is a cluster made by `meridian dev`, [`site`] one made by hand, as in production;
//! - [`provider`] and [`peer`] are the outside: issuer of tokens, upstream, WebSocket client;
//! - [`http`] is a small client that hides nothing, [`load`] one that measures gaps, [`writers`] change the document;
//! - [`wait`] awaits conditions under deadlines: nothing here sleeps for a guess, and no port is fixed.

#![allow(
    clippy::disallowed_methods,
    reason = "tests stand outside of a node and use the operating system directly"
)]

pub mod binary;
pub mod certificates;
pub mod dev;
pub mod http;
pub mod load;
pub mod peer;
pub mod ports;
pub mod process;
pub mod provider;
pub mod site;
pub mod wait;
pub mod writers;
