//! The false network: packets and streams between machines, with latency, loss and cuts.
//!
//! In: what machines send, and the faults of a scenario. Out: the same at the other end, later or never.
//! Everything due is delivered between two ticks, ordered by time and then by the order of sending, so
//! the order in which machines run within a tick cannot matter to what arrives.
//!
//! - [`links`]: what happens on the way (a core);
//! - [`packets`]: datagrams, under QUIC;
//! - [`streams`]: connections, under HTTP.

mod links;
mod packets;
mod streams;
mod trouble;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

pub use links::{Capacity, Conditions, Links, Place, Sent, Verdict};
pub(super) use packets::bind;
use packets::{Datagram, Inbox};
use rand::rngs::StdRng;
use streams::{Backlog, StreamEvent, StreamId, StreamState};
pub(super) use streams::{connect, listen};
pub use trouble::{Touched, Trouble};

use super::{Seed, Trace};

/// A machine of the world, by the order in which machines were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub usize);

/// How a machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Power is lost: nobody says anything any more.
    PowerOff,
    /// The process is killed and its kernel lives: peers of its streams hear a reset, and who dials is refused.
    Kill,
}

/// What the network did, so that a scenario can tell whether its faults really happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Packets that machines sent.
    pub packets_sent: u64,
    /// Packets that arrived.
    pub packets_delivered: u64,
    /// Packets lost by chance.
    pub packets_lost: u64,
    /// Packets lost to a full queue before a link.
    pub packets_overflowed: u64,
    /// Packets that arrived twice.
    pub packets_duplicated: u64,
    /// Packets lost on a cut link.
    pub packets_cut: u64,
    /// Packets that nobody took: the machine was down, or nothing was bound there.
    pub packets_unclaimed: u64,
    /// Streams that came about.
    pub streams_opened: u64,
    /// Streams refused because nobody listened.
    pub streams_refused: u64,
    /// Ends of streams that broke.
    pub streams_broken: u64,
    /// Bytes that streams delivered.
    pub stream_bytes: u64,
}

/// The network. Clones are one network.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

struct State {
    now: Duration,
    random: StdRng,
    links: Links,
    machines: Vec<Machine>,
    names: BTreeMap<String, IpAddr>,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    inboxes: BTreeMap<Port, Inbox>,
    backlogs: BTreeMap<Port, Backlog>,
    streams: BTreeMap<StreamId, StreamState>,
    counts: Counts,
    trace: Trace,
    /// Whom to wake once the lock is released: a waker may run code that takes it.
    woken: Vec<Waker>,
}

struct Machine {
    place: Place,
    ip: IpAddr,
    /// Its kernel answers, be it that nobody listens.
    powered: bool,
    /// Its program runs.
    on: bool,
    /// It stands still, kernel and all: it says nothing, and what reaches it is lost.
    asleep: bool,
    /// Its cable is pulled: it reaches nobody but itself.
    unplugged: bool,
    /// Packets that it would have sent or received otherwise.
    kept_off: u64,
    /// Counts starts: what belonged to an earlier life reaches nobody.
    life: u32,
    next_port: u16,
}

type Port = (MachineId, u16);

enum Event {
    Packet { to: Port, datagram: Datagram },
    Stream(StreamEvent),
}

impl Network {
    /// A network without machines.
    pub fn new(seed: Seed, links: Links, trace: Trace) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                now: Duration::ZERO,
                random: seed.stream("network"),
                links,
                machines: Vec::new(),
                names: BTreeMap::new(),
                events: BTreeMap::new(),
                sequence: 0,
                inboxes: BTreeMap::new(),
                backlogs: BTreeMap::new(),
                streams: BTreeMap::new(),
                counts: Counts::default(),
                trace,
                woken: Vec::new(),
            })),
        }
    }

    /// Adds a machine, switched off, that the name resolves to.
    pub fn add(&self, name: &str, place: Place) -> (MachineId, IpAddr) {
        self.with(|state| {
            let id = MachineId(state.machines.len());
            let host = u8::try_from(id.0 + 1).expect("a world holds at most 255 machines");
            let region = u8::try_from(place.0).expect("a world holds at most 255 regions");
            let ip = IpAddr::V4(Ipv4Addr::new(10, region, 0, host));
            state.machines.push(Machine {
                place,
                ip,
                powered: false,
                on: false,
                asleep: false,
                unplugged: false,
                kept_off: 0,
                life: 0,
                next_port: FIRST_FREE_PORT,
            });
            state.names.insert(name.to_owned(), ip);
            (id, ip)
        })
    }

    /// Switches a machine on and returns which of its lives this is.
    pub fn switch_on(&self, id: MachineId) -> u32 {
        self.with(|state| {
            let machine = &mut state.machines[id.0];
            assert!(!machine.on, "a machine that runs cannot be started");
            machine.powered = true;
            machine.on = true;
            machine.life += 1;
            machine.life
        })
    }

    /// Switches a machine off: its sockets and ends of streams are gone.
    pub fn switch_off(&self, id: MachineId, down: Down) {
        self.with(|state| {
            state.machines[id.0].on = false;
            state.machines[id.0].powered = down == Down::Kill;
            state.machines[id.0].asleep = false;
            let woken = &mut state.woken;
            state.inboxes.retain(|port, inbox| {
                woken.extend(inbox.waker.take());
                port.0 != id
            });
            state.backlogs.retain(|port, _| port.0 != id);
            state.abandon_streams(id, down);
        });
    }

    /// Pulls a machine's cable, or plugs it in again.
    pub fn set_unplugged(&self, id: MachineId, unplugged: bool) {
        self.with(|state| state.machines[id.0].unplugged = unplugged);
    }

    /// Lets a machine fall asleep as a whole, or wakes it.
    pub(super) fn set_asleep(&self, id: MachineId, asleep: bool) {
        self.with(|state| state.machines[id.0].asleep = asleep);
    }

    /// Whether a machine's kernel answers, whatever its program does.
    pub fn is_awake(&self, id: MachineId) -> bool {
        self.with(|state| !state.machines[id.0].is_silent())
    }

    /// Whether a machine can be heard of and hear others, if it runs.
    pub fn hears(&self, id: MachineId) -> bool {
        self.with(|state| !state.machines[id.0].unplugged)
    }

    /// Packets lost because a machine's cable was pulled.
    pub fn kept_off(&self, id: MachineId) -> u64 {
        self.with(|state| state.machines[id.0].kept_off)
    }

    /// Reads or changes latencies, cuts and conditions. The network is locked meanwhile: `change` must not
    /// call it.
    pub fn links(&self, change: impl FnOnce(&mut Links)) {
        self.with(|state| change(&mut state.links));
    }

    /// What the network did so far.
    pub fn counts(&self) -> Counts {
        self.with(|state| state.counts)
    }

    /// Streams that programs of a machine hold.
    pub fn streams_of(&self, machine: MachineId) -> u64 {
        self.with(|state| {
            let held = state.streams.values();
            held.map(|stream| stream.held_by(machine)).sum()
        })
    }

    /// The simulated time since the run began.
    pub fn now(&self) -> Duration {
        self.with(|state| state.now)
    }

    /// When the next thing happens that is on its way.
    pub(super) fn due(&self) -> Option<Duration> {
        self.with(|state| Some(state.events.first_key_value()?.0.0))
    }

    /// Moves to `now` and delivers all that is due.
    pub(super) fn advance(&self, now: Duration) {
        self.with(|state| {
            state.now = now;
            while let Some(entry) = state.events.first_entry()
                && entry.key().0 <= now
            {
                match entry.remove() {
                    Event::Packet { to, datagram } => state.deliver(to, datagram),
                    Event::Stream(event) => state.happen(event),
                }
            }
        });
    }

    /// The address of a machine's name, or of a literal.
    pub(super) fn resolve(&self, name: &str) -> io::Result<IpAddr> {
        if let Ok(ip) = name.parse() {
            return Ok(ip);
        }
        self.with(|state| state.names.get(name).copied())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no host {name}")))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state);
        let woken = std::mem::take(&mut state.woken);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Machine {
    /// Nobody hears a word from it: not even that nobody listens.
    fn is_silent(&self) -> bool {
        !self.powered || self.asleep
    }
}

impl State {
    fn schedule(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    fn lives(&self, machine: MachineId, life: u32) -> bool {
        let machine = &self.machines[machine.0];
        machine.on && machine.life == life
    }

    fn place(&self, machine: MachineId) -> Place {
        self.machines[machine.0].place
    }

    /// Whether a pulled cable lies between two machines.
    fn unplugged(&self, from: MachineId, to: MachineId) -> bool {
        from != to && (self.machines[from.0].unplugged || self.machines[to.0].unplugged)
    }

    /// Whether nothing gets from one machine to another.
    fn severed(&self, from: MachineId, to: MachineId) -> bool {
        self.links.is_cut(self.place(from), self.place(to)) || self.unplugged(from, to)
    }

    /// Notes a packet that a pulled cable kept off, or a cut.
    fn note_severed(&mut self, from: MachineId, to: MachineId) {
        self.counts.packets_cut += 1;
        if !self.unplugged(from, to) {
            self.links.note_cut(self.place(from), self.place(to));
            return;
        }
        for machine in [from, to] {
            let machine = &mut self.machines[machine.0];
            machine.kept_off += u64::from(machine.unplugged);
        }
    }

    /// Where an address leads, seen from a machine; `None` where no machine has it.
    fn target(&self, from: MachineId, to: SocketAddr) -> Option<Port> {
        let machine = if to.ip().is_loopback() {
            from
        } else {
            let holds = |machine: &Machine| machine.ip == to.ip();
            MachineId(self.machines.iter().position(holds)?)
        };
        Some((machine, to.port()))
    }

    /// The port to bind for an address of a machine; port 0 takes a free one.
    fn bindable(&mut self, machine: MachineId, addr: SocketAddr) -> io::Result<u16> {
        let own = self.machines[machine.0].ip;
        let ip = addr.ip();
        if !(ip.is_unspecified() || ip.is_loopback() || ip == own) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if addr.port() != 0 {
            return Ok(addr.port());
        }
        self.free_port(machine)
    }

    fn free_port(&mut self, machine: MachineId) -> io::Result<u16> {
        for _ in FIRST_FREE_PORT..=u16::MAX {
            let entry = &mut self.machines[machine.0];
            let port = entry.next_port;
            entry.next_port = port.checked_add(1).unwrap_or(FIRST_FREE_PORT);
            let key = (machine, port);
            if !self.inboxes.contains_key(&key) && !self.backlogs.contains_key(&key) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

/// First port of the range that IANA leaves to dynamic use (RFC 6335 section 6).
const FIRST_FREE_PORT: u16 = 49_152;
