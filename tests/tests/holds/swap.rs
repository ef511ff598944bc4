//! A new document under traffic: what it does not concern goes on, over the connections that it had.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use meridian_tests::{
    http::{Wire, get},
    site::Site,
    wait::{LONG, until},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

/// Half of the download, and what it is filled with.
const HALF: usize = 300_000;

/// An upstream that counts its connections, sends half a download until it is let go on, and echoes what
/// comes over an upgraded connection.
struct Upstream {
    address: SocketAddr,
    /// Lets downloads go on.
    go: watch::Sender<bool>,
    /// How many connections have carried more than health checks.
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (go, gone) = watch::channel(false);
        let connections = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&taken), gone.clone()));
            }
        });
        Self {
            address,
            go,
            connections,
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    connections: Arc<AtomicUsize>,
    mut go: watch::Receiver<bool>,
) {
    let mut counted = false;
    while let Some(head) = read_head(&mut stream).await {
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path != "/health" && !std::mem::replace(&mut counted, true) {
            connections.fetch_add(1, Ordering::Relaxed);
        }
        match path {
            "/download" => {
                let length = 2 * HALF;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                let half = vec![b'x'; HALF];
                let first = [head.as_bytes(), &half].concat();
                if stream.write_all(&first).await.is_err() {
                    return;
                }
                let _ = go.wait_for(|go| *go).await;
                if stream.write_all(&half).await.is_err() {
                    return;
                }
            }
            "/ws" => {
                let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                let mut buffer = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
                return;
            }
            _ => {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads up to the end of a head, and nothing past it.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Sends a request's head over a connection of its own and reads the answer's head.
async fn open(to: SocketAddr, token: &str, path: &str, more: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n{more}\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let head = timeout(LONG, read_head(&mut stream))
        .await
        .expect("in time");
    (stream, head.expect("an answer"))
}

async fn echo(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut back = vec![0; text.len()];
    let read = timeout(LONG, stream.read_exact(&mut back)).await;
    read.expect("in time").expect("the tunnel is open");
    assert_eq!(back, text.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_document_leaves_tunnels_downloads_and_connections_alone() {
    let site = Site::new("swap", &[("one", "here")]).await;
    let place = &site.nodes[0];
    let upstream = Upstream::start().await;
    let (spare, other) = (Upstream::start().await, Upstream::start().await);
    let node = site.start(place).await;
    let document = |spare: SocketAddr, path: &str| {
        let base = site.document(&[("here", upstream.address)]);
        base.replace(
            "services:\n",
            &format!("services:\n  spare: {{ endpoints: {{ here: [\"http://{spare}\"] }} }}\n"),
        ) + &format!(
            "  spare: {{ match: {{ path: {path} }}, service: spare, exempt: [auth, limits] }}\n"
        )
    };
    site.apply(place, &document(spare.address, "/spare-1"))
        .await;
    let token = site.token("acme", "");
    crate::restart::ready(place.http, &token).await;

    let more = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (mut tunnel, head) = open(place.http, &token, "/api/ws", more).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    echo(&mut tunnel, "before").await;
    let (mut download, head) = open(place.http, &token, "/api/download", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut half = vec![0; HALF];
    let read = timeout(LONG, download.read_exact(&mut half)).await;
    read.expect("in time").expect("half of it");
    let mut wire = Wire::open(place.http).await.expect("a connection");
    let count = get("/api/count").token(&token);
    let before = wire.send(&count, LONG).await.expect("an answer");
    assert_eq!(before.status, 200, "{before:?}");
    let connections = upstream.connections.load(Ordering::Relaxed);

    for round in 1..=3 {
        let address = if round % 2 == 1 {
            other.address
        } else {
            spare.address
        };
        site.apply(place, &document(address, &format!("/spare-{}", round + 1)))
            .await;
    }
    assert_eq!(get("/spare-4").send(place.http).await.status, 200);
    assert_eq!(get("/spare-1").send(place.http).await.status, 404);

    echo(&mut tunnel, "after").await;
    upstream.go.send_replace(true);
    let read = timeout(LONG, download.read_exact(&mut half)).await;
    read.expect("in time").expect("the other half of it");
    let after = wire
        .send(&count, LONG)
        .await
        .expect("the client's connection is open");
    assert_eq!(after.status, 200, "{after:?}");
    // The client stayed with its worker, and the worker's connections to the upstream stayed too.
    assert_eq!(upstream.connections.load(Ordering::Relaxed), connections);
    drop(node);
}

/// An apply must not make a client wait: the bound is far below what building the tables takes in a debug
/// build, so a worker that builds them would be seen.
#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_while_a_large_document_is_compiled() {
    let site = Site::new("large", &[("one", "here")]).await;
    let place = &site.nodes[0];
    let node = site.start(place).await;
    let small = site.document(&[("here", place.http)]);
    let tenants: String = (0..2_000)
        .map(|n| format!("  tenant-{n}: {{ plan: large, issuers: [test], aliases: [org_{n}] }}\n"))
        .collect();
    let routes: String = (0..500)
        .map(|n| format!("  route-{n}: {{ match: {{ path: \"/large/{n}/{{*rest}}\", methods: [GET, POST] }}, service: plants }}\n"))
        .collect();
    let large = small.replace("services:\n", &format!("{tenants}services:\n")) + &routes;
    site.apply(place, &small).await;
    let token = site.token("acme", "");
    until("it serves", LONG, async || {
        let answer = get("/open").token(&token).try_send(place.http).await?;
        (answer.status == 200)
            .then_some(())
            .ok_or(format!("{answer:?}"))
    })
    .await;

    let load = meridian_tests::load::start(get("/open"), vec![place.http], 200);
    for round in 0..4 {
        let text = if round % 2 == 0 { &large } else { &small };
        site.apply(place, text).await;
    }
    let seen = load.stop().await;
    println!("a client while a document of 2 000 tenants came and went: {seen:?}");
    assert_eq!((seen.broken, seen.refused.len()), (0, 0), "{seen:?}");
    assert!(seen.good > 100, "{seen:?}");
    assert!(seen.longest_gap < Duration::from_millis(1500), "{seen:?}");
    drop(node);
}
