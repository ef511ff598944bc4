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

use super::{Clocks, Disk, Drift, Named, Printed, network::Place};

/// What the world keeps of a machine across its lives.
pub(super) struct Machine {
    pub(super) name: Arc<str>,
    pub(super) ip: IpAddr,
    pub(super) place: Place,
    pub(super) disk: Disk,
    pub(super) named: Named,
    pub(super) printed: Printed,
    pub(super) clocks: Clocks,
    /// Draws what a crash loses.
    pub(super) random: StdRng,
    /// It is on and does not run.
    pub(super) still: Option<Still>,
    pub(super) on: Option<Life>,
}

/// How a machine stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Still {
    /// Its program does (SIGSTOP, a long stall): the kernel goes on taking packets and connections, and all clocks go
    /// on, so that every timer is late at once when the program goes on.
    Process,
    /// All of it does, as a suspended one: it says nothing, what reaches it is lost, and its monotonic clock stands too
    /// (Linux's does not count suspension); the wall clock is right when it goes on.
    Machine,
}

/// One life: from power to the loss of it.
pub(super) struct Life {
    runtime: Runtime,
    /// The runtime's clock and the world's, at its start or when its drift changed last.
    began: (Instant, Duration),
    drift: Drift,
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
        drift: Drift,
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
            drift,
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

    /// What the runtime's clock shows at a time of the world's.
    fn clock_at(&self, time: Duration) -> Instant {
        let (anchor, born) = self.began;
        anchor + self.drift.takes_for(time.saturating_sub(born))
    }

    /// From the world's `now` on its clock drifts.
    pub(super) fn set_drift(&mut self, now: Duration, drift: Drift) {
        self.began = (self.clock_at(now), now);
        self.drift = drift;
    }

    /// Goes on at the world's `now` after having stood still.
    pub(super) fn go_on(&mut self, now: Duration, drift: Drift, still: Still) {
        let clock = self.runtime.block_on(async { Instant::now() });
        match still {
            Still::Process => {
                let late = self.clock_at(now).saturating_duration_since(clock);
                // One leap: a paused clock would else stop at each timer that was due meanwhile.
                self.runtime.block_on(tokio::time::advance(late));
                self.set_drift(now, drift);
            }
            Still::Machine => (self.began, self.drift) = ((clock, now), drift),
        }
    }

    /// Runs everything that is due before the world's `until`.
    pub(super) fn run(&self, until: Duration) {
        let end = self.clock_at(until);
        // Made inside the runtime: a timer belongs to the clock it is made under.
        self.runtime
            .block_on(async move { tokio::time::sleep_until(end).await });
    }
}
