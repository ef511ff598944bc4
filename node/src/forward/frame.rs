//! The frames of a forwarded request.
//!
//! In: bytes from a peer, however cut. Out: frames, or why they are none. One bulk stream carries one
//! request: `Request`, then `Data`, `Trailers` and `End` of its body; back come `Ready` (where the sender
//! holds it), `Answer`, and the answer's `Data`, `Trailers`, `End`. After a 101 the bytes of the tunnel
//! are `Data`, and `End` is a half-close. A stream that ends without `End` was cancelled.
//!
//! A frame is a kind byte, the payload's length (u32, little-endian), the payload. Hyper's HTTP/1.1 as
//! the hop's form lost: its encoder drops trailers that were not announced, and gRPC announces none.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::head::{AnswerHead, Fields, RequestHead, decode, encode, fields, header_map};

/// One frame.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    /// The request's head. First, once.
    Request(Box<RequestHead>),
    /// A connection to an endpoint stands; a held request may come.
    Ready,
    /// The held request comes: from here on an upstream may act.
    Go,
    /// The answer's head.
    Answer(Box<AnswerHead>),
    /// A piece of a body.
    Data(Bytes),
    /// A body's trailers.
    Trailers(HeaderMap),
    /// The body's end.
    End,
    /// Nobody here serves it, and nobody has acted on it.
    Refused(Why),
    /// An upstream may have acted, and it failed.
    Failed(Harm),
}

/// Why a peer does not take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Why {
    /// Its region has no healthy endpoint of the service for this request (or it does not know it yet).
    NotHere,
    /// It is at a bound of its own.
    Overloaded,
    /// No stream to the peer came about. Said by this node to itself.
    Unreachable,
}

/// How an upstream failed a forwarded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Harm {
    /// Its connection broke.
    Reset,
    /// Its answer is not HTTP.
    Protocol,
    /// It did not answer in time.
    Late,
    /// The request's body did not come in time.
    Stalled,
}

/// Why bytes are not a frame of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// A newer or broken peer.
    #[error("kind {0} is not a frame of this version")]
    Kind(u8),
    /// More than such a frame may have.
    #[error("a frame of kind {kind} has {length} bytes, more than the {limit} allowed")]
    TooLong {
        /// The frame's kind.
        kind: u8,
        /// Its length.
        length: usize,
        /// The most there may be.
        limit: usize,
    },
    /// The payload does not parse.
    #[error("the payload of a frame of kind {0} does not parse")]
    Payload(u8),
}

impl Frame {
    /// Writes all of it but the bytes of a `Data` frame, which the caller sends after it uncopied.
    pub(crate) fn encode_head(&self, into: &mut BytesMut) {
        let payload = match self {
            Self::Request(head) => encode(head),
            Self::Answer(head) => encode(head),
            Self::Trailers(trailers) => encode(&fields(trailers)),
            Self::Refused(why) => encode(why),
            Self::Failed(harm) => encode(harm),
            Self::Ready | Self::Go | Self::End | Self::Data(_) => Vec::new(),
        };
        let length = match self {
            Self::Data(bytes) => bytes.len(),
            _ => payload.len(),
        };
        into.put_u8(self.kind());
        into.put_u32_le(u32::try_from(length).expect("bodies are cut into pieces far below 4 GiB"));
        into.put_slice(&payload);
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Request(_) => 1,
            Self::Ready => 2,
            Self::Go => 3,
            Self::Answer(_) => 4,
            Self::Data(_) => 5,
            Self::Trailers(_) => 6,
            Self::End => 7,
            Self::Refused(_) => 8,
            Self::Failed(_) => 9,
        }
    }

    fn decode(kind: u8, payload: Bytes) -> Result<Self, FrameError> {
        let unparsable = FrameError::Payload(kind);
        let frame = match kind {
            1 => decode(&payload).map(|head| Self::Request(Box::new(head))),
            2 => payload.is_empty().then_some(Self::Ready),
            3 => payload.is_empty().then_some(Self::Go),
            4 => decode(&payload).map(|head| Self::Answer(Box::new(head))),
            5 => Some(Self::Data(payload)),
            6 => decode::<Fields>(&payload)
                .and_then(|fields| header_map(&fields))
                .map(Self::Trailers),
            7 => payload.is_empty().then_some(Self::End),
            8 => decode(&payload).map(Self::Refused),
            9 => decode(&payload).map(Self::Failed),
            _ => return Err(FrameError::Kind(kind)),
        };
        frame.ok_or(unparsable)
    }
}

/// Finds frames in a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Where bytes from the peer go.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ);
        &mut self.buffer
    }

    /// The next whole frame; `None`: more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((head, _)) = self.buffer.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [kind, length @ ..] = *head;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let limit = limit(kind)?;
        if length > limit {
            return Err(FrameError::TooLong {
                kind,
                length,
                limit,
            });
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        Frame::decode(kind, self.buffer.split_to(length).freeze()).map(Some)
    }
}

fn limit(kind: u8) -> Result<usize, FrameError> {
    match kind {
        1 | 4 | 6 => Ok(LONGEST_HEAD),
        5 => Ok(LONGEST_PIECE),
        2 | 3 | 7 => Ok(0),
        8 | 9 => Ok(16),
        _ => Err(FrameError::Kind(kind)),
    }
}

const HEAD: usize = 5;

/// One read's room.
const READ: usize = 16 * 1024;

/// The greatest head that the edge or an upstream's connection lets through, with room for ours.
pub(crate) const LONGEST_HEAD: usize = 256 * 1024;

/// Longer pieces of a body are cut, so that one frame never fills a stream's window for long.
pub(crate) const LONGEST_PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(frame: &Frame) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        frame.encode_head(&mut bytes);
        if let Frame::Data(data) = frame {
            bytes.extend_from_slice(data);
        }
        bytes.to_vec()
    }

    fn any_fields() -> impl Strategy<Value = HeaderMap> {
        proptest::collection::vec(("[a-z][a-z0-9-]{0,12}", "[ -~]{0,20}"), 0..6).prop_map(|pairs| {
            pairs
                .into_iter()
                .map(|(name, value)| {
                    (
                        http::HeaderName::try_from(name).expect("it is a name"),
                        http::HeaderValue::try_from(value).expect("it is a value"),
                    )
                })
                .collect()
        })
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            Just(Frame::Ready),
            Just(Frame::Go),
            Just(Frame::End),
            proptest::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| Frame::Data(bytes.into())),
            any_fields().prop_map(Frame::Trailers),
            Just(Frame::Refused(Why::NotHere)),
            Just(Frame::Failed(Harm::Late)),
            any_fields().prop_map(|map| Frame::Answer(Box::new(AnswerHead {
                status: 200,
                fields: fields(&map),
                endpoint: "10.0.0.1:80".into(),
                retries: 1,
                ended: false,
            }))),
        ]
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            frames in proptest::collection::vec(any_frame(), 0..8),
            cuts in proptest::collection::vec(1..40_usize, 1..20),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(encoded).collect();
            let mut decoder = Decoder::default();
            let (mut rest, mut out) = (&bytes[..], Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                decoder.buffer().extend_from_slice(piece);
                rest = after;
                while let Some(frame) = decoder.next().expect("the bytes are frames") {
                    out.push(frame);
                }
            }
            let again: Vec<u8> = out.iter().flat_map(encoded).collect();
            prop_assert_eq!(out.len(), frames.len());
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn foreign_bytes_never_panic_and_never_make_it_wait_for_more_than_a_frame(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut decoder = Decoder::default();
            decoder.buffer().extend_from_slice(&bytes);
            while let Ok(Some(_)) = decoder.next() {}
        }
    }

    #[test]
    fn a_length_beyond_the_kinds_limit_is_refused_before_it_is_read() {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(&[5, 0, 0, 0, 255]);
        assert!(matches!(
            decoder.next(),
            Err(FrameError::TooLong { kind: 5, .. })
        ));
    }
}
