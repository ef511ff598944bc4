//! What is wrong, where, and what would be right.

use std::fmt;

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// File, as the operator named it.
    pub file: String,
    /// Line, from 1; 0 where no place is known.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What is wrong, beginning with the path (`routes.plants.service`), and what would be right.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}
