//! Moves frames between a stream to a peer and two bounded channels.
//!
//! Enters: the stream's halves. Leaves: when the peer has ended its half, or nobody listens any more.

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    ReadHalf, WriteHalf,
    frame::{Decoder, Frame},
};

/// Reads frames until the peer ends its half, breaks it, or sends what is no frame. What nobody takes
/// any more is read and dropped, so that the end is still noticed.
pub(crate) async fn read(mut half: ReadHalf, mut decoder: Decoder, into: mpsc::Sender<Frame>) {
    loop {
        match decoder.next() {
            Ok(Some(frame)) => {
                // The taker may be gone.
                let _ = into.send(frame).await;
            }
            Ok(None) => match half.read_buf(decoder.buffer()).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
            Err(error) => {
                tracing::warn!(%error, "a peer sent what is no frame of this version; the request ends");
                return;
            }
        }
    }
}

/// Writes frames until the channel ends or the peer takes no more; gives the half back in order, so
/// that its owner decides when the peer sees its end.
pub(crate) async fn write(
    mut half: WriteHalf,
    mut from: mpsc::Receiver<Frame>,
) -> Option<WriteHalf> {
    let mut head = BytesMut::new();
    while let Some(frame) = from.recv().await {
        head.clear();
        frame.encode_head(&mut head);
        half.write_all(&head).await.ok()?;
        if let Frame::Data(bytes) = frame {
            half.write_all(&bytes).await.ok()?;
        }
        if from.is_empty() {
            half.flush().await.ok()?;
        }
    }
    Some(half)
}

/// Frames on their way in one direction of one request: enough to keep a stream moving, and at most
/// half a MiB of a body.
pub(crate) const DEPTH: usize = 8;
