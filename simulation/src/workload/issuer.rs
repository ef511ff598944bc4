//! The issuer of tokens: discovery, its public keys, and the tokens that clients hold.
//!
//! The key pairs are those printed in RFC 8032 section 7.1 (the first one also in RFC 8037 appendix A), so that
//! they are fixed and plainly no secret.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use meridian_config::document::Protocol;
use serde_json::json;

use super::{
    manner::Manner,
    serve::{Request, Response, json, serve},
};
use crate::world::SimHost;

/// Its host name.
pub const NAME: &str = "issuer";

/// Its port.
pub const PORT: u16 = 9000;

/// The audience of its tokens.
pub const AUDIENCE: &str = "https://api.simulated.example";

/// An issuer: the keys that it publishes, and the last of them, which it signs with. Clones are one.
#[derive(Debug, Clone)]
pub struct Issuer {
    keys: Arc<Mutex<RangeInclusive<usize>>>,
    /// How its machine answers.
    pub manner: Manner,
}

impl Issuer {
    /// With its first key.
    pub fn new(manner: Manner) -> Self {
        Self {
            keys: Arc::new(Mutex::new(0..=0)),
            manner,
        }
    }

    /// Signs with its next key from now on, and publishes it beside the earlier ones; whether it has a next one.
    pub fn rotate(&self) -> bool {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let next = *keys.end() + 1;
        if next < KEYS.len() {
            *keys = *keys.start()..=next;
        }
        next < KEYS.len()
    }

    /// Publishes no key any more but the one that it signs with.
    pub fn retire(&self) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        *keys = *keys.end()..=*keys.end();
    }

    /// Which key it signs with.
    pub fn key(&self) -> usize {
        *self.keys().end()
    }

    /// Serves until the machine is gone.
    ///
    /// # Errors
    /// When its port is taken.
    pub async fn run(self, host: Arc<SimHost>) -> Result<(), String> {
        serve(host, PORT, Protocol::Http1, move |request| {
            let issuer = self.clone();
            async move {
                match issuer.manner.meet().await {
                    Some(instead) => instead,
                    None => issuer.answer(&request),
                }
            }
        })
        .await
    }

    fn keys(&self) -> RangeInclusive<usize> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    fn answer(&self, request: &Request) -> Response {
        let path = request.uri().path();
        if let Some(issuer) = path.strip_suffix("/.well-known/openid-configuration") {
            // One machine is every issuer of a document: each has a path of its own.
            return json(&json!({
                "issuer": format!("{}{issuer}", url()),
                "jwks_uri": format!("{}/jwks", url()),
            }));
        }
        match path {
            "/jwks" => {
                let keys: Vec<serde_json::Value> = self.keys().map(public).collect();
                json(&json!({ "keys": keys }))
            }
            _ => {
                let mut missing = json(&json!({ "error": "not found" }));
                *missing.status_mut() = http::StatusCode::NOT_FOUND;
                missing
            }
        }
    }

    /// Signs claims: a token.
    pub(super) fn sign(&self, claims: &serde_json::Value) -> String {
        let number = self.key();
        let header = Header {
            kid: Some(key_id(number)),
            ..Header::new(Algorithm::EdDSA)
        };
        let mut key = PKCS_8.to_vec();
        key.extend(KEYS[number].0);
        encode(&header, claims, &EncodingKey::from_ed_der(&key))
            .expect("a fixed key signs any claims")
    }
}

fn public(number: usize) -> serde_json::Value {
    json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "alg": "EdDSA",
        "kid": key_id(number),
        "x": KEYS[number].1,
    })
}

fn key_id(number: usize) -> String {
    format!("simulated-{}", number + 1)
}

/// Its URL, as the `iss` claim has it. Other issuers of a document have paths below it.
pub fn url() -> String {
    format!("http://{NAME}:{PORT}")
}

/// How often the issuer can rotate its keys.
pub const ROTATIONS: usize = KEYS.len() - 1;

/// Private and public keys of RFC 8032 section 7.1, tests 1 to 3.
const KEYS: [([u8; 32], &str); 3] = [
    (
        [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ],
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    ),
    (
        [
            0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11,
            0x4e, 0x0f, 0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed,
            0x4f, 0xb8, 0xa6, 0xfb,
        ],
        "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
    ),
    (
        [
            0xc5, 0xaa, 0x8d, 0xf4, 0x3f, 0x9f, 0x83, 0x7b, 0xed, 0xb7, 0x44, 0x2f, 0x31, 0xdc,
            0xb7, 0xb1, 0x66, 0xd3, 0x85, 0x35, 0x07, 0x6f, 0x09, 0x4b, 0x85, 0xce, 0x3a, 0x2e,
            0x0b, 0x44, 0x58, 0xf7,
        ],
        "_FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU",
    ),
];

/// What stands before the private key in PKCS #8 (RFC 8410 section 7).
const PKCS_8: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;
    use crate::world::Seed;

    fn issuer() -> Issuer {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Issuer::new(Manner::new(Seed(1), NAME))
    }

    /// The tenant of a token, by the public key of that number.
    fn tenant(token: &str, number: usize) -> Option<String> {
        let key = DecodingKey::from_ed_components(KEYS[number].1).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        validation.validate_exp = false;
        let claims = decode::<serde_json::Value>(token, &key, &validation).ok()?;
        Some(claims.claims["tenant"].as_str()?.to_owned())
    }

    #[test]
    fn its_tokens_verify_under_its_public_key_and_after_a_rotation_under_the_next() {
        let issuer = issuer();
        for number in 0..KEYS.len() {
            let token = issuer.sign(&json!({ "aud": AUDIENCE, "exp": 1, "tenant": "acme" }));
            for key in 0..KEYS.len() {
                let verified = tenant(&token, key);
                assert_eq!(verified.as_deref(), (key == number).then_some("acme"));
            }
            assert_eq!(issuer.rotate(), number < ROTATIONS);
        }
        assert_eq!(issuer.key(), ROTATIONS);
    }

    #[test]
    fn earlier_keys_are_published_until_they_are_retired() {
        let issuer = issuer();
        issuer.rotate();
        assert_eq!(issuer.keys(), 0..=1);
        issuer.retire();
        assert_eq!(issuer.keys(), 1..=1);
    }
}
