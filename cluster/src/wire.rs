//! How the control plane's messages and records look as bytes: a version, then bincode, with a limit.
//!
//! The version in front is the one that gave the message its form ([`crate::version`]): what no later
//! version has changed still begins with a 1. A form with another number is another type for the reader.
//!
//! In: a value. Out: bytes, and the value again. Bytes from a peer or a disk never panic here.

use std::fmt;

use bincode::{error::DecodeError, serde::decode_from_slice};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};

use crate::version::FIRST;

/// The greatest message or record. A document is at most 4 MiB before compression, and longer things
/// (snapshots) travel in parts; what claims to be longer is refused before memory is taken for it.
pub(crate) const LIMIT: usize = 8 << 20;

/// The greatest state of a group: what a snapshot may hold, in its file and on its way to a follower. It
/// is held in memory whole, and once more while it is written, sent or taken in.
pub(crate) const STATE_LIMIT: usize = 64 << 20;

/// Bytes that this version does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// A newer node wrote them.
    #[error(
        "it is in version {found} of the messages between nodes, of which this node reads version {known} here; bring all nodes to one release of meridian"
    )]
    Version {
        /// Their version.
        found: u8,
        /// The version that is read in their place.
        known: u8,
    },
    /// They are longer than anything we write.
    #[error("it is {0} bytes long, more than any message of this version")]
    Length(usize),
    /// They are damaged, or not ours.
    #[error("it cannot be decoded: {0}")]
    Malformed(String),
}

/// The value as bytes, in the form of the first version.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_as(FIRST, value)
}

/// The value as bytes, in a form that this version gave it.
pub(crate) fn encode_as<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![version];
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .expect("our types serialize, and memory is the only thing written to");
    bytes
}

/// The value that [`encode`] made these bytes of.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    decode_as(FIRST, bytes)
}

/// The value that [`encode_as`] made these bytes of.
pub(crate) fn decode_as<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, Unreadable> {
    decode_within(version, bytes, LIMIT)
}

/// [`decode_as`] for the state of a group, which may be longer than a message.
pub(crate) fn decode_state<T: DeserializeOwned>(
    version: u8,
    bytes: &[u8],
) -> Result<T, Unreadable> {
    decode_within(version, bytes, STATE_LIMIT)
}

/// The version in front of some bytes.
pub(crate) fn version_of(bytes: &[u8]) -> Result<u8, Unreadable> {
    let version = bytes.first().copied();
    version.ok_or_else(|| Unreadable::Malformed("it is empty".to_owned()))
}

fn decode_within<T: DeserializeOwned>(
    version: u8,
    bytes: &[u8],
    limit: usize,
) -> Result<T, Unreadable> {
    if bytes.len() > limit {
        return Err(Unreadable::Length(bytes.len()));
    }
    let found = version_of(bytes)?;
    if found != version {
        return Err(Unreadable::Version {
            found,
            known: version,
        });
    }
    let body = &bytes[1..];
    let (value, used) =
        decode_prefix(body).map_err(|error| Unreadable::Malformed(error.to_string()))?;
    if used == body.len() {
        Ok(value)
    } else {
        Err(Unreadable::Malformed(
            "something follows its end".to_owned(),
        ))
    }
}

/// [`encode`], with a checksum in front: for files, which a disk may damage.
pub(crate) fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    let body = encode(value);
    let mut bytes = blake3::hash(&body).as_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

/// The value that [`seal`] made these bytes of.
pub(crate) fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    decode(body_of(bytes)?)
}

/// [`unseal`] for a file that holds the state of a group, and little beside it.
pub(crate) fn unseal_state<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    decode_within(FIRST, body_of(bytes)?, STATE_LIMIT + LIMIT)
}

/// Reads a value from the beginning of some bytes, and how many of them it is.
///
/// bincode takes memory for a text as soon as it has read its length, up to the limit that it is given, which
/// is part of a type. So the limit is the least of a few that fits what is there. It counts a number's bytes
/// in memory, and of our numbers none is longer than eight.
pub(crate) fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    const SMALL: usize = 64 << 10;
    const MIDDLE: usize = 1 << 20;
    const LARGE: usize = 8 << 20;
    const MESSAGE: usize = 8 * LIMIT;
    const STATE: usize = 8 * (STATE_LIMIT + LIMIT);
    let config = bincode::config::standard();
    let needed = bytes.len().saturating_mul(8);
    if needed <= SMALL {
        decode_from_slice(bytes, config.with_limit::<SMALL>())
    } else if needed <= MIDDLE {
        decode_from_slice(bytes, config.with_limit::<MIDDLE>())
    } else if needed <= LARGE {
        decode_from_slice(bytes, config.with_limit::<LARGE>())
    } else if needed <= MESSAGE {
        decode_from_slice(bytes, config.with_limit::<MESSAGE>())
    } else {
        decode_from_slice(bytes, config.with_limit::<STATE>())
    }
}

fn body_of(bytes: &[u8]) -> Result<&[u8], Unreadable> {
    let (sum, body) = bytes
        .split_first_chunk::<32>()
        .ok_or_else(|| Unreadable::Malformed("it is cut short".to_owned()))?;
    if blake3::hash(body) != *sum {
        return Err(Unreadable::Malformed(
            "its checksum does not fit".to_owned(),
        ));
    }
    Ok(body)
}

/// Bytes whose meaning is another's: encoded as one piece, and printed as a length only.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                Ok(Payload(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Sample = (String, Vec<u64>, Option<(u8, bool)>);

    #[test]
    fn an_unknown_version_is_refused() {
        let mut bytes = encode(&7_u64);
        bytes[0] = 2;
        let unreadable = Unreadable::Version { found: 2, known: 1 };
        assert_eq!(decode::<u64>(&bytes), Err(unreadable));
        assert_eq!(decode_as(2, &bytes), Ok(7_u64));
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        // A string that claims to be 2^60 bytes long.
        let mut bytes = vec![FIRST, 253];
        bytes.extend_from_slice(&(1_u64 << 60).to_le_bytes());
        assert!(matches!(
            decode::<String>(&bytes),
            Err(Unreadable::Malformed(_))
        ));
    }

    #[test]
    fn numbers_of_every_length_come_back() {
        for limit in [8 << 10, 128 << 10, 1 << 20] {
            for length in [limit - 2, limit - 1, limit, limit + 1] {
                let numbers = vec![1_u64; length];
                let bytes = encode(&numbers);
                let read = decode_within::<Vec<u64>>(FIRST, &bytes, STATE_LIMIT);
                assert!(read.is_ok_and(|read| read == numbers), "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn values_come_back(sample: Sample) {
            prop_assert_eq!(decode::<Sample>(&encode(&sample)), Ok(sample.clone()));
            prop_assert_eq!(unseal::<Sample>(&seal(&sample)), Ok(sample));
        }

        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>) {
            let _ = decode::<Sample>(&bytes);
            prop_assert!(unseal::<Sample>(&bytes).is_err());
        }

        #[test]
        fn a_flipped_bit_breaks_the_seal(sample: Sample, place: prop::sample::Index, bit in 0..8_u8) {
            let mut bytes = seal(&sample);
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert!(unseal::<Sample>(&bytes).is_err());
        }
    }
}
