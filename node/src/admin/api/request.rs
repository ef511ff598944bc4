//! A request of the admin API, read as its row of the table says.
//!
//! In: a request's head and body. Out: [`Asked`], or a [`Fault`]. Everything is bounded: the body by the
//! row's limit and by time.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use meridian_cluster::directory::Actor;
use serde::de::DeserializeOwned;

use super::table::{Found, Resource};
use crate::admin::{access::Caller, fault::Fault};

/// Time for a body to arrive.
const BODY: Duration = Duration::from_secs(20);

/// A request that its row takes.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Who asks.
    pub(crate) caller: Caller,
    /// From where.
    pub(crate) peer: SocketAddr,
    /// What stands in the path for the row's braces, in order.
    parameters: Vec<(&'static str, String)>,
    /// What the row allows, percent-decoded.
    query: Vec<(&'static str, String)>,
    /// The revision that the caller has seen; `None` for `*`, and where the row takes no `If-Match`.
    pub(crate) if_match: Option<u64>,
    /// The last event that a reader of a stream has had (HTML standard, server-sent events).
    pub(crate) last_event: Option<String>,
    /// Empty where the row takes none.
    pub(crate) body: Bytes,
}

impl Asked {
    /// Who asks, as the directory records it.
    pub(crate) fn actor(&self) -> Actor {
        let Caller { name, role, .. } = &self.caller;
        Actor::new(name, role.name(), Some(self.peer))
    }

    /// A parameter of the path.
    ///
    /// # Panics
    /// Where the row's path has no such braces: a mistake of the row.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(known, _)| *known == name);
        &found.expect("handlers name parameters of their own row").1
    }

    /// A query parameter, where it was given.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| Fault::Body(error.to_string()))
    }
}

/// Reads a request for the row that was found.
pub(super) async fn read<B>(
    found: Found,
    caller: &Caller,
    peer: SocketAddr,
    parts: &Parts,
    content: B,
) -> Result<Asked, Fault>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let resource = found.resource;
    let query = query(resource, parts.uri.query().unwrap_or_default())?;
    let if_match = if resource.if_match {
        if_match(&parts.headers)?
    } else {
        None
    };
    let last_event = parts
        .headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .map(ToOwned::to_owned);
    let body = match resource.takes {
        Some(takes) => gather(content, takes.limit).await?,
        None => Bytes::new(),
    };
    Ok(Asked {
        caller: caller.clone(),
        peer,
        parameters: found.parameters,
        query,
        if_match,
        last_event,
        body,
    })
}

/// The query's parameters. An unknown one is refused: taking no notice of it would answer another
/// question than the one that was asked.
fn query(resource: &Resource, text: &str) -> Result<Vec<(&'static str, String)>, Fault> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = resource.query.iter().find(|known| known.name == name);
        let Some(known) = known else {
            let names: Vec<_> = resource.query.iter().map(|known| known.name).collect();
            return Err(Fault::Query(match names.as_slice() {
                [] => "this resource takes no query".to_owned(),
                names => format!("unknown parameter {name}; it takes {}", names.join(", ")),
            }));
        };
        if found.iter().any(|(other, _)| *other == known.name) {
            return Err(Fault::Query(format!("{name} stands twice")));
        }
        let value = decode(&value.replace('+', " "))
            .ok_or_else(|| Fault::Query(format!("{name} is not percent-encoded UTF-8")))?;
        found.push((known.name, value));
    }
    Ok(found)
}

/// Percent-decodes; `None` where the text is not well-formed or the result is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Reads a body up to `limit` within [`BODY`].
async fn gather<B>(content: B, limit: usize) -> Result<Bytes, Fault>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let gathered = tokio::time::timeout(BODY, Limited::new(content, limit).collect())
        .await
        .map_err(|_| Fault::SlowBody)?;
    gathered.map(|body| body.to_bytes()).map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            Fault::TooLarge(limit)
        } else {
            Fault::Body(error.to_string())
        }
    })
}

/// The revision that a writer has seen; `None` for `*`.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let value = headers.get(header::IF_MATCH).ok_or(Fault::NoIfMatch)?;
    let text = value.to_str().map_err(|_| Fault::BadIfMatch)?.trim();
    if text == "*" {
        return Ok(None);
    }
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or(Fault::BadIfMatch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_an_escape_is_none() {
        for bad in ["%", "%4", "%zz", "%+1", "a%ff"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode("10.0.0.0%2F8"), Some("10.0.0.0/8".to_owned()));
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(text in "\\PC{0,20}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded), Some(text));
        }

        #[test]
        fn no_text_panics(text in "[%0-9a-gé]{0,12}") {
            decode(&text);
        }
    }
}
