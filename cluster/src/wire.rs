//! How the control plane's messages and records look as bytes: a version, then bincode, with a limit.
//!
//! In: a value. Out: bytes, and the value again. Bytes from a peer or a disk never panic here.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};

/// The version of everything this module encodes. A reader refuses versions it does not know.
const VERSION: u8 = 1;

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
        "it is in format version {0}, this binary knows version 1; bring all nodes to one release of meridian"
    )]
    Version(u8),
    /// They are longer than anything we write.
    #[error("it is {0} bytes long, more than any message of this version")]
    Length(usize),
    /// They are damaged, or not ours.
    #[error("it cannot be decoded: {0}")]
    Malformed(String),
}

/// The value as bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .expect("our types serialize, and memory is the only thing written to");
    bytes
}

/// The value that [`encode`] made these bytes of.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    decode_within::<T, LIMIT>(bytes)
}

/// [`decode`] for the state of a group, which may be longer than a message.
pub(crate) fn decode_state<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    decode_within::<T, STATE_LIMIT>(bytes)
}

fn decode_within<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, Unreadable> {
    if bytes.len() > LIMIT {
        return Err(Unreadable::Length(bytes.len()));
    }
    let (version, body) = bytes
        .split_first()
        .ok_or_else(|| Unreadable::Malformed("it is empty".to_owned()))?;
    if *version != VERSION {
        return Err(Unreadable::Version(*version));
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (value, used) = bincode::serde::decode_from_slice(body, config)
        .map_err(|error| Unreadable::Malformed(error.to_string()))?;
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
    const WITH_META: usize = STATE_LIMIT + LIMIT;
    decode_within::<T, WITH_META>(body_of(bytes)?)
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
        assert_eq!(decode::<u64>(&bytes), Err(Unreadable::Version(2)));
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        // A string that claims to be 2^60 bytes long.
        let mut bytes = vec![VERSION, 253];
        bytes.extend_from_slice(&(1_u64 << 60).to_le_bytes());
        assert!(matches!(
            decode::<String>(&bytes),
            Err(Unreadable::Malformed(_))
        ));
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
