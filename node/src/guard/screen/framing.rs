//! A complete HTTP/1 head: whether it has one reading, and where its message ends.
//!
//! In: the bytes of a head, its final empty line included. Out: [`Framing`], or why it is refused (RFC 9112
//! sections 3, 5 and 6). A core; its caller is [`super::Screen`].

use crate::{guard::Limits, problem::Refusal};

/// How a message's body is framed.
pub(super) enum Framing {
    Length(u64),
    Chunked,
    Opaque,
}

/// Bytes of the longest method that is served; the longest registered one has 17.
pub(super) const METHOD: usize = 32;

/// Reads a complete head, its final empty line included.
pub(super) fn framing(head: &[u8], limits: &Limits) -> Result<Framing, Refusal> {
    if head.len() > limits.head {
        return Err(too_large(limits));
    }
    let mut lines = Lines(head);
    let version = request_line(lines.next()?.unwrap_or_default(), limits)?;
    let mut seen = Seen::default();
    let mut fields = 0;
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > limits.fields {
            return Err(too_large(limits));
        }
        seen.field(line)?;
    }
    seen.framing(version)
}

/// Lines that end in CR LF and hold neither elsewhere.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, Refusal> {
        let Some(end) = memchr::memchr(b'\n', self.0) else {
            return Ok(None);
        };
        let (line, rest) = self.0.split_at(end + 1);
        self.0 = rest;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(Some(line)),
            None => Err(malformed("a line ends without carriage return")),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Minor {
    Zero,
    One,
}

fn request_line(line: &[u8], limits: &Limits) -> Result<Minor, Refusal> {
    let bad = || malformed("the request line is not valid");
    let mut words = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        // A target that is too long may hold blanks too; say the likelier thing.
        if line.len() > limits.target {
            return Err(Refusal::UriTooLong {
                limit: limits.target,
            });
        }
        return Err(bad());
    };
    if target.len() > limits.target {
        return Err(Refusal::UriTooLong {
            limit: limits.target,
        });
    }
    let target_good = !target.is_empty() && !has(target, |b| !(0x21..0x7f).contains(&b));
    if method.is_empty()
        || method.len() > METHOD
        || !method.iter().all(|&b| token(b))
        || !target_good
    {
        return Err(bad());
    }
    match version {
        b"HTTP/1.1" => Ok(Minor::One),
        b"HTTP/1.0" => Ok(Minor::Zero),
        _ => Err(bad()),
    }
}

/// The fields that say where a message ends.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Seen {
    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(malformed("a field goes on in the next line"));
        }
        let colon = memchr::memchr(b':', line).ok_or_else(|| malformed("a field has no colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|&b| token(b)) {
            return Err(malformed("a field's name is not valid"));
        }
        if has(value, |b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Err(malformed("a field's value holds a control character"));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(malformed("there is more than one content-length"));
            }
            self.length =
                Some(decimal(value).ok_or_else(|| malformed("the content-length is not valid"))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(malformed("the transfer-encoding is not chunked alone"));
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn framing(self, version: Minor) -> Result<Framing, Refusal> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(malformed(
                "there is a content-length beside a transfer-encoding",
            )),
            (true, None) if version == Minor::Zero => {
                Err(malformed("HTTP/1.0 has no transfer-encoding"))
            }
            _ if self.upgrade => Ok(Framing::Opaque),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    // 18 digits cannot overflow, and are more than any body has bytes.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        value
            .iter()
            .fold(0, |sum, b| sum * 10 + u64::from(b - b'0')),
    )
}

/// `tchar` of RFC 9110 section 5.6.2.
fn token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut others = b"!#$%&'*+-.^_`|~".as_slice();
    while let [byte, rest @ ..] = others {
        table[*byte as usize] = true;
        others = rest;
    }
    table
};

/// Whether any byte is such; all are looked at, many at once.
fn has(bytes: &[u8], bad: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |any, &byte| any | bad(byte))
}

pub(super) fn too_large(limits: &Limits) -> Refusal {
    Refusal::HeadersTooLarge { limit: limits.head }
}

pub(super) fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(what.to_owned())
}
