//! A snapshot on its way to a follower: what is said, and what has come so far.
//!
//! In and out: the body of a call of kind [`crate::fabric::Kind::Snapshot`], on the bulk connection, so
//! that no heartbeat waits behind it. The leader offers a snapshot, the follower says which parts it
//! lacks, the parts are sent a few at a time, and at the end the follower installs the whole. When a
//! connection breaks, the next offer goes on where the last one stopped. [`Gathering`] is the core of the
//! receiving shell [`super::receive`]; the sending shell is [`super::send`].

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use openraft::raft::SnapshotResponse;
use serde::{Deserialize, Serialize};

use super::types::{Payload, SnapshotMeta, Types, Vote};
use crate::{host::GroupId, wire};

/// The bytes of a snapshot in one message: small beside what the bulk connection takes of a stream.
pub(super) const PART: usize = 256 << 10;

/// Parts under way at once: 2 MiB, which over a round trip of 250 ms are 8 MiB a second.
pub(super) const UNDER_WAY: usize = 8;

/// A message about a snapshot.
#[derive(Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) group: GroupId,
    /// The leader's vote; the connection must be that node's.
    pub(super) vote: Vote,
    pub(super) stamp: Stamp,
    pub(super) step: Step,
}

/// Which snapshot it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) meta: SnapshotMeta,
    /// Its length.
    pub(super) total: u64,
    /// BLAKE3 of the whole.
    pub(super) digest: [u8; 32],
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Say which parts of it are missing.
    Offer,
    /// Take a part.
    Part {
        number: u32,
        /// BLAKE3 of the part.
        sum: [u8; 32],
        bytes: Payload,
    },
    /// All parts are there: install it.
    Install,
}

/// The answer.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) enum Answer {
    /// These parts are missing.
    Missing(Vec<u32>),
    /// The part is taken.
    Taken,
    /// The snapshot is installed, or a newer vote is known.
    Installed(SnapshotResponse<Types>),
    /// Not done, and why: the leader offers again.
    No(String),
}

impl Stamp {
    /// The stamp of a snapshot. Hashes all of it.
    pub(super) fn of(meta: SnapshotMeta, state: &[u8]) -> Self {
        Self {
            meta,
            total: state.len() as u64,
            digest: *blake3::hash(state).as_bytes(),
        }
    }

    /// How many parts it has.
    pub(super) fn parts(&self) -> u32 {
        u32::try_from(self.total.div_ceil(PART as u64)).unwrap_or(u32::MAX)
    }

    /// Where in the snapshot a part lies, for a number below [`parts`](Self::parts) of a snapshot that is
    /// in memory.
    pub(super) fn place(&self, number: u32) -> std::ops::Range<usize> {
        let total = usize::try_from(self.total).expect("what is in memory has a length that fits");
        let start = (number as usize * PART).min(total);
        start..(start + PART).min(total)
    }
}

/// The parts of one snapshot that have come. At most [`wire::STATE_LIMIT`] bytes.
#[derive(Debug)]
pub(super) struct Gathering {
    stamp: Stamp,
    parts: BTreeMap<u32, Bytes>,
}

impl Gathering {
    /// Nothing has come yet; a snapshot above the limit is refused before memory is taken for it.
    pub(super) fn new(stamp: Stamp) -> Result<Self, Fault> {
        if stamp.total > wire::STATE_LIMIT as u64 {
            return Err(Fault::Length(stamp.total));
        }
        Ok(Self {
            stamp,
            parts: BTreeMap::new(),
        })
    }

    /// Which snapshot it is.
    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// The parts that have not come.
    pub(super) fn missing(&self) -> Vec<u32> {
        (0..self.stamp.parts())
            .filter(|number| !self.parts.contains_key(number))
            .collect()
    }

    /// Takes a part; one that came before is taken again.
    pub(super) fn take(&mut self, number: u32, sum: [u8; 32], bytes: Bytes) -> Result<(), Fault> {
        let fits = number < self.stamp.parts() && self.stamp.place(number).len() == bytes.len();
        if !fits || blake3::hash(&bytes) != sum {
            return Err(Fault::Part(number));
        }
        self.parts.insert(number, bytes);
        Ok(())
    }

    /// The whole, checked. It takes time by its length.
    pub(super) fn assemble(self) -> Result<Bytes, Fault> {
        let missing = self.missing().len();
        if missing > 0 {
            return Err(Fault::Missing(missing));
        }
        let mut whole = BytesMut::with_capacity(self.parts.values().map(Bytes::len).sum());
        for part in self.parts.into_values() {
            whole.extend_from_slice(&part);
        }
        if blake3::hash(&whole) == self.stamp.digest {
            Ok(whole.freeze())
        } else {
            Err(Fault::Digest)
        }
    }
}

/// Why a snapshot, or a part of it, is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "a snapshot of {0} bytes is longer than this version keeps; bring all nodes to one release of meridian"
    )]
    Length(u64),
    #[error("part {0} of the snapshot is damaged")]
    Part(u32),
    #[error("{0} parts of the snapshot are missing")]
    Missing(usize),
    #[error("the snapshot's checksum does not fit")]
    Digest,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(length: usize) -> Vec<u8> {
        (0..length).map(|at| at.to_le_bytes()[at % 3]).collect()
    }

    fn stamp(state: &[u8]) -> Stamp {
        Stamp::of(SnapshotMeta::default(), state)
    }

    fn give(gathering: &mut Gathering, state: &[u8], number: u32) {
        let bytes = Bytes::copy_from_slice(&state[gathering.stamp.place(number)]);
        let sum = *blake3::hash(&bytes).as_bytes();
        gathering.take(number, sum, bytes).unwrap();
    }

    #[test]
    fn parts_in_any_order_make_the_whole() {
        for length in [0, 1, PART - 1, PART, PART + 1, 5 * PART + 7] {
            let state = state(length);
            let mut gathering = Gathering::new(stamp(&state)).unwrap();
            for number in (0..stamp(&state).parts()).rev() {
                assert!(gathering.missing().contains(&number));
                give(&mut gathering, &state, number);
            }
            assert!(gathering.missing().is_empty());
            assert_eq!(gathering.assemble(), Ok(state.into()));
        }
    }

    #[test]
    fn a_snapshot_above_the_limit_is_refused_before_its_first_part() {
        let mut huge = stamp(&[]);
        huge.total = wire::STATE_LIMIT as u64;
        assert!(Gathering::new(huge.clone()).is_ok());
        huge.total += 1;
        assert_eq!(
            Gathering::new(huge.clone()).err(),
            Some(Fault::Length(huge.total))
        );
    }

    #[test]
    fn a_snapshot_with_a_hole_is_none() {
        let state = state(3 * PART);
        let mut gathering = Gathering::new(stamp(&state)).unwrap();
        give(&mut gathering, &state, 0);
        give(&mut gathering, &state, 2);
        assert_eq!(gathering.missing(), [1]);
        assert_eq!(gathering.assemble(), Err(Fault::Missing(1)));
    }

    #[test]
    fn parts_of_another_snapshot_do_not_make_a_whole() {
        let (one, mut other) = (state(2 * PART), state(2 * PART));
        other[PART] ^= 1;
        let mut gathering = Gathering::new(stamp(&one)).unwrap();
        give(&mut gathering, &one, 0);
        give(&mut gathering, &other, 1);
        assert_eq!(gathering.assemble(), Err(Fault::Digest));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_in_a_part_is_seen(place in 0..PART, bit in 0..8_u8) {
            let state = state(PART);
            let mut gathering = Gathering::new(stamp(&state)).unwrap();
            let sum = *blake3::hash(&state).as_bytes();
            let mut damaged = state;
            damaged[place] ^= 1 << bit;
            prop_assert_eq!(gathering.take(0, sum, damaged.into()), Err(Fault::Part(0)));
        }

        #[test]
        fn any_part_is_taken_or_refused(number: u32, bytes: Vec<u8>, total in 0..4_u64 * PART as u64) {
            let mut odd = stamp(&[]);
            odd.total = total;
            let mut gathering = Gathering::new(odd).unwrap();
            let sum = *blake3::hash(&bytes).as_bytes();
            let before = gathering.missing().len();
            let taken = gathering.take(number, sum, bytes.into()).is_ok();
            prop_assert_eq!(gathering.missing().len(), before - usize::from(taken));
        }

        #[test]
        fn any_bytes_as_a_message_give_an_answer(bytes: Vec<u8>) {
            let mut versioned = vec![1];
            versioned.extend(&bytes);
            let _ = wire::decode::<Message>(&versioned);
            let _ = wire::decode::<Answer>(&versioned);
        }
    }
}
