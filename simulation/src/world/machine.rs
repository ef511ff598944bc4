//! A machine: a disk that stays, and a runtime for as long as it is on.
//!
//! Its runtime is tokio's own, on a paused clock that moves one tick at a time. Dropping the runtime is the
//! crash: every task of the node is gone at once, wherever it waited.

use std::{
    future::Future,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::rngs::StdRng;
use tokio::{runtime::Runtime, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Disk, Named, Printed, network::Place};

/// What the world keeps of a machine across its lives.
pub(super) struct Machine {
    pub(super) name: Arc<str>,
    pub(super) ip: IpAddr,
    pub(super) place: Place,
    pub(super) disk: Disk,
    pub(super) named: Named,
    pub(super) printed: Printed,
    /// Added to the world's wall clock.
    pub(super) skew: Duration,
    /// Draws what a crash loses.
    pub(super) random: StdRng,
    pub(super) on: Option<Life>,
}

/// One life: from power to the loss of it.
pub(super) struct Life {
    runtime: Runtime,
    /// The runtime's clock at its start, and the world's.
    began: (Instant, Duration),
    pub(super) stop: CancellationToken,
    pub(super) end: End,
}

/// Whether a machine's program has ended by itself, and how. Clones are one answer.
#[derive(Debug, Clone, Default)]
pub struct End(Arc<Mutex<Option<Result<(), String>>>>);

impl End {
    /// `None` while the program runs.
    pub fn outcome(&self) -> Option<Result<(), String>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, outcome: Result<(), String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

impl Life {
    pub(super) fn begin(
        now: Duration,
        stop: CancellationToken,
        program: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O asks the system for nothing");
        let end = End::default();
        let report = end.clone();
        runtime.spawn(async move {
            let outcome = program.await;
            report.set(outcome);
        });
        let began = runtime.block_on(async { Instant::now() });
        Self {
            runtime,
            began: (began, now),
            stop,
            end,
        }
    }

    /// Adds a task to the machine.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Tasks that have not ended.
    pub(super) fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }

    /// Runs everything that is due before the world's `until`.
    pub(super) fn run(&self, until: Duration) {
        let (anchor, born) = self.began;
        let end = anchor + (until - born);
        // Made inside the runtime: a timer belongs to the clock it is made under.
        self.runtime
            .block_on(async move { tokio::time::sleep_until(end).await });
    }
}
