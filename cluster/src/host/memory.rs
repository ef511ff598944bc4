//! For tests: a node's outside in memory, without sockets.
//!
//! In: what a node writes. Out: the same, unless it was not flushed before [`Disk::crash`].

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    ops::RangeInclusive,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    BoxFuture, BoxListener, BoxStream, Entry, Files, GroupId, Host, LogStore, Place, StoreError,
    store_suite,
};

#[derive(Clone, Default)]
struct Tables {
    entries: BTreeMap<(GroupId, u64), Bytes>,
    markers: BTreeMap<(GroupId, String), Bytes>,
}

/// What of a node outlives it.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    durable: Arc<Mutex<Tables>>,
    pub(crate) files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    broken: Arc<AtomicBool>,
    /// The log store does not open.
    log_damaged: Arc<AtomicBool>,
}

impl Disk {
    /// The disk as a crash leaves it; who still holds the old one writes into the void.
    pub(crate) fn crash(&self) -> Self {
        let durable = self.durable.lock().unwrap().clone();
        let files = self.files.lock().unwrap().clone();
        Self {
            durable: Arc::new(Mutex::new(durable)),
            files: Arc::new(Mutex::new(files)),
            broken: Arc::default(),
            log_damaged: Arc::default(),
        }
    }

    /// The log store does not open any more.
    pub(crate) fn damage_log(&self) {
        self.log_damaged.store(true, Ordering::Relaxed);
    }

    /// Changes the bytes of an entry of the log, while no node runs.
    pub(crate) fn change_entry(&self, index: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut durable = self.durable.lock().unwrap();
        let entry = durable
            .entries
            .get_mut(&(GroupId::Directory, index))
            .unwrap();
        let mut bytes = entry.to_vec();
        change(&mut bytes);
        *entry = bytes.into();
    }

    /// Takes an entry out of the log, while no node runs.
    pub(crate) fn remove_entry(&self, index: u64) {
        let key = (GroupId::Directory, index);
        let removed = self.durable.lock().unwrap().entries.remove(&key);
        assert!(removed.is_some());
    }

    /// From now on nothing can be written any more.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// It can be written again.
    pub(crate) fn mend(&self) {
        self.broken.store(false, Ordering::Relaxed);
    }
}

struct MemoryStore {
    live: Mutex<Tables>,
    disk: Disk,
}

impl MemoryStore {
    fn open(disk: &Disk) -> Self {
        Self {
            live: Mutex::new(disk.durable.lock().unwrap().clone()),
            disk: disk.clone(),
        }
    }
}

impl LogStore for MemoryStore {
    fn append(&self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError> {
        let mut live = self.live.lock().unwrap();
        for entry in entries {
            let key = (group, entry.index);
            live.entries.insert(key, entry.bytes.clone());
        }
        Ok(())
    }

    fn truncate(&self, group: GroupId, from: u64) -> Result<(), StoreError> {
        let mut live = self.live.lock().unwrap();
        live.entries
            .retain(|(of, index), _| *of != group || *index < from);
        Ok(())
    }

    fn purge(&self, group: GroupId, upto: u64) -> Result<(), StoreError> {
        let mut live = self.live.lock().unwrap();
        live.entries
            .retain(|(of, index), _| *of != group || *index > upto);
        Ok(())
    }

    fn read(&self, group: GroupId, range: RangeInclusive<u64>) -> Result<Vec<Entry>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let live = self.live.lock().unwrap();
        let range = (group, *range.start())..=(group, *range.end());
        let found = live.entries.range(range).map(|((_, index), bytes)| Entry {
            index: *index,
            bytes: bytes.clone(),
        });
        Ok(found.collect())
    }

    fn bounds(&self, group: GroupId) -> Result<Option<(u64, u64)>, StoreError> {
        let live = self.live.lock().unwrap();
        let mut indices = live
            .entries
            .range((group, 0)..=(group, u64::MAX))
            .map(|((_, index), _)| *index);
        let first = indices.next();
        Ok(first.map(|first| (first, indices.next_back().unwrap_or(first))))
    }

    fn set_marker(&self, group: GroupId, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut live = self.live.lock().unwrap();
        live.markers
            .insert((group, name.to_owned()), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn marker(&self, group: GroupId, name: &str) -> Result<Option<Bytes>, StoreError> {
        let live = self.live.lock().unwrap();
        Ok(live.markers.get(&(group, name.to_owned())).cloned())
    }

    fn flush(&self) -> Result<(), StoreError> {
        if self.disk.broken.load(Ordering::Relaxed) {
            return Err(StoreError::Io {
                place: "memory".to_owned(),
                cause: "no space left".to_owned(),
            });
        }
        *self.disk.durable.lock().unwrap() = self.live.lock().unwrap().clone();
        Ok(())
    }
}

#[test]
fn the_store_in_memory_keeps_every_promise_of_the_trait() {
    store_suite::check(&|| {
        let disk = Disk::default();
        Box::new(move || Arc::new(MemoryStore::open(&disk)))
    });
}

struct MemoryFiles(Disk);

impl Files for MemoryFiles {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.files.lock().unwrap().get(name).cloned())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.0.broken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut files = self.0.files.lock().unwrap();
        files.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.files.lock().unwrap().remove(name);
        Ok(())
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<String>> {
        let files = self.0.files.lock().unwrap();
        let named = files.keys().filter(|name| name.starts_with(prefix));
        Ok(named.cloned().collect())
    }
}

type OpenStore = Box<dyn Fn() -> Result<Arc<dyn LogStore>, StoreError> + Send + Sync>;

/// A host without sockets; its clock is the runtime's.
pub(crate) struct MemoryHost {
    disk: Disk,
    open_store: OpenStore,
    store: Mutex<Option<Arc<dyn LogStore>>>,
    seed: u8,
    start: tokio::time::Instant,
}

impl MemoryHost {
    pub(crate) fn new(disk: Disk, seed: u8) -> Self {
        let store = disk.clone();
        Self::with_store(
            disk,
            seed,
            Box::new(move || {
                if store.log_damaged.load(Ordering::Relaxed) {
                    return Err(StoreError::Damaged {
                        place: "memory".to_owned(),
                        cause: "a test damaged it".to_owned(),
                    });
                }
                Ok(Arc::new(MemoryStore::open(&store)) as Arc<dyn LogStore>)
            }),
        )
    }

    /// A host whose log store is another.
    pub(crate) fn with_store(disk: Disk, seed: u8, open_store: OpenStore) -> Self {
        Self {
            disk,
            open_store,
            store: Mutex::default(),
            seed,
            start: tokio::time::Instant::now(),
        }
    }
}

impl Host for MemoryHost {
    fn udp_bind(&self, _: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn listen(&self, _: SocketAddr, _: usize) -> io::Result<BoxListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn resolve(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(1_800_000_000) + self.start.elapsed()
    }

    fn entropy(&self, label: &str) -> [u8; 32] {
        *blake3::hash(&[&[self.seed], label.as_bytes()].concat()).as_bytes()
    }

    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        let mut store = self.store.lock().unwrap();
        if store.is_none() {
            *store = Some((self.open_store)()?);
        }
        Ok(store.clone().unwrap())
    }

    fn set_log_aside(&self) -> io::Result<String> {
        *self.store.lock().unwrap() = None;
        *self.disk.durable.lock().unwrap() = Tables::default();
        self.disk.log_damaged.store(false, Ordering::Relaxed);
        Ok("aside".to_owned())
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(MemoryFiles(self.disk.clone()))
    }

    fn read_named(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn print(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn place(&self, _: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        work
    }

    fn workers(&self) -> usize {
        1
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn stop_asked(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}
