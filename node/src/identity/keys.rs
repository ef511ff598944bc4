//! An issuer's keys (RFC 7517), and whether one of them signed a token.
//!
//! In: the bytes of a JWKS document. Out: a [`KeySet`] that checks signatures. A core; [`super::issuer`]
//! keeps the newest one.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, DecodingKey, crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};

use super::token::Unverified;

/// An issuer's keys as of one fetch.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Counts the changes of an issuer's keys: two sets with one number hold the same keys.
    pub(super) generation: u64,
    /// When they were fetched, since the Unix epoch: it has to outlive a restart.
    pub(super) fetched: Duration,
}

/// What the keys say of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// One of them signed it.
    Good,
    /// The key that it names did not sign it, or is for another algorithm.
    Forged,
    /// The key it was signed with is not among them.
    UnknownKey,
}

/// Why a JWKS document is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeysError {
    #[error("the key set is not a JSON object with a list `keys`")]
    Form,
    #[error("the key set holds no key that can check a signature (RSA, P-256, P-384 or Ed25519)")]
    Empty,
}

#[derive(Debug)]
struct Key {
    jwk: Jwk,
    decoding: DecodingKey,
}

impl KeySet {
    /// Reads a JWKS document. Keys of unknown kinds or for other uses are left out: an issuer may publish
    /// encryption keys, or algorithms that only others understand, beside the keys we need.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeysError> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(bytes).map_err(|_| KeysError::Form)?;
        let keys = set
            .keys
            .into_iter()
            .filter_map(Key::read)
            .take(KEYS_MAX)
            .collect::<Vec<_>>();
        if keys.is_empty() {
            return Err(KeysError::Empty);
        }
        Ok(Self {
            keys,
            generation: 0,
            fetched: Duration::ZERO,
        })
    }

    /// The document that [`parse`](Self::parse) reads back, with public parts only.
    pub(super) fn document(&self) -> serde_json::Value {
        let keys: Vec<&Jwk> = self.keys.iter().map(|key| &key.jwk).collect();
        serde_json::json!({ "keys": keys })
    }

    /// Whether both hold the same keys.
    pub(super) fn same_keys(&self, other: &Self) -> bool {
        self.keys
            .iter()
            .map(|key| &key.jwk)
            .eq(other.keys.iter().map(|key| &key.jwk))
    }

    /// How many keys it holds.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether one of these keys signed the token.
    ///
    /// A key is tried only with an algorithm of its own type (RFC 8725 section 3.1): a public key never
    /// serves as an HMAC secret, whatever the token's header says.
    pub(super) fn check(&self, token: &Unverified<'_>) -> Check {
        let wanted = token.key_id.as_deref();
        let named = |key: &&Key| wanted.is_some() && key.id() == wanted;
        if self.keys.iter().any(|key| named(&key)) {
            return if self.keys.iter().filter(named).any(|key| key.signed(token)) {
                Check::Good
            } else {
                Check::Forged
            };
        }
        // The token names no key, or the issuer names none of its keys (`kid` is optional at both ends).
        let anonymous = |key: &&Key| wanted.is_none() || key.id().is_none();
        if self
            .keys
            .iter()
            .filter(anonymous)
            .filter(|key| key.fits(token.algorithm))
            .take(TRIES_MAX)
            .any(|key| key.signed(token))
        {
            Check::Good
        } else {
            Check::UnknownKey
        }
    }
}

impl Key {
    fn read(value: serde_json::Value) -> Option<Self> {
        let mut jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &mut jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        if let Some(operations) = &common.key_operations
            && !operations.contains(&KeyOperations::Verify)
        {
            return None;
        }
        // Certificates can be large, and nothing here reads them.
        (common.x509_url, common.x509_chain) = (None, None);
        if !matches!(
            &jwk.algorithm,
            AlgorithmParameters::RSA(_)
                | AlgorithmParameters::EllipticCurve(_)
                | AlgorithmParameters::OctetKeyPair(_)
        ) {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        let key = Self { jwk, decoding };
        USABLE
            .iter()
            .any(|algorithm| key.fits(*algorithm))
            .then_some(key)
    }

    fn id(&self) -> Option<&str> {
        self.jwk.common.key_id.as_deref()
    }

    /// Whether it may check signatures of this algorithm: by its type, and by its own `alg` if it has one.
    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let by_type = match &self.jwk.algorithm {
            AlgorithmParameters::RSA(_) => {
                matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
            }
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => algorithm == ES256,
                EllipticCurve::P384 => algorithm == ES384,
                _ => false,
            },
            AlgorithmParameters::OctetKeyPair(key) => {
                key.curve == EllipticCurve::Ed25519 && algorithm == EdDSA
            }
            _ => false,
        };
        by_type
            && self
                .jwk
                .common
                .key_algorithm
                .is_none_or(|own| own == KeyAlgorithm::from(algorithm))
    }

    fn signed(&self, token: &Unverified<'_>) -> bool {
        self.fits(token.algorithm)
            && crypto::verify(
                token.signature,
                token.message.as_bytes(),
                &self.decoding,
                token.algorithm,
            )
            .unwrap_or(false)
    }
}

/// What a key can check here; no HMAC, no `none`.
pub(super) const USABLE: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Issuers publish two to five keys; more than this is no issuer's need.
const KEYS_MAX: usize = 64;

/// Signature checks for a token that names no key: enough for a rotation in progress, and a bound on what
/// a made-up token costs.
const TRIES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{Signer, claims};

    fn set(signers: &[&Signer]) -> KeySet {
        let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
        KeySet::parse(&serde_json::to_vec(&serde_json::json!({ "keys": keys })).expect("json"))
            .expect("keys")
    }

    fn check(keys: &KeySet, token: &str) -> Check {
        keys.check(&Unverified::parse(token).expect("well-formed"))
    }

    #[test]
    fn each_algorithm_s_own_key_checks_its_signatures() {
        let signers = [Signer::rs256("r"), Signer::es256("e"), Signer::eddsa("d")];
        let keys = set(&signers.each_ref());
        for signer in &signers {
            let token = signer.sign(&claims());
            assert_eq!(check(&keys, &token), Check::Good);
            let (message, signature) = token.rsplit_once('.').expect("three parts");
            let middle = signature.len() / 2;
            let changed = if signature.as_bytes()[middle] == b'A' {
                "B"
            } else {
                "A"
            };
            let forged = format!(
                "{message}.{}{changed}{}",
                &signature[..middle],
                &signature[middle + 1..]
            );
            assert_eq!(check(&keys, &forged), Check::Forged);
        }
    }

    #[test]
    fn a_key_of_the_same_name_but_another_type_does_not_pass() {
        let (rsa, curve) = (Signer::rs256("k"), Signer::es256("k"));
        assert_eq!(check(&set(&[&rsa]), &curve.sign(&claims())), Check::Forged);
        assert_eq!(
            check(&set(&[&rsa, &curve]), &curve.sign(&claims())),
            Check::Good
        );
    }

    #[test]
    fn a_public_key_used_as_an_hmac_secret_does_not_pass() {
        let rsa = Signer::rs256("k");
        let keys = set(&[&rsa]);
        for secret in rsa.public_texts() {
            let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
            header.kid = Some("k".to_owned());
            let key = jsonwebtoken::EncodingKey::from_secret(&secret);
            let token = jsonwebtoken::encode(&header, &claims(), &key).expect("signed");
            assert_eq!(check(&keys, &token), Check::Forged);
        }
    }

    #[test]
    fn a_key_serves_only_the_algorithm_it_says_it_is_for() {
        let signer = Signer::rs256("k");
        let mut jwk = signer.jwk();
        jwk["alg"] = "PS256".into();
        let keys = KeySet::parse(serde_json::json!({ "keys": [jwk] }).to_string().as_bytes())
            .expect("keys");
        assert_eq!(check(&keys, &signer.sign(&claims())), Check::Forged);
    }

    #[test]
    fn a_token_without_a_key_id_is_tried_with_the_keys_that_fit() {
        let (old, new, curve) = (
            Signer::rs256("old"),
            Signer::rs256("new"),
            Signer::es256("e"),
        );
        let keys = set(&[&old, &curve, &new]);
        assert_eq!(check(&keys, &new.sign_anonymously(&claims())), Check::Good);
        assert_eq!(
            check(&keys, &Signer::rs256("new").sign_anonymously(&claims())),
            Check::UnknownKey
        );
        assert_eq!(
            check(&keys, &Signer::rs256("third").sign(&claims())),
            Check::UnknownKey
        );
    }

    #[test]
    fn keys_for_other_uses_are_left_out_and_the_rest_stays() {
        let good = Signer::es256("good");
        let mut sealing = Signer::rs256("sealing").jwk();
        sealing["use"] = "enc".into();
        let mut wrapping = Signer::rs256("wrapping").jwk();
        wrapping["key_ops"] = serde_json::json!(["wrapKey"]);
        let document = serde_json::json!({ "keys": [
            sealing, wrapping, { "kty": "oct", "k": "c2VjcmV0", "kid": "secret" },
            { "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }, 7, {}, good.jwk(),
        ] });
        let keys = KeySet::parse(document.to_string().as_bytes()).expect("one key");
        assert_eq!(keys.len(), 1);
        let again = KeySet::parse(keys.document().to_string().as_bytes()).expect("the same key");
        assert!(again.same_keys(&keys));
    }

    #[test]
    fn a_set_without_a_usable_key_is_an_error() {
        assert_eq!(
            KeySet::parse(b"{\"keys\":[]}").err(),
            Some(KeysError::Empty)
        );
        assert_eq!(KeySet::parse(b"{}").err(), Some(KeysError::Form));
        assert_eq!(KeySet::parse(b"<html>").err(), Some(KeysError::Form));
    }

    #[test]
    fn the_private_part_of_a_key_published_by_mistake_is_not_kept() {
        let mut jwk = Signer::es256("k").jwk();
        jwk["d"] = "cHJpdmF0ZQ".into();
        let keys = KeySet::parse(serde_json::json!({ "keys": [jwk] }).to_string().as_bytes())
            .expect("keys");
        assert!(!keys.document().to_string().contains("cHJpdmF0ZQ"));
    }
}
