//! Peers written by others: FastAPI under uvicorn, the `websockets` client, promtool, curl.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use crate::{
    binary::{Ran, run},
    process::Process,
    wait::{LONG, until},
};

/// A program of the Python environment that `tests/run` makes, or beside them.
fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("MERIDIAN_PEERS")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let test = std::env::current_exe().expect("a test has a path");
            test.ancestors()
                .nth(3)
                .expect("tests lie in target/PROFILE/deps")
                .join("peers/bin")
        });
    let program = folder.join(name);
    assert!(
        program.exists(),
        "there is no {}; run `tests/run`, which makes it",
        program.display()
    );
    program
}

/// Has a process take the wall clock to be ahead by so many seconds, by Debian's libfaketime.
pub fn ahead(command: &mut Command, seconds: f64) {
    command
        .env("LD_PRELOAD", program("libfaketimeMT.so.1"))
        .env("FAKETIME", format!("{seconds:+}"))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// A FastAPI application under uvicorn.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub process: Process,
}

impl Upstream {
    /// Starts `peers/plants.py` and waits until it listens.
    pub async fn start(folder: &Path, name: &str) -> Self {
        let mut command = Command::new(program("uvicorn"));
        command
            .args([
                "plants:app",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--app-dir",
            ])
            .arg(scripts())
            .env("UPSTREAM_NAME", name)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = Process::start(name, folder, command);
        let address = until("uvicorn listens", LONG, async || {
            process.must_run();
            let log = process.stderr();
            let (_, rest) = log.split_once("running on http://").ok_or(log.as_str())?;
            let end = rest.find(' ').ok_or("half a line")?;
            rest[..end]
                .parse()
                .map_err(|error| format!("{error}: {rest}"))
        })
        .await;
        Self { address, process }
    }
}

/// A gRPC service without generated code (grpcio).
#[derive(Debug)]
pub struct GrpcUpstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub process: Process,
}

impl GrpcUpstream {
    /// Starts `peers/grpc_plants.py` and waits until it listens.
    pub async fn start(folder: &Path, name: &str) -> Self {
        let mut command = Command::new(program("python"));
        command
            .arg(scripts().join("grpc_plants.py"))
            .arg("serve")
            .env("UPSTREAM_NAME", name);
        let process = Process::start(name, folder, command);
        let address = until("the gRPC server listens", LONG, async || {
            let said = process.stdout();
            let (_, address) = said
                .trim_end()
                .split_once("listening on ")
                .ok_or_else(|| process.stderr())?;
            address.parse().map_err(|error| format!("{error}: {said}"))
        })
        .await;
        Self { address, process }
    }
}

/// Calls every method of `peers/grpc_plants.py` through `address`, over TLS.
pub async fn grpc(address: &str, token: &str, ca: &Path) -> Ran {
    let mut command = Command::new(program("python"));
    command
        .arg(scripts().join("grpc_plants.py"))
        .args(["call", address, token])
        .arg(ca);
    run(command).await
}

/// Connects a WebSocket to `url`, sends messages, and checks their echoes.
pub async fn web_socket(url: &str, token: &str, ca: Option<&Path>) -> Ran {
    let mut command = Command::new(program("python"));
    command
        .arg(scripts().join("websocket_client.py"))
        .args([url, token]);
    if let Some(ca) = ca {
        command.arg(ca);
    }
    run(command).await
}

/// Runs curl. Its output is the body and then what `-w` asks for.
pub async fn curl(arguments: &[&str]) -> Ran {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "30"])
        .args(arguments);
    run(command).await
}

/// Runs Prometheus' promtool on files of this repository.
pub async fn promtool(arguments: &[&str]) -> Ran {
    let mut command = Command::new(program("promtool"));
    command
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    run(command).await
}

/// Holds an admin API against its own OpenAPI document (jsonschema, openapi-spec-validator).
pub async fn openapi(url: &str, token_file: &Path) -> Ran {
    let mut command = Command::new(program("python"));
    command
        .arg(scripts().join("openapi_client.py"))
        .arg(url)
        .arg(token_file);
    run(command).await
}

/// A WebSocket that stays open (RFC 6455), over plain HTTP: short texts only, one at a time.
#[derive(Debug)]
pub struct WebSocket(TcpStream);

impl WebSocket {
    /// Opens one; panics where the server does not switch.
    pub async fn open(to: SocketAddr, path: &str, token: &str) -> Self {
        let mut stream = TcpStream::connect(to).await.expect("a connection");
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {token}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self(stream)
    }

    /// Sends a text and gives what comes back; panics where the tunnel breaks.
    pub async fn echo(&mut self, text: &str) -> String {
        let length = u8::try_from(text.len()).expect("a short text");
        assert!(length < 126, "a short text");
        // A whole text message, masked with zeros (sections 5.2 and 5.3).
        let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
        frame.extend(text.as_bytes());
        self.0.write_all(&frame).await.expect("the tunnel stands");
        let mut head = [0; 2];
        self.0
            .read_exact(&mut head)
            .await
            .expect("the tunnel stands");
        assert_eq!(head[0], 0x81, "a whole text message");
        let mut body = vec![0; usize::from(head[1])];
        self.0
            .read_exact(&mut body)
            .await
            .expect("the tunnel stands");
        String::from_utf8(body).expect("text")
    }
}
