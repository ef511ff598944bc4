//! What the upstream sees of a request.
//!
//! In: the head as the client sent it, what the steps before have learnt, the route's rules. Out: the
//! head as it goes upstream, its target in origin form. A core.

use std::{fmt::Write, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts, uri::PathAndQuery};

use super::{Rules, hop, template, template::Values, trace};
use crate::{exchange::Context, guard::path, problem::Refusal};

/// What is known of the connection and the request beside its head.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// What the steps have learnt.
    pub context: &'a Context,
    /// The connection's other end.
    pub peer: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
    /// The host the client asked for, in normal form.
    pub host: &'a str,
    /// The port the client named.
    pub port: Option<u16>,
    /// The path in normal form.
    pub path: &'a str,
    /// Whether the request opens a WebSocket.
    pub websocket: bool,
    /// What templates are filled with.
    pub values: Values<'a>,
}

/// Turns the client's head into the upstream's.
pub fn apply(parts: &mut Parts, inbound: &Inbound<'_>, rules: &Rules) -> Result<(), Refusal> {
    parts.uri = target(&parts.uri, inbound, rules)?;
    let headers = &mut parts.headers;
    hop::strip(headers);
    drop_foreign(headers, inbound.trusted);
    say_host(headers, inbound);
    say_forwarded(headers, inbound);
    let protocol = inbound.context.protocol;
    let version = protocol.strip_prefix("HTTP/").unwrap_or(protocol);
    if let Ok(via) = HeaderValue::from_str(&format!("{version} meridian")) {
        headers.append(header::VIA, via);
    }
    if let Ok(id) = HeaderValue::from_str(&inbound.context.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(TRACEPARENT, trace::traceparent(&inbound.context.trace));
    match &inbound.context.trace.state {
        Some(state) => headers.insert(TRACESTATE, state.clone()),
        None => headers.remove(TRACESTATE),
    };
    if inbound.websocket {
        hop::restore_websocket(headers);
    }
    rules.request.apply(headers, &inbound.values);
    Ok(())
}

/// The target in origin form: the rewritten or the normal path, the query as it came.
fn target(asked: &Uri, inbound: &Inbound<'_>, rules: &Rules) -> Result<Uri, Refusal> {
    let query = asked.query();
    let rewritten = match &rules.rewrite {
        Some(rewrite) => {
            let rewritten = template::path(rewrite, &inbound.values);
            // Variables that begin or end within a segment could have made a dot segment.
            let normal = path::normal(&rewritten)
                .map_err(|fault| Refusal::Malformed(fault.to_string()))?
                .into_owned();
            if normal.starts_with('/') {
                normal
            } else {
                format!("/{normal}")
            }
        }
        None => {
            let origin_form = asked.authority().is_none();
            if origin_form && asked.path() == inbound.path {
                return Ok(asked.clone());
            }
            inbound.path.to_owned()
        }
    };
    let mut text = rewritten;
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::try_from(text)
        .map(Uri::from)
        .map_err(|_| Refusal::Malformed("the path cannot be rewritten for the upstream".to_owned()))
}

/// Drops what only this gateway or a trusted proxy may say.
fn drop_foreign(headers: &mut HeaderMap, trusted: bool) {
    // Most requests carry none of them, and this does not allocate then.
    let foreign: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_foreign(name.as_str(), trusted))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
}

/// Whether a field is not the client's to set. Servers that put fields into variables (CGI, WSGI) read
/// `x_tenant` and `x-tenant` as one, so the underscore counts as a hyphen here.
fn is_foreign(name: &str, trusted: bool) -> bool {
    let bytes = name.as_bytes();
    let is = |other: &str| {
        bytes.len() == other.len()
            && bytes
                .iter()
                .zip(other.as_bytes())
                .all(|(&a, &b)| a == b || (a == b'_' && b == b'-'))
    };
    let begins = |prefix: &str| {
        bytes.len() >= prefix.len()
            && bytes
                .iter()
                .zip(prefix.as_bytes())
                .all(|(&a, &b)| a == b || (a == b'_' && b == b'-'))
    };
    let disguised = name.contains('_');
    is("x-tenant")
        || begins("x-meridian-")
        || ((!trusted || disguised)
            && (begins("x-forwarded-")
                || is("forwarded")
                || is("x-real-ip")
                || is("x-request-id")
                || is("via") && disguised))
}

fn say_host(headers: &mut HeaderMap, inbound: &Inbound<'_>) {
    if let Ok(value) = HeaderValue::from_str(&host_text(inbound)) {
        headers.insert(header::HOST, value);
    }
}

fn host_text(inbound: &Inbound<'_>) -> String {
    let mut text = inbound.host.to_owned();
    if let Some(port) = inbound.port {
        write!(text, ":{port}").expect("a string takes everything");
    }
    text
}

fn say_forwarded(headers: &mut HeaderMap, inbound: &Inbound<'_>) {
    let mut chain = String::new();
    for value in headers.get_all(FORWARDED_FOR) {
        if let Ok(value) = value.to_str() {
            chain.push_str(value);
            chain.push_str(", ");
        }
    }
    write!(chain, "{}", inbound.peer.to_canonical()).expect("a string takes everything");
    if let Ok(value) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, value);
    }
    // Behind a trusted proxy what it said stands; from others it has been dropped before.
    headers
        .entry(FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(inbound.context.scheme));
    if !headers.contains_key(FORWARDED_HOST)
        && let Ok(value) = HeaderValue::from_str(&host_text(inbound))
    {
        headers.insert(FORWARDED_HOST, value);
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests;
