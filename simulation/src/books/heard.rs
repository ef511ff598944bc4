//! What a process has heard, to know what it hears again.

use std::collections::{BTreeMap, BTreeSet};

use meridian_cluster::quota::key::KeyId;

/// Digests of what a process has heard, each with the keys of which nothing could be taken so far: their lease was over.
#[derive(Debug, Default)]
pub(super) struct Heard(BTreeMap<u64, BTreeSet<KeyId>>);

impl Heard {
    /// Notes what is heard while the lease of these keys is over. Of what was heard before, the keys of which something may
    /// be taken all the same.
    pub(super) fn note(
        &mut self,
        digest: u64,
        over: impl Iterator<Item = KeyId>,
    ) -> Option<BTreeSet<KeyId>> {
        let over: BTreeSet<KeyId> = over.collect();
        let Some(untaken) = self.0.get_mut(&digest) else {
            self.0.insert(digest, over);
            return None;
        };
        let may = untaken.clone();
        untaken.retain(|key| over.contains(key));
        Some(may)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_taken_at_first_may_be_taken_once_when_it_is_heard_again() {
        let keys = |all: &[u8]| -> Vec<KeyId> { all.iter().map(|at| KeyId([*at; 16])).collect() };
        let mut heard = Heard::default();
        let mut note = |digest, over: &[u8]| {
            let may = heard.note(digest, keys(over).into_iter());
            may.map(|may| may.into_iter().collect::<Vec<KeyId>>())
        };
        assert_eq!(note(1, &[1, 2]), None);
        assert_eq!(note(2, &[]), None);
        assert_eq!(note(1, &[2, 3]), Some(keys(&[1, 2])));
        assert_eq!(note(1, &[3]), Some(keys(&[2])));
        assert_eq!(note(1, &[]), Some(vec![]));
        assert_eq!(note(2, &[1]), Some(vec![]));
    }
}
