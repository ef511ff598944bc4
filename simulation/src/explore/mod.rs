//! Many runs instead of one: what came of a whole range of seeds.
//!
//! Cores only; the program's own files start the processes.
//!
//! - `played`: one run, as the process that asked for it sees it;
//! - `tally`: all of them so far, and what that says.

mod played;
mod tally;

pub use played::{Broken, Played, Verdict};
pub use tally::Tally;
