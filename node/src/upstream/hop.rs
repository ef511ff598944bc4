//! What a request's head needs on the way to one endpoint.
//!
//! In: the head as [`crate::transform`] left it. Out: the head as this endpoint's protocol wants it: the
//! target's form, the version, `Host` or `:authority`.

use http::{
    Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use meridian_config::document::Protocol;

use super::endpoint::Endpoint;

/// Writes it into the head. The host that the request names stays; without one it is the endpoint's.
pub(crate) fn address(parts: &mut Parts, endpoint: &Endpoint, protocol: Protocol) {
    let target = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    match protocol {
        Protocol::Http1 => {
            parts.version = Version::HTTP_11;
            parts.uri = Uri::from(target);
            parts
                .headers
                .entry(header::HOST)
                .or_insert_with(|| endpoint.host.clone());
        }
        Protocol::Http2 => {
            // HTTP/2 says it in `:authority`, and has no connection fields (RFC 9113 section 8.2.2).
            let named = parts
                .headers
                .remove(header::HOST)
                .and_then(|host| Authority::try_from(host.as_bytes()).ok());
            parts.headers.remove(header::CONNECTION);
            parts.headers.remove(header::UPGRADE);
            let mut uri = http::uri::Parts::default();
            uri.scheme = Some(if endpoint.address.tls {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            });
            uri.authority = Some(named.unwrap_or_else(|| endpoint.authority.clone()));
            uri.path_and_query = Some(target);
            parts.version = Version::HTTP_2;
            parts.uri = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
        }
    }
}
