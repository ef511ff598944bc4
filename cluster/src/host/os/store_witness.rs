//! How often a store was flushed, in a file beside sled's.
//!
//! After a kill or a power cut sled reads its file until a record's checksum does not fit, and takes that
//! for the end. So one flipped bit makes it open, without a word, as it was long ago: votes and acknowledged
//! entries gone. The store therefore counts its flushes in a record of its own, and in this file once sled's
//! is durable; where sled's count is less than this one, sled has lost what it had.
//!
//! In: counts. Out: the last one. Its shell is [`super::store::SledStore`].

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// The file in the store's folder.
const FILE: &str = "flushes";

/// A count is fsynced this often; in between it is written only, which outlives a kill. After a power cut the
/// witness may be so many flushes behind, and damage to the very last of them goes unseen. An fsync for each
/// would double the cost of a write.
const SYNC_EVERY: u64 = 16;

/// The count outside of sled.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    count: u64,
}

impl Witness {
    /// Reads the file of a store's folder, which may be missing. One that cannot be read knows nothing.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(folder.join(FILE))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let count = decode(&bytes).unwrap_or(0);
        Ok(Self { file, count })
    }

    /// How many flushes it knows of.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// So many flushes are durable in sled.
    pub(super) fn note(&mut self, count: u64) -> io::Result<()> {
        self.file.write_all_at(&encode(count), 0)?;
        self.count = count;
        if count.is_multiple_of(SYNC_EVERY) {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// The count twice, once inverted, so that half of it is none.
fn encode(count: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&count.to_be_bytes());
    bytes[8..].copy_from_slice(&(!count).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let (count, rest) = bytes.split_first_chunk::<8>()?;
    let count = u64::from_be_bytes(*count);
    (rest == (!count).to_be_bytes()).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_there_after_reopening_and_half_of_it_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut witness = Witness::open(folder.path()).unwrap();
        assert_eq!(witness.count(), 0);
        for count in 1..=20 {
            witness.note(count).unwrap();
        }
        assert_eq!(Witness::open(folder.path()).unwrap().count(), 20);
        assert_eq!(decode(&encode(20)[..12]), None);
        let mut flipped = encode(20);
        flipped[3] ^= 1;
        assert_eq!(decode(&flipped), None);
    }
}
