//! One worker with everything around it in memory, and an upstream that says what it saw.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use meridian_cluster::{
    directory::{Overrides, Revision},
    host::{BoxFuture, BoxListener, BoxStream, Host},
    membership::{Announced, Footing, Liveness, Member, View},
    quota::service::Quota,
};
use meridian_config::{
    diagnose::Source,
    name::{NodeId, RegionName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ban::tests::Decree,
    explain::Explainer,
    forward::{Arrival, Bulk, BulkError, ReadHalf, WriteHalf},
    guard::Limits,
    identity::{Identifier, Issuers},
    limit::{Limiter, Pressure},
    listener::{Acceptor, Stops},
    report::{AccessLog, Metrics, health::Health, metrics::ListenerKind, pseudonym::Key},
    revision::{
        Drafts, Settings,
        adopt::{Adopter, Adoption},
    },
    testing::{NOW, TestHost},
    transform::trace::Ids,
    upstream::{Observer, Roots, Setup, Upstreams},
    worker::Worker,
};

pub(super) const CLIENT: &str = "203.0.113.9";
const EDGE: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);
const UPSTREAM: ([u8; 4], u16) = ([10, 0, 0, 8], 80);
const PROVIDER: ([u8; 4], u16) = ([10, 0, 0, 9], 80);

/// A gateway of one worker.
pub(super) struct Gateway {
    pub(super) host: Arc<TestHost>,
    pub(super) metrics: Metrics,
    pub(super) explainer: Explainer,
    pub(super) decree: Decree,
    key: Signer,
    adopter: Option<Adopter>,
    tracker: TaskTracker,
}

/// A response as it came.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Answer {
    /// A field's value; empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Gateway {
    pub(super) async fn start(document: Option<&str>) -> Self {
        let host = TestHost::new();
        let outside: Arc<dyn Host> = host.clone();
        let tracker = TaskTracker::new();
        let stop = CancellationToken::new();
        let upstream = outside.listen(UPSTREAM.into(), 0).expect("in memory");
        tracker.spawn(serve_upstream(upstream, tracker.clone()));
        let key = Signer::new();
        let provider = outside.listen(PROVIDER.into(), 0).expect("in memory");
        tracker.spawn(serve_provider(provider, key.jwks(), tracker.clone()));

        let metrics = Metrics::new(1);
        let issuers = Issuers::start(outside.clone(), tracker.clone(), stop.clone(), true);
        let view = Arc::new(alone());
        let upstreams = Upstreams::start(Setup {
            host: outside.clone(),
            view: Arc::new(move || view.clone()),
            bulk: Arc::new(NoPeers),
            observer: Arc::new(Nobody),
            roots: Roots::Native,
            tracker: tracker.clone(),
            stop: stop.clone(),
        });
        let current = Arc::new(ArcSwapOption::empty());
        let mut kept = None;
        if let Some(text) = document {
            let adopter = Adopter {
                own_region: RegionName::from("here"),
                drafts: Arc::new(Drafts::new(true)),
                issuers: issuers.clone(),
                upstreams: upstreams.clone(),
                metrics: metrics.path().clone(),
                current: current.clone(),
            };
            assert_eq!(
                adopter.offer(
                    &revision(text),
                    Settings {
                        overrides: &Overrides::default(),
                        unix_ms: 0,
                    },
                ),
                Adoption::Served { number: 1 }
            );
            kept = Some(adopter);
        }
        let revisions = current.clone();
        let decree = Decree::new(outside.clone());
        let worker = Worker {
            index: 0,
            node: NodeId::from("here-1"),
            region: RegionName::from("here"),
            host: outside.clone(),
            limits: Limits::default(),
            current,
            bans: decree.bans.clone(),
            identifier: Identifier::new(outside.clone(), issuers, decree.bans.clone()),
            limiter: Limiter::new(Quota::alone(outside.unix_time())),
            pressure: Pressure::default(),
            client: upstreams.client("worker"),
            metrics: metrics.path().clone(),
            log: AccessLog::start(outside.clone(), &tracker, stop.clone()),
            key: Key::new([7; 32]),
            ids: Ids::new(outside.entropy("ids")),
            health: Arc::new(move || Health {
                revision: revisions.load().as_ref().map(|compiled| compiled.number),
                listening: true,
                quorum: true,
                ..Health::default()
            }),
        };
        let worker = Arc::new(worker);
        let explainer = Explainer::new(worker.clone(), None);
        let acceptor = Acceptor {
            kind: ListenerKind::Http,
            worker: 0,
            tls: None,
            limits: Limits::default(),
            service: worker.clone(),
            metrics: metrics.path().clone(),
            tracker: tracker.clone(),
            stops: Stops::default(),
        };
        let listener = outside.listen(EDGE.into(), 0).expect("in memory");
        tracker.spawn(acceptor.run(listener));
        Self {
            host,
            metrics,
            explainer,
            decree,
            key,
            adopter: kept,
            tracker,
        }
    }

    /// From now on it serves what a directory would show: the document, and what operators set.
    pub(super) fn follow(&mut self, document: &str, overrides: watch::Receiver<Arc<Overrides>>) {
        let adopter = self.adopter.take().expect("it serves a document");
        let revisions = watch::Sender::new(Some(Arc::new(revision(document))));
        let seen = revisions.subscribe();
        let stop = CancellationToken::new();
        let host: Arc<dyn Host> = self.host.clone();
        self.tracker.spawn(async move {
            adopter.follow(host, seen, overrides, |_| (), stop).await;
            drop(revisions);
        });
    }

    /// What operators have set holds from now on, by that clock.
    pub(super) fn set(&self, overrides: &Overrides, unix_ms: u64) {
        let adopter = self.adopter.as_ref().expect("it serves a document");
        adopter.set(Settings { overrides, unix_ms });
    }

    /// Its clock, in ms since the Unix epoch.
    pub(super) fn unix_ms(&self) -> u64 {
        let host: &dyn Host = &*self.host;
        u64::try_from(host.unix_time().as_millis()).expect("a time of this age")
    }

    pub(super) async fn connect(&self) -> BoxStream {
        self.host.dial(EDGE.into(), &format!("{CLIENT}:4444")).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    /// A request on a connection of its own.
    pub(super) async fn ask(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        let length = match body.len() {
            0 => String::new(),
            length => format!("content-length: {length}\r\n"),
        };
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{length}{fields}\r\n{body}"
        );
        self.raw(&text).await
    }

    /// The same with a token of the demo issuer for a tenant.
    pub(super) async fn ask_as(&self, tenant: &str, path: &str) -> Answer {
        let fields = format!("authorization: Bearer {}\r\n", self.token(tenant, &[]));
        self.ask("GET", path, &fields, "").await
    }

    /// A token of the demo issuer for a tenant, with some claims of its own; null takes one out.
    pub(super) fn token(&self, tenant: &str, own: &[(&str, serde_json::Value)]) -> String {
        let mut claims = serde_json::json!({
            "iss": "http://10.0.0.9/", "aud": "api", "sub": "ann", "tenant": tenant,
            "scope": "plants:read", "exp": NOW + 3600,
        });
        for (name, value) in own {
            claims[*name] = value.clone();
        }
        self.key.sign(&claims)
    }

    /// Sends bytes and reads one response until the gateway closes.
    pub(super) async fn raw(&self, text: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.expect("taken");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.expect("it closes");
        let heard = String::from_utf8(heard).expect("text");
        let (head, body) = heard.split_once("\r\n\r\n").expect("a whole head");
        let mut lines = head.lines();
        let status = lines.next().expect("a status line");
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let chunked = headers.contains_key("transfer-encoding");
        Answer {
            status: status[9..12].parse().expect("a status"),
            headers,
            body: if chunked {
                dechunk(body)
            } else {
                body.to_owned()
            },
        }
    }
}

fn dechunk(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        body.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    body
}

fn revision(text: &str) -> Revision {
    Revision {
        number: 1,
        files: Arc::new([Source {
            name: "gateway.yaml".to_owned(),
            text: text.to_owned(),
        }]),
        digest: String::new(),
        author: "test".to_owned(),
        message: String::new(),
        unix_ms: 0,
    }
}

fn alone() -> View {
    let own = NodeId::from("here-1");
    let region = RegionName::from("here");
    let member = Member {
        id: own.clone(),
        region: region.clone(),
        incarnation: 1,
        liveness: Liveness::Up,
        footing: Footing::Steady,
        control: SocketAddr::from(([10, 0, 0, 1], 7400)),
        bulk: SocketAddr::from(([10, 0, 0, 1], 7450)),
        announced: Announced::default(),
        rtt: None,
    };
    View {
        own: own.clone(),
        own_region: region,
        members: BTreeMap::from([(own, member)]),
        regions: BTreeMap::new(),
    }
}

/// The demo issuer's key.
struct Signer(EncodingKey);

impl Signer {
    fn new() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let pem = pair.serialize_pem();
        Self(EncodingKey::from_ec_pem(pem.as_bytes()).expect("a key"))
    }

    fn sign(&self, claims: &serde_json::Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k".to_owned());
        jsonwebtoken::encode(&header, claims, &self.0).expect("signed")
    }

    fn jwks(&self) -> String {
        let mut jwk = Jwk::from_encoding_key(&self.0, Algorithm::ES256).expect("a public key");
        jwk.common.key_id = Some("k".to_owned());
        serde_json::json!({ "keys": [jwk] }).to_string()
    }
}

/// Discovery and keys, as an identity provider has them.
async fn serve_provider(mut listener: BoxListener, jwks: String, tracker: TaskTracker) {
    let discovery = r#"{"issuer":"http://10.0.0.9/","jwks_uri":"http://10.0.0.9/jwks"}"#;
    while let Ok((stream, _)) = listener.accept().await {
        let jwks = jwks.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let body = match request.uri().path() {
                "/jwks" => jwks.clone(),
                _ => discovery.to_owned(),
            };
            async { Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::from(body))) }
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tracker.spawn(async {
            let _ = serving.await;
        });
    }
}

struct NoPeers;

impl Bulk for NoPeers {
    fn open(&self, peer: &NodeId) -> BoxFuture<'static, Result<(ReadHalf, WriteHalf), BulkError>> {
        let peer = peer.clone();
        Box::pin(async {
            Err(BulkError {
                peer,
                cause: "there is nobody".to_owned(),
            })
        })
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arrival>> {
        Box::pin(async { None })
    }
}

struct Nobody;

impl Observer for Nobody {
    fn failover(&self, _: &RegionName, _: &RegionName) {}
}

type Seen = UnsyncBoxBody<Bytes, Infallible>;

/// A body of one piece.
fn whole(text: impl Into<Bytes>) -> Seen {
    Full::new(text.into()).boxed_unsync()
}

/// Answers with what it saw; `/seen/ws` echoes bytes, `/seen/hang` never answers, `/seen/drip` never ends.
async fn serve_upstream(mut listener: BoxListener, tracker: TaskTracker) {
    while let Ok((stream, _)) = listener.accept().await {
        let echoes = tracker.clone();
        let service = service_fn(move |request| see(request, echoes.clone()));
        let serving = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tracker.spawn(async {
            let _ = serving.await;
        });
    }
}

async fn see(
    mut request: Request<Incoming>,
    tracker: TaskTracker,
) -> Result<Response<Seen>, Infallible> {
    if request.uri().path() == "/seen/drip" {
        let first = Ok(Frame::data(Bytes::from_static(b"a drop")));
        let drops = stream::iter([first]).chain(stream::pending());
        return Ok(Response::new(StreamBody::new(drops).boxed_unsync()));
    }
    if request.uri().path() == "/seen/hang" {
        std::future::pending::<()>().await;
    }
    if request.uri().path() == "/seen/ws" {
        let upgrade = hyper::upgrade::on(&mut request);
        tracker.spawn(async {
            let stream = TokioIo::new(upgrade.await.expect("upgraded"));
            let (mut reader, mut writer) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        let mut answer = Response::new(whole(""));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for name in ["connection", "upgrade"] {
            let value = request.headers()[name].clone();
            answer.headers_mut().insert(name, value);
        }
        return Ok(answer);
    }
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or("").to_owned();
    let headers: BTreeMap<&str, String> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect();
    let seen = serde_json::json!({
        "method": parts.method.as_str(),
        "target": parts.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body.unwrap_or_default()),
    });
    let mut answer = Response::new(whole(seen.to_string()));
    for (name, value) in [("x-inner", "1"), ("keep-alive", "timeout=5")] {
        answer
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    Ok(answer)
}
