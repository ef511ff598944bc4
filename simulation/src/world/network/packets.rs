//! Datagrams: the socket under a simulated node's QUIC endpoint.
//!
//! In: what quinn sends. Out: the same at another machine's socket after the link's latency, once, twice or
//! never, possibly overtaken. Pair: [`Links`](super::Links) decides.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::{Event, MachineId, Network, Port, State, Verdict, links::Sent};

/// What waits at a bound port.
#[derive(Default)]
pub(super) struct Inbox {
    queue: VecDeque<Datagram>,
    pub(super) waker: Option<Waker>,
}

/// One packet's payload and where it came from.
pub(super) struct Datagram {
    from: SocketAddr,
    bytes: Bytes,
}

/// Binds a packet socket for one life of a machine.
pub(in crate::world) fn bind(
    network: &Network,
    machine: MachineId,
    life: u32,
    addr: SocketAddr,
) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let port = network.with(|state| {
        let port = state.bindable(machine, addr)?;
        if state.inboxes.contains_key(&(machine, port)) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        state.inboxes.insert((machine, port), Inbox::default());
        Ok(port)
    })?;
    Ok(Arc::new(PacketSocket {
        network: network.clone(),
        machine,
        life,
        local: SocketAddr::new(addr.ip(), port),
    }))
}

struct PacketSocket {
    network: Network,
    machine: MachineId,
    life: u32,
    local: SocketAddr,
}

impl PacketSocket {
    fn port(&self) -> Port {
        (self.machine, self.local.port())
    }
}

impl AsyncUdpSocket for PacketSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        self.network.with(|state| {
            if state.lives(self.machine, self.life) {
                for segment in transmit.contents.chunks(size.max(1)) {
                    state.send(self.port(), transmit.destination, segment);
                }
            }
        });
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.network.with(|state| {
            if !state.lives(self.machine, self.life) {
                return Poll::Pending;
            }
            let Some(inbox) = state.inboxes.get_mut(&self.port()) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let mut filled = 0;
            for (buffer, meta) in buffers.iter_mut().zip(meta) {
                let Some(datagram) = inbox.queue.pop_front() else {
                    break;
                };
                let length = datagram.bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&datagram.bytes[..length]);
                *meta = RecvMeta {
                    addr: datagram.from,
                    len: length,
                    stride: length,
                    ecn: None,
                    dst_ip: None,
                };
                filled += 1;
            }
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
            inbox.waker = Some(context.waker().clone());
            Poll::Pending
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Drop for PacketSocket {
    fn drop(&mut self) {
        let port = self.port();
        // Dropped outside the lock: it holds a waker.
        let _inbox = self.network.with(|state| {
            let lives = state.lives(self.machine, self.life);
            lives.then(|| state.inboxes.remove(&port))
        });
    }
}

impl fmt::Debug for PacketSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketSocket")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl State {
    fn send(&mut self, from: Port, to: SocketAddr, bytes: &[u8]) {
        self.counts.packets_sent += 1;
        let Some(target) = self.target(from.0, to) else {
            self.counts.packets_unclaimed += 1;
            return;
        };
        let ip = if to.ip().is_loopback() {
            to.ip()
        } else {
            self.machines[from.0.0].ip
        };
        let source = SocketAddr::new(ip, from.1);
        let length = bytes.len();
        if length > LARGEST_PAYLOAD {
            self.counts.packets_lost += 1;
            self.trace
                .line(format_args!("packet-too-large {source} {to} {length}"));
            return;
        }
        let (near, far) = (self.place(from.0), self.place(target.0));
        let sent = Sent {
            at: self.now,
            length,
        };
        let verdict = if self.unplugged(from.0, target.0) {
            Verdict::Cut
        } else {
            self.links.packet(&mut self.random, near, far, sent)
        };
        let (first, second) = match verdict {
            Verdict::Cut => {
                self.note_severed(from.0, target.0);
                self.trace
                    .line(format_args!("packet-cut {source} {to} {length}"));
                return;
            }
            Verdict::Lose => {
                self.counts.packets_lost += 1;
                self.trace
                    .line(format_args!("packet-lost {source} {to} {length}"));
                return;
            }
            Verdict::Overflow => {
                self.counts.packets_overflowed += 1;
                self.trace
                    .line(format_args!("packet-overflow {source} {to} {length}"));
                return;
            }
            Verdict::Deliver(delay) => (delay, None),
            Verdict::Duplicate(first, second) => {
                self.counts.packets_duplicated += 1;
                (first, Some(second))
            }
        };
        let bytes = Bytes::copy_from_slice(bytes);
        for delay in [Some(first), second].into_iter().flatten() {
            let datagram = Datagram {
                from: source,
                bytes: bytes.clone(),
            };
            let to = target;
            self.schedule(self.now + delay, Event::Packet { to, datagram });
        }
    }

    pub(super) fn deliver(&mut self, to: Port, datagram: Datagram) {
        let from = datagram.from;
        let length = datagram.bytes.len();
        let (machine, port) = (to.0.0, to.1);
        // A cut also loses what is already under way.
        if let Some((sender, _)) = self.target(to.0, from)
            && self.severed(sender, to.0)
        {
            self.note_severed(sender, to.0);
            self.trace
                .line(format_args!("packet-cut {from} {machine}:{port} {length}"));
            return;
        }
        if self.machines[machine].asleep {
            self.counts.packets_unclaimed += 1;
            return;
        }
        match self.inboxes.get_mut(&to) {
            Some(inbox) if inbox.queue.len() < INBOX_BOUND => {
                inbox.queue.push_back(datagram);
                self.woken.extend(inbox.waker.take());
                self.counts.packets_delivered += 1;
                self.trace
                    .line(format_args!("packet {from} {machine}:{port} {length}"));
            }
            Some(_) => self.counts.packets_lost += 1,
            None => self.counts.packets_unclaimed += 1,
        }
    }
}

/// What an Ethernet frame carries below IPv4 and UDP headers: larger datagrams are lost, so that path MTU
/// discovery finds a limit as it does outside.
const LARGEST_PAYLOAD: usize = 1_472;

/// Datagrams a socket's buffer holds (about Linux's 212 KiB default, in packets of 200 bytes); more are lost.
const INBOX_BOUND: usize = 1_024;
