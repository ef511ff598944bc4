//! How a command ends: its exit code, and the message where it failed.
//!
//! In: what a command found. Out: the code that scripts see (INTERFACE: 0 done, 1 failed, 2 wrong use
//! or invalid input, 3 differs, 4 no quorum or unreachable).

use std::fmt;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done,
    /// It could not.
    Failed,
    /// It was asked wrongly, or its input is invalid.
    Invalid,
    /// `diff` found differences.
    Differs,
    /// The cluster has no quorum, or cannot be reached.
    Unreachable,
}

impl Exit {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::Differs => 3,
            Self::Unreachable => 4,
        }
    }

    /// The exit with this code, as another process of ours reported it.
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Done,
            2 => Self::Invalid,
            3 => Self::Differs,
            4 => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

/// Why a command failed: what was wrong, where, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code's meaning.
    pub(crate) exit: Exit,
    /// One sentence or a list of them, without a final newline.
    pub(crate) message: String,
}

impl Failure {
    /// The work could not be done.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
        }
    }

    /// What the user gave cannot be used.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Invalid,
            message: message.into(),
        }
    }

    /// Nobody answers, or those who answer have no quorum.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unreachable,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_survives_its_code() {
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Invalid,
            Exit::Differs,
            Exit::Unreachable,
        ] {
            assert_eq!(Exit::from_code(exit.code()), exit);
        }
    }
}
