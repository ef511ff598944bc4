//! The rest of a stream, of which something has been read in order.
//!
//! quinn's own `read_to_end` reads without order. After bytes that were read in order, where a packet was sent again
//! although it had arrived, it hands those bytes out a second time: the message begins with what is not part of it,
//! and the count of bytes read passes that of bytes received, which panics where overflow is checked and elsewhere
//! takes the connection's flow control out of order for good (SEEN with quinn-proto 0.11.19; `Assembler::ensure_ordering`
//! does not trim what was read).

use bytes::{Bytes, BytesMut};
use quinn::{ReadToEndError, RecvStream};

/// Reads a stream to its end, at most `limit` bytes.
///
/// # Errors
/// quinn's own of `read_to_end`.
pub(super) async fn read_rest(
    recv: &mut RecvStream,
    limit: usize,
) -> Result<Bytes, ReadToEndError> {
    let mut whole = BytesMut::new();
    let mut first = None;
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        if whole.len() + chunk.bytes.len() + first.as_ref().map_or(0, Bytes::len) > limit {
            return Err(ReadToEndError::TooLong);
        }
        // Most messages come in one piece, which is theirs as it is.
        match first.take() {
            None if whole.is_empty() => first = Some(chunk.bytes),
            before => {
                whole.extend_from_slice(before.as_deref().unwrap_or_default());
                whole.extend_from_slice(&chunk.bytes);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}
