//! Tells in a few bytes whether two nodes hold the same facts, and where they differ.
//!
//! In: ids as they come and go. Out: a [`Digest`] of all, and one of each of 256 buckets. A core.
//!
//! A digest is a count and the exclusive or of the ids, so that a change costs the same however many are
//! held. Ids carry 80 random bits and only the cluster's own nodes make them, so that two sets with one
//! digest are the same set.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::FactId;

/// Of a set of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    count: u32,
    mixed: [u8; 16],
}

/// Buckets that ids are sorted into, by their last byte.
pub(super) const BUCKETS: usize = 256;

/// The bucket that an id belongs to. Its first bytes are a time, its last are random.
pub(super) fn bucket(id: &FactId) -> u8 {
    id.0[15]
}

impl Digest {
    fn mix(&mut self, id: &FactId) {
        for (mixed, byte) in self.mixed.iter_mut().zip(id.0) {
            *mixed ^= byte;
        }
    }

    /// How many ids there are.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.count, FactId(self.mixed))
    }
}

/// Text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDigest;

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let (count, mixed) = text.split_once(' ').ok_or(NoDigest)?;
        let FactId(mixed) = mixed.parse().map_err(|_| NoDigest)?;
        let count = count.parse().map_err(|_| NoDigest)?;
        Ok(Self { count, mixed })
    }
}

/// The digest of all ids and of each bucket.
#[derive(Debug, Clone)]
pub(super) struct Digests {
    all: Digest,
    buckets: Vec<Digest>,
}

impl Default for Digests {
    fn default() -> Self {
        Self {
            all: Digest::default(),
            buckets: vec![Digest::default(); BUCKETS],
        }
    }
}

impl Digests {
    pub(super) fn add(&mut self, id: &FactId) {
        for digest in [&mut self.all, &mut self.buckets[usize::from(bucket(id))]] {
            digest.count += 1;
            digest.mix(id);
        }
    }

    /// Takes out an id that was added.
    pub(super) fn take(&mut self, id: &FactId) {
        for digest in [&mut self.all, &mut self.buckets[usize::from(bucket(id))]] {
            digest.count -= 1;
            digest.mix(id);
        }
    }

    pub(super) fn all(&self) -> Digest {
        self.all
    }

    pub(super) fn buckets(&self) -> &[Digest] {
        &self.buckets
    }

    /// The buckets in which another node's digests differ. A node that says too few has empty ones.
    pub(super) fn differing(&self, other: &[Digest]) -> Vec<u8> {
        let empty = Digest::default();
        (0..=u8::MAX)
            .filter(|bucket| {
                let index = usize::from(*bucket);
                self.buckets[index] != *other.get(index).unwrap_or(&empty)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u16) -> FactId {
        let hash = blake3::hash(&number.to_be_bytes());
        FactId(*hash.as_bytes().first_chunk().unwrap())
    }

    proptest! {
        #[test]
        fn what_came_and_went_leaves_no_trace(held: std::collections::BTreeSet<u16>, went: std::collections::BTreeSet<u16>) {
            let (mut one, mut other) = (Digests::default(), Digests::default());
            held.iter().for_each(|number| one.add(&id(*number)));
            went.iter().for_each(|number| other.add(&id(*number)));
            held.iter().rev().for_each(|number| other.add(&id(*number)));
            let same = went.is_empty();
            prop_assert_eq!(one.all() == other.all(), same);
            let buckets: std::collections::BTreeSet<u8> = went.iter().map(|number| bucket(&id(*number))).collect();
            prop_assert_eq!(other.differing(one.buckets()), buckets.into_iter().collect::<Vec<_>>());
            went.iter().for_each(|number| other.take(&id(*number)));
            prop_assert_eq!(one.all(), other.all());
            prop_assert_eq!(one.all().to_string().parse(), Ok(one.all()));
        }

        #[test]
        fn any_text_gives_an_answer(text in ".{0,40}") {
            let _ = text.parse::<Digest>();
        }
    }
}
