//! One number from which every choice of a run follows.
//!
//! In: the seed and a label. Out: a generator, or 32 bytes, that depend on nothing else. Each part of the
//! world draws from a stream of its own, so that a new draw in one part does not move another's.

use std::fmt;

use rand::{SeedableRng, rngs::StdRng};

/// The seed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(pub u64);

impl Seed {
    /// 32 bytes for a label.
    pub fn bytes(self, label: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("meridian simulation 2026 seed stream");
        hasher.update(&self.0.to_le_bytes());
        hasher.update(label.as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// A generator for a label.
    pub fn stream(self, label: &str) -> StdRng {
        StdRng::from_seed(self.bytes(label))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_and_a_seed_give_the_same_bytes_and_another_label_gives_others() {
        assert_eq!(Seed(7).bytes("network"), Seed(7).bytes("network"));
        assert_ne!(Seed(7).bytes("network"), Seed(7).bytes("disk"));
        assert_ne!(Seed(7).bytes("network"), Seed(8).bytes("network"));
    }
}
