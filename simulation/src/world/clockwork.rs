//! A machine's runtime: tokio's own, run for a tick at a time, and only for ticks in which something can happen.
//!
//! In: the tick that begins. Out: everything that was due in it has run, and when the next timer is due.
//!
//! Where the process's clocks are steered, the runtime is the one that the node is shipped with, unchanged: it reads
//! the simulated clock, and what it would sleep for tells when it must run again ([`Naps`]). Elsewhere (tests
//! of the world's parts) its clock is paused and moved, which hides the next timer: it runs in every tick.

use std::{
    future::{Future, poll_fn},
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime, RuntimeMetrics},
    time::{Instant, sleep},
};

use super::{Drift, Naps, Still, TICK};

/// The runtime of one life of a machine.
pub(super) struct Clockwork {
    runtime: Runtime,
    metrics: RuntimeMetrics,
    way: Way,
    /// What its clock and the world's showed when it began, or when its drift changed last.
    began: (Duration, Duration),
    drift: Drift,
    /// What its clock showed when it was last made to stand still.
    held: Duration,
    /// When its next timer is due, by the world's clock.
    due: Duration,
}

enum Way {
    Napping(Arc<Mutex<Nap>>),
    /// What the runtime takes for the moment at which the run began.
    Paused(Instant),
}

/// What passes between the runtime's hooks and the future that it runs for.
#[derive(Default)]
struct Nap {
    /// How long the runtime would sleep now, if it has nothing left to do.
    length: Option<Duration>,
    waker: Option<Waker>,
}

impl Clockwork {
    pub(super) fn new(now: Duration, drift: Drift, naps: Option<Naps>) -> Self {
        let mut builder = Builder::new_current_thread();
        builder.enable_time();
        let nap = Arc::new(Mutex::new(Nap::default()));
        match naps {
            None => builder.start_paused(true),
            Some(Naps { begin, end }) => {
                let nap = nap.clone();
                builder.on_thread_park(begin);
                builder.on_thread_unpark(move || {
                    let Some(length) = end() else {
                        return;
                    };
                    let waker = {
                        let mut nap = nap.lock().unwrap_or_else(PoisonError::into_inner);
                        nap.length = Some(length);
                        nap.waker.take()
                    };
                    waker.into_iter().for_each(Waker::wake);
                })
            }
        };
        let runtime = builder
            .build()
            .expect("a runtime without I/O asks the system for nothing");
        let way = if naps.is_some() {
            // One that waits for no timer at all would sleep without end.
            runtime.spawn(async {
                loop {
                    sleep(LONGEST_SLEEP).await;
                }
            });
            Way::Napping(nap)
        } else {
            let began = runtime.block_on(async { Instant::now() });
            Way::Paused(began - now)
        };
        Self {
            metrics: runtime.metrics(),
            runtime,
            way,
            began: (now, now),
            drift,
            held: now,
            due: now,
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Tasks that have not ended, without the one that sleeps for ever.
    pub(super) fn tasks(&self) -> usize {
        let own = usize::from(matches!(self.way, Way::Napping(_)));
        self.runtime.metrics().num_alive_tasks() - own
    }

    /// What its clock shows at a time of the world's, since the run began.
    pub(super) fn elapsed(&self, time: Duration) -> Duration {
        let (clock, began) = self.began;
        clock + self.drift.takes_for(time.saturating_sub(began))
    }

    /// From the world's `now` on its clock drifts.
    pub(super) fn set_drift(&mut self, now: Duration, drift: Drift) {
        self.began = (self.elapsed(now), now);
        self.drift = drift;
        // When its next timer is due by the world's clock has changed.
        self.due = now;
    }

    /// Stands still from the world's `now` on.
    pub(super) fn hold(&mut self, now: Duration) {
        self.held = self.elapsed(now);
    }

    /// Goes on at the world's `now` after having stood still.
    pub(super) fn go_on(&mut self, now: Duration, drift: Drift, still: Still) {
        match still {
            Still::Process => {
                if let Way::Paused(_) = self.way {
                    let late = self.elapsed(now).saturating_sub(self.held);
                    // One leap: a paused clock would else stop at each timer that was due meanwhile.
                    self.runtime.block_on(tokio::time::advance(late));
                }
            }
            Still::Machine => self.began = (self.held, now),
        }
        self.set_drift(now, drift);
    }

    /// When it must run again: now, if something outside woke one of its tasks.
    pub(super) fn due(&self) -> Duration {
        if self.metrics.global_queue_depth() > 0 {
            return Duration::ZERO;
        }
        self.due
    }

    /// Runs everything that is due before the end of the tick that begins now.
    pub(super) fn run(&mut self, now: Duration) {
        match &self.way {
            Way::Napping(nap) => {
                let length = self.runtime.block_on(poll_fn(|context| {
                    let mut nap = nap.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(length) = nap.length.take() else {
                        nap.waker = Some(context.waker().clone());
                        return Poll::Pending;
                    };
                    Poll::Ready(length)
                }));
                self.due = if self.drift == Drift(0) {
                    now + length
                } else {
                    // How long that is by the world's clock is left to the next tick to see.
                    now + TICK
                };
            }
            Way::Paused(anchor) => {
                let end = *anchor + self.elapsed(now + TICK);
                // Made inside the runtime: a timer belongs to the clock it is made under.
                self.runtime
                    .block_on(async move { tokio::time::sleep_until(end).await });
                self.due = now + TICK;
            }
        }
    }
}

/// Far beyond any run.
const LONGEST_SLEEP: Duration = Duration::from_secs(365 * 86_400);
