//! One request on its way through the gateway: what the steps have learnt so far.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use meridian_config::{
    document::Route,
    name::{IssuerName, RegionName, TenantId, Zone},
};
use tokio::time::Instant;

use crate::problem::Refusal;

/// A streaming body, as every step passes it on.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ended early.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BodyError {
    /// The client went away, or broke the protocol, while it sent.
    #[error("the client broke off")]
    Client,
    /// The body grew past the route's limit.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Nothing came for too long.
    #[error("nothing came for too long")]
    Stalled,
    /// The upstream (or the peer that forwards to it) broke off.
    #[error("the upstream broke off: {0}")]
    Upstream(String),
    /// An operator has turned the client or its token away while it lasted.
    #[error("{0}")]
    Withdrawn(Box<Refusal>),
}

/// What the gateway knows of one request.
#[derive(Debug)]
pub struct Context {
    /// 32 hex digits, or what a trusted peer sent.
    pub request_id: Arc<str>,
    /// W3C trace context of this hop.
    pub trace: Trace,
    /// The client's address: the connection's, or what a trusted proxy says.
    pub client_ip: IpAddr,
    /// When the request's head was complete.
    pub received: Instant,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'static str,
    /// The route that took it.
    pub route: Option<Arc<Route>>,
    /// The path variables of the route's match, in order.
    pub variables: Vec<(String, String)>,
    /// Who sends it.
    pub identity: Option<Arc<Identity>>,
}

/// W3C trace context (<https://www.w3.org/TR/trace-context/>).
#[derive(Debug, Clone)]
pub struct Trace {
    /// 16 bytes: the caller's, or made here.
    pub trace_id: [u8; 16],
    /// 8 bytes: this hop's.
    pub span_id: [u8; 8],
    /// The flags byte (bit 0: sampled).
    pub flags: u8,
    /// `tracestate` as it came.
    pub state: Option<http::HeaderValue>,
}

/// A verified identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who is charged.
    pub tenant: TenantId,
    /// The tenant's zones of residency; empty: anywhere.
    pub zones: Vec<Zone>,
    /// The token's `sub`.
    pub subject: String,
    /// Whose token it is.
    pub issuer: IssuerName,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// `jti`, where the token has one.
    pub token_id: Option<String>,
    /// `iat`, where the token has one: seconds since the Unix epoch.
    pub issued: Option<u64>,
    /// `exp`: seconds since the Unix epoch.
    pub expires: u64,
}

/// How a request was served, for the response and the log.
#[derive(Debug, Clone)]
pub struct Served {
    /// The region whose endpoint answered.
    pub region: RegionName,
    /// The endpoint, `host:port`.
    pub endpoint: String,
    /// Tries after the first.
    pub retries: u32,
    /// Time waited for the upstream's response head.
    pub waited: std::time::Duration,
}
