//! The replicated document and its revisions.

mod revision;

pub use revision::{Revision, SourceFile};
