//! The shape of HTTP/1 messages on the wire, before a parser smooths it over.
//!
//! In: the bytes of a connection, in pieces of any size. Out: how many of them may pass to the parser, or
//! why the message is refused. A core; its shell is `listener::screened`.
//!
//! hyper reads leniently where RFC 9112 lets it: it drops a `Content-Length` beside a
//! `Transfer-Encoding`, merges equal lengths, takes bare line feeds. Each is a shape that request smuggling
//! is made of, and none can be seen any more once it has parsed. So the wire is looked at first, strictly.
//! The screen only ever refuses; where it is wrong about where a body ends, it refuses a good request, and
//! cannot let a bad one pass that hyper would refuse.

mod framing;

use framing::{Framing, METHOD, framing, malformed, too_large};

use super::Limits;
use crate::problem::Refusal;

/// Watches one connection.
#[derive(Debug)]
pub struct Screen {
    state: State,
    /// Bytes of the unfinished head or line that have been searched already, so that a head that comes
    /// byte by byte is not searched from its start each time.
    searched: usize,
    /// Whether the unfinished head has a complete line.
    lined: bool,
    limits: Limits,
}

/// What may happen to the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The first so many bytes may pass; ask again with what follows.
    Pass(usize),
    /// They end within a head; ask again when more have come.
    More,
    /// A request begins here that must not pass.
    Refuse(Refusal),
    /// The body of a request that has passed is broken: the connection ends.
    Break,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the first byte of a message (or an empty line before it).
    Head,
    /// Within a body of known length.
    Length(u64),
    Chunk(Chunk),
    /// What follows belongs to another protocol, or to nobody: a request that asked for an upgrade is
    /// the last of its connection.
    Opaque,
}

/// Where in a chunked body (RFC 9112 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
        length: u16,
    },
    SizeEnd {
        value: u64,
    },
    Data(u64),
    DataReturn,
    DataEnd,
    /// In the trailer section; `line` counts the bytes of this line, `total` of all.
    Trailer {
        line: u16,
        total: u32,
    },
    TrailerEnd {
        line: u16,
        total: u32,
    },
}

/// Hexadecimal digits of a chunk's size: 15 give 2^60 bytes, and cannot overflow.
const SIZE_DIGITS: u8 = 15;
/// Bytes of chunk extensions in a row. Nobody uses them; unbounded ones are a way to make a server work.
const EXTENSION: u16 = 256;

impl Screen {
    /// A screen at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            state: State::Head,
            searched: 0,
            lined: false,
            limits,
        }
    }

    /// Whether the next byte begins a message.
    pub fn between_messages(&self) -> bool {
        self.state == State::Head
    }

    /// Looks at bytes that have not passed yet, from the first of them on.
    pub fn examine(&mut self, bytes: &[u8]) -> Verdict {
        if bytes.is_empty() {
            return Verdict::More;
        }
        match self.state {
            State::Head => self.head(bytes),
            State::Length(left) => {
                let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(left);
                self.state = match left - here {
                    0 => State::Head,
                    rest => State::Length(rest),
                };
                Verdict::Pass(usize::try_from(here).unwrap_or(bytes.len()))
            }
            State::Chunk(chunk) => self.chunked(chunk, bytes),
            State::Opaque => Verdict::Pass(bytes.len()),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Verdict {
        // One empty line before a request line is forgiven (RFC 9112 section 2.2).
        let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let from = self.searched.saturating_sub(3).max(start);
        let end = bytes
            .get(from..)
            .and_then(|rest| rest.windows(4).position(|four| four == b"\r\n\r\n"))
            .map(|at| from + at + 4);
        let Some(end) = end else {
            return self.unfinished(bytes, start);
        };
        match framing(&bytes[start..end], &self.limits) {
            Ok(framing) => {
                self.searched = 0;
                self.lined = false;
                self.state = match framing {
                    Framing::Length(0) => State::Head,
                    Framing::Length(length) => State::Length(length),
                    Framing::Chunked => State::Chunk(Chunk::Size {
                        value: 0,
                        digits: 0,
                    }),
                    Framing::Opaque => State::Opaque,
                };
                Verdict::Pass(end)
            }
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }

    /// A head without its end: refused as soon as it can't become good. Only what is new is looked at.
    fn unfinished(&mut self, bytes: &[u8], start: usize) -> Verdict {
        // Kept only if more is awaited: a refused head may be looked at again, and is refused again.
        let mut lined = self.lined;
        let mut first_line = if lined { 0 } else { bytes.len() - start };
        for at in self.searched.max(start)..bytes.len() {
            if bytes[at] == b'\n' {
                // A line feed alone would never end the head for us, and would for others.
                if at == 0 || bytes[at - 1] != b'\r' {
                    return Verdict::Refuse(malformed("a line ends without carriage return"));
                }
                if !lined {
                    lined = true;
                    first_line = at - start;
                }
            }
        }
        if first_line > self.limits.target + METHOD + 16 {
            return Verdict::Refuse(Refusal::UriTooLong {
                limit: self.limits.target,
            });
        }
        if bytes.len() - start > self.limits.head {
            return Verdict::Refuse(too_large(&self.limits));
        }
        self.searched = bytes.len();
        self.lined = lined;
        Verdict::More
    }

    fn chunked(&mut self, mut chunk: Chunk, bytes: &[u8]) -> Verdict {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            chunk = match (chunk, byte) {
                (Chunk::Size { value, digits }, byte) => match (hex(byte), byte) {
                    (Some(digit), _) if digits < SIZE_DIGITS => Chunk::Size {
                        value: value << 4 | u64::from(digit),
                        digits: digits + 1,
                    },
                    (None, b'\r') if digits > 0 => Chunk::SizeEnd { value },
                    (None, b';') if digits > 0 => Chunk::Extension { value, length: 0 },
                    _ => return Verdict::Break,
                },
                (Chunk::Extension { value, .. }, b'\r') => Chunk::SizeEnd { value },
                (Chunk::Extension { value, length }, byte)
                    if byte != b'\n' && byte != 0 && length < EXTENSION =>
                {
                    Chunk::Extension {
                        value,
                        length: length + 1,
                    }
                }
                (Chunk::SizeEnd { value: 0 }, b'\n') => Chunk::Trailer { line: 0, total: 0 },
                (Chunk::SizeEnd { value }, b'\n') => Chunk::Data(value),
                (Chunk::Data(left), _) => {
                    let there = u64::try_from(bytes.len() - at + 1).unwrap_or(u64::MAX);
                    let here = there.min(left);
                    at += usize::try_from(here - 1).unwrap_or(0);
                    match left - here {
                        0 => Chunk::DataReturn,
                        rest => Chunk::Data(rest),
                    }
                }
                (Chunk::DataReturn, b'\r') => Chunk::DataEnd,
                (Chunk::DataEnd, b'\n') => Chunk::Size {
                    value: 0,
                    digits: 0,
                },
                (Chunk::Trailer { line, total }, b'\r') => Chunk::TrailerEnd { line, total },
                (Chunk::Trailer { line, total }, byte)
                    if byte != b'\n' && byte != 0 && total < self.trailer_limit() =>
                {
                    Chunk::Trailer {
                        line: line.saturating_add(1),
                        total: total + 1,
                    }
                }
                (Chunk::TrailerEnd { line: 0, .. }, b'\n') => {
                    self.state = State::Head;
                    return Verdict::Pass(at);
                }
                (Chunk::TrailerEnd { total, .. }, b'\n') => Chunk::Trailer { line: 0, total },
                _ => return Verdict::Break,
            };
        }
        self.state = State::Chunk(chunk);
        Verdict::Pass(at)
    }

    fn trailer_limit(&self) -> u32 {
        u32::try_from(self.limits.head).unwrap_or(u32::MAX)
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests;
