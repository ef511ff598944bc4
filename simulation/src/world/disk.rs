//! The false disk: what was synced survives a crash, what was not may be lost.
//!
//! In: the calls of [`LogStore`] and [`Files`]. Out: the same answers as the real ones. At a crash any suffix
//! of the unsynced log writes is lost, drawn from the seed. Small files are durable when their write
//! returns, as the trait promises, and calls run inline, so that no crash falls between.

use std::{
    collections::BTreeMap,
    io,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use meridian_cluster::host::{Entry, Files, GroupId, LogStore, StoreError};
use rand::{RngExt, rngs::StdRng};

/// A machine's disk: it outlives the machine's lives. Clones are one disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// As a reader sees it.
    live: Log,
    /// As a crash leaves it when it loses everything that was not synced.
    durable: Log,
    /// Writes since the last sync, in order.
    unsynced: Vec<Change>,
    files: BTreeMap<String, Vec<u8>>,
    full: bool,
    lost: u64,
}

#[derive(Debug, Clone, Default)]
struct Log {
    entries: BTreeMap<(GroupId, u64), Bytes>,
    markers: BTreeMap<(GroupId, String), Bytes>,
}

#[derive(Debug, Clone)]
enum Change {
    Append(GroupId, Vec<Entry>),
    Truncate(GroupId, u64),
    Purge(GroupId, u64),
    Mark(GroupId, String, Bytes),
}

impl Disk {
    /// The machine stopped without warning: a suffix of the unsynced writes is lost.
    pub fn crash(&self, random: &mut StdRng) {
        let mut state = self.lock();
        let unsynced = std::mem::take(&mut state.unsynced);
        let kept = random.random_range(0..=unsynced.len());
        state.lost += (unsynced.len() - kept) as u64;
        for change in unsynced.into_iter().take(kept) {
            state.durable.apply(change);
        }
        state.live = state.durable.clone();
    }

    /// Loses everything: the disk was replaced.
    pub fn wipe(&self) {
        *self.lock() = State::default();
    }

    /// While full, every write is refused.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Log writes that crashes have lost.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.full {
            return Err(StoreError::Io {
                place: PLACE.to_owned(),
                cause: "no space left on device".to_owned(),
            });
        }
        state.live.apply(change.clone());
        state.unsynced.push(change);
        Ok(())
    }
}

impl Log {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Append(group, entries) => {
                for entry in entries {
                    self.entries.insert((group, entry.index), entry.bytes);
                }
            }
            Change::Truncate(group, from) => self
                .entries
                .retain(|(of, index), _| *of != group || *index < from),
            Change::Purge(group, upto) => self
                .entries
                .retain(|(of, index), _| *of != group || *index > upto),
            Change::Mark(group, name, value) => {
                self.markers.insert((group, name), value);
            }
        }
    }
}

impl LogStore for Disk {
    fn append(&self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError> {
        self.change(Change::Append(group, entries.to_vec()))
    }

    fn truncate(&self, group: GroupId, from: u64) -> Result<(), StoreError> {
        self.change(Change::Truncate(group, from))
    }

    fn purge(&self, group: GroupId, upto: u64) -> Result<(), StoreError> {
        self.change(Change::Purge(group, upto))
    }

    fn read(&self, group: GroupId, range: RangeInclusive<u64>) -> Result<Vec<Entry>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let range = (group, *range.start())..=(group, *range.end());
        let entry = |((_, index), bytes): (&(GroupId, u64), &Bytes)| Entry {
            index: *index,
            bytes: bytes.clone(),
        };
        Ok(self.lock().live.entries.range(range).map(entry).collect())
    }

    fn bounds(&self, group: GroupId) -> Result<Option<(u64, u64)>, StoreError> {
        let state = self.lock();
        let mut indices = state
            .live
            .entries
            .range((group, 0)..=(group, u64::MAX))
            .map(|((_, index), _)| *index);
        let first = indices.next();
        Ok(first.map(|first| (first, indices.next_back().unwrap_or(first))))
    }

    fn set_marker(&self, group: GroupId, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let value = Bytes::copy_from_slice(value);
        self.change(Change::Mark(group, name.to_owned(), value))
    }

    fn marker(&self, group: GroupId, name: &str) -> Result<Option<Bytes>, StoreError> {
        let key = (group, name.to_owned());
        Ok(self.lock().live.markers.get(&key).cloned())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        for change in std::mem::take(&mut state.unsynced) {
            state.durable.apply(change);
        }
        Ok(())
    }
}

impl Files for Disk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().files.get(name).cloned())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.files.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().files.remove(name);
        Ok(())
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<String>> {
        let state = self.lock();
        let names = state.files.keys();
        Ok(names
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect())
    }
}

const PLACE: &str = "the simulated disk";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Seed;

    const GROUP: GroupId = GroupId::Directory;

    fn entry(index: u64) -> Entry {
        Entry {
            index,
            bytes: Bytes::from(index.to_string()),
        }
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_some_prefix_of_the_rest() {
        let mut kept = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let disk = Disk::default();
            disk.append(GROUP, &[entry(1), entry(2)]).unwrap();
            disk.flush().unwrap();
            for index in 3..=6 {
                disk.append(GROUP, &[entry(index)]).unwrap();
            }
            disk.crash(&mut Seed(seed).stream("disk"));
            let (first, last) = disk.bounds(GROUP).unwrap().unwrap();
            assert_eq!(first, 1);
            assert_eq!(disk.lost(), 6 - last);
            let entries = LogStore::read(&disk, GROUP, 0..=u64::MAX).unwrap();
            assert_eq!(entries, (1..=last).map(entry).collect::<Vec<_>>());
            kept.insert(last);
        }
        assert_eq!(kept, (2..=6).collect());
    }

    #[test]
    fn a_full_disk_refuses_writes_and_still_reads() {
        let disk = Disk::default();
        disk.set_marker(GROUP, "vote", b"1").unwrap();
        disk.set_full(true);
        assert!(disk.set_marker(GROUP, "vote", b"2").is_err());
        assert!(disk.write("incarnation", b"2").is_err());
        let vote = disk.marker(GROUP, "vote").unwrap();
        assert_eq!(vote.as_deref(), Some(&b"1"[..]));
    }

    #[test]
    fn truncate_and_purge_take_their_side_of_the_index() {
        let disk = Disk::default();
        let entries: Vec<Entry> = (1..=9).map(entry).collect();
        disk.append(GROUP, &entries).unwrap();
        disk.truncate(GROUP, 8).unwrap();
        disk.purge(GROUP, 3).unwrap();
        assert_eq!(disk.bounds(GROUP).unwrap(), Some((4, 7)));
    }
}
