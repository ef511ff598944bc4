//! The bearer token of a request (RFC 6750 section 2.1).
//!
//! In: the request's header fields. Out: the token's text, borrowed, or what is wrong. A core.

use http::{HeaderMap, header::AUTHORIZATION};

use crate::problem::TokenFault;

/// The bearer token of the `Authorization` field.
///
/// The field must stand there exactly once: of two, another reader might believe the other one. Another
/// scheme (`Basic`) is as good as no token here.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, TokenFault> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or(TokenFault::Missing)?;
    if fields.next().is_some() {
        return Err(TokenFault::Malformed);
    }
    let text = field.to_str().map_err(|_| TokenFault::Malformed)?.trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    // RFC 9110 section 11.1: the scheme's case does not matter.
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenFault::Missing);
    }
    let token = token.trim_start();
    let of_jwt = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(of_jwt) {
        return Err(TokenFault::Malformed);
    }
    Ok(token)
}

/// Longest token in bytes. Real ones have 0.5 to 3 KiB; the bound caps what hashing, decoding and parsing
/// one can cost before its signature is known to be good.
const TOKEN_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(
                AUTHORIZATION,
                HeaderValue::from_bytes(field.as_bytes()).expect("a value"),
            );
        }
        headers
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for field in [
            "Bearer a.b.c",
            "bearer a.b.c",
            "BEARER  a.b.c ",
            "  bEaReR a.b.c",
        ] {
            assert_eq!(bearer(&with(&[field])), Ok("a.b.c"), "{field:?}");
        }
    }

    #[test]
    fn no_field_and_another_scheme_are_no_token() {
        for fields in [&[][..], &["Basic YTpi"], &["Bearera.b.c"], &[""]] {
            assert_eq!(
                bearer(&with(fields)),
                Err(TokenFault::Missing),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn two_fields_are_refused_even_when_equal() {
        assert_eq!(
            bearer(&with(&["Bearer a.b.c", "Bearer a.b.c"])),
            Err(TokenFault::Malformed)
        );
    }

    #[test]
    fn what_cannot_be_a_jwt_is_malformed() {
        let long = format!("Bearer {}", "a".repeat(TOKEN_MAX + 1));
        for field in [
            "Bearer",
            "Bearer ",
            "Bearer a.b.c d",
            "Bearer a,b",
            "Bearer é",
            &long,
        ] {
            assert_eq!(
                bearer(&with(&[field])),
                Err(TokenFault::Malformed),
                "{field:?}"
            );
        }
    }
}
