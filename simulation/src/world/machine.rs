//! A machine: a disk that stays, and a runtime for as long as it is on.
//!
//! Dropping the runtime is the crash: every task of the node is gone at once, wherever it waited. Pair:
//! [`Clockwork`] runs it for a tick and says when it must run again.

use std::{
    future::Future,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use super::{
    Clocks, Disk, Drift, Named, Naps, Printed,
    clockwork::Clockwork,
    heap::{self, Owner},
    network::Place,
};

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
    clockwork: Clockwork,
    /// Whose the memory is that it takes.
    owner: Owner,
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
    pub(super) fn begin<Program>(
        now: Duration,
        drift: Drift,
        naps: Option<Naps>,
        stop: CancellationToken,
        program: impl FnOnce() -> Program,
    ) -> Self
    where
        Program: Future<Output = Result<(), String>> + Send + 'static,
    {
        let owner = Owner::new();
        let clockwork = Clockwork::new(now, drift, naps);
        let end = End::default();
        let report = end.clone();
        heap::turn_of(owner, || {
            let program = program();
            clockwork.spawn(async move {
                let outcome = program.await;
                report.set(outcome);
            });
        });
        Self {
            clockwork,
            owner,
            stop,
            end,
        }
    }

    /// Adds a task to the machine.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.clockwork.spawn(task);
    }

    /// Tasks that have not ended.
    pub(super) fn tasks(&self) -> usize {
        self.clockwork.tasks()
    }

    /// What its monotonic clock shows at a time of the world's, since the run began.
    pub(super) fn elapsed(&self, time: Duration) -> Duration {
        self.clockwork.elapsed(time)
    }

    /// From the world's `now` on its clock drifts.
    pub(super) fn set_drift(&mut self, now: Duration, drift: Drift) {
        self.clockwork.set_drift(now, drift);
    }

    /// Stands still from the world's `now` on.
    pub(super) fn hold(&mut self, now: Duration) {
        self.clockwork.hold(now);
    }

    /// Goes on at the world's `now` after having stood still.
    pub(super) fn go_on(&mut self, now: Duration, drift: Drift, still: Still) {
        self.clockwork.go_on(now, drift, still);
    }

    /// Runs everything that is due in the tick that begins now.
    pub(super) fn run(&mut self, now: Duration) {
        let clockwork = &mut self.clockwork;
        heap::turn_of(self.owner, || clockwork.run(now));
    }

    /// Bytes of memory that it holds; none where no allocator tells.
    pub(super) fn memory(&self) -> Option<u64> {
        self.owner.held()
    }

    /// The machine has nothing to do before this, unless something reaches it.
    pub(super) fn due(&self) -> Duration {
        self.clockwork.due()
    }
}
