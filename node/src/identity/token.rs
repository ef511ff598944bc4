//! A JWT taken apart (RFC 7519), not yet believed.
//!
//! In: the token's text. Out: what is needed to choose a key and check the signature, and the claims,
//! parsed once. A core; [`super::keys`] checks the signature, [`super::rules`] the claims.

use jsonwebtoken::{Algorithm, dangerous};

use super::claims::Claims;
use crate::problem::TokenFault;

/// A token whose signature nobody has checked.
#[derive(Debug)]
pub(super) struct Unverified<'t> {
    /// Header and claims as they were signed.
    pub(super) message: &'t str,
    /// The signature, base64url.
    pub(super) signature: &'t str,
    /// The header's `alg`.
    pub(super) algorithm: Algorithm,
    /// The header's `kid`.
    pub(super) key_id: Option<String>,
    /// The claims: for choosing the issuer only, until the signature is known to be its own.
    pub(super) claims: Claims,
}

impl<'t> Unverified<'t> {
    /// Takes a token apart.
    ///
    /// `alg: none` and algorithms nobody here knows fail as malformed. Keys and addresses of keys that a
    /// token brings along (`jwk`, `jku`, `x5c`, `x5u`) are never looked at (RFC 8725 section 3.10).
    pub(super) fn parse(token: &'t str) -> Result<Self, TokenFault> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenFault::Malformed)?;
        // RFC 7515 section 4.1.11: an extension that must be understood, and none is.
        if header.crit.is_some() {
            return Err(TokenFault::Malformed);
        }
        let claims = dangerous::insecure_decode_claims(token).map_err(|_| TokenFault::Malformed)?;
        Ok(Self {
            message,
            signature,
            algorithm: header.alg,
            key_id: header.kid,
            claims,
        })
    }

    /// The `iss` claim.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_not_three_good_parts_is_malformed() {
        for token in [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c.d",
            "e30.e30.e30",
            "eyJhbGciOiJub25lIn0.e30.",
        ] {
            assert_eq!(
                Unverified::parse(token).err(),
                Some(TokenFault::Malformed),
                "{token:?}"
            );
        }
    }

    #[test]
    fn a_critical_extension_is_refused() {
        // {"alg":"RS256","crit":["b64"]} and {"alg":"RS256"}
        let critical = "eyJhbGciOiJSUzI1NiIsImNyaXQiOlsiYjY0Il19.e30.AA";
        assert_eq!(
            Unverified::parse(critical).err(),
            Some(TokenFault::Malformed)
        );
        assert!(Unverified::parse("eyJhbGciOiJSUzI1NiJ9.e30.AA").is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_.-]{0,200}") {
            let _ = Unverified::parse(&text);
        }
    }
}
