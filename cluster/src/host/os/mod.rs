//! The operating system as a [`Host`]: the only place where a node touches sockets, files, the wall
//! clock and the kernel's random source.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the one implementation that the bans elsewhere point to"
)]

mod files;
mod net;
mod store;
mod store_layout;
mod store_witness;

pub use store::SledStore;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{TryRng, rngs::SysRng};

use super::{BoxFuture, BoxListener, BoxStream, Files, Host, LogStore, Place, StoreError};

/// A [`Host`] over the operating system, for one node and its data folder.
pub struct OsHost {
    data_dir: PathBuf,
    files: Arc<files::OsFiles>,
    /// Opened once; sled refuses a second handle on the same folder.
    log_store: Mutex<Option<Arc<dyn LogStore>>>,
    /// Held for the life of the host: a second process on the same folder is refused.
    _lock: std::fs::File,
}

/// Why a node's data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Creating, locking or writing it failed.
    #[error(
        "data_dir {place} cannot be used: {cause}; make it a folder that this user may write, on a disk with free space"
    )]
    Unusable {
        /// The folder.
        place: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Another process holds it.
    #[error(
        "data_dir {place} is in use by another process; stop that node, or give this one a data_dir of its own"
    )]
    InUse {
        /// The folder.
        place: PathBuf,
    },
}

impl OsHost {
    /// Takes possession of a node's data folder; creates it (mode 0700) where it is missing.
    pub fn new(data_dir: &Path) -> Result<Self, DataDirError> {
        let unusable = |cause| DataDirError::Unusable {
            place: data_dir.to_owned(),
            cause,
        };
        files::create_private_folder(data_dir).map_err(unusable)?;
        let lock = files::lock(&data_dir.join("lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => DataDirError::InUse {
                place: data_dir.to_owned(),
            },
            _ => unusable(error),
        })?;
        let files = files::OsFiles::open(&data_dir.join("files")).map_err(unusable)?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            files: Arc::new(files),
            log_store: Mutex::new(None),
            _lock: lock,
        })
    }
}

impl Host for OsHost {
    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        net::udp_bind(addr)
    }

    fn listen(&self, addr: SocketAddr, worker: usize) -> io::Result<BoxListener> {
        net::listen(addr, worker)
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(net::connect(addr))
    }

    fn resolve(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(net::resolve(name.to_owned(), port))
    }

    fn unix_time(&self) -> Duration {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            // A clock set before 1970 must not stop a node; certificates and tokens will be refused.
            .unwrap_or(Duration::ZERO)
    }

    fn entropy(&self, _label: &str) -> [u8; 32] {
        let mut seed = [0; 32];
        SysRng
            .try_fill_bytes(&mut seed)
            .expect("the kernel's random source never fails once it is seeded");
        seed
    }

    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        let mut slot = self
            .log_store
            .lock()
            .expect("no panic leaves the lock: SledStore::open catches sled's");
        if let Some(store) = &*slot {
            return Ok(Arc::clone(store));
        }
        let store: Arc<dyn LogStore> = Arc::new(SledStore::open(&self.data_dir.join("log"))?);
        *slot = Some(Arc::clone(&store));
        Ok(store)
    }

    fn set_log_aside(&self) -> io::Result<String> {
        let mut slot = self
            .log_store
            .lock()
            .expect("no panic leaves the lock: SledStore::open catches sled's");
        *slot = None;
        let name = format!("log.damaged-{}", self.unix_time().as_millis());
        let aside = self.data_dir.join(name);
        std::fs::rename(self.data_dir.join("log"), &aside)?;
        files::sync_folder(&self.data_dir)?;
        Ok(aside.display().to_string())
    }

    fn files(&self) -> Arc<dyn Files> {
        self.files.clone()
    }

    fn read_named(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn print(&self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(lines)?;
        out.flush()
    }

    fn place(&self, place: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let name = match place {
            Place::Worker(number) => format!("worker-{number}"),
            Place::Bulk => "bulk".into(),
            Place::Control => {
                let task = tokio::spawn(work);
                return Box::pin(async move {
                    if let Err(failed) = task.await
                        && failed.is_panic()
                    {
                        std::panic::resume_unwind(failed.into_panic());
                    }
                });
            }
        };
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("the kernel gives a process its event queues")
                    .block_on(work);
                // Whoever waited may have gone; the work has ended either way.
                let _ = ended.send(());
            })
            .expect("the kernel gives a process its threads at start");
        Box::pin(async move {
            // An error means the thread panicked: the work has ended all the same.
            let _ = end.await;
        })
    }

    fn workers(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        // The handle is dropped on purpose: `host::blocking` learns of the end by its own channel.
        drop(tokio::task::spawn_blocking(work));
    }

    fn stop_asked(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate =
                signal(SignalKind::terminate()).expect("a process may handle SIGTERM");
            let mut interrupt =
                signal(SignalKind::interrupt()).expect("a process may handle SIGINT");
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }

    fn reload_asked(&self) -> BoxFuture<'static, ()> {
        use tokio::signal::unix::{SignalKind, signal};
        // From here on, not from the first poll: a signal in between is not lost.
        let mut hangup = signal(SignalKind::hangup()).expect("a process may handle SIGHUP");
        Box::pin(async move {
            hangup.recv().await;
        })
    }
}

#[cfg(test)]
mod tests;
