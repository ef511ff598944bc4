//! Connections: the ordered byte streams under a simulated node's HTTP.
//!
//! In: dials, listeners, bytes. Out: the same bytes in order at the other end, a window at a time. A lost
//! piece comes late; a cut holds everything back until it heals or the sender gives up; a machine without
//! power says nothing; one that was started again answers old streams with a reset.
//!
//! Pair: [`super::streams::socket`] holds what a machine sees of a stream.

mod socket;

use std::{collections::VecDeque, io, net::SocketAddr, task::Waker, time::Duration};

use bytes::Bytes;
pub(in crate::world) use socket::{connect, listen};

use super::{Down, Event, MachineId, Port, Sent, State};

/// A stream, by the order of dialling.
pub(super) type StreamId = u64;

/// A stream's two ends and the pipes between them.
pub(super) struct StreamState {
    /// The dialler's end and the listener's.
    ends: [End; 2],
    /// `pipes[n]` carries what `ends[n]` writes.
    pipes: [Pipe; 2],
    dial: Dial,
}

struct End {
    machine: MachineId,
    life: u32,
    address: SocketAddr,
    /// Somebody holds it.
    open: bool,
    /// Reading and writing fail with this.
    broken: Option<io::ErrorKind>,
}

#[derive(Default)]
struct Pipe {
    /// On the way, with the time each piece is due.
    queue: VecDeque<(Duration, Piece)>,
    last_due: Duration,
    /// Arrived and not read.
    ready: VecDeque<Bytes>,
    /// Bytes written and not yet known to be read.
    in_window: usize,
    finished: bool,
    finish_arrived: bool,
    /// Since when nothing of it gets through.
    stuck_since: Option<Duration>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Piece {
    Bytes(Bytes),
    Finish,
}

struct Dial {
    to: Port,
    since: Duration,
    outcome: Option<Result<(), io::ErrorKind>>,
    waker: Option<Waker>,
}

/// What waits at a listener.
#[derive(Default)]
pub(super) struct Backlog {
    queue: VecDeque<StreamId>,
    waker: Option<Waker>,
}

/// What happens to a stream at a given time. `from` is the index of the writing end.
#[derive(Clone, Copy)]
pub(super) enum StreamEvent {
    /// The dial reaches the listener.
    Knock(StreamId),
    /// The listener's answer reaches the dialler.
    Answer(StreamId, bool),
    /// The first piece of a pipe is due.
    Arrive(StreamId, usize),
    /// The writer hears that so much was read.
    Credit(StreamId, usize, usize),
    /// An end hears that the other does not know the stream.
    Reset(StreamId, usize),
}

impl StreamState {
    /// How many of its ends a program of this machine holds.
    pub(super) fn held_by(&self, machine: MachineId) -> u64 {
        let ends = self.ends.iter();
        ends.map(|end| u64::from(end.open && end.machine == machine))
            .sum()
    }
}

impl State {
    pub(super) fn happen(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Knock(id) => self.knock(id),
            StreamEvent::Answer(id, accepted) => self.answer(id, accepted),
            StreamEvent::Arrive(id, from) => self.arrive(id, from),
            StreamEvent::Credit(id, from, bytes) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    let pipe = &mut stream.pipes[from];
                    pipe.in_window -= bytes;
                    self.woken.extend(pipe.writer.take());
                }
            }
            StreamEvent::Reset(id, end) => self.break_end(id, end, io::ErrorKind::ConnectionReset),
        }
    }

    /// Every end on this machine is gone; with [`Down::Kill`] the other ends hear of it.
    pub(super) fn abandon_streams(&mut self, machine: MachineId, down: Down) {
        let mut heard = Vec::new();
        for (id, stream) in &mut self.streams {
            for end in 0..2 {
                if stream.ends[end].machine == machine && stream.ends[end].open {
                    stream.ends[end].open = false;
                    heard.push((*id, end));
                }
            }
        }
        for (id, end) in heard {
            if down == Down::Kill {
                let delay = self.delay(id, end);
                let reset = StreamEvent::Reset(id, 1 - end);
                self.schedule(self.now + delay, Event::Stream(reset));
            }
            self.forget_if_closed(id);
        }
    }

    fn knock(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let (to, since) = (stream.dial.to, stream.dial.since);
        let dialler = stream.ends[0].machine;
        let silent = self.severed(dialler, to.0) || self.machines[to.0.0].is_silent();
        let backlog = self.backlogs.get(&to);
        let full = backlog.is_some_and(|backlog| backlog.queue.len() >= BACKLOG_BOUND);
        if silent || full {
            if self.now - since >= GIVE_UP {
                self.conclude(id, Err(io::ErrorKind::TimedOut));
            } else {
                let again = self.now + KNOCK_AGAIN;
                self.schedule(again, Event::Stream(StreamEvent::Knock(id)));
            }
            return;
        }
        let accepted = backlog.is_some();
        if accepted {
            let life = self.machines[to.0.0].life;
            let end = &mut self.streams.get_mut(&id).expect("seen above").ends[1];
            end.life = life;
            end.open = true;
            self.counts.streams_opened += 1;
            let backlog = self.backlogs.get_mut(&to).expect("seen above");
            backlog.queue.push_back(id);
            self.woken.extend(backlog.waker.take());
        } else {
            self.counts.streams_refused += 1;
        }
        self.trace.line(format_args!("knock {id} {accepted}"));
        let delay = self.delay(id, 1);
        let answer = StreamEvent::Answer(id, accepted);
        self.schedule(self.now + delay, Event::Stream(answer));
    }

    fn answer(&mut self, id: StreamId, accepted: bool) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let since = stream.dial.since;
        let (near, far) = (stream.ends[0].machine, stream.ends[1].machine);
        if self.severed(far, near) {
            if self.now - since >= GIVE_UP {
                self.conclude(id, Err(io::ErrorKind::TimedOut));
            } else {
                let answer = StreamEvent::Answer(id, accepted);
                self.schedule(self.now + TRY_AGAIN, Event::Stream(answer));
            }
            return;
        }
        let refused = Err(io::ErrorKind::ConnectionRefused);
        self.conclude(id, if accepted { Ok(()) } else { refused });
    }

    fn conclude(&mut self, id: StreamId, outcome: Result<(), io::ErrorKind>) {
        let stream = self.streams.get_mut(&id).expect("the caller has seen it");
        stream.dial.outcome.get_or_insert(outcome);
        self.woken.extend(stream.dial.waker.take());
    }

    fn arrive(&mut self, id: StreamId, from: usize) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let (near, far) = (stream.ends[from].machine, stream.ends[1 - from].machine);
        let severed = self.severed(near, far);
        let stream = self.streams.get_mut(&id).expect("just seen");
        let receiver = &stream.ends[1 - from];
        let far = &self.machines[far.0];
        let unknown = !far.on || receiver.life != far.life || !receiver.open;
        let pipe = &mut stream.pipes[from];
        if severed || far.is_silent() {
            let since = *pipe.stuck_since.get_or_insert(self.now);
            if self.now - since >= GIVE_UP {
                self.break_end(id, from, io::ErrorKind::TimedOut);
            } else {
                let arrive = StreamEvent::Arrive(id, from);
                self.schedule(self.now + TRY_AGAIN, Event::Stream(arrive));
            }
            return;
        }
        pipe.stuck_since = None;
        if unknown {
            let only_finish = matches!(pipe.queue.front(), Some((_, Piece::Finish)));
            pipe.queue.clear();
            if !only_finish {
                let delay = self.delay(id, 1 - from);
                let reset = StreamEvent::Reset(id, from);
                self.schedule(self.now + delay, Event::Stream(reset));
            }
            return;
        }
        let mut arrived = 0;
        while let Some((due, _)) = pipe.queue.front()
            && *due <= self.now
        {
            match pipe.queue.pop_front().expect("just seen").1 {
                Piece::Bytes(bytes) => {
                    arrived += bytes.len();
                    pipe.ready.push_back(bytes);
                }
                Piece::Finish => pipe.finish_arrived = true,
            }
        }
        self.woken.extend(pipe.reader.take());
        let next = pipe.queue.front().map(|(due, _)| *due);
        self.counts.stream_bytes += arrived as u64;
        self.trace
            .line(format_args!("stream {id} {from} {arrived}"));
        if let Some(due) = next {
            self.schedule(due, Event::Stream(StreamEvent::Arrive(id, from)));
        }
    }

    /// Sends one piece on its way. `from` is the writing end.
    fn push(&mut self, id: StreamId, from: usize, piece: Piece) {
        let length = match &piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Finish => 0,
        };
        let delay = self.delay_of(id, from, length);
        let stream = self.streams.get_mut(&id).expect("the caller has seen it");
        let pipe = &mut stream.pipes[from];
        // Order is kept: nothing overtakes.
        let due = pipe.last_due.max(self.now + delay);
        pipe.last_due = due;
        pipe.queue.push_back((due, piece));
        if pipe.queue.len() == 1 {
            self.schedule(due, Event::Stream(StreamEvent::Arrive(id, from)));
        }
    }

    /// How long the way from one end to the other takes a segment without data this time.
    fn delay(&mut self, id: StreamId, from: usize) -> Duration {
        self.delay_of(id, from, 0)
    }

    /// How long it takes so many bytes.
    fn delay_of(&mut self, id: StreamId, from: usize, length: usize) -> Duration {
        let ends = &self.streams[&id].ends;
        let (near, far) = (ends[from].machine, ends[1 - from].machine);
        let (near, far) = (self.place(near), self.place(far));
        let sent = Sent {
            at: self.now,
            length,
        };
        self.links.stream_delay(&mut self.random, near, far, sent)
    }

    fn break_end(&mut self, id: StreamId, end: usize, kind: io::ErrorKind) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let broken = &mut stream.ends[end];
        if !broken.open || broken.broken.is_some() {
            return;
        }
        broken.broken = Some(kind);
        stream.pipes[end].queue.clear();
        self.woken.extend(stream.pipes[end].writer.take());
        self.woken.extend(stream.pipes[1 - end].reader.take());
        self.counts.streams_broken += 1;
        self.trace.line(format_args!("broken {id} {end} {kind:?}"));
    }

    /// Nobody holds this end any more.
    fn close(&mut self, id: StreamId, end: usize) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.ends[end].open = false;
        if stream.ends[end].broken.is_none() && !stream.pipes[end].finished {
            stream.pipes[end].finished = true;
            if stream.ends[1 - end].open {
                self.push(id, end, Piece::Finish);
            }
        }
        self.forget_if_closed(id);
    }

    fn forget_if_closed(&mut self, id: StreamId) {
        if self.streams[&id].ends.iter().all(|end| !end.open) {
            // Wakers are dropped with it, after the lock.
            if let Some(stream) = self.streams.remove(&id) {
                for pipe in stream.pipes {
                    self.woken.extend(pipe.reader);
                    self.woken.extend(pipe.writer);
                }
            }
        }
    }
}

/// Bytes on the way or unread in one direction: the receive window that HTTP servers start with on Linux.
const WINDOW: usize = 64 * 1024;

/// Connections that wait to be accepted; further ones knock again (SOMAXCONN was 128 for decades).
const BACKLOG_BOUND: usize = 128;

/// After this long without an answer an end gives up. Kernels wait for minutes; no timeout of the gateway
/// is near either, and scenarios are short.
const GIVE_UP: Duration = Duration::from_secs(15);

/// Between two attempts to get a piece through a cut.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Between two attempts to connect (RFC 6298 section 2.1: the first timeout is one second).
const KNOCK_AGAIN: Duration = Duration::from_secs(1);
