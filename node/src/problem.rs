//! Every refusal of the gateway, and the one place where each becomes a response (RFC 9457).

mod answer;

use std::time::Duration;

use meridian_cluster::facts::FactId;
use meridian_config::name::TenantId;

pub use answer::{Connection, Facts, full, respond, whole_seconds, without_body_for};

use crate::limit::Why;

/// Why the gateway itself answers a request instead of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: it can't be parsed, or could be read in two ways.
    #[error("the request is malformed: {0}")]
    Malformed(String),
    /// 401: no token, or one that is not good.
    #[error("{0}")]
    Unauthenticated(TokenFault),
    /// 403: an operator has blocked the client's address.
    #[error("requests from this address are blocked")]
    Blocked(FactId),
    /// 403: a good identity without the right.
    #[error("{detail}")]
    Forbidden {
        /// Who asked, where known.
        tenant: Option<TenantId>,
        /// What is missing.
        detail: String,
        /// The scopes that would do, for `WWW-Authenticate` (RFC 6750 section 3.1).
        scopes: Vec<String>,
    },
    /// 403: no configured endpoint of the service lies in the tenant's zones.
    #[error(
        "tenant {0} may not be served by this service: none of its endpoints lies in the tenant's zones"
    )]
    Residency(TenantId),
    /// 404: no route takes it.
    #[error("no route takes this host and path")]
    NoRoute,
    /// 405: the path exists, the method does not.
    #[error("this path takes {}", allow.join(", "))]
    MethodNotAllowed {
        /// What it takes.
        allow: Vec<String>,
    },
    /// 408: head or body came too slowly.
    #[error("the request came too slowly")]
    SlowRequest,
    /// 413.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// 414.
    #[error("the request target is longer than {limit} bytes")]
    UriTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// 431.
    #[error("the header section is larger than {limit} bytes or has too many fields")]
    HeadersTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// 421: a host that neither certificate nor routes cover.
    #[error("this gateway does not serve {0}")]
    Misdirected(String),
    /// 429.
    #[error("limit {limit} {}", why.says())]
    RateLimited {
        /// Who is charged, where known.
        tenant: Option<TenantId>,
        /// The limit's id.
        limit: String,
        /// Why it could not pay.
        why: Why,
        /// When to try again.
        retry_after: Duration,
    },
    /// 502: the upstream failed.
    #[error("the upstream failed: {0}")]
    UpstreamError(UpstreamFault),
    /// 503: no endpoint is healthy in any allowed region.
    #[error("no healthy endpoint can serve this request")]
    NoHealthyUpstream,
    /// 503: this node is at a bound of its own.
    #[error("the gateway is overloaded")]
    Overloaded,
    /// 503: the token can't be judged because its issuer's keys can't be had.
    #[error("the token's issuer cannot be reached to check it")]
    IssuerUnavailable,
    /// 503: the tenant's zones have endpoints, none is reachable.
    #[error("no allowed region can serve tenant {0} now")]
    ResidencyUnavailable(TenantId),
    /// 503: this node has no revision to serve yet.
    #[error("the gateway has no configuration yet")]
    NotConfigured,
    /// 504.
    #[error("the upstream did not answer in time")]
    UpstreamTimeout,
}

/// What is wrong with a request's credentials. Never holds any part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// None was sent.
    #[error("this route needs a bearer token")]
    Missing,
    /// Not a token of a known form.
    #[error("the token is not a well-formed JWT")]
    Malformed,
    /// Signature, algorithm or key do not fit.
    #[error("the token's signature is not valid")]
    Signature,
    /// No issuer of the document (or of this route, or of the tenant) made it.
    #[error("the token's issuer is not accepted here")]
    Issuer,
    /// Made for somebody else.
    #[error("the token's audience is not accepted here")]
    Audience,
    /// `nbf` lies ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// An operator has revoked it, alone or with others.
    #[error("the token was revoked")]
    Revoked(FactId),
    /// A claim that this gateway needs is missing or of the wrong type.
    #[error("the token lacks a claim that this gateway needs")]
    Claims,
}

/// How an upstream failed. Details go to the log, not to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// No connection came about.
    #[error("no connection came about")]
    Connect,
    /// The connection broke before a response.
    #[error("the connection broke")]
    Reset,
    /// What it sent is not HTTP.
    #[error("its answer is not valid HTTP")]
    Protocol,
}
