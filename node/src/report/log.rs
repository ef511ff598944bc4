//! The access log's way to standard output: a bounded ring, and one task that writes in batches.
//!
//! In: lines, from every worker. Out: batches, through the host. A full ring never holds up a request: the
//! line is dropped and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use meridian_cluster::host::{Host, blocking};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Lines in the ring. At about 600 bytes each 16 384 of them are 10 MB, and what a node at 100 000
/// requests a second writes in three of the writer's pauses.
const RING: usize = 16_384;
/// Between two batches. Polling, because a wake-up of another thread for each line costs the worker a
/// system call a request.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of one batch: enough that the write's own cost vanishes.
const BATCH: usize = 256 * 1024;

/// Takes lines of the access log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    ring: mpsc::Sender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// Starts the writer. It ends, having written everything, when `close` is cancelled: cancel it after
    /// the last request.
    pub fn start(host: Arc<dyn Host>, tracker: &TaskTracker, close: CancellationToken) -> Self {
        let (ring, lines) = mpsc::channel(RING);
        tracker.spawn(write(host, lines, close));
        Self {
            ring,
            dropped: Arc::default(),
        }
    }

    /// Hands over one whole line. Never waits.
    pub fn push(&self, line: Vec<u8>) {
        if self.ring.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines lost to a full ring since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn write(host: Arc<dyn Host>, mut lines: mpsc::Receiver<Vec<u8>>, close: CancellationToken) {
    let mut failing = false;
    loop {
        let closing = close
            .run_until_cancelled(tokio::time::sleep(PAUSE))
            .await
            .is_none();
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Ok(line) = lines.try_recv()
            {
                batch.extend_from_slice(&line);
            }
            if batch.is_empty() {
                break;
            }
            let printer = host.clone();
            let outcome = blocking(host.as_ref(), move || printer.print(&batch)).await;
            match outcome {
                Ok(()) => failing = false,
                // Said once: whoever reads the log has gone, and traffic goes on without it.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "the access log cannot be written; lines are lost until it can");
                }
                Err(_) => {}
            }
        }
        if closing {
            return;
        }
    }
}
