//! What the client sees of a response: the upstream's, or one of the gateway's own.
//!
//! In: a header section and what is known of the request. Out: the section as it goes to the client. A
//! core.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Rules, hop, template::Values};

/// What a response is finished with.
#[derive(Debug, Clone, Copy)]
pub struct Outbound<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// Whether the client's connection is encrypted.
    pub tls: bool,
    /// The route's rules, where a route took the request.
    pub rules: Option<&'a Rules>,
    /// What templates are filled with.
    pub values: Values<'a>,
}

/// Takes away what concerned the upstream's connection, or names the gateway's inner fields.
pub fn from_upstream(headers: &mut HeaderMap, websocket: bool) {
    hop::strip(headers);
    let inner: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-meridian-"))
        .cloned()
        .collect();
    for name in inner {
        headers.remove(name);
    }
    if websocket {
        hop::restore_websocket(headers);
    }
}

/// Adds what every response carries, then applies the route's rules, which have the last word.
pub fn finish(headers: &mut HeaderMap, outbound: &Outbound<'_>) {
    if let Ok(id) = HeaderValue::from_str(outbound.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if outbound.tls {
        // A year. Without includeSubDomains: what else lives under the name is not ours to know. An
        // upstream that knows more keeps its own.
        headers
            .entry(header::STRICT_TRANSPORT_SECURITY)
            .or_insert(HeaderValue::from_static("max-age=31536000"));
    }
    headers
        .entry(header::X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    if let Some(rules) = outbound.rules {
        rules.response.apply(headers, &outbound.values);
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound(tls: bool) -> Outbound<'static> {
        Outbound {
            request_id: "req-1",
            tls,
            rules: None,
            values: Values {
                variables: &[],
                tenant: "",
                subject: "",
                region: "",
                request_id: "req-1",
                client_ip: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            },
        }
    }

    #[test]
    fn every_response_carries_the_request_id_and_the_security_fields() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static("upstream's"));
        finish(&mut headers, &outbound(true));
        assert_eq!(headers["x-request-id"], "req-1");
        assert_eq!(headers["strict-transport-security"], "max-age=31536000");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let mut plain = HeaderMap::new();
        finish(&mut plain, &outbound(false));
        assert!(!plain.contains_key("strict-transport-security"));
    }

    #[test]
    fn the_upstreams_hop_by_hop_fields_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("x-meridian-served", "x"),
            ("content-type", "text/plain"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        from_upstream(&mut headers, false);
        assert_eq!(headers.len(), 1);
    }
}
