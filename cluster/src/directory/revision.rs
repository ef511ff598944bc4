//! A revision: the operator's files as they were, and who applied them.

use std::sync::Arc;

/// One file of a document: its name, relative to the folder that was applied, and its text.
pub use meridian_config::diagnose::Source as SourceFile;
use serde::{Deserialize, Serialize};

/// One version of the document: never our types, always the operator's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Counts up from 1.
    pub number: u64,
    /// The operator's files, in the order of their names, after `${ENV}` was expanded.
    pub files: Arc<[SourceFile]>,
    /// BLAKE3 over names and texts, in hex.
    pub digest: String,
    /// Who applied it (the admin token's name).
    pub author: String,
    /// What the author said about it.
    pub message: String,
    /// When it was proposed: ms since the Unix epoch, by the proposing node's clock.
    pub unix_ms: u64,
}
