//! Raft's log and vote over [`LogStore`], with group commit.
//!
//! In: openraft's storage calls. Out: records in the store, each durable before it is acknowledged. The
//! store's implementations are [`crate::host::os::SledStore`] and the simulator's twin.
//!
//! Appends are written at once and wait for durability together: one task flushes for all that came
//! while the flush before was under way.

use std::{fmt::Debug, io, ops::Bound, ops::RangeBounds, sync::Arc};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::types::{LogId, RaftEntry, Types, Vote};
use crate::{
    host::{Entry, GroupId, Host, LogStore, StoreError, blocking},
    wire,
};

pub(super) const VOTE: &str = "vote";
pub(super) const COMMITTED: &str = "committed";
pub(super) const PURGED: &str = "purged";

/// Appends that may wait for one flush. openraft has few in flight; a full queue makes it wait.
const WAITING_FOR_FLUSH: usize = 256;

/// The most bytes of entries handed to one AppendEntries; a single larger entry goes alone.
const BATCH_BYTES: usize = 1 << 20;

/// The log of one group.
pub(crate) struct Log {
    reader: LogReader,
    flushes: mpsc::Sender<IOFlushed<Types>>,
}

/// Reads the log of one group.
#[derive(Clone)]
pub(crate) struct LogReader {
    host: Arc<dyn Host>,
    store: Arc<dyn LogStore>,
    group: GroupId,
}

impl Log {
    /// The log of `group` in `store`. Its flushing task ends when the log is dropped.
    pub(crate) fn new(
        host: Arc<dyn Host>,
        store: Arc<dyn LogStore>,
        group: GroupId,
        tracker: &TaskTracker,
    ) -> Self {
        let (flushes, queue) = mpsc::channel(WAITING_FOR_FLUSH);
        tracker.spawn(flush_together(Arc::clone(&host), Arc::clone(&store), queue));
        Self {
            reader: LogReader { host, store, group },
            flushes,
        }
    }
}

impl Log {
    /// Reads it.
    pub(crate) fn reader(&self) -> LogReader {
        self.reader.clone()
    }
}

/// Whether the store holds a log of the group, be it all purged.
pub(super) fn exists(store: &dyn LogStore, group: GroupId) -> Result<bool, StoreError> {
    Ok(store.bounds(group)?.is_some() || store.marker(group, PURGED)?.is_some())
}

async fn flush_together(
    host: Arc<dyn Host>,
    store: Arc<dyn LogStore>,
    mut queue: mpsc::Receiver<IOFlushed<Types>>,
) {
    while let Some(first) = queue.recv().await {
        let mut waiting = vec![first];
        while let Ok(next) = queue.try_recv() {
            waiting.push(next);
        }
        let store = Arc::clone(&store);
        let flushed = blocking(&*host, move || store.flush()).await;
        tracing::trace!(
            target: "meridian::decision",
            appends = waiting.len(),
            ok = flushed.is_ok(),
            "log flushed"
        );
        for callback in waiting {
            callback.io_completed(flushed.clone().map_err(io::Error::other));
        }
    }
}

impl LogReader {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn LogStore, GroupId) -> Result<T, StoreError> + Send + 'static,
    ) -> io::Result<T> {
        let (store, group) = (Arc::clone(&self.store), self.group);
        blocking(&*self.host, move || work(&*store, group))
            .await
            .map_err(io::Error::other)
    }

    async fn marker<T: DeserializeOwned>(&self, name: &'static str) -> io::Result<Option<T>> {
        let bytes = self
            .run(move |store, group| store.marker(group, name))
            .await?;
        bytes.map(|bytes| decode(name, &bytes)).transpose()
    }

    async fn set_marker<T: Serialize>(
        &self,
        name: &'static str,
        value: &T,
        durable: bool,
    ) -> io::Result<()> {
        let bytes = wire::encode(value);
        self.run(move |store, group| {
            store.set_marker(group, name, &bytes)?;
            if durable { store.flush() } else { Ok(()) }
        })
        .await
    }

    /// The id of the entry at an index; none where there is no entry, or no longer one.
    pub(super) async fn log_id(&self, index: u64) -> io::Result<Option<LogId>> {
        let entries = self.entries(index, index).await?;
        let entry = entries.first().map(decode_entry).transpose()?;
        Ok(entry.map(|entry| entry.log_id))
    }

    async fn entries(&self, first: u64, last: u64) -> io::Result<Vec<Entry>> {
        if first > last {
            return Ok(Vec::new());
        }
        let entries = self
            .run(move |store, group| store.read(group, first..=last))
            .await?;
        for pair in entries.windows(2) {
            if pair[0].index + 1 != pair[1].index {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("log entry {} is missing from the store", pair[0].index + 1),
                ));
            }
        }
        Ok(entries)
    }
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let first = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let last = match range.end_bound() {
            Bound::Included(last) => *last,
            Bound::Excluded(0) => return Ok(Vec::new()),
            Bound::Excluded(after) => after - 1,
            Bound::Unbounded => u64::MAX,
        };
        let entries = self.entries(first, last).await?;
        entries.iter().map(decode_entry).collect()
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let Some(last) = end.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let mut length = 0;
        let entries = self.entries(start, last).await?;
        entries
            .iter()
            .enumerate()
            .take_while(|(position, entry)| {
                length += entry.bytes.len();
                *position == 0 || length <= BATCH_BYTES
            })
            .map(|(_, entry)| decode_entry(entry))
            .collect()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.marker(VOTE).await
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let purged: Option<LogId> = self.reader.marker(PURGED).await?;
        let last = self
            .reader
            .run(|store, group| match store.bounds(group)? {
                Some((_, last)) => store.read(group, last..=last),
                None => Ok(Vec::new()),
            })
            .await?;
        let last = match last.first() {
            Some(entry) => Some(decode_entry(entry)?.log_id),
            None => None,
        };
        Ok(LogState {
            // A crash between the marker and the removal leaves entries before the marker.
            last_log_id: last.max(purged.clone()),
            last_purged_log_id: purged,
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.reader.set_marker(VOTE, vote, true).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Durable too: a voter restarted alone applies up to here, and must not fall behind what it
        // has shown before. Commits of this group are an operator's writes; one fsync each is cheap.
        match committed {
            Some(committed) => self.reader.set_marker(COMMITTED, &committed, true).await,
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.reader.marker(COMMITTED).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries
            .into_iter()
            .map(|entry| Entry {
                index: entry.log_id.index,
                bytes: wire::encode(&entry).into(),
            })
            .collect();
        self.reader
            .run(move |store, group| store.append(group, &entries))
            .await?;
        // The receiver lives as long as this sender; it is gone only with the runtime.
        self.flushes
            .send(callback)
            .await
            .map_err(|_| io::Error::other("the node is stopping"))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |last| last.index + 1);
        self.reader
            .run(move |store, group| {
                store.truncate(group, from)?;
                store.flush()
            })
            .await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        // The marker first: a crash in between leaves entries too many, never an unexplained gap.
        self.reader.set_marker(PURGED, &log_id, false).await?;
        self.reader
            .run(move |store, group| {
                store.purge(group, log_id.index)?;
                // One flush in 64 entries, and what was purged never comes back.
                store.flush()
            })
            .await
    }
}

fn decode_entry(entry: &Entry) -> io::Result<RaftEntry> {
    decode(&format!("log entry {}", entry.index), &entry.bytes)
}

fn decode<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> io::Result<T> {
    wire::decode(bytes).map_err(|unreadable| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the log store's {name} is not readable: {unreadable}"),
        )
    })
}
