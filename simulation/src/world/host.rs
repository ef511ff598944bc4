//! The doors of a simulated machine: what [`Host`] means in the false world.
//!
//! In: a node's calls. Out: the false network, disk, clock and entropy. One value serves one life of a
//! machine; a call from an ended life reaches nothing.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meridian_cluster::host::{
    BoxFuture, BoxListener, BoxStream, Files, Host, LogStore, Place, StoreError,
};
use tokio_util::sync::CancellationToken;

use super::{Clocks, Disk, MachineId, Network, Seed, network};

/// The doors of one life of a machine.
pub struct SimHost {
    pub(super) network: Network,
    pub(super) machine: MachineId,
    pub(super) life: u32,
    pub(super) name: Arc<str>,
    pub(super) seed: Seed,
    pub(super) clocks: Clocks,
    pub(super) disk: Disk,
    pub(super) named: Named,
    pub(super) printed: Printed,
    pub(super) stop: CancellationToken,
}

/// Files that an operator laid down on a machine. Clones are one folder.
#[derive(Debug, Clone, Default)]
pub struct Named(Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>);

impl Named {
    /// Lays down a file.
    pub fn put(&self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(path.into(), bytes.into());
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || io::Error::new(io::ErrorKind::NotFound, path.display().to_string());
        files.get(path).cloned().ok_or_else(missing)
    }
}

/// What a machine wrote to its standard output. Clones are one count.
#[derive(Debug, Clone, Default)]
pub struct Printed(Arc<Mutex<u64>>);

impl Printed {
    /// Lines so far.
    pub fn lines(&self) -> u64 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, text: &[u8]) {
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += lines;
    }
}

impl Host for SimHost {
    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        network::bind(&self.network, self.machine, self.life, addr)
    }

    fn listen(&self, addr: SocketAddr, _worker: usize) -> io::Result<BoxListener> {
        network::listen(&self.network, self.machine, self.life, addr)
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        let network = self.network.clone();
        Box::pin(network::connect(network, self.machine, self.life, addr))
    }

    fn resolve(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let found = self.network.resolve(name);
        Box::pin(async move { Ok(vec![SocketAddr::new(found?, port)]) })
    }

    fn unix_time(&self) -> Duration {
        self.clocks.unix(self.network.now())
    }

    fn entropy(&self, label: &str) -> [u8; 32] {
        let (name, life) = (&self.name, self.life);
        self.seed.bytes(&format!("{name}/{life}/{label}"))
    }

    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        self.disk.open()
    }

    fn set_log_aside(&self) -> io::Result<String> {
        Ok(self.disk.set_log_aside())
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(self.disk.clone())
    }

    fn read_named(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.named.read(path)
    }

    fn print(&self, lines: &[u8]) -> io::Result<()> {
        self.printed.add(lines);
        Ok(())
    }

    fn place(&self, _place: Place, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        #[allow(
            clippy::disallowed_methods,
            reason = "this is the door that places work; dropping the machine's runtime ends it"
        )]
        let running = tokio::spawn(work);
        Box::pin(async move {
            if let Err(ended) = running.await
                && ended.is_panic()
            {
                std::panic::resume_unwind(ended.into_panic());
            }
        })
    }

    fn workers(&self) -> usize {
        1
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        if self.disk.is_slow() {
            let disk = self.disk.clone();
            #[allow(
                clippy::disallowed_methods,
                reason = "this is the door that runs blocking work; dropping the machine's runtime ends it"
            )]
            drop(tokio::spawn(async move {
                disk.wait().await;
                work();
            }));
            return;
        }
        // Inline: a machine has one thread, and a crash falls between two calls, never within one.
        work();
    }

    fn stop_asked(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.stop.clone().cancelled_owned())
    }
}
