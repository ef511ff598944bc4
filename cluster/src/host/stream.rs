//! Byte streams and their listeners, as the host gives them.

use std::{io, net::SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};

use super::BoxFuture;

/// A connected byte stream. Implementations pass `poll_write_vectored` through.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A boxed [`Stream`].
pub type BoxStream = Box<dyn Stream>;

/// Accepts streams.
pub trait Listener: Send + 'static {
    /// The address it is bound to.
    fn local_addr(&self) -> SocketAddr;

    /// The next connection and its peer's address. Cancel-safe.
    ///
    /// An error concerns one connection or a passing shortage (file descriptors); the listener lives on
    /// and the caller pauses briefly before it asks again.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>>;
}

/// A boxed [`Listener`].
pub type BoxListener = Box<dyn Listener>;
