//! A document's files as they travel and are kept: one compressed piece, and the digest that names it.
//!
//! In: files. Out: bytes with a bound, and the files again. A core.

use serde::{Deserialize, Serialize};

use super::SourceFile;
use crate::wire::{self, Payload, Unreadable};

/// The greatest document: all names and texts together. A thousand routes take about 200 KiB.
pub const DOCUMENT_LIMIT: usize = 4 << 20;

/// The greatest document after compression, as it goes over the wire and into the log.
const PACKED_LIMIT: usize = 2 << 20;

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
        // The files' lengths and the encoding's own bytes: never more than the wire's limit. What was packed here
        // says its length (RFC 8878 section 3.1.1.1.4), so that no more memory is taken than it needs.
        let length = match zstd::zstd_safe::get_frame_content_size(&self.0.0) {
            Ok(Some(length)) => usize::try_from(length).unwrap_or(usize::MAX),
            Ok(None) | Err(_) => wire::LIMIT,
        };
        let bytes = zstd::bulk::decompress(&self.0.0, length.min(wire::LIMIT))
            .map_err(|error| Unreadable::Malformed(error.to_string()))?;
        wire::decode(&bytes)
    }

    /// What a peer may send in its place.
    #[cfg(test)]
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Payload(bytes::Bytes::copy_from_slice(bytes)))
    }

    /// As it travels.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0.0
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.0.len()
    }
}

/// BLAKE3 over names and texts, in hex. Lengths go in too, so that no two documents run together.
pub fn digest(files: &[SourceFile]) -> String {
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
            prop_assert!(Packed(Payload(bytes.into())).unpack().is_err());
        }
    }
}
