//! Where Raft logs and votes live: a trait narrow enough for sled, its simulated twin, or a successor.

use std::{fmt, ops::RangeInclusive};

use bytes::Bytes;

/// Which Raft group a record belongs to.
///
/// It is part of every Raft message, storage key and metric.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum GroupId {
    /// Documents, revocations, certificates: every node is a voter or a learner.
    Directory,
    /// Who holds how many tokens of which limit: the directory's voters alone.
    Ledger,
}

impl GroupId {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Directory, Self::Ledger];

    /// The group's name in metrics and logs, and its prefix in storage keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Ledger => "ledger",
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One log entry as the store sees it: its index and its encoded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position in the log.
    pub index: u64,
    /// The encoded entry.
    pub bytes: Bytes,
}

/// Log, vote and markers of the Raft groups of one node.
///
/// Writes become durable at [`flush`](Self::flush) and not before; a crash may lose any suffix of the
/// unflushed writes. Every method blocks: call it through [`super::blocking`].
pub trait LogStore: Send + Sync + 'static {
    /// Writes entries of consecutive indices, replacing any that stand there.
    fn append(&self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError>;

    /// Removes every entry with an index of `from` and above.
    fn truncate(&self, group: GroupId, from: u64) -> Result<(), StoreError>;

    /// Removes every entry with an index up to and including `upto`.
    fn purge(&self, group: GroupId, upto: u64) -> Result<(), StoreError>;

    /// The entries in the range that exist, by ascending index.
    fn read(&self, group: GroupId, range: RangeInclusive<u64>) -> Result<Vec<Entry>, StoreError>;

    /// First and last index, or `None` where the log is empty.
    fn bounds(&self, group: GroupId) -> Result<Option<(u64, u64)>, StoreError>;

    /// Sets a marker (vote, committed, purged).
    fn set_marker(&self, group: GroupId, name: &str, value: &[u8]) -> Result<(), StoreError>;

    /// A marker's value, or `None` where it was never set.
    fn marker(&self, group: GroupId, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// Makes all earlier writes durable: when it returns they survive a power cut.
    fn flush(&self) -> Result<(), StoreError>;
}

/// Why the store could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store's files are damaged.
    #[error(
        "the log store at {place} is damaged: {cause}; move the folder aside and start the node again, it rejoins as a learner"
    )]
    Damaged {
        /// Folder of the store.
        place: String,
        /// What the engine said.
        cause: String,
    },
    /// Another process has the store open.
    #[error(
        "the log store at {place} is in use by another process; stop it, or give this node another data_dir"
    )]
    InUse {
        /// Folder of the store.
        place: String,
    },
    /// Reading or writing failed: the disk is full, read-only or broken.
    #[error(
        "the log store at {place} cannot be written or read: {cause}; free or mend the disk and start the node again"
    )]
    Io {
        /// Folder of the store.
        place: String,
        /// What the operating system said.
        cause: String,
    },
}
