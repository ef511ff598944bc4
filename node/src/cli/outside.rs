//! The operator's side of the machine: files, the wall clock, entropy and sockets of the command line
//! and of `meridian dev`'s parent process.
//!
//! A node reaches the outside through [`meridian_cluster::host::Host`]; these commands are no nodes and
//! are never simulated, so theirs is here, in one place.

#![allow(
    clippy::disallowed_methods,
    reason = "commands run outside of any node; this file is their one door"
)]

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{TryRng, rngs::SysRng};
use tokio::net::{TcpListener, TcpStream};

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner: keys and tokens.
    Owner,
    /// Everyone the folder lets in.
    All,
}

/// A file's text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// A file's bytes.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

/// Whether something has this name. What cannot be looked at counts as there.
pub(crate) fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// Replaces a file whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut unfinished = std::ffi::OsString::from(".unfinished-");
    unfinished.push(name);
    let unfinished = path.with_file_name(unfinished);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(match readers {
            Readers::Owner => 0o600,
            Readers::All => 0o644,
        })
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

/// Gives a file another name, in place of what has it.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Creates a folder that only its owner may enter, with its parents; one that exists is fine.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Names of a folder's entries, sorted.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Seconds since the Unix epoch, by the wall clock.
pub(crate) fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        // A clock set before 1970 makes tokens and certificates useless, and whoever checks them says so.
        .unwrap_or(Duration::ZERO)
}

/// Random bytes of the kernel.
pub(crate) fn entropy() -> [u8; 32] {
    let mut bytes = [0; 32];
    SysRng
        .try_fill_bytes(&mut bytes)
        .expect("the kernel's random source never fails once it is seeded");
    bytes
}

/// Opens a TCP connection, trying each of the name's addresses.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Small requests, one at a time: waiting to fill packets would only add delay.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Listens for TCP connections.
pub(crate) async fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

/// Whether a TCP listener and a UDP socket could be bound to these ports of the loopback right now.
pub(crate) fn is_free(port: u16, transport: Transport) -> io::Result<()> {
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    match transport {
        Transport::Tcp => std::net::TcpListener::bind(addr).map(drop),
        Transport::Udp => std::net::UdpSocket::bind(addr).map(drop),
    }
}

/// Which family of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}
