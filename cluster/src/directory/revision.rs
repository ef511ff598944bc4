//! A revision: the operator's files as they were, and who applied them.

use std::sync::Arc;

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

/// One file of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its name, relative to the folder that was applied.
    pub name: String,
    /// Its text.
    pub text: String,
}
