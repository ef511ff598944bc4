//! The false disk: what was synced survives a crash, what was not may be lost.
//!
//! In: the calls of [`LogStore`] and [`Files`]. Out: the same answers as the real ones. At a crash any suffix
//! of the unsynced log writes is lost, drawn from the seed; of the first of them that is lost a part may be there, since
//! the real store writes and removes entry by entry. Small files are durable when their write
//! returns, as the trait promises. On a disk that is well calls run inline, so that no crash falls between; on
//! one that is slow or stalls they wait first ([`Disk::wait`]). A bit that is flipped at rest is found as the real
//! store finds it: a log when it is opened, a file by whoever reads it.

use std::{
    collections::BTreeMap,
    io,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use meridian_cluster::host::{Entry, Files, GroupId, LogStore, StoreError};
use rand::{RngExt, rngs::StdRng};
use tokio::sync::watch;

use super::heap;

/// A machine's disk: it outlives the machine's lives. Clones are one disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    trouble: watch::Sender<DiskTrouble>,
}

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskTrouble {
    /// Every operation takes this much longer.
    pub latency: Duration,
    /// No operation comes to an end.
    pub stalls: bool,
    /// Every write is refused.
    pub full: bool,
    /// Every read fails.
    pub unreadable: bool,
}

impl DiskTrouble {
    /// Both at once.
    pub fn and(self, other: Self) -> Self {
        Self {
            latency: self.latency + other.latency,
            stalls: self.stalls || other.stalls,
            full: self.full || other.full,
            unreadable: self.unreadable || other.unreadable,
        }
    }
}

/// What the troubles of a disk did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskTouched {
    /// Operations that took longer, or are still waiting.
    pub delayed: u64,
    /// Writes refused because the disk was full.
    pub refused: u64,
    /// Reads that failed.
    pub failed: u64,
}

/// Where a bit is flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// In the store of Raft logs.
    Log,
    /// In one of the small files.
    Files,
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
    lost: u64,
    touched: DiskTouched,
    /// What the log's checksums tell when it is opened.
    damage: Option<String>,
    set_aside: u64,
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
        let mut unsynced = unsynced.into_iter();
        for change in unsynced.by_ref().take(kept) {
            state.durable.apply(change);
        }
        if let Some(part) = unsynced
            .next()
            .and_then(|torn| state.durable.part(torn, random))
        {
            state.durable.apply(part);
        }
        state.live = state.durable.clone();
    }

    /// Loses everything: the disk was replaced.
    pub fn wipe(&self) {
        let mut state = self.lock();
        let (lost, touched) = (state.lost, state.touched);
        *state = State {
            lost,
            touched,
            ..State::default()
        };
    }

    /// Says what is wrong with it from now on.
    pub fn set_trouble(&self, trouble: DiskTrouble) {
        self.trouble.send_if_modified(|known| {
            let changed = *known != trouble;
            *known = trouble;
            changed
        });
    }

    /// What its troubles have done so far.
    pub fn touched(&self) -> DiskTouched {
        self.lock().touched
    }

    /// Whether an operation must wait before it is done.
    pub(super) fn is_slow(&self) -> bool {
        let trouble = self.trouble.borrow();
        trouble.stalls || !trouble.latency.is_zero()
    }

    /// Waits as long as an operation that begins now takes longer than on a disk that is well.
    pub(super) async fn wait(&self) {
        self.lock().touched.delayed += 1;
        let latency = self.trouble.borrow().latency;
        tokio::time::sleep(latency).await;
        let mut trouble = self.trouble.subscribe();
        // The sender is this disk's own.
        let _ = trouble.wait_for(|trouble| !trouble.stalls).await;
    }

    /// Flips a bit of what lies there, where it lies; what was flipped, if there was anything. The machine must be
    /// off: what is read into memory is not touched.
    pub fn flip_a_bit(&self, part: Part, random: &mut StdRng) -> Option<String> {
        let mut state = self.lock();
        match part {
            Part::Log => {
                let entries = state.durable.entries.len();
                let all = entries + state.durable.markers.len();
                let record = (all > 0).then(|| random.random_range(0..all))?;
                let what = if record < entries {
                    let (_, index) = state.durable.entries.keys().nth(record)?;
                    format!("the checksum of entry {index} does not fit")
                } else {
                    let (_, name) = state.durable.markers.keys().nth(record - entries)?;
                    format!("the checksum of the marker {name} does not fit")
                };
                state.damage = Some(what.clone());
                Some(what)
            }
            Part::Files => {
                let whole = |(_, bytes): &(&String, &mut Vec<u8>)| !bytes.is_empty();
                let count = state.files.iter_mut().filter(whole).count();
                let file = (count > 0).then(|| random.random_range(0..count))?;
                let (name, bytes) = state.files.iter_mut().filter(whole).nth(file)?;
                let at = random.random_range(0..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..8);
                Some(format!("a bit of {name}"))
            }
        }
    }

    /// Opens the store of logs, which looks through its checksums.
    pub(super) fn open(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        self.readable()?;
        if let Some(cause) = self.lock().damage.clone() {
            let place = PLACE.to_owned();
            return Err(StoreError::Damaged { place, cause });
        }
        Ok(Arc::new(self.clone()))
    }

    /// Moves the store of logs out of the way.
    pub(super) fn set_log_aside(&self) -> String {
        let mut state = self.lock();
        state.live = Log::default();
        state.durable = Log::default();
        state.unsynced.clear();
        state.damage = None;
        state.set_aside += 1;
        format!("{PLACE}, folder log.damaged-{}", state.set_aside)
    }

    /// How many times a store of logs was set aside.
    pub fn set_aside(&self) -> u64 {
        self.lock().set_aside
    }

    /// Log writes that crashes have lost.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a write while the disk is full.
    fn room(&self) -> io::Result<()> {
        if self.trouble.borrow().full {
            self.lock().touched.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Refuses a read while the disk gives errors.
    fn readable(&self) -> Result<(), StoreError> {
        if self.trouble.borrow().unreadable {
            self.lock().touched.failed += 1;
            return Err(in_store(&io::Error::other("input/output error")));
        }
        Ok(())
    }

    /// What is written is the disk's, and no memory of the machine's program.
    fn change(&self, change: impl FnOnce() -> Change) -> Result<(), StoreError> {
        self.room().map_err(|full| in_store(&full))?;
        heap::outside(|| {
            let change = change();
            let mut state = self.lock();
            state.live.apply(change.clone());
            state.unsynced.push(change);
        });
        Ok(())
    }
}

fn in_store(error: &io::Error) -> StoreError {
    StoreError::Io {
        place: PLACE.to_owned(),
        cause: error.to_string(),
    }
}

impl Log {
    /// What a crash in the middle of a change leaves of it: entries are written from the first one on, truncated from the
    /// last one down, purged from the first one up. None where it is whole or not there at all.
    fn part(&self, change: Change, random: &mut StdRng) -> Option<Change> {
        let mut some = |of: usize| {
            let some = (of > 1).then(|| random.random_range(0..of));
            some.filter(|some| *some > 0)
        };
        let standing = |of: GroupId, indices: RangeInclusive<u64>| {
            let range = (of, *indices.start())..=(of, *indices.end());
            self.entries
                .range(range)
                .map(|((_, index), _)| *index)
                .collect::<Vec<_>>()
        };
        Some(match change {
            Change::Append(group, mut entries) => {
                entries.truncate(some(entries.len())?);
                Change::Append(group, entries)
            }
            Change::Truncate(group, from) => {
                let away = standing(group, from..=u64::MAX);
                Change::Truncate(group, away[some(away.len())?])
            }
            Change::Purge(group, upto) => {
                let away = standing(group, 0..=upto);
                Change::Purge(group, away[some(away.len())? - 1])
            }
            Change::Mark(..) => return None,
        })
    }

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
        let copy = |entry: &Entry| Entry {
            index: entry.index,
            bytes: Bytes::copy_from_slice(&entry.bytes),
        };
        self.change(|| Change::Append(group, entries.iter().map(copy).collect()))
    }

    fn truncate(&self, group: GroupId, from: u64) -> Result<(), StoreError> {
        self.change(|| Change::Truncate(group, from))
    }

    fn purge(&self, group: GroupId, upto: u64) -> Result<(), StoreError> {
        self.change(|| Change::Purge(group, upto))
    }

    fn read(&self, group: GroupId, range: RangeInclusive<u64>) -> Result<Vec<Entry>, StoreError> {
        self.readable()?;
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
        self.change(|| Change::Mark(group, name.to_owned(), Bytes::copy_from_slice(value)))
    }

    fn marker(&self, group: GroupId, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.readable()?;
        let key = (group, name.to_owned());
        Ok(self.lock().live.markers.get(&key).cloned())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.room().map_err(|full| in_store(&full))?;
        heap::outside(|| {
            let mut state = self.lock();
            for change in std::mem::take(&mut state.unsynced) {
                state.durable.apply(change);
            }
        });
        Ok(())
    }
}

impl Files for Disk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.readable().map_err(io::Error::other)?;
        Ok(self.lock().files.get(name).cloned())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.room()?;
        heap::outside(|| {
            let mut state = self.lock();
            state.files.insert(name.to_owned(), bytes.to_vec());
        });
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
mod tests;
