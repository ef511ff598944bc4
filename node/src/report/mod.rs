//! What is said about a request when it has ended: a line in the access log, and counts.
//!
//! - [`entry`]: one line of the access log; [`log`]: its way to standard output;
//! - [`cluster`]: the cluster in this node's eyes; [`fabric`]: what was refused there; [`facts`]: the fast lane;
//! - [`health`]: the probes;
//! - [`pseudonym`]: subjects without their names, addresses without their ends;
//! - [`metrics`]: every series of the request path, counted per core; [`series`]: the counters.

pub mod cluster;
pub mod entry;
pub mod fabric;
pub mod facts;
mod family;
pub mod health;
pub mod log;
pub mod metrics;
pub mod pseudonym;
pub mod quota;
pub mod series;

pub use log::AccessLog;
pub use metrics::Metrics;
