//! Sockets of the operating system.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use quinn::Runtime;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::host::{BoxFuture, BoxListener, BoxStream, Listener};

/// Connections that wait to be accepted, per worker. A burst of new clients larger than this is told to
/// try again by the kernel.
const BACKLOG: i32 = 1024;

/// Receive and send buffers of a QUIC socket: a burst of forwarded bodies must not push heartbeats out.
/// The kernel gives less where `net.core.rmem_max` is smaller.
const UDP_BUFFER: usize = 2 * 1024 * 1024;

/// Must be called on the runtime that will drive the endpoint.
pub(super) fn udp_bind(addr: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // A smaller buffer than asked for costs speed, not correctness.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_BUFFER);
    socket.bind(&addr.into())?;
    quinn::TokioRuntime.wrap_udp_socket(socket.into())
}

/// Must be called on the runtime that will accept.
pub(super) fn listen(addr: SocketAddr, worker: usize) -> io::Result<BoxListener> {
    if worker == 0 && addr.port() != 0 {
        // With SO_REUSEPORT a second process of the same user would bind silently and take a share of
        // the connections; without it the kernel says that the address is taken.
        drop(tcp_socket(addr, false)?);
    }
    let listener = TcpListener::from_std(tcp_socket(addr, true)?.into())?;
    let local = listener.local_addr()?;
    Ok(Box::new(OsListener { listener, local }))
}

fn tcp_socket(addr: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of an earlier life in TIME_WAIT must not keep a node from starting.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

struct OsListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl Listener for OsListener {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async {
            let (stream, peer) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as BoxStream, peer))
        })
    }
}

pub(super) async fn connect(addr: SocketAddr) -> io::Result<BoxStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

pub(super) async fn resolve(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = literal.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    Ok(tokio::net::lookup_host((name.as_str(), port))
        .await?
        .collect())
}
