//! What the tests of this folder share: signers with real keys, an identity provider that answers real
//! HTTP over in-memory streams, and a host around both.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use meridian_cluster::host::{
    BoxFuture, BoxListener, BoxStream, Files, Host, LogStore, Place, StoreError,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// A private key and the name it is published under.
pub(super) struct Signer {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
    public: rcgen::KeyPair,
}

impl Signer {
    pub(super) fn rs256(id: &str) -> Self {
        Self::new(id, Algorithm::RS256)
    }

    pub(super) fn es256(id: &str) -> Self {
        Self::new(id, Algorithm::ES256)
    }

    pub(super) fn eddsa(id: &str) -> Self {
        Self::new(id, Algorithm::EdDSA)
    }

    fn new(id: &str, algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::RS256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            _ => &rcgen::PKCS_ED25519,
        };
        let pair = rcgen::KeyPair::generate_for(kind).expect("a key");
        let pem = pair.serialize_pem();
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            _ => Ok(EncodingKey::from_ed_der(pair.serialized_der())),
        };
        Self {
            id: id.to_owned(),
            algorithm,
            key: key.expect("a key"),
            public: pair,
        }
    }

    /// The public key as an issuer publishes it.
    pub(super) fn jwk(&self) -> Value {
        if self.algorithm == Algorithm::EdDSA {
            // `from_encoding_key` reads PKCS #8 version 1 only, and this is version 2.
            let x = base64url(self.public.public_key_raw());
            return json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.id });
        }
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(self.id.clone());
        serde_json::to_value(jwk).expect("json")
    }

    /// The public key in the forms that an attacker might take for an HMAC secret.
    pub(super) fn public_texts(&self) -> Vec<Vec<u8>> {
        let jwk = self.jwk();
        vec![
            self.public.public_key_pem().into_bytes(),
            self.public.public_key_raw().to_vec(),
            jwk["n"].as_str().unwrap_or_default().as_bytes().to_vec(),
        ]
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.encode(claims, Some(self.id.clone()))
    }

    /// Signs without naming the key.
    pub(super) fn sign_anonymously(&self, claims: &Value) -> String {
        self.encode(claims, None)
    }

    fn encode(&self, claims: &Value, id: Option<String>) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = id;
        jsonwebtoken::encode(&header, claims, &self.key).expect("signed")
    }
}

/// Unpadded base64url (RFC 4648 section 5).
pub(super) fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    bits.chunks(6)
        .map(|six| {
            let value = (0..6).fold(0, |value, bit| value << 1 | six.get(bit).unwrap_or(&0));
            char::from(DIGITS[usize::from(value)])
        })
        .collect()
}

/// The wall clock when a test starts, in seconds since the Unix epoch.
pub(super) const NOW: u64 = 1_800_000_000;

/// The URL of the test's identity provider.
pub(super) const URL: &str = "http://idp.test:9000";

/// Claims that pass for an hour.
pub(super) fn claims() -> Value {
    json!({
        "iss": URL, "aud": "api", "sub": "ann", "jti": "t-1", "tenant": "acme",
        "iat": NOW, "nbf": NOW, "exp": NOW + 3600,
        "scope": "plants:read plants:write", "roles": ["editor"],
    })
}

/// [`claims`] with some changed, or removed by null.
pub(super) fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    let Value::Object(changes) = changes else {
        panic!("not an object")
    };
    for (name, value) in changes {
        if value.is_null() {
            claims.as_object_mut().expect("an object").remove(&name);
        } else {
            claims[&name] = value;
        }
    }
    claims
}

/// An identity provider: discovery and keys over real HTTP.
pub(super) struct Provider {
    pub(super) keys: Mutex<Value>,
    /// Refuses connections where false.
    pub(super) up: AtomicBool,
    /// Accepts connections and never answers.
    pub(super) mute: AtomicBool,
    /// Fetches of the key set.
    pub(super) fetches: AtomicUsize,
    /// What discovery says the issuer is.
    pub(super) says: Mutex<String>,
    /// Where discovery says the keys are, without the path.
    pub(super) base: Mutex<String>,
}

impl Provider {
    pub(super) fn new(signers: &[&Signer]) -> Arc<Self> {
        let provider = Self {
            keys: Mutex::default(),
            up: AtomicBool::new(true),
            mute: AtomicBool::new(false),
            fetches: AtomicUsize::new(0),
            says: Mutex::new(URL.to_owned()),
            base: Mutex::new(URL.to_owned()),
        };
        provider.publish(signers);
        Arc::new(provider)
    }

    pub(super) fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
        *self.keys.lock().expect("no panic") = json!({ "keys": keys });
    }

    pub(super) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
    }

    pub(super) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn answer(&self, request: &Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let body = match request.uri().path() {
            "/.well-known/openid-configuration" => {
                let base = self.base.lock().expect("no panic");
                json!({ "issuer": *self.says.lock().expect("no panic"), "jwks_uri": format!("{base}/keys") })
            }
            "/keys" => {
                self.fetches.fetch_add(1, Ordering::SeqCst);
                self.keys.lock().expect("no panic").clone()
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
}

/// The outside of a node: one identity provider, files in memory, a wall clock that follows tokio's.
pub(super) struct FakeHost {
    provider: Arc<Provider>,
    files: Arc<FakeFiles>,
    tracker: TaskTracker,
    started: Instant,
    /// Added to the wall clock.
    pub(super) ahead: Mutex<Duration>,
    /// Wraps each accepted stream, for TLS.
    pub(super) acceptor: Option<tokio_rustls::TlsAcceptor>,
}

#[derive(Default)]
pub(super) struct FakeFiles(Mutex<BTreeMap<String, Vec<u8>>>);

impl FakeHost {
    pub(super) fn new(provider: Arc<Provider>, files: Arc<FakeFiles>) -> Self {
        Self {
            provider,
            files,
            tracker: TaskTracker::new(),
            started: Instant::now(),
            ahead: Mutex::default(),
            acceptor: None,
        }
    }
}

impl Host for FakeHost {
    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        let (provider, acceptor) = (self.provider.clone(), self.acceptor.clone());
        let tracker = self.tracker.clone();
        Box::pin(async move {
            // A round trip, so that requests can meet a fetch under way.
            tokio::time::sleep(Duration::from_millis(20)).await;
            if !provider.up.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            tracker.spawn(async move {
                if provider.mute.load(Ordering::SeqCst) {
                    return std::future::pending().await;
                }
                let stream: BoxStream = match acceptor {
                    Some(acceptor) => match acceptor.accept(theirs).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return,
                    },
                    None => Box::new(theirs),
                };
                let service = hyper::service::service_fn(|request| {
                    let response = provider.answer(&request);
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
            Ok(Box::new(ours) as BoxStream)
        })
    }

    fn resolve(&self, _: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(vec![SocketAddr::from(([192, 0, 2, 1], port))]) })
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(NOW) + self.started.elapsed() + *self.ahead.lock().expect("no panic")
    }

    fn entropy(&self, label: &str) -> [u8; 32] {
        *blake3::hash(label.as_bytes()).as_bytes()
    }

    fn files(&self) -> Arc<dyn Files> {
        self.files.clone()
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn workers(&self) -> usize {
        1
    }

    fn udp_bind(&self, _: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        unimplemented!("no test of this folder needs it")
    }

    fn listen(&self, _: SocketAddr, _: usize) -> io::Result<BoxListener> {
        unimplemented!("no test of this folder needs it")
    }

    fn log_store(&self) -> Result<Arc<dyn LogStore>, StoreError> {
        unimplemented!("no test of this folder needs it")
    }

    fn read_named(&self, _: &Path) -> io::Result<Vec<u8>> {
        unimplemented!("no test of this folder needs it")
    }

    fn print(&self, _: &[u8]) -> io::Result<()> {
        unimplemented!("no test of this folder needs it")
    }

    fn place(&self, _: Place, _: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        unimplemented!("no test of this folder needs it")
    }

    fn stop_asked(&self) -> BoxFuture<'static, ()> {
        unimplemented!("no test of this folder needs it")
    }
}

impl Files for FakeFiles {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().expect("no panic").get(name).cloned())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0
            .lock()
            .expect("no panic")
            .insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().expect("no panic").remove(name);
        Ok(())
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<String>> {
        let files = self.0.lock().expect("no panic");
        Ok(files
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect())
    }
}
