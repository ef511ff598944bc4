//! What a node holds: the facts it heeds, by what they are about, and which of them may still be lost.
//!
//! In: facts from operators, peers, files and the directory, with the time. Out: what became of each, and
//! what has to be looked up differently from now on. A core. Shell: [`keeper`](super::keeper).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    digest::{self, Digest, Digests},
    fact::{Claim, Fact, FactId, Key, Revocation},
    index::Rule,
    set::{FactSet, Taken},
};

/// What a node holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    set: FactSet,
    digests: Digests,
    keys: BTreeMap<Key, BTreeSet<FactId>>,
    /// Facts that the directory is not known to keep.
    pending: BTreeSet<FactId>,
}

/// From now on this key has these rules.
pub(super) type Change = (Key, Vec<Rule>);

impl Held {
    pub(super) fn judge(&self, fact: &Fact, now_ms: u64) -> Taken {
        self.set.judge(fact, now_ms)
    }

    /// Takes a fact in, and notes the keys whose rules change by it.
    pub(super) fn take(
        &mut self,
        fact: &Arc<Fact>,
        now_ms: u64,
        changed: &mut BTreeSet<Key>,
    ) -> Taken {
        let (taken, put_out) = self.set.take(Arc::clone(fact), now_ms);
        if taken == Taken::New {
            self.digests.add(&fact.id);
            self.pending.insert(fact.id);
            if let Some(key) = fact.key() {
                self.keys.entry(key.clone()).or_default().insert(fact.id);
                changed.insert(key);
            }
            if let Some(gone) = put_out {
                self.let_go(&gone, changed);
            }
        }
        taken
    }

    /// Takes back what an earlier life has left, and says all the rules of it.
    pub(super) fn restore(&mut self, facts: Vec<Arc<Fact>>, now_ms: u64) -> Vec<Change> {
        let mut changed = BTreeSet::new();
        // The room beyond the limit is for removals alone: they come last.
        let (removals, others): (Vec<_>, Vec<_>) =
            facts.into_iter().partition(|fact| fact.cancels().is_some());
        for fact in others.iter().chain(&removals) {
            self.take(fact, now_ms, &mut changed);
        }
        self.rules(changed)
    }

    /// Lets go what has expired, a bounded piece of it.
    pub(super) fn expire(&mut self, now_ms: u64, changed: &mut BTreeSet<Key>) {
        for gone in self.set.expire(now_ms, EXPIRE_AT_ONCE) {
            self.let_go(&gone, changed);
        }
    }

    /// When the next fact expires.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.set.next_expiry()
    }

    /// The rules that hold for these keys now.
    pub(super) fn rules(&self, changed: BTreeSet<Key>) -> Vec<Change> {
        let of = |key: Key| {
            let ids = self.keys.get(&key).into_iter().flatten();
            let facts = ids.filter_map(|id| self.set.get(id));
            let rules = facts.filter_map(|fact| rule(fact)).collect();
            (key, rules)
        };
        changed.into_iter().map(of).collect()
    }

    /// The directory keeps this fact.
    pub(super) fn settle(&mut self, id: &FactId) {
        self.pending.remove(id);
    }

    /// Whether the directory keeps a fact that is held.
    pub(super) fn is_settled(&self, id: &FactId) -> bool {
        self.set.get(id).is_some() && !self.pending.contains(id)
    }

    /// Facts that the directory does not keep yet: the oldest first, up to bounds.
    pub(super) fn unsettled(&self, count: usize, bytes: usize) -> Vec<Arc<Fact>> {
        let facts = self.pending.iter().filter_map(|id| self.set.get(id));
        within(facts, count, bytes)
    }

    /// How many facts the directory does not keep yet.
    pub(super) fn unsettled_count(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn digest(&self) -> Digest {
        self.digests.all()
    }

    pub(super) fn digests(&self) -> &Digests {
        &self.digests
    }

    /// The ids of some buckets, as many whole buckets as fit; at least one.
    pub(super) fn ids(&self, buckets: &[u8], most: usize) -> Vec<(u8, Vec<FactId>)> {
        let wanted: BTreeSet<u8> = buckets.iter().copied().collect();
        let mut room = most;
        let mut chosen: BTreeMap<u8, Vec<FactId>> = BTreeMap::new();
        for bucket in wanted {
            let count = self.digests.buckets()[usize::from(bucket)].count() as usize;
            if count > room && !chosen.is_empty() {
                break;
            }
            room = room.saturating_sub(count);
            chosen.insert(bucket, Vec::with_capacity(count));
        }
        for fact in self.set.all() {
            if let Some(ids) = chosen.get_mut(&digest::bucket(&fact.id)) {
                ids.push(fact.id);
            }
        }
        chosen.into_iter().collect()
    }

    /// Which of these facts are neither held nor taken back.
    pub(super) fn missing(&self, ids: impl IntoIterator<Item = FactId>) -> Vec<FactId> {
        let absent = |id: &FactId| self.set.get(id).is_none() && !self.set.is_cancelled(id);
        ids.into_iter().filter(absent).collect()
    }

    /// The facts of these ids that are held, up to bounds.
    pub(super) fn fetch(&self, ids: &[FactId], count: usize, bytes: usize) -> Vec<Arc<Fact>> {
        within(ids.iter().filter_map(|id| self.set.get(id)), count, bytes)
    }

    /// The facts that block exactly this net.
    pub(super) fn blocks_on(&self, net: IpNet) -> Vec<Arc<Fact>> {
        let ids = self.keys.get(&Key::Net(net.trunc())).into_iter().flatten();
        ids.filter_map(|id| self.set.get(id)).cloned().collect()
    }

    pub(super) fn set(&self) -> &FactSet {
        &self.set
    }

    fn let_go(&mut self, fact: &Fact, changed: &mut BTreeSet<Key>) {
        self.digests.take(&fact.id);
        self.pending.remove(&fact.id);
        let Some(key) = fact.key() else { return };
        if let Some(ids) = self.keys.get_mut(&key) {
            ids.remove(&fact.id);
            if ids.is_empty() {
                self.keys.remove(&key);
            }
        }
        changed.insert(key);
    }
}

/// Facts let go in one go; the rest follows within a moment. A million would hold up everything else.
const EXPIRE_AT_ONCE: usize = 4096;

fn within<'a>(
    facts: impl Iterator<Item = &'a Arc<Fact>>,
    count: usize,
    bytes: usize,
) -> Vec<Arc<Fact>> {
    let mut room = bytes;
    let mut chosen = Vec::new();
    for fact in facts.take(count) {
        // The first goes however large it is: facts are small, and nothing would follow it otherwise.
        if fact.size() > room && !chosen.is_empty() {
            break;
        }
        room = room.saturating_sub(fact.size());
        chosen.push(Arc::clone(fact));
    }
    chosen
}

fn rule(fact: &Fact) -> Option<Rule> {
    let (issuer, issued_before) = match &fact.claim {
        Claim::Revoke(Revocation::TokenId(_)) | Claim::Block(_) => (None, None),
        Claim::Revoke(Revocation::Subject {
            issuer,
            issued_before,
            ..
        }) => (issuer.clone(), *issued_before),
        Claim::Revoke(Revocation::Tenant { issued_before, .. }) => (None, Some(*issued_before)),
        Claim::Cancel(_) => return None,
    };
    Some(Rule {
        fact: fact.id,
        until_ms: fact.expires_ms,
        issuer,
        issued_before,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::fact::tests::*, *};

    fn take(held: &mut Held, fact: &Fact) -> (Taken, Vec<Change>) {
        let mut changed = BTreeSet::new();
        let taken = held.take(&Arc::new(fact.clone()), 0, &mut changed);
        (taken, held.rules(changed))
    }

    #[test]
    fn a_key_has_a_rule_of_each_fact_and_none_after_its_removal() {
        let mut held = Held::default();
        let one = revocation(1, 100);
        let longer = Fact {
            id: revocation(2, 0).id,
            expires_ms: 200,
            ..one.clone()
        };
        assert_eq!(take(&mut held, &one).1[0].1.len(), 1);
        assert_eq!(take(&mut held, &longer).1[0].1.len(), 2);
        let (taken, changes) = take(&mut held, &cancel(3, &one));
        assert_eq!(taken, Taken::New);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].1[0].until_ms, 200);
        let mut changed = BTreeSet::new();
        held.expire(300, &mut changed);
        assert_eq!(held.rules(changed)[0].1, []);
        assert_eq!(held.digest(), Digest::default());
        assert!(held.keys.is_empty() && held.pending.is_empty());
    }

    #[test]
    fn what_the_directory_keeps_is_pending_no_more() {
        let mut held = Held::default();
        for number in 0..5 {
            take(&mut held, &revocation(number, 100));
        }
        let first = held.unsettled(2, usize::MAX);
        assert_eq!(first.len(), 2);
        for fact in &first {
            held.settle(&fact.id);
            assert!(held.is_settled(&fact.id));
        }
        assert_eq!(held.unsettled(10, usize::MAX).len(), 3);
        assert_eq!(held.unsettled(10, 1).len(), 1);
        assert!(!held.is_settled(&revocation(9, 0).id));
    }

    #[test]
    fn a_piece_of_the_ids_is_whole_buckets_and_leads_to_what_is_missing() {
        let (mut one, mut other) = (Held::default(), Held::default());
        for number in 0..1000 {
            take(&mut one, &revocation(number, 100));
            if number % 100 != 0 {
                take(&mut other, &revocation(number, 100));
            }
        }
        let mut differing = other.digests().differing(one.digests().buckets());
        let mut found = 0;
        while !differing.is_empty() {
            let piece = one.ids(&differing, 16);
            assert!(!piece.is_empty());
            for (bucket, ids) in piece {
                differing.retain(|other| *other != bucket);
                let missing = other.missing(ids);
                found += one.fetch(&missing, 100, usize::MAX).len();
            }
        }
        assert_eq!(found, 10);
    }
}
