//! W3C trace context and request ids.
//!
//! In: fields of a request, and a source of fresh ids. Out: this hop's [`Trace`] and request id. The
//! parsing is a core; [`Ids`] is a counter that is only added to.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::{HeaderMap, HeaderValue};

use crate::exchange::Trace;

/// Makes ids: distinct within a worker's life, and between lives as good as 128 bits of seed. They are
/// no secrets, so a mixed counter does; it needs no lock.
#[derive(Debug)]
pub struct Ids {
    high: u64,
    low: u64,
    count: AtomicU64,
}

impl Ids {
    /// A source with a seed of the host's.
    pub fn new(seed: [u8; 32]) -> Self {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&seed[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Self {
            high: word(0),
            low: word(8),
            count: AtomicU64::new(word(16)),
        }
    }

    /// 16 bytes, never all zero.
    pub fn wide(&self) -> [u8; 16] {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&mix(self.high.wrapping_add(count)).to_be_bytes());
        bytes[8..].copy_from_slice(&(mix(self.low ^ count) | 1).to_be_bytes());
        bytes
    }

    /// 8 bytes, never all zero.
    pub fn narrow(&self) -> [u8; 8] {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        (mix(self.high ^ self.low.wrapping_add(count)) | 1).to_be_bytes()
    }

    /// The request's id: what a trusted peer sent, else 32 fresh hex digits.
    pub fn request_id(&self, headers: &HeaderMap, trusted: bool) -> Arc<str> {
        if trusted
            && let Some(said) = headers.get("x-request-id")
            && let Ok(said) = said.to_str()
            && good_id(said)
        {
            return said.into();
        }
        hex(&self.wide()).into()
    }

    /// This hop's trace context: the caller's trace under a span of our own, or a new trace.
    pub fn trace(&self, headers: &HeaderMap) -> Trace {
        let mut parents = headers.get_all("traceparent").iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(only), None) => only.to_str().ok().and_then(parse),
            _ => None,
        };
        let span_id = self.narrow();
        match parent {
            Some((trace_id, flags)) => Trace {
                trace_id,
                span_id,
                flags,
                state: state(headers),
            },
            None => Trace {
                trace_id: self.wide(),
                span_id,
                // Sampled: a new trace is the upstream's to keep or to thin out; "not sampled" would
                // silence every tracer behind us that asks its parent.
                flags: 1,
                state: None,
            },
        }
    }
}

/// The `traceparent` of this hop.
pub fn traceparent(trace: &Trace) -> HeaderValue {
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    push_hex(&mut text, &trace.trace_id);
    text.push('-');
    push_hex(&mut text, &trace.span_id);
    text.push('-');
    push_hex(&mut text, &[trace.flags]);
    HeaderValue::from_str(&text).expect("hex digits and hyphens are visible ASCII")
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
}

/// Trace id and flags of a `traceparent` (W3C Trace Context section 3.2). A higher version may have
/// more behind the fields that are known.
fn parse(text: &str) -> Option<([u8; 16], u8)> {
    let bytes = text.as_bytes();
    let version = unhex(bytes.get(..2)?)?;
    let exact = bytes.len() == 55;
    let longer = bytes.len() > 55 && bytes[55] == b'-' && version != 0;
    if version == 0xff
        || !(exact || longer)
        || bytes[2] != b'-'
        || bytes[35] != b'-'
        || bytes[52] != b'-'
    {
        return None;
    }
    let mut trace_id = [0; 16];
    for (byte, digits) in trace_id.iter_mut().zip(bytes[3..35].chunks(2)) {
        *byte = unhex(digits)?;
    }
    let mut span = 0;
    for digits in bytes[36..52].chunks(2) {
        span |= unhex(digits)?;
    }
    let flags = unhex(&bytes[53..55])?;
    if trace_id == [0; 16] || span == 0 {
        return None;
    }
    // Bit 0 is "sampled", bit 1 "random trace id"; others have no meaning yet and are not passed on.
    Some((trace_id, flags & 3))
}

/// Two lower-case hex digits.
fn unhex(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    match digits {
        &[high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}

/// `tracestate` in one value; what is longer than section 3.3.1.5 asks anyone to carry is dropped.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all("tracestate").iter();
    let first = values.next()?;
    let mut joined = first.as_bytes().to_vec();
    for value in values {
        joined.push(b',');
        joined.extend_from_slice(value.as_bytes());
    }
    if joined.len() > 512 {
        return None;
    }
    HeaderValue::from_bytes(&joined).ok()
}

fn good_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(&b))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_callers_trace_goes_on_under_a_new_span() {
        let ids = Ids::new([7; 32]);
        let trace = ids.trace(&headers(&[
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ]));
        assert_eq!(hex(&trace.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(hex(&trace.span_id), "00f067aa0ba902b7");
        assert_eq!(trace.state.as_ref().expect("kept"), "a=1,b=2");
        assert!(
            traceparent(&trace)
                .to_str()
                .expect("ascii")
                .ends_with("-01")
        );
    }

    #[test]
    fn a_parent_that_is_none_starts_a_new_trace_without_its_state() {
        let ids = Ids::new([7; 32]);
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            let mut map = headers(&[("tracestate", "a=1")]);
            map.insert("traceparent", HeaderValue::from_static(bad));
            let trace = ids.trace(&map);
            assert_eq!(trace.state, None, "{bad:?}");
            assert_ne!(hex(&trace.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        }
    }

    #[test]
    fn a_request_id_is_kept_only_from_a_trusted_peer_and_only_if_it_is_one() {
        let ids = Ids::new([7; 32]);
        let said = headers(&[("x-request-id", "abc-1")]);
        assert_eq!(&*ids.request_id(&said, true), "abc-1");
        assert_eq!(ids.request_id(&said, false).len(), 32);
        let bad = headers(&[("x-request-id", "a b\"")]);
        assert_eq!(ids.request_id(&bad, true).len(), 32);
    }

    #[test]
    fn ids_do_not_repeat() {
        let ids = Ids::new([1; 32]);
        let made: std::collections::BTreeSet<[u8; 16]> = (0..10_000).map(|_| ids.wide()).collect();
        assert_eq!(made.len(), 10_000);
    }

    proptest! {
        #[test]
        fn no_traceparent_makes_the_parser_panic(text in "\\PC{0,70}") {
            let _ = parse(&text);
        }
    }
}
