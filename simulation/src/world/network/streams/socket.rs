//! What a machine sees of a stream: a dial, a listener, and the stream itself.
//!
//! In: polls of a machine's tasks. Out: bytes, or errors of the kinds that an operating system gives.
//! Pair: the parent module moves the bytes.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use meridian_cluster::host::{BoxFuture, BoxListener, BoxStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    super::{Event, MachineId, Network},
    Backlog, Dial, End, Piece, Pipe, StreamEvent, StreamId, StreamState, WINDOW,
};

/// Opens a stream from one life of a machine.
pub(in crate::world) async fn connect(
    network: Network,
    machine: MachineId,
    life: u32,
    to: SocketAddr,
) -> io::Result<BoxStream> {
    let id = dial(&network, machine, life, to)?;
    // Dropped before the answer, it takes the attempt back.
    let socket = Socket {
        network: network.clone(),
        id,
        end: 0,
        machine,
        life,
    };
    poll_fn(|context| {
        network.with(|state| {
            let Some(stream) = state.streams.get_mut(&id) else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted));
            };
            if let Some(outcome) = stream.dial.outcome {
                return Poll::Ready(outcome);
            }
            stream.dial.waker = Some(context.waker().clone());
            Poll::Pending
        })
    })
    .await?;
    Ok(Box::new(socket))
}

fn dial(network: &Network, machine: MachineId, life: u32, to: SocketAddr) -> io::Result<StreamId> {
    network.with(|state| {
        if !state.lives(machine, life) {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let target = state
            .target(machine, to)
            .ok_or(io::ErrorKind::HostUnreachable)?;
        let ip = if to.ip().is_loopback() {
            to.ip()
        } else {
            state.machines[machine.0].ip
        };
        let port = state.free_port(machine)?;
        state.sequence += 1;
        let id = state.sequence;
        let end = |machine, life, address, open| End {
            machine,
            life,
            address,
            open,
            broken: None,
        };
        let stream = StreamState {
            ends: [
                end(machine, life, SocketAddr::new(ip, port), true),
                end(target.0, 0, to, false),
            ],
            pipes: [Pipe::default(), Pipe::default()],
            dial: Dial {
                to: target,
                since: state.now,
                outcome: None,
                waker: None,
            },
        };
        state.streams.insert(id, stream);
        let delay = state.delay(id, 0);
        let at = state.now + delay;
        state.schedule(at, Event::Stream(StreamEvent::Knock(id)));
        Ok(id)
    })
}

/// Listens on behalf of one life of a machine.
pub(in crate::world) fn listen(
    network: &Network,
    machine: MachineId,
    life: u32,
    addr: SocketAddr,
) -> io::Result<BoxListener> {
    let port = network.with(|state| {
        let port = state.bindable(machine, addr)?;
        if state.backlogs.contains_key(&(machine, port)) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        state.backlogs.insert((machine, port), Backlog::default());
        Ok(port)
    })?;
    Ok(Box::new(StreamListener {
        network: network.clone(),
        machine,
        life,
        local: SocketAddr::new(addr.ip(), port),
    }))
}

struct StreamListener {
    network: Network,
    machine: MachineId,
    life: u32,
    local: SocketAddr,
}

impl Listener for StreamListener {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(poll_fn(|context| self.poll_accept(context)))
    }
}

impl StreamListener {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(BoxStream, SocketAddr)>> {
        let accepted = self.network.with(|state| {
            if !state.lives(self.machine, self.life) {
                return Poll::Pending;
            }
            let backlog = state
                .backlogs
                .get_mut(&(self.machine, self.local.port()))
                .expect("a listener's backlog lives as long as it");
            while let Some(id) = backlog.queue.pop_front() {
                if let Some(stream) = state.streams.get(&id) {
                    return Poll::Ready((id, stream.ends[0].address));
                }
            }
            backlog.waker = Some(context.waker().clone());
            Poll::Pending
        });
        accepted.map(|(id, peer)| {
            let socket: BoxStream = Box::new(Socket {
                network: self.network.clone(),
                id,
                end: 1,
                machine: self.machine,
                life: self.life,
            });
            Ok((socket, peer))
        })
    }
}

impl Drop for StreamListener {
    fn drop(&mut self) {
        let _waker = self.network.with(|state| {
            if !state.lives(self.machine, self.life) {
                return None;
            }
            let backlog = state.backlogs.remove(&(self.machine, self.local.port()))?;
            for id in backlog.queue {
                if state.streams.contains_key(&id) {
                    let delay = state.delay(id, 1);
                    let at = state.now + delay;
                    state.schedule(at, Event::Stream(StreamEvent::Reset(id, 0)));
                    state.close(id, 1);
                }
            }
            backlog.waker
        });
    }
}

/// One end of a stream.
struct Socket {
    network: Network,
    id: StreamId,
    end: usize,
    machine: MachineId,
    life: u32,
}

impl Socket {
    fn poll_send(
        &self,
        context: &mut Context<'_>,
        gather: impl FnOnce(usize) -> Bytes,
    ) -> Poll<io::Result<usize>> {
        self.network.with(|state| {
            let stream = state
                .streams
                .get_mut(&self.id)
                .ok_or(io::ErrorKind::NotConnected)?;
            if let Some(kind) = stream.ends[self.end].broken {
                return Poll::Ready(Err(kind.into()));
            }
            let pipe = &mut stream.pipes[self.end];
            if pipe.finished {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = WINDOW - pipe.in_window;
            if room == 0 {
                pipe.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            let bytes = gather(room);
            let length = bytes.len();
            pipe.in_window += length;
            if length > 0 {
                state.push(self.id, self.end, Piece::Bytes(bytes));
            }
            Poll::Ready(Ok(length))
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let from = 1 - self.end;
        self.network.with(|state| {
            let stream = state
                .streams
                .get_mut(&self.id)
                .ok_or(io::ErrorKind::NotConnected)?;
            if let Some(kind) = stream.ends[self.end].broken {
                return Poll::Ready(Err(kind.into()));
            }
            let pipe = &mut stream.pipes[from];
            let mut taken = 0;
            while let Some(bytes) = pipe.ready.front_mut()
                && buffer.remaining() > 0
            {
                let length = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes[..length]);
                bytes.advance(length);
                taken += length;
                if bytes.is_empty() {
                    pipe.ready.pop_front();
                }
            }
            if taken > 0 {
                let delay = state.delay(self.id, self.end);
                let at = state.now + delay;
                let credit = StreamEvent::Credit(self.id, from, taken);
                state.schedule(at, Event::Stream(credit));
                return Poll::Ready(Ok(()));
            }
            if pipe.finish_arrived || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, |room| {
            Bytes::copy_from_slice(&bytes[..bytes.len().min(room)])
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, |room| {
            let mut gathered = BytesMut::new();
            for slice in slices {
                let length = slice.len().min(room - gathered.len());
                gathered.extend_from_slice(&slice[..length]);
            }
            gathered.freeze()
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.with(|state| {
            if let Some(stream) = state.streams.get_mut(&self.id)
                && stream.ends[self.end].broken.is_none()
                && !stream.pipes[self.end].finished
            {
                stream.pipes[self.end].finished = true;
                state.push(self.id, self.end, Piece::Finish);
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.network.with(|state| {
            if state.lives(self.machine, self.life) {
                state.close(self.id, self.end);
            }
        });
    }
}
