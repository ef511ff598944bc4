//! From refusal to response: the one place where a refusal gets its status (RFC 9457, RFC 9209).
//!
//! In: a [`Refusal`] and what is known of the request. Out: an `application/problem+json` response. No
//! match here has an `_` arm, so that a new refusal must choose its status.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use meridian_config::name::TenantId;
use serde_json::{Map, Value};

use super::{Refusal, TokenFault, UpstreamFault};
use crate::exchange::Body;

/// What a problem document says about the request beside the refusal itself.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The request's id, the document's `instance`.
    pub request_id: &'a str,
    /// Who is charged, where the identity is known.
    pub tenant: Option<&'a TenantId>,
}

/// Whether a connection can carry another request after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It goes on.
    Keep,
    /// Where the next request begins is in doubt, or the client sends what nobody reads: it is closed.
    Close,
}

/// The fixed part of a refusal's answer.
struct Shape {
    status: StatusCode,
    /// `urn:meridian:problem:NAME`; also the decision in the access log.
    name: &'static str,
    title: &'static str,
    /// Error type of RFC 9209 section 2.3.
    proxy_error: &'static str,
    connection: Connection,
}

impl Refusal {
    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.shape().status
    }

    /// Its stable name: the end of the problem's `type`, and the decision in log and metrics.
    pub fn name(&self) -> &'static str {
        self.shape().name
    }

    /// Whether an HTTP/1.1 connection ends with it.
    pub fn connection(&self) -> Connection {
        self.shape().connection
    }

    /// When the client should try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            // This node sheds in bursts and compiles a revision within a second of hearing of it.
            Self::Overloaded | Self::NotConfigured => Some(Duration::from_secs(1)),
            Self::Malformed(_)
            | Self::Unauthenticated(_)
            | Self::Blocked(_)
            | Self::Forbidden { .. }
            | Self::Residency(_)
            | Self::NoRoute
            | Self::MethodNotAllowed { .. }
            | Self::SlowRequest
            | Self::BodyTooLarge { .. }
            | Self::UriTooLong { .. }
            | Self::HeadersTooLarge { .. }
            | Self::Misdirected(_)
            | Self::UpstreamError(_)
            | Self::NoHealthyUpstream
            | Self::IssuerUnavailable
            | Self::ResidencyUnavailable(_)
            | Self::UpstreamTimeout => None,
        }
    }

    fn shape(&self) -> Shape {
        use Connection::{Close, Keep};
        let (status, name, title, proxy_error, connection) = match self {
            Self::Malformed(_) => (
                StatusCode::BAD_REQUEST,
                "malformed-request",
                "Malformed request",
                "http_request_error",
                Close,
            ),
            Self::Unauthenticated(fault) => {
                let (name, title) = match fault {
                    TokenFault::Expired => ("token-expired", "Token expired"),
                    TokenFault::Revoked(_) => ("token-revoked", "Token revoked"),
                    TokenFault::Missing
                    | TokenFault::Malformed
                    | TokenFault::Signature
                    | TokenFault::Issuer
                    | TokenFault::Audience
                    | TokenFault::NotYetValid
                    | TokenFault::Claims => ("unauthenticated", "Unauthenticated"),
                };
                (
                    StatusCode::UNAUTHORIZED,
                    name,
                    title,
                    "http_request_denied",
                    Keep,
                )
            }
            Self::Blocked(_) => (
                StatusCode::FORBIDDEN,
                "blocked",
                "Blocked",
                "http_request_denied",
                Close,
            ),
            Self::Forbidden { .. } => (
                StatusCode::FORBIDDEN,
                "forbidden",
                "Forbidden",
                "http_request_denied",
                Keep,
            ),
            Self::Residency(_) => (
                StatusCode::FORBIDDEN,
                "residency",
                "Not served in the tenant's zones",
                "http_request_denied",
                Keep,
            ),
            Self::NoRoute => (
                StatusCode::NOT_FOUND,
                "no-route",
                "No route",
                "http_request_error",
                Keep,
            ),
            Self::MethodNotAllowed { .. } => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
                "http_request_error",
                Keep,
            ),
            Self::SlowRequest => (
                StatusCode::REQUEST_TIMEOUT,
                "slow-request",
                "Slow request",
                "http_request_error",
                Close,
            ),
            Self::BodyTooLarge { .. } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "Body too large",
                "http_request_error",
                Close,
            ),
            Self::UriTooLong { .. } => (
                StatusCode::URI_TOO_LONG,
                "uri-too-long",
                "Request target too long",
                "http_request_error",
                Close,
            ),
            Self::HeadersTooLarge { .. } => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "Header section too large",
                "http_request_error",
                Close,
            ),
            Self::Misdirected(_) => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected",
                "Misdirected request",
                "http_request_error",
                Keep,
            ),
            Self::RateLimited { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate-limited",
                "Rate limited",
                "http_request_denied",
                Keep,
            ),
            Self::UpstreamError(fault) => (
                StatusCode::BAD_GATEWAY,
                "upstream-error",
                "Upstream error",
                match fault {
                    UpstreamFault::Connect => "connection_refused",
                    UpstreamFault::Reset => "connection_terminated",
                    UpstreamFault::Protocol => "http_protocol_error",
                },
                Keep,
            ),
            Self::NoHealthyUpstream => (
                StatusCode::SERVICE_UNAVAILABLE,
                "no-healthy-upstream",
                "No healthy upstream",
                "destination_unavailable",
                Keep,
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "Overloaded",
                "connection_limit_reached",
                Keep,
            ),
            Self::IssuerUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "issuer-unavailable",
                "Issuer unavailable",
                "proxy_internal_error",
                Keep,
            ),
            Self::ResidencyUnavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "residency-unavailable",
                "No allowed region is reachable",
                "destination_unavailable",
                Keep,
            ),
            Self::NotConfigured => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not-configured",
                "No configuration yet",
                "proxy_configuration_error",
                Keep,
            ),
            Self::UpstreamTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "upstream-timeout",
                "Upstream timeout",
                "http_response_timeout",
                Keep,
            ),
        };
        Shape {
            status,
            name,
            title,
            proxy_error,
            connection,
        }
    }
}

/// The response to a refused request. The fields that every response carries (request id and the
/// like) are the response transform's.
pub fn respond(refusal: &Refusal, facts: &Facts<'_>) -> Response<Body> {
    let shape = refusal.shape();
    let body = document(refusal, &shape, facts);
    let mut response = Response::new(full(body));
    *response.status_mut() = shape.status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    // Whatever stands between must not keep an answer that depends on time and identity.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(
        headers,
        "proxy-status",
        &format!("meridian; error={}", shape.proxy_error),
    );
    if let Some(wait) = refusal.retry_after() {
        insert(headers, "retry-after", &whole_seconds(wait).to_string());
    }
    if shape.connection == Connection::Close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    match refusal {
        Refusal::MethodNotAllowed { allow } => insert(headers, "allow", &allow.join(", ")),
        Refusal::Unauthenticated(fault) => insert(headers, "www-authenticate", &challenge(*fault)),
        Refusal::Forbidden { scopes, .. } if !scopes.is_empty() => insert(
            headers,
            "www-authenticate",
            &format!(
                "Bearer error=\"insufficient_scope\", scope=\"{}\"",
                quoted(&scopes.join(" "))
            ),
        ),
        Refusal::Malformed(_)
        | Refusal::Blocked(_)
        | Refusal::Forbidden { .. }
        | Refusal::Residency(_)
        | Refusal::NoRoute
        | Refusal::SlowRequest
        | Refusal::BodyTooLarge { .. }
        | Refusal::UriTooLong { .. }
        | Refusal::HeadersTooLarge { .. }
        | Refusal::Misdirected(_)
        | Refusal::RateLimited { .. }
        | Refusal::UpstreamError(_)
        | Refusal::NoHealthyUpstream
        | Refusal::Overloaded
        | Refusal::IssuerUnavailable
        | Refusal::ResidencyUnavailable(_)
        | Refusal::NotConfigured
        | Refusal::UpstreamTimeout => {}
    }
    response
}

/// A duration as `Retry-After` gives it: whole seconds, rounded up, at least one.
pub fn whole_seconds(wait: Duration) -> u64 {
    let up = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(up).max(1)
}

/// A body of bytes that are already there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Takes the body of an answer to `HEAD`, and leaves its length (RFC 9110 section 9.3.2).
pub fn without_body_for(method: &Method, response: Response<Body>) -> Response<Body> {
    if method != Method::HEAD {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    if let Some(length) = hyper::body::Body::size_hint(&body).exact() {
        parts
            .headers
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| HeaderValue::from(length));
    }
    Response::from_parts(parts, full(Bytes::new()))
}

fn document(refusal: &Refusal, shape: &Shape, facts: &Facts<'_>) -> Vec<u8> {
    let mut members = Map::new();
    let mut say = |key: &str, value: Value| {
        members.insert(key.to_owned(), value);
    };
    say(
        "type",
        Value::from(format!("urn:meridian:problem:{}", shape.name)),
    );
    say("title", Value::from(shape.title));
    say("status", Value::from(shape.status.as_u16()));
    say("detail", Value::from(refusal.to_string()));
    say("instance", Value::from(facts.request_id));
    if let Some(tenant) = refusal.tenant().or(facts.tenant) {
        say("tenant", Value::from(tenant.as_str()));
    }
    if let Refusal::RateLimited { limit, .. } = refusal {
        say("limit", Value::from(limit.as_str()));
    }
    if let Some(wait) = refusal.retry_after() {
        say("retry_after", Value::from(whole_seconds(wait)));
    }
    serde_json::to_vec(&members).expect("a map of strings and numbers is always JSON")
}

impl Refusal {
    fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Forbidden { tenant, .. } | Self::RateLimited { tenant, .. } => tenant.as_ref(),
            Self::Residency(tenant) | Self::ResidencyUnavailable(tenant) => Some(tenant),
            Self::Malformed(_)
            | Self::Unauthenticated(_)
            | Self::Blocked(_)
            | Self::NoRoute
            | Self::MethodNotAllowed { .. }
            | Self::SlowRequest
            | Self::BodyTooLarge { .. }
            | Self::UriTooLong { .. }
            | Self::HeadersTooLarge { .. }
            | Self::Misdirected(_)
            | Self::UpstreamError(_)
            | Self::NoHealthyUpstream
            | Self::Overloaded
            | Self::IssuerUnavailable
            | Self::NotConfigured
            | Self::UpstreamTimeout => None,
        }
    }
}

/// `WWW-Authenticate`: without a token no error code is given (RFC 6750 section 3.1).
fn challenge(fault: TokenFault) -> String {
    match fault {
        TokenFault::Missing => "Bearer realm=\"meridian\"".to_owned(),
        TokenFault::Malformed
        | TokenFault::Signature
        | TokenFault::Issuer
        | TokenFault::Audience
        | TokenFault::NotYetValid
        | TokenFault::Expired
        | TokenFault::Revoked(_)
        | TokenFault::Claims => format!(
            "Bearer error=\"invalid_token\", error_description=\"{}\"",
            quoted(&fault.to_string())
        ),
    }
}

/// The text as it may stand inside quotes: what would end the string, or the field, is left out.
fn quoted(text: &str) -> String {
    text.chars()
        .filter(|c| (' '..='~').contains(c) && *c != '"' && *c != '\\')
        .collect()
}

fn insert(headers: &mut http::HeaderMap, name: &'static str, text: &str) {
    // Text that no field can carry comes only from a document's names; the field is left out then.
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
