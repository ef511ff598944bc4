//! The demo identity provider: OpenID Connect discovery and a key set, over plain HTTP on loopback, and
//! the tokens signed with its key.
//!
//! In: the key of the folder. Out: documents for nodes, tokens for people. Only children of
//! `meridian dev` accept an `http:` issuer.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{folder::Folder, serve};
use crate::cli::{
    outcome::Failure,
    outside::{self, Readers},
};

/// The audience of the demo document and of every demo token.
pub(crate) const AUDIENCE: &str = "https://api.meridian.test";

/// The identity provider's key (ECDSA on P-256).
pub(crate) struct IssuerKey {
    signing: EncodingKey,
    public: Value,
    id: String,
}

/// What a token is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The tenant claim.
    pub(crate) tenant: String,
    /// `sub`.
    pub(crate) subject: String,
    /// `scope`.
    pub(crate) scopes: Vec<String>,
    /// `roles`.
    pub(crate) roles: Vec<String>,
    /// From now to `exp`.
    pub(crate) lifetime: Duration,
}

impl IssuerKey {
    /// The folder's key, made where it is missing.
    pub(crate) fn open_or_create(folder: &Folder) -> Result<Self, Failure> {
        let path = folder.issuer_key();
        if !path.exists() {
            let fresh = rcgen::KeyPair::generate().map_err(|error| {
                Failure::failed(format!(
                    "no key for the identity provider: {error}; try again"
                ))
            })?;
            folder.put(&path, fresh.serialize_pem().as_bytes(), Readers::Owner)?;
        }
        Self::open(folder)
    }

    /// The folder's key.
    pub(crate) fn open(folder: &Folder) -> Result<Self, Failure> {
        let path = folder.issuer_key();
        let damaged = |cause: &dyn std::fmt::Display| {
            Failure::failed(format!(
                "{} cannot be used: {cause}; start afresh with `meridian dev --reset`",
                path.display()
            ))
        };
        let pem = outside::read_text(&path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                Failure::unreachable(format!(
                    "no dev cluster in {}; start one with `meridian dev`, or name its folder with --dir",
                    folder.root().display()
                ))
            } else {
                damaged(&error)
            }
        })?;
        Self::from_pem(&pem).map_err(|error| damaged(&error))
    }

    fn from_pem(pem: &str) -> Result<Self, jsonwebtoken::errors::Error> {
        let signing = EncodingKey::from_ec_pem(pem.as_bytes())?;
        let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::ES256)?;
        let id = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        Ok(Self {
            signing,
            public: serde_json::to_value(&jwk)?,
            id,
        })
    }

    /// Signs a token. `now` is time since the Unix epoch; `token_id` becomes `jti`.
    pub(crate) fn sign(
        &self,
        issuer: &str,
        wish: &Wish,
        now: Duration,
        token_id: &str,
    ) -> Result<String, Failure> {
        let mut claims = BTreeMap::from([
            ("iss", json!(issuer)),
            ("sub", json!(wish.subject)),
            ("aud", json!([AUDIENCE])),
            ("iat", json!(now.as_secs())),
            ("nbf", json!(now.as_secs())),
            ("exp", json!((now + wish.lifetime).as_secs())),
            ("jti", json!(token_id)),
            ("tenant", json!(wish.tenant)),
        ]);
        if !wish.scopes.is_empty() {
            claims.insert("scope", json!(wish.scopes.join(" ")));
        }
        if !wish.roles.is_empty() {
            claims.insert("roles", json!(wish.roles));
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|error| {
            Failure::failed(format!(
                "the token could not be signed: {error}; start afresh with `meridian dev --reset`"
            ))
        })
    }

    /// The public key, as a JSON Web Key.
    pub(crate) fn public(&self) -> &Value {
        &self.public
    }
}

/// Serves discovery and key set until `stop`.
pub(crate) async fn run(
    listener: TcpListener,
    url: String,
    public: Value,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let discovery = json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks.json"),
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    let documents = std::sync::Arc::new([
        ("/.well-known/openid-configuration", discovery),
        ("/jwks.json", json!({ "keys": [public] })),
    ]);
    let answer = move |request: Request<Incoming>| {
        let documents = documents.clone();
        async move { respond(request.uri().path(), documents.as_slice()) }
    };
    serve::serve(listener, answer, tracker, stop).await;
}

fn respond(path: &str, documents: &[(&str, Value)]) -> Response<Full<Bytes>> {
    documents.iter().find(|(known, _)| *known == path).map_or_else(
        || {
            let error = "this demo identity provider has only discovery and keys; tokens come from `meridian dev token`";
            serve::json(404, &json!({ "error": error }))
        },
        |(_, document)| serve::json(200, document),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_token_verifies_with_the_published_key() {
        // Whichever test runs first installs the process's provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let key = IssuerKey::open_or_create(&folder).unwrap();
        let wish = Wish {
            tenant: "acme".into(),
            subject: "demo".into(),
            scopes: vec!["plants:read".into(), "plants:write".into()],
            roles: vec!["operator".into()],
            lifetime: Duration::from_secs(60),
        };
        let now = outside::unix_time();
        let token = key.sign("http://issuer", &wish, now, "id-1").unwrap();

        let reopened = IssuerKey::open(&folder).unwrap();
        assert_eq!(reopened.public(), key.public());
        let jwk: Jwk = serde_json::from_value(reopened.public().clone()).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.kid, jwk.common.key_id);
        let mut validation = jsonwebtoken::Validation::new(Algorithm::ES256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&["http://issuer"]);
        validation.validate_nbf = true;
        let decoded = jsonwebtoken::decode::<Value>(
            &token,
            &jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap(),
            &validation,
        )
        .unwrap();
        assert_eq!(decoded.claims["tenant"], "acme");
        assert_eq!(decoded.claims["scope"], "plants:read plants:write");
        assert_eq!(decoded.claims["roles"], json!(["operator"]));
        assert_eq!(decoded.claims["jti"], "id-1");
    }
}
