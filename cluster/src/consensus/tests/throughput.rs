//! What the log costs: flushes shared by appends that come together, and disk that stays bounded.

use std::{
    fs,
    ops::RangeInclusive,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use openraft::storage::RaftLogStorage as _;
use tokio::time::Instant;

use super::{crash::append, *};
use crate::{
    consensus::types::{LeaderId, LogId, Payload, RaftEntry},
    host::{Entry, StoreError, os::OsHost},
};

/// A store that counts its flushes, each of which is an fsync.
struct Counted {
    inner: SledStore,
    flushes: AtomicU64,
}

impl LogStore for Counted {
    fn append(&self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError> {
        self.inner.append(group, entries)
    }

    fn truncate(&self, group: GroupId, from: u64) -> Result<(), StoreError> {
        self.inner.truncate(group, from)
    }

    fn purge(&self, group: GroupId, upto: u64) -> Result<(), StoreError> {
        self.inner.purge(group, upto)
    }

    fn read(&self, group: GroupId, range: RangeInclusive<u64>) -> Result<Vec<Entry>, StoreError> {
        self.inner.read(group, range)
    }

    fn bounds(&self, group: GroupId) -> Result<Option<(u64, u64)>, StoreError> {
        self.inner.bounds(group)
    }

    fn set_marker(&self, group: GroupId, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.inner.set_marker(group, name, value)
    }

    fn marker(&self, group: GroupId, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.marker(group, name)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.inner.flush()
    }
}

fn log_id(index: u64) -> LogId {
    let leader_id = LeaderId {
        term: 1,
        node_id: Id("a".into()),
    };
    LogId { leader_id, index }
}

fn entry(index: u64, length: usize) -> RaftEntry {
    RaftEntry {
        log_id: log_id(index),
        payload: openraft::EntryPayload::Normal(Payload(vec![7; length].into())),
    }
}

fn open(place: &Path) -> (Log, Arc<Counted>) {
    let host: Arc<dyn Host> = Arc::new(OsHost::new(place).unwrap());
    let store = Arc::new(Counted {
        inner: SledStore::open(&place.join("log")).unwrap(),
        flushes: AtomicU64::new(0),
    });
    let log = Log::new(
        host,
        Arc::clone(&store) as Arc<dyn LogStore>,
        GroupId::Directory,
        &TaskTracker::new(),
    );
    (log, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_come_together_share_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, store) = open(folder.path());
    let told = |what: &str, appends: u64, begun: Instant| {
        let flushes = store.flushes.swap(0, Ordering::Relaxed);
        let rate = appends as f64 / begun.elapsed().as_secs_f64();
        println!(
            "{what}: {appends} appends of 200 bytes, {flushes} fsyncs, {rate:.0} appends a second"
        );
        flushes
    };
    let begun = Instant::now();
    for index in 1..=300 {
        let durable = append(&mut log, std::iter::once(entry(index, 200))).await;
        durable.await.unwrap().unwrap();
    }
    assert_eq!(told("one after another", 300, begun), 300);
    let begun = Instant::now();
    let mut index = 300;
    for _ in 0..30 {
        let mut waiting = Vec::new();
        for _ in 0..100 {
            index += 1;
            waiting.push(append(&mut log, std::iter::once(entry(index, 200))).await);
        }
        for durable in waiting {
            durable.await.unwrap().unwrap();
        }
    }
    let flushes = told("a hundred together", 3000, begun);
    assert!(flushes < 1500, "{flushes} flushes");
}

/// What a folder's files take on the disk.
fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let about = entry.metadata().unwrap();
            if about.is_dir() {
                size(&entry.path())
            } else {
                about.blocks() * 512
            }
        })
        .sum()
}

/// What docs/store.md promises for entries of usual length.
const BOUND: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_entries_leave_the_disk_bounded() {
    const ALL: u64 = 1_000_000;
    const BATCH: u64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let (mut log, store) = open(folder.path());
    let (begun, mut largest) = (Instant::now(), 0);
    for batch in 0..ALL / BATCH {
        let first = batch * BATCH + 1;
        let last = first + BATCH - 1;
        // Mostly small, as facts and marks are; now and then a document.
        let entries = (first..=last).map(|index| {
            let length = if index % 5000 == 0 { 60_000 } else { 150 };
            entry(index, length)
        });
        append(&mut log, entries).await.await.unwrap().unwrap();
        // openraft keeps 64 entries behind a snapshot.
        log.purge(log_id(last - 64)).await.unwrap();
        if batch % 20 == 0 {
            largest = largest.max(size(folder.path()));
        }
    }
    let (state, end) = (log.get_log_state().await.unwrap(), size(folder.path()));
    println!(
        "a million entries in {:?}: {} MiB on disk at most, {} MiB at the end, {} fsyncs",
        begun.elapsed(),
        largest >> 20,
        end >> 20,
        store.flushes.load(Ordering::Relaxed)
    );
    assert_eq!(state.last_log_id, Some(log_id(ALL)));
    assert_eq!(state.last_purged_log_id, Some(log_id(ALL - 64)));
    assert_eq!(
        store.bounds(GroupId::Directory).unwrap(),
        Some((ALL - 63, ALL))
    );
    assert!(largest.max(end) <= BOUND, "{largest}, {end}");
}
