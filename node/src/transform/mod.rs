//! What upstreams see of a request, and clients of a response.
//!
//! - [`request`]: fields that end here, fields that are told, the rewritten path;
//! - [`response`]: the same on the way back, and what every response carries;
//! - [`rules`]: a route's own changes, ready to apply; [`template`]: text with variables;
//! - [`trace`]: W3C trace context and request ids;
//! - [`quota`]: the rate-limit fields;
//! - [`hop`]: fields that concern one connection only.

pub mod hop;
pub mod quota;
pub mod request;
pub mod response;
pub mod rules;
pub mod template;
pub mod trace;

pub use rules::Rules;
