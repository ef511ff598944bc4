//! Fields that concern one connection only (RFC 9110 section 7.6.1).
//!
//! In: a header section. Out: the same without them; whether a request asks for a WebSocket. A core.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

/// Removes every hop-by-hop field: those that `Connection` names and those that are so by name. `TE:
/// trailers` stays, because this gateway passes trailers on and gRPC servers ask for it.
pub fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        // Rare and short: the names are copied because they live in the map that changes.
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&b| b == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // What frames or routes the message, and what the gateway has judged, is not the client's to
            // take away.
            .filter(|name| {
                ![
                    header::HOST,
                    header::CONTENT_LENGTH,
                    header::CONTENT_TYPE,
                    header::AUTHORIZATION,
                    header::COOKIE,
                    header::CACHE_CONTROL,
                    header::TE,
                ]
                .contains(name)
            })
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if let Some(codings) = headers.remove(header::TE)
        && lists(&codings, "trailers")
    {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    for name in NAMES {
        headers.remove(name);
    }
}

/// Whether this is a WebSocket's opening handshake (RFC 6455 section 4.1). Other upgrades are not
/// passed on.
pub fn asks_for_websocket(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    method == Method::GET
        && version == Version::HTTP_11
        && headers
            .get(header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| lists(value, "upgrade"))
}

/// Puts back what a WebSocket's handshake (or the answer to it) needs on this hop.
pub fn restore_websocket(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

fn lists(value: &HeaderValue, wanted: &str) -> bool {
    value
        .as_bytes()
        .split(|&b| b == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

const NAMES: [HeaderName; 8] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    // The server under us has answered it (RFC 9110 section 10.1.1); upstream it would cost a round trip.
    header::EXPECT,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn hop_by_hop_fields_and_those_that_connection_names_are_removed() {
        let mut map = headers(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip, Trailers"),
            ("accept", "*/*"),
        ]);
        strip(&mut map);
        assert_eq!(map, headers(&[("accept", "*/*"), ("te", "trailers")]));
    }

    #[test]
    fn a_client_cannot_have_the_credentials_it_was_judged_by_removed() {
        let mut map = headers(&[
            ("connection", "authorization, host"),
            ("authorization", "x"),
            ("host", "a"),
        ]);
        strip(&mut map);
        assert!(map.contains_key("authorization") && map.contains_key("host"));
    }

    #[test]
    fn only_a_websocket_handshake_is_one() {
        let good = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
        ]);
        assert!(asks_for_websocket(&Method::GET, Version::HTTP_11, &good));
        assert!(!asks_for_websocket(&Method::POST, Version::HTTP_11, &good));
        assert!(!asks_for_websocket(&Method::GET, Version::HTTP_2, &good));
        let other = headers(&[("connection", "upgrade"), ("upgrade", "h2c")]);
        assert!(!asks_for_websocket(&Method::GET, Version::HTTP_11, &other));
    }
}
