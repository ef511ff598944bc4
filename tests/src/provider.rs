//! An identity provider over HTTPS, in the test's own process: discovery, keys, and tokens signed by them.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Issued;

/// What the provider's tokens are for.
pub const AUDIENCE: &str = "https://api.test";

/// A running identity provider.
pub struct Provider {
    /// Its URL: the tokens' `iss`.
    pub url: String,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

struct Shared {
    url: String,
    published: Mutex<Vec<Value>>,
    fetches: AtomicUsize,
}

/// A key that signs tokens.
pub struct Signer {
    id: String,
    key: EncodingKey,
}

impl Signer {
    /// A new ES256 key.
    pub fn new(id: &str) -> Self {
        let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        Self {
            id: id.to_owned(),
            key: EncodingKey::from_ec_pem(pem.as_bytes()).expect("a P-256 key"),
        }
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.key).expect("signed")
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).expect("a public key");
        jwk.common.key_id = Some(self.id.clone());
        serde_json::to_value(jwk).expect("json")
    }
}

impl Provider {
    /// Starts a provider with this certificate.
    pub async fn start(certificate: &Issued) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let chain =
            vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("PEM");
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .expect("a server's configuration");
        let url = format!("https://localhost:{}", address.port());
        let shared = Arc::new(Shared {
            url: url.clone(),
            published: Mutex::default(),
            fetches: AtomicUsize::new(0),
        });
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = tokio::spawn(serve(listener, acceptor.clone(), shared.clone()));
        Self {
            url,
            address,
            acceptor,
            shared,
            server: Some(server),
        }
    }

    /// Publishes these keys and no others.
    pub fn publish(&self, signers: &[&Signer]) {
        let keys = signers.iter().map(|signer| signer.jwk()).collect();
        *self.shared.published.lock().expect("no panic") = keys;
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// Goes down: connections are refused.
    pub async fn go_down(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    /// Comes back at the same address.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its own port");
        self.server = Some(tokio::spawn(serve(
            listener,
            self.acceptor.clone(),
            self.shared.clone(),
        )));
    }

    /// Claims of a good token for an hour.
    pub fn claims(&self, tenant: &str, scope: &str) -> Value {
        let now = unix_now();
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": "ann", "tenant": tenant, "scope": scope,
            "iat": now, "exp": now + 3600,
        })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// The wall clock in seconds since the Unix epoch.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        connections.spawn(async move {
            // A client that does not trust us ends here.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = hyper::service::service_fn(|request| {
                let answer = answer(&shared, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let body = match request.uri().path() {
        "/.well-known/openid-configuration" => {
            json!({ "issuer": shared.url, "jwks_uri": format!("{}/keys", shared.url) })
        }
        "/keys" => {
            shared.fetches.fetch_add(1, Ordering::SeqCst);
            json!({ "keys": *shared.published.lock().expect("no panic") })
        }
        _ => {
            return Response::builder()
                .status(404)
                .body(Full::default())
                .expect("a response");
        }
    };
    Response::new(Full::new(body.to_string().into()))
}
