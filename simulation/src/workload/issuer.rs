//! The issuer of tokens: discovery, one public key, and the tokens that clients hold.
//!
//! The key pair is the one printed in RFC 8037 appendix A, so that it is fixed and plainly no secret.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::serve::{Request, Response, json, serve};
use crate::world::SimHost;

/// Its host name.
pub const NAME: &str = "issuer";

/// Its port.
pub const PORT: u16 = 9000;

/// The audience of its tokens.
pub const AUDIENCE: &str = "https://api.simulated.example";

/// Serves until the machine is gone.
///
/// # Errors
/// When its port is taken.
pub async fn run(host: Arc<SimHost>) -> Result<(), String> {
    serve(host, PORT, |request| async move { answer(&request) }).await
}

fn answer(request: &Request) -> Response {
    match request.uri().path() {
        "/.well-known/openid-configuration" => json(&json!({
            "issuer": url(),
            "jwks_uri": format!("{}/jwks", url()),
        })),
        "/jwks" => json(&json!({ "keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "use": "sig",
            "alg": "EdDSA",
            "kid": KEY_ID,
            "x": PUBLIC_KEY,
        }]})),
        _ => {
            let mut missing = json(&json!({ "error": "not found" }));
            *missing.status_mut() = http::StatusCode::NOT_FOUND;
            missing
        }
    }
}

/// Its URL, as the `iss` claim has it.
pub fn url() -> String {
    format!("http://{NAME}:{PORT}")
}

/// A token for a tenant, good for a day from `unix`.
pub fn token(tenant: &str, subject: &str, unix: Duration) -> String {
    sign(&claims(tenant, subject, unix))
}

/// The same with an id, by which it can be revoked.
pub fn badge(tenant: &str, id: &str, unix: Duration) -> String {
    let mut claims = claims(tenant, "holder", unix);
    claims["jti"] = id.into();
    sign(&claims)
}

fn claims(tenant: &str, subject: &str, unix: Duration) -> serde_json::Value {
    let issued = unix.as_secs();
    json!({
        "iss": url(),
        "aud": AUDIENCE,
        "sub": subject,
        "tenant": tenant,
        "scope": "read write",
        "iat": issued,
        "nbf": issued,
        "exp": issued + 86_400,
    })
}

fn sign(claims: &serde_json::Value) -> String {
    let header = Header {
        kid: Some(KEY_ID.to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let key = EncodingKey::from_ed_der(PRIVATE_KEY);
    encode(&header, claims, &key).expect("a fixed key signs any claims")
}

const KEY_ID: &str = "simulated-1";

/// RFC 8037 appendix A.2.
const PUBLIC_KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// RFC 8037 appendix A.1, as PKCS #8 (RFC 8410 section 7).
const PRIVATE_KEY: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    #[test]
    fn its_tokens_verify_under_its_public_key() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let token = token("acme", "client", crate::world::EPOCH);
        let key = DecodingKey::from_ed_components(PUBLIC_KEY).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        validation.validate_exp = false;
        let claims = decode::<serde_json::Value>(&token, &key, &validation).unwrap();
        assert_eq!(claims.claims["tenant"], "acme");
    }
}
