//! Gossip messages from peers, looked through before chitchat gets them.
//!
//! In: bytes from an authenticated peer. Out: chitchat's message, or why it is none. chitchat trusts its peers
//! with two things that no message from the network may do here:
//!
//! - it unpacks every block of a message before it looks at what came out, and a block of twenty bytes may
//!   unpack to 64 KiB: a message of the size that we take would come to hundreds of megabytes;
//! - it asserts what an honest peer's numbers fulfil, and a task that panics ends gossip for good.
//!
//! The layout is that of chitchat 0.11 (`message.rs`, `digest.rs`, `delta.rs`, `serialize.rs` there).

use chitchat::{ChitchatMessage, Deserializable};

/// What a message may unpack to. Two hundred nodes that say all they may (32 KiB each) come to less, and a
/// message carries only what changed.
const UNPACKED: usize = 8 << 20;

/// Nodes in a message at most: chitchat's own messages have no room for more of them.
const NODES: usize = 1500;

/// No version or heartbeat of an honest node comes near it, and chitchat adds to them.
const GREATEST: u64 = 1 << 62;

/// Why bytes are no gossip.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoGossip {
    /// They would take too much memory.
    #[error("it unpacks to more than {UNPACKED} bytes, or names more than {NODES} nodes")]
    TooMuch,
    /// No honest node says this.
    #[error("its versions contradict each other")]
    Unsound,
    /// It is not laid out as a message.
    #[error("it is cut short, or no message of gossip")]
    Malformed,
    /// chitchat does not read it.
    #[error("{0:#}")]
    Unreadable(anyhow::Error),
}

/// Reads gossip messages, one after another: what unpacks them is made once, since making it takes longer than most
/// messages take.
#[derive(Default)]
pub(super) struct Reading {
    zstd: zstd::bulk::Decompressor<'static>,
    /// What one block unpacks to.
    block: Vec<u8>,
}

impl Reading {
    /// Reads a gossip message.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<ChitchatMessage, NoGossip> {
        let mut reader = Reader(bytes);
        // Magic number and protocol version, which chitchat checks.
        reader.take(3)?;
        let delta_follows = match reader.byte()? {
            SYN => {
                reader.pass_digest()?;
                false
            }
            SYN_ACK => {
                reader.pass_digest()?;
                true
            }
            ACK => true,
            _ => false,
        };
        if !delta_follows {
            return chitchat_reads(bytes);
        }
        let (head, _) = bytes.split_at(bytes.len() - reader.0.len());
        let delta = self.unpack(&mut reader)?;
        look_through_delta(&delta)?;
        // chitchat is given what came out, or it would unpack all of it again.
        let mut plain = Vec::with_capacity(bytes.len() + delta.len());
        plain.extend_from_slice(head);
        for block in delta.chunks(usize::from(u16::MAX)) {
            let length = u16::try_from(block.len()).expect("the chunks are no longer");
            plain.push(PLAIN);
            plain.extend_from_slice(&length.to_le_bytes());
            plain.extend_from_slice(block);
        }
        plain.push(NO_MORE);
        plain.extend_from_slice(reader.0);
        chitchat_reads(&plain)
    }

    /// What all blocks unpack to.
    fn unpack(&mut self, reader: &mut Reader<'_>) -> Result<Vec<u8>, NoGossip> {
        let mut unpacked = Vec::new();
        loop {
            let kind = reader.byte()?;
            if kind == NO_MORE {
                return Ok(unpacked);
            }
            let length = reader.number()?;
            let bytes = reader.take(length)?;
            match kind {
                PLAIN => unpacked.extend_from_slice(bytes),
                PACKED => {
                    self.block.resize(usize::from(u16::MAX), 0);
                    let length = self.zstd.decompress_to_buffer(bytes, &mut self.block[..]);
                    let length = length.map_err(|_| NoGossip::Malformed)?;
                    unpacked.extend_from_slice(&self.block[..length]);
                }
                _ => return Err(NoGossip::Malformed),
            }
            if unpacked.len() > UNPACKED {
                return Err(NoGossip::TooMuch);
            }
        }
    }
}

fn chitchat_reads(mut bytes: &[u8]) -> Result<ChitchatMessage, NoGossip> {
    ChitchatMessage::deserialize(&mut bytes).map_err(NoGossip::Unreadable)
}

/// Of each node the versions must rise, and what it says is the last must not be before the last.
fn look_through_delta(bytes: &[u8]) -> Result<(), NoGossip> {
    let mut reader = Reader(bytes);
    let (mut last, mut nodes) = (0, 0);
    while !reader.0.is_empty() {
        match reader.byte()? {
            NODE => {
                nodes += 1;
                if nodes > NODES {
                    return Err(NoGossip::TooMuch);
                }
                reader.pass_node()?;
                reader.version()?;
                reader.version()?;
                last = 0;
            }
            KEY_VALUE => {
                for _ in ["key", "value"] {
                    let length = reader.number()?;
                    reader.take(length)?;
                }
                let version = reader.version()?;
                if version <= last {
                    return Err(NoGossip::Unsound);
                }
                last = version;
                // How it stands with its deletion.
                reader.byte()?;
            }
            SET_MAX_VERSION => {
                let version = reader.version()?;
                if version < last {
                    return Err(NoGossip::Unsound);
                }
                last = version;
            }
            _ => return Err(NoGossip::Malformed),
        }
    }
    Ok(())
}

/// Kinds of message.
const SYN: u8 = 0;
const SYN_ACK: u8 = 1;
const ACK: u8 = 2;

/// Kinds of block.
const NO_MORE: u8 = 0;
const PACKED: u8 = 1;
const PLAIN: u8 = 2;

/// Kinds of operation in a delta.
const NODE: u8 = 0;
const KEY_VALUE: u8 = 1;
const SET_MAX_VERSION: u8 = 2;

/// Passes over what chitchat will read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NoGossip> {
        let parts = self.0.split_at_checked(length);
        let (taken, rest) = parts.ok_or(NoGossip::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NoGossip> {
        let parts = self.0.split_first_chunk();
        let (taken, rest) = parts.ok_or(NoGossip::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, NoGossip> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn number(&mut self) -> Result<usize, NoGossip> {
        Ok(usize::from(u16::from_le_bytes(self.array()?)))
    }

    /// A version or a heartbeat.
    fn version(&mut self) -> Result<u64, NoGossip> {
        match u64::from_le_bytes(self.array()?) {
            version if version < GREATEST => Ok(version),
            _ => Err(NoGossip::Unsound),
        }
    }

    /// A node's id, incarnation and address.
    fn pass_node(&mut self) -> Result<(), NoGossip> {
        let name = self.number()?;
        self.take(name + size_of::<u64>())?;
        let address = match self.byte()? {
            4 => 4,
            6 => 16,
            _ => return Err(NoGossip::Malformed),
        };
        self.take(address + size_of::<u16>())?;
        Ok(())
    }

    fn pass_digest(&mut self) -> Result<(), NoGossip> {
        let nodes = self.number()?;
        if nodes > NODES {
            return Err(NoGossip::TooMuch);
        }
        for _ in 0..nodes {
            self.pass_node()?;
            for _ in ["heartbeat", "collected", "greatest"] {
                self.version()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use chitchat::Serializable;

    use super::*;

    /// Header, kind and body of a message.
    fn message(kind: u8, body: &[&[u8]]) -> Vec<u8> {
        let head = ChitchatMessage::BadCluster.serialize_to_vec();
        [&head[..3], &[kind], &body.concat()].concat()
    }

    /// A delta of plain operations.
    pub(in crate::membership) fn delta(operations: &[&[u8]]) -> Vec<u8> {
        let operations = operations.concat();
        let length = u16::try_from(operations.len()).unwrap().to_le_bytes();
        message(ACK, &[&[PLAIN], &length, &operations, &[NO_MORE]])
    }

    pub(in crate::membership) fn node(name: &str) -> Vec<u8> {
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        [
            &[NODE][..],
            &length,
            name.as_bytes(),
            &7_u64.to_le_bytes(),
            &[4, 10, 0, 0, 1],
            &7400_u16.to_le_bytes(),
            &0_u64.to_le_bytes(),
            &0_u64.to_le_bytes(),
        ]
        .concat()
    }

    pub(in crate::membership) fn key_value(version: u64) -> Vec<u8> {
        [
            &[KEY_VALUE][..],
            &[6, 0],
            b"region",
            &[7, 0],
            b"eu-west",
            &version.to_le_bytes(),
            &[0],
        ]
        .concat()
    }

    pub(in crate::membership) fn greatest(version: u64) -> Vec<u8> {
        [&[SET_MAX_VERSION][..], &version.to_le_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Result<ChitchatMessage, NoGossip> {
        Reading::default().read(bytes)
    }

    #[test]
    fn a_packed_delta_reads_like_a_plain_one() {
        let operations: Vec<Vec<u8>> = (1..3000).map(key_value).collect();
        let operations = [node("a"), operations.concat()].concat();
        let plain = operations.chunks(40_000).map(|block| {
            let length = u16::try_from(block.len()).unwrap().to_le_bytes();
            [&[PLAIN][..], &length, block].concat()
        });
        let packed = operations.chunks(50_000).map(|block| {
            let block = zstd::bulk::compress(block, 3).unwrap();
            let length = u16::try_from(block.len()).unwrap().to_le_bytes();
            [&[PACKED][..], &length, &block].concat()
        });
        let plain = message(ACK, &[&plain.collect::<Vec<_>>().concat(), &[NO_MORE]]);
        let packed = message(ACK, &[&packed.collect::<Vec<_>>().concat(), &[NO_MORE]]);
        assert!(packed.len() * 4 < plain.len());
        let mut reading = Reading::default();
        let (plain, packed) = (reading.read(&plain), reading.read(&packed));
        let (plain, packed) = (plain.unwrap(), packed.unwrap());
        assert_eq!(plain, packed);
        assert!(matches!(packed, ChitchatMessage::Ack { .. }));
    }

    #[test]
    fn what_chitchat_would_stumble_over_is_refused() {
        let sound = delta(&[
            &node("a"),
            &key_value(1),
            &key_value(2),
            &node("b"),
            &greatest(9),
        ]);
        assert!(matches!(read(&sound), Ok(ChitchatMessage::Ack { .. })));
        // The last version before one that was said already: an assertion of chitchat's `apply_delta`.
        let backwards = delta(&[&node("a"), &key_value(5), &greatest(4)]);
        assert!(matches!(read(&backwards), Err(NoGossip::Unsound)));
        // A version that one more overflows.
        let huge = delta(&[&node("a"), &greatest(u64::MAX)]);
        assert!(matches!(read(&huge), Err(NoGossip::Unsound)));
    }

    #[test]
    fn a_message_that_unpacks_to_hundreds_of_megabytes_is_refused() {
        let block = zstd::bulk::compress(&[0; u16::MAX as usize], 3).unwrap();
        let length = u16::try_from(block.len()).unwrap().to_le_bytes();
        let block = [&[PACKED][..], &length, &block].concat();
        let bomb = message(ACK, &[&block.repeat(4000), &[NO_MORE]]);
        assert!(bomb.len() < 128 << 10, "{}", bomb.len());
        assert!(matches!(read(&bomb), Err(NoGossip::TooMuch)));
    }
}
