//! A path's normal form.
//!
//! In: the path of a request target. Out: what routes are matched against and what the upstream gets,
//! or why it is ambiguous. A core.
//!
//! The rule: the gateway and the upstream must see the same segments. So
//! - percent-encoded unreserved characters are decoded and the digits of all other triplets are raised
//!   (RFC 3986 section 6.2.2: the meaning stays);
//! - what servers are known to read in different ways is refused, not repaired: an encoded slash or
//!   backslash, a raw backslash, an encoded control character, a broken triplet, bytes that are not
//!   ASCII, and the dot segments `.` and `..` (also encoded, also before a `;`). A well-behaved client
//!   has resolved dot segments itself (RFC 3986 section 5.2.4).

use std::borrow::Cow;

/// Why a path could be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// `%2f` or `%5c`, or a backslash.
    #[error("the path holds an encoded slash or a backslash")]
    Slash,
    /// A control character, encoded.
    #[error("the path holds an encoded control character")]
    Control,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a broken percent-encoding")]
    Encoding,
    /// A byte that has to be encoded.
    #[error("the path holds a character that must be percent-encoded")]
    Character,
    /// `.` or `..` as a segment.
    #[error("the path holds a dot segment")]
    DotSegment,
}

/// The path's normal form; borrowed where it already is.
pub fn normal(path: &str) -> Result<Cow<'_, str>, PathFault> {
    let normal = if path.bytes().all(plain) {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(decode(path)?)
    };
    if normal.contains("/.") && normal.split('/').any(is_dot_segment) {
        return Err(PathFault::DotSegment);
    }
    Ok(normal)
}

/// A byte that is as it should be, whatever stands beside it.
fn plain(byte: u8) -> bool {
    byte != b'%' && byte != b'\\' && (0x21..0x7f).contains(&byte)
}

fn is_dot_segment(segment: &str) -> bool {
    // `..;x=y` is `..` to servers that know path parameters.
    let name = segment.split(';').next().unwrap_or(segment);
    name == "." || name == ".."
}

fn decode(path: &str) -> Result<String, PathFault> {
    let bytes = path.as_bytes();
    let mut normal = String::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'\\' {
            return Err(PathFault::Slash);
        }
        if byte != b'%' {
            if !plain(byte) {
                return Err(PathFault::Character);
            }
            normal.push(char::from(byte));
            at += 1;
            continue;
        }
        let decoded = match (digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(PathFault::Encoding),
        };
        match decoded {
            b'/' | b'\\' => return Err(PathFault::Slash),
            0..=0x1f | 0x7f => return Err(PathFault::Control),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                normal.push(char::from(decoded));
            }
            other => {
                normal.push('%');
                normal.push(hex(other >> 4));
                normal.push(hex(other & 15));
            }
        }
        at += 3;
    }
    Ok(normal)
}

fn digit(byte: Option<&u8>) -> Option<u8> {
    match *byte? {
        b @ b'0'..=b'9' => Some(b - b'0'),
        b @ b'a'..=b'f' => Some(b - b'a' + 10),
        b @ b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

fn hex(nibble: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(nibble & 15)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_path_is_borrowed() {
        for path in [
            "/",
            "/v1/plants/7",
            "/.well-known/x",
            "/a/...",
            "/a//b",
            "/a;v=1/b",
        ] {
            assert!(
                matches!(normal(path), Ok(Cow::Borrowed(p)) if p == path),
                "{path}"
            );
        }
    }

    #[test]
    fn unreserved_characters_are_decoded_and_other_triplets_raised() {
        assert_eq!(normal("/%70l%61nts/%7e").expect("good"), "/plants/~");
        assert_eq!(normal("/a%20b%c3%a9").expect("good"), "/a%20b%C3%A9");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (path, fault) in [
            ("/a%2fb", PathFault::Slash),
            ("/a%5Cb", PathFault::Slash),
            ("/a\\b", PathFault::Slash),
            ("/a%00", PathFault::Control),
            ("/a%0d%0a", PathFault::Control),
            ("/a%2", PathFault::Encoding),
            ("/a%zz", PathFault::Encoding),
            ("/a/../b", PathFault::DotSegment),
            ("/a/./b", PathFault::DotSegment),
            ("/a/%2e%2E/b", PathFault::DotSegment),
            ("/a/..;/b", PathFault::DotSegment),
            ("/a/.%2e", PathFault::DotSegment),
            ("/..", PathFault::DotSegment),
            ("/\u{e9}", PathFault::Character),
        ] {
            assert_eq!(normal(path), Err(fault), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own_and_holds_nothing_ambiguous(path in "/[ -~]{0,40}") {
            if let Ok(once) = normal(&path) {
                prop_assert_eq!(normal(&once).expect("still good"), once.clone());
                prop_assert!(!once.contains('\\'));
                prop_assert!(!once.split('/').any(|s| s == "." || s == ".."));
                let lower = once.to_ascii_lowercase();
                for bad in ["%2f", "%5c", "%2e", "%00"] {
                    prop_assert!(!lower.contains(bad));
                }
            }
        }

        #[test]
        fn encoding_any_unreserved_characters_changes_nothing(
            path in "(/[a-z0-9~_-]{1,8}){1,4}", mask in any::<u64>()
        ) {
            let encoded: String = path.chars().enumerate().map(|(n, c)| {
                if c != '/' && mask >> (n % 64) & 1 == 1 { format!("%{:02x}", u32::from(c)) } else { c.to_string() }
            }).collect();
            prop_assert_eq!(normal(&encoded).expect("good"), path);
        }
    }
}
