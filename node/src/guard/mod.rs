//! Is this a request at all, one of bearable size, that can be read in only one way?
//!
//! ```text
//! bytes of an HTTP/1 connection ─► screen ─► hyper ─► head ─► (the other steps)
//!                                                └──► body (length, stalls)
//! ```
//!
//! - [`screen`]: the shape of HTTP/1 messages on the wire, before a parser smooths it over;
//! - [`head`]: host, path and fields of a parsed head, whatever the protocol;
//! - [`path`]: a path's normal form; [`host`]: a host's;
//! - [`client`]: whose address the client's is;
//! - [`body`]: a body as it streams;
//! - [`Limits`]: all the numbers.

pub mod body;
pub mod client;
pub mod head;
pub mod host;
mod limits;
pub mod path;
pub mod screen;

pub use limits::Limits;
