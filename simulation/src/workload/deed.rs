//! What operators did with the document, each deed with its beginning and its end: what the linearizability of the
//! admin side is judged by.

use std::time::Duration;

/// A read that must not be old, or a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// The node that took it.
    pub node: String,
    /// When the operator began.
    pub called: Duration,
    /// When there was an answer; none: not yet, or never.
    pub returned: Option<Duration>,
    /// What was asked, and what came of it.
    pub act: Act,
}

/// What an operator asked, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// The newest revision and the digest of its text; revision 0, without a text, is none at all. None: the node
    /// could not know, or has not answered.
    Read(Option<(u64, String)>),
    /// A document.
    Write {
        /// The revision that must be the newest (`If-Match`); none: whichever is.
        expect: Option<u64>,
        /// Digest of the document's text.
        digest: String,
        /// What came of it.
        outcome: Written,
    },
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It may or may not have been made, or may yet be.
    Unknown,
    /// It became this revision.
    Made(u64),
    /// Nothing was written: this revision was the newest, not the expected one.
    Conflict(u64),
    /// Nothing was written, for another reason.
    Nothing,
}
