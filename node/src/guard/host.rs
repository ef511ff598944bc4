//! A host's normal form: lower case, without port and final dot.
//!
//! In: the text of `Host` or `:authority`. Out: name and port, or `None` where it is no host. A core.

use std::borrow::Cow;

/// A host as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    /// Lower case, without port and final dot; an IPv6 address in its brackets.
    pub name: Cow<'a, str>,
    /// The port, where one is given.
    pub port: Option<u16>,
}

/// Reads `host`, `host:port`, `[v6]` or `[v6]:port`. User information, percent-encoding, blanks and
/// everything else that DNS names and addresses have no use for make it `None`.
pub fn parse(text: &str) -> Option<Host<'_>> {
    let (name, port) = split(text)?;
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    // 253: the longest name that DNS can carry (RFC 1035 section 2.3.4).
    if name.is_empty() || name.len() > 253 {
        return None;
    }
    let good = if name.starts_with('[') {
        name[1..name.len() - 1]
            .parse::<std::net::Ipv6Addr>()
            .is_ok()
    } else {
        !name.starts_with('.')
            && !name.contains("..")
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    if !good {
        return None;
    }
    let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    };
    Some(Host { name, port })
}

/// Whether a certificate's or listener's host pattern (`api.example.com`, `*.example.com`) covers a
/// host in normal form. A wildcard stands for exactly one label (RFC 9525 section 6.3).
pub fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix)),
        None => pattern.eq_ignore_ascii_case(host),
    }
}

fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if text.starts_with('[') {
        let end = text.find(']')?;
        let (name, rest) = text.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Some((name, Some(port))),
            None if rest.is_empty() => Some((name, None)),
            None => None,
        };
    }
    Some(match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_lowered_and_lose_port_and_final_dot() {
        let host = parse("API.Example.com.:8443").expect("a host");
        assert_eq!(host.name, "api.example.com");
        assert_eq!(host.port, Some(8443));
        assert_eq!(parse("[::1]:80").expect("a host").name, "[::1]");
        assert_eq!(parse("127.0.0.1").expect("a host").port, None);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "a b",
            "user@host",
            "host:80:90",
            "host:x",
            "host:99999",
            "a%2eb",
            "a/b",
            "[::1",
            "[::1]x",
            "[nonsense]",
            ".a",
            "a..b",
            "a,b",
            "h\u{e9}",
            ":80",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("*.example.com", "api.example.com"));
        assert!(!covers("*.example.com", "example.com"));
        assert!(!covers("*.example.com", "a.b.example.com"));
        assert!(covers("api.example.com", "api.example.com"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_a_normal_form_is_its_own(text in "\\PC{0,40}") {
            if let Some(host) = parse(&text) {
                let again = parse(&host.name).expect("a normal form is a host");
                prop_assert_eq!(&again.name, &host.name);
            }
        }
    }
}
