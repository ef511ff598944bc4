//! The false world: machines in regions, one network, one clock, one seed.
//!
//! ```text
//!   step:  each machine with something to do runs ─► the clock moves 1 ms, or to the next tick in which
//!          something can happen ─► what is due is delivered
//! ```
//!
//! - [`Network`], [`Links`]: packets and streams, latencies and cuts;
//! - [`Disk`]: what survives a crash;
//! - [`Clocks`]: what time a machine takes it for;
//! - [`SimHost`]: all of it as a node's [`Host`](meridian_cluster::host::Host);
//! - [`Trace`]: what happened, hashed;
//! - [`Ambient`]: entropy and clocks that libraries read for themselves;
//! - [`heap`]: what each machine holds.
//!
//! A world is single-threaded, and one process runs one world: thread-local generators and counters of
//! libraries would carry over to a second.

mod ambient;
mod clock;
mod clockwork;
mod disk;
pub mod heap;
mod host;
mod machine;
mod network;
mod seed;
mod trace;

use std::{future::Future, net::IpAddr, sync::Arc, time::Duration};

pub use ambient::{Ambient, Naps, Untouched};
pub use clock::{Clocks, Drift};
pub use disk::{Disk, DiskTouched, DiskTrouble, Part};
pub use host::{Named, Printed, SimHost};
pub use machine::End;
pub use machine::Still;
use machine::{Life, Machine};
pub use network::{
    Capacity, Conditions, Counts, Down, Links, MachineId, Network, Place, Sent, Touched, Trouble,
    Verdict,
};
pub use seed::Seed;
use tokio_util::sync::CancellationToken;
pub use trace::{Decision, Trace};

/// The grain of time: that of tokio's timers.
pub const TICK: Duration = Duration::from_millis(1);

/// The wall clock at a run's start: 2026-01-01 00:00:00 UTC.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Many machines on one seed.
pub struct World {
    seed: Seed,
    now: Duration,
    network: Network,
    machines: Vec<Machine>,
    trace: Trace,
    ambient: Box<dyn Ambient>,
    itself: Arc<str>,
    turns: u64,
}

impl World {
    /// An empty world. The calling thread is the world's from here on.
    pub fn new(seed: Seed, links: Links, trace: Trace, ambient: Box<dyn Ambient>) -> Self {
        ambient.begin(seed, EPOCH);
        Self {
            seed,
            now: Duration::ZERO,
            network: Network::new(seed, links, trace.clone()),
            machines: Vec::new(),
            trace,
            ambient,
            itself: Arc::from("world"),
            turns: 0,
        }
    }

    /// Adds a machine, switched off. Its name is also its host name.
    pub fn add(&mut self, name: &str, place: Place) -> MachineId {
        let (id, ip) = self.network.add(name, place);
        self.machines.push(Machine {
            name: Arc::from(name),
            ip,
            place,
            disk: Disk::default(),
            named: Named::default(),
            printed: Printed::default(),
            clocks: Clocks::default(),
            random: self.seed.stream(&format!("crash/{name}")),
            still: None,
            on: None,
        });
        id
    }

    /// Switches a machine on: `program` is given its doors and runs until it ends or the power does.
    pub fn start<Program>(
        &mut self,
        id: MachineId,
        program: impl FnOnce(Arc<SimHost>) -> Program,
    ) -> End
    where
        Program: Future<Output = Result<(), String>> + Send + 'static,
    {
        let life = self.network.switch_on(id);
        let machine = &mut self.machines[id.0];
        let stop = CancellationToken::new();
        let host = Arc::new(SimHost {
            network: self.network.clone(),
            machine: id,
            life,
            name: machine.name.clone(),
            seed: self.seed,
            clocks: machine.clocks.clone(),
            disk: machine.disk.clone(),
            named: machine.named.clone(),
            printed: machine.printed.clone(),
            stop: stop.clone(),
        });
        self.trace.turn(self.now, &machine.name);
        self.trace.line(format_args!("start {life}"));
        let (drift, naps) = (machine.clocks.drift(), self.ambient.naps());
        let life = Life::begin(self.now, drift, naps, stop, || program(host));
        let end = life.end.clone();
        machine.on = Some(life);
        end
    }

    /// Takes a machine down without warning; one that is off stays off.
    pub fn take_down(&mut self, id: MachineId, down: Down) {
        let machine = &mut self.machines[id.0];
        let Some(life) = machine.on.take() else {
            return;
        };
        self.trace.turn(self.now, &machine.name);
        self.trace.line(format_args!("down {down:?}"));
        // First off the network, so that nothing its tasks do while they are dropped is heard.
        self.network.switch_off(id, down);
        drop(life);
        machine.still = None;
        machine.disk.crash(&mut machine.random);
    }

    /// Lets a machine that is on stand still; whether it was running.
    pub fn hold(&mut self, id: MachineId, still: Still) -> bool {
        let machine = &mut self.machines[id.0];
        if machine.on.is_none() || machine.still.is_some() {
            return false;
        }
        machine.still = Some(still);
        if let Some(life) = &mut machine.on {
            life.hold(self.now);
        }
        self.trace.turn(self.now, &machine.name);
        self.trace.line(format_args!("still {still:?}"));
        self.network.set_asleep(id, still == Still::Machine);
        true
    }

    /// Lets a machine that stands still run again.
    pub fn release(&mut self, id: MachineId) {
        let machine = &mut self.machines[id.0];
        let (Some(life), Some(still)) = (&mut machine.on, machine.still.take()) else {
            return;
        };
        self.network.set_asleep(id, false);
        self.trace.turn(self.now, &machine.name);
        self.trace.line(format_args!("goes on"));
        life.go_on(self.now, machine.clocks.drift(), still);
    }

    /// Whether a machine is on and stands still.
    pub fn is_still(&self, id: MachineId) -> bool {
        self.machines[id.0].still.is_some()
    }

    /// Asks a machine's program to stop, as SIGTERM does.
    pub fn ask_to_stop(&mut self, id: MachineId) {
        if let Some(life) = &self.machines[id.0].on {
            life.stop.cancel();
        }
    }

    /// Adds a task to a machine that is on; it dies with the machine. False where the machine is off.
    pub fn spawn_on(
        &mut self,
        id: MachineId,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        self.machines[id.0]
            .on
            .as_ref()
            .map(|life| life.spawn(task))
            .is_some()
    }

    /// Lets one tick pass.
    pub fn step(&mut self) {
        self.leap(self.now + TICK);
    }

    /// Lets one tick pass, and those after it in which nothing happens, to `limit` at most.
    fn leap(&mut self, limit: Duration) {
        for machine in &mut self.machines {
            if let Some(life) = &mut machine.on
                && machine.still.is_none()
                && life.due() <= self.now
            {
                self.turns += 1;
                self.trace.turn(self.now, &machine.name);
                let unix = machine.clocks.unix(self.now);
                self.ambient.stand_at(unix, life.elapsed(self.now));
                life.run(self.now);
            }
        }
        let running = self.machines.iter().filter(|m| m.still.is_none());
        let lives = running.filter_map(|machine| machine.on.as_ref());
        let due = lives.map(Life::due).chain(self.network.due()).min();
        let next = due.map_or(limit, ceiling).min(limit);
        self.now = next.max(self.now + TICK);
        self.ambient.stand_at(EPOCH + self.now, self.now);
        self.trace.turn(self.now, &self.itself);
        self.network.advance(self.now);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.leap(end);
        }
    }

    /// Lets time pass until `done` says so, at most `limit`. Whether it said so.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.step();
        }
    }

    /// The seed of all of it.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Simulated time since the run began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How often a machine had something to do: what a run costs beside the work itself.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// The network: its faults and what it counted.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Whether a machine has power.
    pub fn is_on(&self, id: MachineId) -> bool {
        self.machines[id.0].on.is_some()
    }

    /// A machine's name.
    pub fn name(&self, id: MachineId) -> &Arc<str> {
        &self.machines[id.0].name
    }

    /// A machine's region.
    pub fn place(&self, id: MachineId) -> Place {
        self.machines[id.0].place
    }

    /// A machine's address.
    pub fn machine_ip(&self, id: MachineId) -> IpAddr {
        self.machines[id.0].ip
    }

    /// A machine's disk.
    pub fn disk(&self, id: MachineId) -> &Disk {
        &self.machines[id.0].disk
    }

    /// Flips a bit on the disk of a machine that is off; whether there was one to flip.
    pub fn corrupt(&mut self, id: MachineId, part: Part) -> bool {
        let machine = &mut self.machines[id.0];
        let flipped = machine.disk.flip_a_bit(part, &mut machine.random);
        self.trace.turn(self.now, &machine.name);
        self.trace.line(format_args!("flipped {flipped:?}"));
        flipped.is_some()
    }

    /// Lays down a file on a machine, as an operator would.
    pub fn lay_down(&self, id: MachineId, path: &str, bytes: impl Into<Vec<u8>>) {
        self.machines[id.0].named.put(path, bytes);
    }

    /// Lines of access log that a machine printed.
    pub fn printed(&self, id: MachineId) -> u64 {
        self.machines[id.0].printed.lines()
    }

    /// Tasks that run on a machine; none where it is off.
    pub fn tasks(&self, id: MachineId) -> u64 {
        let life = self.machines[id.0].on.as_ref();
        life.map_or(0, |life| life.tasks() as u64)
    }

    /// Bytes of memory that a machine's program holds; none where it is off, or no allocator tells.
    pub fn memory(&self, id: MachineId) -> Option<u64> {
        self.machines[id.0].on.as_ref()?.memory()
    }

    /// A machine's wall clock jumps to so many milliseconds ahead of the world's (behind, below 0), and from now on
    /// it and the monotonic clock drift.
    pub fn set_clocks(&mut self, id: MachineId, ahead_ms: i64, drift: Drift) {
        let machine = &mut self.machines[id.0];
        machine.clocks.set(self.now, ahead_ms, drift);
        if let Some(life) = &mut machine.on
            && machine.still.is_none()
        {
            life.set_drift(self.now, drift);
        }
    }

    /// Does something under a machine's own clocks, which others' may be far from: what is read of a program from
    /// outside is told by the clock that the program lives by.
    pub fn by_clock_of<T>(&self, id: MachineId, then: impl FnOnce() -> T) -> T {
        let machine = &self.machines[id.0];
        if let Some(life) = &machine.on {
            let unix = machine.clocks.unix(self.now);
            self.ambient.stand_at(unix, life.elapsed(self.now));
        }
        let outcome = then();
        self.ambient.stand_at(EPOCH + self.now, self.now);
        outcome
    }

    /// How far a machine's wall clock is off, either way.
    pub fn clock_off(&self, id: MachineId) -> Duration {
        let unix = self.machines[id.0].clocks.unix(self.now);
        unix.abs_diff(EPOCH + self.now)
    }

    /// Machines whose program ended by itself with an error, and the error.
    pub fn failures(&self) -> Vec<(Arc<str>, String)> {
        let failure = |machine: &Machine| {
            let outcome = machine.on.as_ref()?.end.outcome()?;
            Some((machine.name.clone(), outcome.err()?))
        };
        self.machines.iter().filter_map(failure).collect()
    }
}

/// The first tick that begins at this time or later.
fn ceiling(at: Duration) -> Duration {
    let ticks = at.as_nanos().div_ceil(TICK.as_nanos());
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

impl Drop for World {
    fn drop(&mut self) {
        // Sockets dropped with their runtimes must find the network off.
        for id in 0..self.machines.len() {
            self.take_down(MachineId(id), Down::PowerOff);
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
