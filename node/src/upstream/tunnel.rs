//! Two byte streams joined after a protocol switch (WebSocket).
//!
//! Enters: both streams. Leaves: nothing until both directions have ended. Half-close passes: one side
//! may say that it has no more to send and still listen.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use meridian_cluster::host::BoxStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

/// Copies both ways until both sides have ended, one breaks, or neither has sent for [`QUIET`].
pub(crate) async fn join(one: BoxStream, other: BoxStream) -> io::Result<()> {
    let moved = std::sync::Mutex::new(Instant::now());
    let (one_reads, one_writes) = tokio::io::split(one);
    let (other_reads, other_writes) = tokio::io::split(other);
    let both = async {
        tokio::try_join!(
            copy(one_reads, other_writes, &moved),
            copy(other_reads, one_writes, &moved)
        )
        .map(|_| ())
    };
    let quiet = async {
        loop {
            let last = *moved
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if last.elapsed() >= QUIET {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tokio::time::sleep_until(last + QUIET).await;
        }
    };
    tokio::select! {
        biased;
        result = both => result,
        result = quiet => result,
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &std::sync::Mutex<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            // The far side may have closed fully by now, which is as good.
            let _ = to.shutdown().await;
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        *moved
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }
}

/// A tunnel may be quiet for long (a chat at night), but one whose both ends vanished must not stay for
/// good.
const QUIET: Duration = Duration::from_secs(3600);

/// One read's worth: small, because a node may hold thousands of quiet tunnels.
const PIECE: usize = 8 * 1024;

/// A stream with bytes that were read ahead of their reader put back in front.
pub(crate) struct Rewound {
    ahead: Bytes,
    stream: BoxStream,
}

impl Rewound {
    pub(crate) fn new(ahead: Bytes, stream: BoxStream) -> Self {
        Self { ahead, stream }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn half_close_passes_and_the_other_way_stays_open() {
        let (client, near) = tokio::io::duplex(64);
        let (far, server) = tokio::io::duplex(64);
        let tunnel = join(Box::new(near), Box::new(far));
        let (mut client, mut server) = (client, server);
        let talk = async move {
            client.write_all(b"ping").await.expect("the tunnel is open");
            client.shutdown().await.expect("the tunnel is open");
            let mut heard = Vec::new();
            server
                .read_to_end(&mut heard)
                .await
                .expect("the tunnel is open");
            assert_eq!(heard, b"ping");
            server.write_all(b"pong").await.expect("the tunnel is open");
            drop(server);
            let mut heard = Vec::new();
            client
                .read_to_end(&mut heard)
                .await
                .expect("the tunnel is open");
            assert_eq!(heard, b"pong");
        };
        let (ended, ()) = tokio::join!(tunnel, talk);
        ended.expect("both sides closed in order");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_both_ends_forgot_ends_in_the_end() {
        let (_client, near) = tokio::io::duplex(64);
        let (far, _server) = tokio::io::duplex(64);
        let began = Instant::now();
        let error = join(Box::new(near), Box::new(far))
            .await
            .expect_err("nobody closes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), QUIET);
    }

    #[tokio::test]
    async fn bytes_read_ahead_come_first() {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(b" world").await.expect("it has room");
        drop(far);
        let mut rewound = Rewound::new(Bytes::from_static(b"hello"), Box::new(near));
        let mut heard = String::new();
        rewound.read_to_string(&mut heard).await.expect("it ends");
        assert_eq!(heard, "hello world");
    }
}
