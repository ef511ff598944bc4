//! What happens to a request?
//!
//! ```text
//! accept ─► guard ─► route ─► identity ─► access ─► limit ─► transform ─► upstream ─► transform ─► report
//!                                                                 └─► forward (a peer in another region)
//! ```
//!
//! Each step answers with a result: go on, or a [`problem::Refusal`]; [`problem`] alone turns refusals
//! into responses. A request pins the compiled revision it started with.
//!
//! [`ban`] turns away, at guard and identity and for as long as an exchange lasts, whom operators have blocked
//! or whose tokens they have revoked.
//!
//! Beside the request path: [`admin`] is how operators talk to a running node, [`cli`] what they type.

pub mod access;
pub mod admin;
pub mod ban;
pub mod cli;
mod dev;
pub mod exchange;
pub mod explain;
pub mod forward;
pub mod guard;
pub mod identity;
pub mod limit;
pub mod listener;
pub mod pipeline;
pub mod problem;
pub mod report;
pub mod revision;
pub mod route;
pub mod run;
#[cfg(test)]
mod testing;
pub mod transform;
pub mod upstream;
pub mod worker;

pub use run::{Handles, Hooks, RunError, run};
