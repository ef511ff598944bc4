//! Services: named groups of endpoints.

use std::{collections::BTreeMap, time::Duration};

use crate::name::RegionName;

/// A named group of endpoints and how to treat them.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Endpoints by region; at least one in all.
    pub endpoints: BTreeMap<RegionName, Vec<Endpoint>>,
    /// What the endpoints speak.
    pub protocol: Protocol,
    /// How one of several healthy endpoints is chosen.
    pub balance: Balance,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// What is tried again.
    pub retries: Retries,
    /// Active health checks; none: passive only.
    pub health: Option<Health>,
}

/// One address of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Whether TLS is spoken to it.
    pub tls: bool,
    /// Host name or literal address (IPv6 without brackets).
    pub host: String,
    /// Port; 80 or 443 where the URL gives none.
    pub port: u16,
}

/// What the endpoints of a service speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1. The default.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge without (RFC 9113 section 3.3). gRPC needs it.
    Http2,
}

/// How one of several healthy endpoints is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// The less loaded of two random ones ("power of two choices"). The default.
    #[default]
    LeastLoaded,
    /// Each in turn.
    RoundRobin,
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection, TLS included. Default 1 s.
    pub connect: Duration,
    /// From the request's end to the response's head. Default 15 s.
    pub response: Duration,
    /// Between two pieces of a body, and of an idle pooled connection. Default 60 s. Where the upstream closes idle
    /// connections sooner, a POST may be on its way just then, and fails.
    pub idle: Duration,
}

/// What is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retries {
    /// Tries after the first; 0 turns retries off. Default 1.
    pub attempts: u32,
    /// On what. Default: connect, reset, 502, 503, 504.
    pub on: Vec<RetryOn>,
    /// Retries may add at most this share of requests (0.2 = 20 %). Default 20 %.
    pub budget: f64,
}

/// What a try is repeated on. All but `Connect` only for requests that are idempotent by method
/// (RFC 9110 section 9.2.2) or carry `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection came about.
    Connect,
    /// The connection broke before a response.
    Reset,
    /// The upstream answered with this status (502, 503 or 504).
    Status(u16),
}

/// Active health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Path of a `GET` that answers 200–299 when the endpoint can serve.
    pub path: String,
    /// Between two checks. Default 1 s.
    pub interval: Duration,
    /// For one check. Default 500 ms.
    pub timeout: Duration,
    /// Good checks in a row that make it healthy. Default 2.
    pub healthy_after: u32,
    /// Bad checks (or failed requests) in a row that make it unhealthy. Default 2.
    pub unhealthy_after: u32,
}
