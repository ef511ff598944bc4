//! How large and how slow a client may be.

use std::time::Duration;

/// Bounds on what one client may ask of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head. 32 KiB: four times what browsers send with large cookies, and what
    /// nginx grants by default with its large buffers.
    pub head: usize,
    /// Fields of a head. 100: hyper keeps that many on its stack.
    pub fields: usize,
    /// Bytes of the request target. 8 KiB: at least what RFC 9112 section 3 recommends (8 000).
    pub target: usize,
    /// From a head's first byte to its last. 10 s: a phone on a bad link needs less than three.
    pub head_time: Duration,
    /// For a TLS handshake. 10 s, for the same reason.
    pub handshake_time: Duration,
    /// How long a connection may wait for its next request. 75 s: above the 60 s that load balancers in
    /// front commonly hold theirs, so that they, not we, close first.
    pub idle_time: Duration,
    /// Between two pieces of a request's body, and for a client to take the next piece of a response.
    /// 30 s.
    pub stall_time: Duration,
    /// Connections of one worker. 16 384 with TLS take some 650 MB at hyper's and
    /// rustls' usual 40 kB each; what comes above
    /// is closed at once and counted.
    pub connections: usize,
    /// Requests in flight on one HTTP/2 connection. 128: RFC 9113 section 6.5.2 asks for at least 100.
    pub streams: u32,
    /// Streams that a client opened and reset before we took them, per HTTP/2 connection
    /// ("rapid reset", CVE-2023-44487). 20 is h2's own default.
    pub pending_resets: usize,
    /// Streams that we reset for the client's errors before the connection ends ("made you reset",
    /// CVE-2025-8671). 1024 is h2's own default.
    pub error_resets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 32 * 1024,
            fields: 100,
            target: 8 * 1024,
            head_time: Duration::from_secs(10),
            handshake_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            stall_time: Duration::from_secs(30),
            connections: 16_384,
            streams: 128,
            pending_resets: 20,
            error_resets: 1024,
        }
    }
}
