//! Many runs instead of one: what came of a whole range of seeds, and the smallest run that breaks the same.
//!
//! Cores only; the program's own files start the processes.
//!
//! - `played`: one run, as the process that asked for it sees it;
//! - `tally`: all of them so far, and what that says;
//! - `document`: a scenario file as data;
//! - `shrink`: smaller ones.

mod document;
mod played;
mod shrink;
mod tally;

pub use document::Document;
pub use played::{Broken, Played, Verdict};
pub use shrink::{size, smaller};
pub use tally::Tally;
