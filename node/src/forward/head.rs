//! The heads that a forwarded request and its answer have on the wire.
//!
//! Enters: HTTP heads. Leaves: versioned bincode with a bound on its size, and back. Nothing from a peer
//! is taken for a head unless every part of it parses.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use meridian_config::name::{ServiceName, Zone};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::frame::LONGEST_HEAD;

/// Header fields in order.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// A forwarded request's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestHead {
    /// Which service is asked for.
    pub(crate) service: ServiceName,
    /// The revision that the sender serves the request by.
    pub(crate) revision: u64,
    /// Hops between regions so far, this one included: 1.
    pub(crate) hop: u8,
    /// The receiver gets a connection to an endpoint, says `Ready`, and waits for `Go`.
    pub(crate) hold: bool,
    /// The body's length, where it is known.
    pub(crate) length: Option<u64>,
    /// It is a WebSocket's opening handshake.
    pub(crate) websocket: bool,
    /// Its id.
    pub(crate) request_id: String,
    /// Where it may be served; empty: anywhere. The receiver checks its own zone again.
    pub(crate) zones: Vec<Zone>,
    /// Its method.
    pub(crate) method: String,
    /// Its path and query.
    pub(crate) target: String,
    /// Its end-to-end fields.
    pub(crate) fields: Fields,
}

impl RequestHead {
    /// Method, target and fields, if all of them are what they should be.
    pub(crate) fn parts(&self) -> Option<http::request::Parts> {
        let target: Uri = self.target.parse().ok()?;
        if !self.target.starts_with('/') && self.target != "*" {
            return None;
        }
        let mut parts = http::Request::new(()).into_parts().0;
        parts.method = Method::from_bytes(self.method.as_bytes()).ok()?;
        parts.uri = target;
        parts.headers = header_map(&self.fields)?;
        Some(parts)
    }
}

/// The head of a forwarded request's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerHead {
    /// Its status.
    pub(crate) status: u16,
    /// Its end-to-end fields.
    pub(crate) fields: Fields,
    /// The endpoint that gave it.
    pub(crate) endpoint: String,
    /// Tries after the first that the receiver made.
    pub(crate) retries: u32,
    /// It has no body.
    pub(crate) ended: bool,
}

/// The fields of a map, in its order.
pub(crate) fn fields(map: &HeaderMap) -> Fields {
    map.iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// The map of some fields, if each is one.
pub(crate) fn header_map(fields: &Fields) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.len().min(MOST_FIELDS));
    for (name, value) in fields {
        if map.len() >= MOST_FIELDS {
            return None;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(map)
}

/// The version, then bincode.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .expect("plain structs and enums encode, and a vector takes any length");
    bytes
}

/// What [`encode`] wrote, or nothing.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let config = bincode::config::standard().with_limit::<LONGEST_HEAD>();
    let (value, read) = bincode::serde::decode_from_slice(rest, config).ok()?;
    (read == rest.len()).then_some(value)
}

/// Of the structs in this file.
const VERSION: u8 = 1;

/// More than the edge lets through.
const MOST_FIELDS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str) -> RequestHead {
        RequestHead {
            service: "plant".into(),
            revision: 7,
            hop: 1,
            hold: true,
            length: None,
            websocket: false,
            request_id: "r1".into(),
            zones: vec!["eu".into()],
            method: "GET".into(),
            target: target.into(),
            fields: vec![("accept".into(), b"*/*".to_vec())],
        }
    }

    #[test]
    fn a_head_survives_the_wire() {
        let head = head("/v1/plants?x=1");
        assert_eq!(decode::<RequestHead>(&encode(&head)), Some(head.clone()));
        let parts = head.parts().expect("it is sound");
        assert_eq!(
            parts.uri.path_and_query().map(|target| target.as_str()),
            Some("/v1/plants?x=1")
        );
    }

    #[test]
    fn another_version_a_cut_and_a_surplus_are_no_head() {
        let bytes = encode(&head("/"));
        let mut other = bytes.clone();
        other[0] = 2;
        assert_eq!(decode::<RequestHead>(&other), None);
        assert_eq!(decode::<RequestHead>(&bytes[..bytes.len() - 1]), None);
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(decode::<RequestHead>(&longer), None);
    }

    #[test]
    fn a_target_that_names_another_host_is_refused() {
        assert!(head("http://elsewhere/").parts().is_none());
        assert!(head("").parts().is_none());
    }

    #[test]
    fn fields_that_would_break_a_line_are_refused() {
        let mut broken = head("/");
        broken.fields.push(("x".into(), b"a\r\nb: c".to_vec()));
        assert!(broken.parts().is_none());
    }
}
