//! Connections over in-memory streams: what clients see on the wire.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use meridian_cluster::host::Host;
use meridian_config::node_file::EdgeCertificate;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{connection::Shared, executor::Tracked, screened::REFUSED, tls::EdgeTls, *};
use crate::{
    exchange::Body,
    guard::Limits,
    problem::{Facts, full, respond},
    report::metrics::ListenerKind,
    testing::TestHost,
};

/// Answers with the request's path, or with the screen's refusal; `/wait` waits to be let go.
struct Echo(Arc<Semaphore>);

impl Service for Echo {
    async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Body> {
        let _in_flight = connection.begin();
        if request.method().as_str() == REFUSED
            && let Some(refusal) = connection.marks.take_refusal()
        {
            let facts = Facts {
                request_id: "r",
                tenant: None,
            };
            return respond(&refusal, &facts);
        }
        if request.uri().path() == "/wait" {
            let _permit = self.0.acquire().await.expect("never closed");
        }
        Response::new(full(request.uri().path().to_owned()))
    }
}

struct Edge {
    shared: Arc<Shared<Echo>>,
    go: Arc<Semaphore>,
}

fn edge(tls: Option<EdgeTls>) -> Edge {
    let go = Arc::new(Semaphore::new(0));
    let kind = if tls.is_some() {
        ListenerKind::Https
    } else {
        ListenerKind::Http
    };
    let shared = Shared {
        kind,
        tls,
        limits: Limits::default(),
        service: Arc::new(Echo(go.clone())),
        tracker: TaskTracker::new(),
        stops: Stops::default(),
    };
    Edge {
        shared: Arc::new(shared),
        go,
    }
}

impl Edge {
    fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(256 * 1024);
        let peer = IpAddr::from([203, 0, 113, 9]);
        let serving = self.shared.clone().serve(Box::new(far), peer, None);
        self.shared.tracker.spawn(serving);
        near
    }
}

/// Sends, and reads until the gateway closes.
async fn exchange(edge: &Edge, sent: &str) -> String {
    let mut stream = edge.connect();
    stream
        .write_all(sent.as_bytes())
        .await
        .expect("it takes it");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.expect("it closes");
    heard
}

#[tokio::test(start_paused = true)]
async fn requests_on_one_connection_are_answered_in_order() {
    let heard = exchange(
        &edge(None),
        "GET /a HTTP/1.1\r\nhost: x\r\n\r\nPOST /b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
         1\r\nz\r\n0\r\n\r\nGET /c HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 3, "{heard}");
    let places: Vec<usize> = ["\r\n\r\n/a", "\r\n\r\n/b", "\r\n\r\n/c"]
        .iter()
        .map(|body| heard.find(body).expect("answered"))
        .collect();
    assert!(places.is_sorted(), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn a_smuggled_request_is_refused_behind_the_good_one_and_nothing_follows() {
    let heard = exchange(
        &edge(None),
        "GET /good HTTP/1.1\r\nhost: x\r\n\r\n\
         POST /bad HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
    )
    .await;
    assert!(heard.contains("\r\n\r\n/good"), "{heard}");
    assert!(heard.contains("HTTP/1.1 400 Bad Request"), "{heard}");
    assert!(
        heard.contains("urn:meridian:problem:malformed-request"),
        "{heard}"
    );
    assert!(!heard.contains("/smuggled"), "{heard}");
    assert_eq!(heard.matches("HTTP/1.1 ").count(), 2, "{heard}");
}

#[tokio::test(start_paused = true)]
async fn heads_that_are_too_large_get_their_own_status() {
    let target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000));
    assert!(
        exchange(&edge(None), &target)
            .await
            .starts_with("HTTP/1.1 414")
    );
    let head = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(40_000));
    assert!(
        exchange(&edge(None), &head)
            .await
            .starts_with("HTTP/1.1 431")
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_too_slowly_is_answered_and_an_idle_connection_is_just_closed() {
    let began = Instant::now();
    let heard = exchange(&edge(None), "GET / HTTP/1.1\r\nhost:").await;
    assert!(heard.starts_with("HTTP/1.1 408"), "{heard}");
    assert!(began.elapsed() < Duration::from_secs(12));
    let began = Instant::now();
    let heard = exchange(&edge(None), "GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "{heard}");
    assert!(began.elapsed() >= Limits::default().idle_time);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_one_by_one_make_the_same_request() {
    let edge = edge(None);
    let mut stream = edge.connect();
    for byte in b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).await.expect("it takes it");
        tokio::task::yield_now().await;
    }
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.expect("it closes");
    assert!(heard.ends_with("\r\n\r\n/slow"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_dropped() {
    let edge = edge(None);
    let (near, far) = tokio::io::duplex(64);
    let serving = edge
        .shared
        .clone()
        .serve(Box::new(far), IpAddr::from([1, 1, 1, 1]), None);
    let mut near = near;
    let path = "a".repeat(4000);
    let writing = async {
        let request = format!("GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n");
        near.write_all(request.as_bytes())
            .await
            .expect("it takes it");
        std::future::pending::<()>().await;
    };
    let began = Instant::now();
    tokio::select! {
        () = serving => {}
        () = writing => {}
    }
    assert!(began.elapsed() < Duration::from_secs(35));
    assert!(began.elapsed() >= Limits::default().stall_time);
}

type Sender = hyper::client::conn::http2::SendRequest<Empty<bytes::Bytes>>;

async fn http2(edge: &Edge, stream: impl meridian_cluster::host::Stream) -> Sender {
    let (sender, connection) = hyper::client::conn::http2::handshake(
        Tracked(edge.shared.tracker.clone()),
        TokioIo::new(stream),
    )
    .await
    .expect("a handshake");
    edge.shared.tracker.spawn(async {
        let _ = connection.await;
    });
    sender
}

async fn get(sender: &mut Sender, uri: &str) -> (StatusCode, String) {
    let request = Request::get(uri).body(Empty::new()).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body");
    let text = String::from_utf8(body.to_bytes().to_vec()).expect("text");
    (status, text)
}

#[tokio::test(start_paused = true)]
async fn http_2_with_prior_knowledge_is_known_by_its_preface() {
    let edge = edge(None);
    let mut sender = http2(&edge, edge.connect()).await;
    let answer = get(&mut sender, "http://x/a").await;
    assert_eq!(answer, (StatusCode::OK, "/a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn draining_lets_running_requests_end_and_then_closes() {
    let edge = edge(None);
    let mut plain = edge.connect();
    plain
        .write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("it takes it");
    let mut sender = http2(&edge, edge.connect()).await;
    let waiting = get(&mut sender, "http://x/wait");
    let released = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        edge.shared.stops.drain.cancel();
        tokio::time::sleep(Duration::from_millis(10)).await;
        edge.go.add_permits(2);
    };
    let (answer, ()) = tokio::join!(waiting, released);
    assert_eq!(answer.0, StatusCode::OK);
    let mut heard = String::new();
    plain.read_to_string(&mut heard).await.expect("it closes");
    assert!(heard.contains("connection: close"), "{heard}");
    assert!(heard.ends_with("/wait"), "{heard}");
    edge.shared.tracker.close();
    drop(sender);
    tokio::time::timeout(Duration::from_secs(2), edge.shared.tracker.wait())
        .await
        .expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_draining_http_2_connection_is_told_to_go_and_its_stream_is_finished() {
    let edge = edge(None);
    let mut stream = edge.connect();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS, and HEADERS of `GET /wait` that end stream 1 on our side (RFC 9113 sections 6.2 and 6.5).
    sent.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let block = b"\x82\x86\x04\x05/wait\x01\x01x";
    let length = u8::try_from(block.len()).expect("a short block");
    sent.extend([0, 0, length, 1, 0x05, 0, 0, 0, 1]);
    sent.extend(block);
    stream.write_all(&sent).await.expect("it takes it");
    tokio::time::sleep(Duration::from_millis(10)).await;
    edge.shared.stops.drain.cancel();
    let mut seen = Vec::new();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            break;
        }
        let mut body = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut body).await.expect("a whole frame");
        let acknowledged = head[4] & 1 == 1;
        match head[3] {
            // PING: the gateway waits for its answer before it says which stream is the last.
            6 if !acknowledged => {
                let mut pong = head;
                pong[4] = 1;
                stream.write_all(&pong).await.expect("it takes it");
                stream.write_all(&body).await.expect("it takes it");
            }
            7 => {
                assert_eq!(body[4..8], [0; 4], "no error");
                if !seen.contains(&"goaway") {
                    edge.go.add_permits(1);
                }
                seen.push("goaway");
            }
            0 if body == b"/wait" => seen.push("answer"),
            _ => {}
        }
    }
    // First it is told to open no more streams, then the running one is answered, then it is closed.
    assert_eq!(seen.first(), Some(&"goaway"), "{seen:?}");
    assert!(seen.contains(&"answer"), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_when_the_drain_begins_is_answered() {
    let edge = edge(None);
    let mut plain = edge.connect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    edge.shared.stops.drain.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await;
    plain
        .write_all(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("it takes it");
    let mut heard = String::new();
    plain.read_to_string(&mut heard).await.expect("it closes");
    assert!(heard.ends_with("/late"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn connections_that_ask_nothing_do_not_hold_up_a_drain() {
    let edge = edge(None);
    let silent = edge.connect();
    let mut begun = edge.connect();
    begun.write_all(b"GE").await.expect("it takes it");
    let mut preface = edge.connect();
    preface
        .write_all(b"PRI * HTTP/2.0\r\n")
        .await
        .expect("it takes it");
    let quiet = http2(&edge, edge.connect()).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    edge.shared.stops.drain.cancel();
    edge.shared.tracker.close();
    tokio::time::timeout(Duration::from_secs(3), edge.shared.tracker.wait())
        .await
        .expect("nothing is left");
    drop((silent, quiet));
}

fn certificate(host: &TestHost, name: &str) -> (EdgeCertificate, rcgen::Certificate) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    host.put(&format!("/{name}.pem"), made.cert.pem());
    host.put(&format!("/{name}.key"), made.signing_key.serialize_pem());
    let file = EdgeCertificate {
        hosts: vec![name.to_owned()],
        cert: format!("/{name}.pem").into(),
        key: format!("/{name}.key").into(),
    };
    (file, made.cert)
}

#[tokio::test]
async fn tls_picks_the_certificate_by_name_and_http_2_by_alpn() {
    let host = TestHost::new();
    let (first, _) = certificate(&host, "a.example");
    let (second, trusted) = certificate(&host, "b.example");
    let host: Arc<dyn Host> = host;
    let tls = EdgeTls::load(&host, &[first, second]).await.expect("good");
    assert_eq!(*tls.hosts("b.example"), ["b.example".to_owned()]);
    assert_eq!(*tls.hosts("unknown"), ["a.example".to_owned()]);
    let edge = edge(Some(tls));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = "b.example".try_into().expect("a name");
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, edge.connect())
        .await
        .expect("the second certificate");
    assert_eq!(
        stream.get_ref().1.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let mut sender = http2(&edge, stream).await;
    let answer = get(&mut sender, "https://b.example/a").await;
    assert_eq!(answer.0, StatusCode::OK);
}

/// A client that trusts one certificate, and speaks HTTP/2.
fn trusting(certificate: &rcgen::Certificate) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config).into()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_client_and_the_present_one_goes_on() {
    let memory = TestHost::new();
    let (file, first) = certificate(&memory, "a.example");
    let host: Arc<dyn Host> = memory.clone();
    let tls = EdgeTls::load(&host, std::slice::from_ref(&file))
        .await
        .expect("good");
    let edge = edge(Some(tls.clone()));
    let name = || "a.example".try_into().expect("a name");
    let stream = trusting(&first).connect(name(), edge.connect()).await;
    let mut present = http2(&edge, stream.expect("the first certificate")).await;
    assert_eq!(
        get(&mut present, "https://a.example/a").await.0,
        StatusCode::OK
    );

    let (_, second) = certificate(&memory, "a.example");
    let contents = [&file.cert, &file.key].map(|path| host.read_named(path).expect("put"));
    let mut followed = tls.followed().pop().expect("one certificate");
    let cut = [contents[0].clone(), contents[1][..40].to_vec()];
    let refused = (followed.adopt)(&cut).expect_err("half a key");
    assert!(refused.contains("/a.example.key"), "{refused}");
    let still = trusting(&first).connect(name(), edge.connect()).await;
    assert!(still.is_ok(), "what was in force stays");

    (followed.adopt)(&contents).expect("a good pair");
    let next = trusting(&second).connect(name(), edge.connect()).await;
    assert!(next.is_ok(), "{:?}", next.err());
    let old = trusting(&first).connect(name(), edge.connect()).await;
    assert!(old.is_err(), "nobody is shown the old one any more");
    assert_eq!(
        get(&mut present, "https://a.example/b").await.0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_missing_certificate_is_named() {
    let host: Arc<dyn Host> = TestHost::new();
    let file = EdgeCertificate {
        hosts: vec!["a".to_owned()],
        cert: "/no.pem".into(),
        key: "/no.key".into(),
    };
    let error = EdgeTls::load(&host, &[file]).await.expect_err("no file");
    assert!(error.to_string().contains("/no.pem"), "{error}");
}
