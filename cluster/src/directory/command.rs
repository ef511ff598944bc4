//! What the directory's group agrees on: commands, and what came of them.
//!
//! In: a document or a fact of the cluster. Out: bytes for the log, encoded by [`crate::wire`], whose
//! version stands in front. The core that gives them meaning is [`super::state`].

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SourceFile;
use crate::wire::{self, Payload, Unreadable};

/// The greatest document: all names and texts together. A thousand routes take about 200 KiB.
pub const DOCUMENT_LIMIT: usize = 4 << 20;

/// The greatest document after compression, as it goes over the wire and into the log.
const PACKED_LIMIT: usize = 2 << 20;

/// The longest message, and the longest author: they stand in the history, which every node keeps.
const REMARK_LIMIT: usize = 4096;

/// Distinguishes one proposal from every other, so that one that is sent again is applied once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ProposalId(pub(crate) [u8; 16]);

impl fmt::Debug for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    /// Which proposal it is.
    pub(crate) id: ProposalId,
    /// The leader's time in ms: orders entries, expires leases. `apply` takes the maximum.
    pub(crate) log_time: u64,
    /// The proposing node's wall clock in ms: for display and purging.
    pub(crate) unix_ms: u64,
    /// What is to be done.
    pub(crate) action: Action,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Gives the cluster its id; the first one stays.
    Found {
        /// The id.
        cluster_id: String,
    },
    /// Makes a document the newest revision.
    Apply(Apply),
}

/// A document to become the newest revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Apply {
    /// The files.
    pub(crate) files: Packed,
    /// BLAKE3 over names and texts, in hex.
    pub(crate) digest: String,
    /// Who applies it.
    pub(crate) author: String,
    /// What the author says about it.
    pub(crate) message: String,
    /// The revision that must be the newest, where the author knows one; 0: none yet.
    pub(crate) expect: Option<u64>,
}

impl Apply {
    /// Whether author and message are short enough to keep, or a line on each that is not.
    pub(crate) fn check_remarks(&self) -> Result<(), Vec<String>> {
        let too_long = [("author", &self.author), ("message", &self.message)]
            .into_iter()
            .filter(|(_, text)| text.len() > REMARK_LIMIT)
            .map(|(name, text)| {
                format!(
                    "the {name} is {} bytes long; {REMARK_LIMIT} is the most",
                    text.len()
                )
            });
        let too_long: Vec<String> = too_long.collect();
        if too_long.is_empty() {
            Ok(())
        } else {
            Err(too_long)
        }
    }
}

/// What came of a command; the same on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The cluster has this id.
    Founded {
        /// The id, perhaps of an earlier command.
        cluster_id: String,
    },
    /// The document is this revision, by the log entry at this index.
    Applied {
        /// The revision.
        revision: u64,
        /// Where in the log it was applied first.
        index: u64,
    },
    /// Another revision than the expected one was the newest.
    Conflict {
        /// The newest.
        current: u64,
    },
}

impl Command {
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        wire::decode(bytes)
    }
}

/// A document's files, compressed with zstd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packed(Payload);

/// A document that is longer than the directory takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) length: usize,
    pub(crate) limit: usize,
}

impl Packed {
    /// Compresses the files.
    pub(crate) fn new(files: &[SourceFile]) -> Result<Self, TooLarge> {
        let length = files
            .iter()
            .map(|file| file.name.len() + file.text.len())
            .sum();
        if length > DOCUMENT_LIMIT {
            return Err(TooLarge {
                length,
                limit: DOCUMENT_LIMIT,
            });
        }
        let packed = zstd::bulk::compress(&wire::encode(&files), 3)
            .expect("compression into memory fails only without memory");
        if packed.len() > PACKED_LIMIT {
            return Err(TooLarge {
                length: packed.len(),
                limit: PACKED_LIMIT,
            });
        }
        Ok(Self(Payload(packed.into())))
    }

    /// The files again.
    pub(crate) fn unpack(&self) -> Result<Vec<SourceFile>, Unreadable> {
        // The files' lengths and the encoding's own bytes: never more than the wire's limit.
        let bytes = zstd::bulk::decompress(&self.0.0, wire::LIMIT)
            .map_err(|error| Unreadable::Malformed(error.to_string()))?;
        wire::decode(&bytes)
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.0.len()
    }
}

/// BLAKE3 over names and texts, in hex. Lengths go in too, so that no two documents run together.
pub(crate) fn digest(files: &[SourceFile]) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        for part in [&file.name, &file.text] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn where_a_name_ends_is_part_of_the_digest() {
        assert_ne!(digest(&[file("a", "bc")]), digest(&[file("ab", "c")]));
    }

    #[test]
    fn a_document_over_the_limit_is_refused() {
        let text = "x".repeat(DOCUMENT_LIMIT);
        assert!(matches!(
            Packed::new(&[file("a", &text)]),
            Err(TooLarge { length, limit }) if length == limit + 1
        ));
        Packed::new(&[file("a", &text[1..])]).unwrap();
    }

    proptest! {
        #[test]
        fn files_come_back_byte_for_byte(files: Vec<(String, String)>) {
            let files: Vec<SourceFile> =
                files.iter().map(|(name, text)| file(name, text)).collect();
            prop_assert_eq!(Packed::new(&files).unwrap().unpack(), Ok(files));
        }

        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>) {
            let _ = Command::decode(&bytes);
            prop_assert!(Packed(Payload(bytes.into())).unpack().is_err());
        }
    }
}
