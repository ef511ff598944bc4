//! A set of facts that comes out the same in whatever order they arrive.
//!
//! In: facts, and the time. Out: which are new, and which are gone. A core; it stands under
//! [`Held`](super::held::Held), what a node heeds, and in the directory's state, what a quorum has agreed to
//! keep.
//!
//! A removal is a fact that names another: the named one leaves the set, and never enters it while the
//! removal lives, which is as long as the named one would have.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::fact::{Fact, FactId};

/// Facts that a set holds at most. At about 300 bytes in memory each that is under 100 MB, and a hundred
/// times what an emergency asks for; whole populations of tokens are revoked by tenant or subject.
pub const COUNT_LIMIT: usize = 250_000;

/// Bytes of all facts of a set together, as they go over the wire.
pub const BYTES_LIMIT: usize = 32 << 20;

/// Beyond the limit for removals whose fact has not come yet: a removal that is lost could let a fact stand
/// that an operator took back.
const REMOVALS: usize = COUNT_LIMIT / 8;

/// Bytes beyond the limit for removals.
const REMOVAL_BYTES: usize = BYTES_LIMIT / 8;

/// What became of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// It is held from now on.
    New,
    /// It was held before.
    Known,
    /// A removal of it is held.
    Cancelled,
    /// Its time is over.
    Expired,
    /// There is no room for it.
    Full,
}

/// The set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Arc<Fact>>", into = "Vec<Arc<Fact>>")]
pub(crate) struct FactSet {
    facts: BTreeMap<FactId, Arc<Fact>>,
    /// Ids that held removals name, and how many do.
    cancelled: BTreeMap<FactId, u32>,
    expiries: BTreeSet<(u64, FactId)>,
    bytes: usize,
}

impl PartialEq for FactSet {
    fn eq(&self, other: &Self) -> bool {
        self.facts == other.facts
    }
}

impl Eq for FactSet {}

impl From<Vec<Arc<Fact>>> for FactSet {
    fn from(facts: Vec<Arc<Fact>>) -> Self {
        let mut set = Self::default();
        // The room beyond the limit is for removals alone: they come last.
        let (removals, others): (Vec<_>, Vec<_>) =
            facts.into_iter().partition(|fact| fact.cancels().is_some());
        for fact in others.into_iter().chain(removals) {
            set.take(fact, 0);
        }
        set
    }
}

impl From<FactSet> for Vec<Arc<Fact>> {
    fn from(set: FactSet) -> Self {
        set.facts.into_values().collect()
    }
}

impl FactSet {
    /// What would become of a fact now.
    pub(crate) fn judge(&self, fact: &Fact, now_ms: u64) -> Taken {
        if fact.expires_ms <= now_ms {
            Taken::Expired
        } else if self.facts.contains_key(&fact.id) {
            Taken::Known
        } else if self.cancelled.contains_key(&fact.id) && fact.cancels().is_none() {
            Taken::Cancelled
        } else if self.has_room_for(fact) {
            Taken::New
        } else {
            Taken::Full
        }
    }

    /// Takes a fact in. The second: the fact that it has put out.
    pub(crate) fn take(&mut self, fact: Arc<Fact>, now_ms: u64) -> (Taken, Option<Arc<Fact>>) {
        let judged = self.judge(&fact, now_ms);
        if judged != Taken::New {
            return (judged, None);
        }
        let mut put_out = None;
        if let Some(id) = fact.cancels() {
            *self.cancelled.entry(id).or_default() += 1;
            let names_a_removal = self.facts.get(&id).is_some_and(|f| f.cancels().is_some());
            if !names_a_removal {
                put_out = self.remove(&id);
            }
        }
        self.bytes += fact.size();
        self.expiries.insert((fact.expires_ms, fact.id));
        self.facts.insert(fact.id, fact);
        (Taken::New, put_out)
    }

    /// Lets go what has expired at that time, at most `most` facts; the earliest first.
    pub(crate) fn expire(&mut self, now_ms: u64, most: usize) -> Vec<Arc<Fact>> {
        let mut gone = Vec::new();
        while gone.len() < most
            && let Some((expires_ms, id)) = self.expiries.first().copied()
            && expires_ms <= now_ms
        {
            gone.extend(self.remove(&id));
        }
        gone
    }

    /// When the next fact expires.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.expiries.first().map(|(expires_ms, _)| *expires_ms)
    }

    pub(crate) fn get(&self, id: &FactId) -> Option<&Arc<Fact>> {
        self.facts.get(id)
    }

    /// Whether the fact of that id was taken back.
    pub(crate) fn is_cancelled(&self, id: &FactId) -> bool {
        self.cancelled.contains_key(id)
    }

    /// All facts from the newest on, down from the one before `to`.
    pub(crate) fn before(&self, to: FactId) -> impl Iterator<Item = &Arc<Fact>> {
        let range = (Bound::Unbounded, Bound::Excluded(to));
        self.facts.range(range).rev().map(|(_, fact)| fact)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Fact>> {
        self.facts.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.facts.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn has_room_for(&self, fact: &Fact) -> bool {
        let (count, bytes) = match fact.cancels() {
            Some(_) => (COUNT_LIMIT + REMOVALS, BYTES_LIMIT + REMOVAL_BYTES),
            None => (COUNT_LIMIT, BYTES_LIMIT),
        };
        let put_out = fact.cancels().and_then(|id| self.facts.get(&id));
        if let Some(put_out) = put_out {
            // It takes the other's place, and a set over its bytes never grows by it.
            let size = fact.size();
            return size <= put_out.size() || self.bytes - put_out.size() + size <= bytes;
        }
        self.facts.len() < count && self.bytes + fact.size() <= bytes
    }

    fn remove(&mut self, id: &FactId) -> Option<Arc<Fact>> {
        let fact = self.facts.remove(id)?;
        self.expiries.remove(&(fact.expires_ms, *id));
        self.bytes -= fact.size();
        if let Some(cancelled) = fact.cancels()
            && let Some(count) = self.cancelled.get_mut(&cancelled)
        {
            *count -= 1;
            if *count == 0 {
                self.cancelled.remove(&cancelled);
            }
        }
        Some(fact)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::fact::{TEXT_LIMIT, tests::*},
        *,
    };

    fn taken(set: &mut FactSet, fact: &Fact) -> Taken {
        set.take(Arc::new(fact.clone()), 0).0
    }

    #[test]
    fn a_removal_wins_whichever_comes_first() {
        let fact = revocation(1, 100);
        let removal = cancel(2, &fact);
        let (mut one, mut other) = (FactSet::default(), FactSet::default());
        assert_eq!(taken(&mut one, &fact), Taken::New);
        let (new, put_out) = one.take(Arc::new(removal.clone()), 0);
        assert_eq!(
            (new, put_out.map(|fact| fact.id)),
            (Taken::New, Some(fact.id))
        );
        assert_eq!(taken(&mut other, &removal), Taken::New);
        assert_eq!(taken(&mut other, &fact), Taken::Cancelled);
        assert_eq!(one, other);
        assert_eq!(taken(&mut one, &fact), Taken::Cancelled);
    }

    #[test]
    fn an_expired_fact_is_not_taken_and_a_held_one_goes() {
        let mut set = FactSet::default();
        let fact = revocation(1, 100);
        assert_eq!(set.judge(&fact, 100), Taken::Expired);
        assert_eq!(taken(&mut set, &fact), Taken::New);
        assert_eq!(set.next_expiry(), Some(100));
        assert!(set.expire(99, 10).is_empty());
        assert_eq!(set.expire(100, 10).len(), 1);
        assert_eq!((set.len(), set.bytes()), (0, 0));
    }

    #[test]
    fn at_the_limit_a_new_fact_is_refused_and_a_removal_is_taken() {
        let mut set = FactSet::default();
        for number in 0..COUNT_LIMIT as u64 {
            assert_eq!(taken(&mut set, &revocation(number, 100)), Taken::New);
        }
        let more = revocation(COUNT_LIMIT as u64, 100);
        assert_eq!(taken(&mut set, &more), Taken::Full);
        // One that takes back what is held needs no room, one that came first has some.
        assert_eq!(taken(&mut set, &cancel(1 << 40, &more)), Taken::New);
        let held = cancel(1 << 41, &revocation(7, 100));
        assert_eq!(taken(&mut set, &held), Taken::New);
        assert!(set.get(&revocation(7, 100).id).is_none());
    }

    #[test]
    fn removals_with_long_reasons_keep_to_the_bytes_and_short_ones_always_fit() {
        let mut set = FactSet::default();
        let long = |fact: Fact| Fact {
            reason: "x".repeat(TEXT_LIMIT),
            ..fact
        };
        // A small one, then large ones until there is no room.
        assert_eq!(taken(&mut set, &revocation(1 << 32, 100)), Taken::New);
        let mut count = 0;
        while taken(&mut set, &long(revocation(count, 100))) == Taken::New {
            count += 1;
        }
        // As if removals that came before their facts had filled what is theirs.
        set.bytes = BYTES_LIMIT + REMOVAL_BYTES;
        let longer = long(cancel(1 << 40, &revocation(1 << 32, 100)));
        assert_eq!(taken(&mut set, &longer), Taken::Full);
        let equal = long(cancel(1 << 41, &long(revocation(0, 100))));
        assert_eq!(taken(&mut set, &equal), Taken::New);
        let short = cancel(1 << 42, &revocation(1 << 32, 100));
        assert_eq!(taken(&mut set, &short), Taken::New);
    }

    #[test]
    fn a_removal_of_a_removal_changes_nothing() {
        let fact = revocation(1, 100);
        let removal = cancel(2, &fact);
        let again = cancel(3, &removal);
        let mut set = FactSet::default();
        for fact in [&removal, &again] {
            assert_eq!(taken(&mut set, fact), Taken::New);
        }
        assert_eq!(taken(&mut set, &fact), Taken::Cancelled);
        let mut other = FactSet::default();
        for fact in [&again, &removal] {
            assert_eq!(taken(&mut other, fact), Taken::New);
        }
        assert_eq!(set, other);
    }

    proptest! {
        #[test]
        fn in_any_order_and_however_often_the_set_is_the_same(
            plan in prop::collection::vec((0_u64..12, prop::option::of(0_u64..12), 1_u64..50), 1..24),
            shuffle: Vec<prop::sample::Index>,
            now in 0_u64..60,
        ) {
            // A number is one fact for good: what it was made of first.
            let mut facts = BTreeMap::new();
            for (number, cancels, expires) in plan {
                let fact = match cancels {
                    // A removal lives as long as what it names.
                    Some(other) if other != number => cancel(number, &revocation(other, 20)),
                    _ => revocation(number, if number % 2 == 0 { 20 } else { expires }),
                };
                facts.entry(number).or_insert(fact);
            }
            let facts: Vec<Fact> = facts.into_values().collect();
            let mut one = FactSet::default();
            for fact in &facts {
                one.take(Arc::new(fact.clone()), 0);
            }
            let mut other = FactSet::default();
            for index in &shuffle {
                other.take(Arc::new(index.get(&facts).clone()), 0);
            }
            for fact in facts.iter().rev() {
                other.take(Arc::new(fact.clone()), 0);
            }
            prop_assert_eq!(&one, &other);
            let bytes: usize = one.all().map(|fact| fact.size()).sum();
            prop_assert_eq!(bytes, one.bytes());
            one.expire(now, usize::MAX);
            prop_assert!(one.all().all(|fact| fact.expires_ms > now));
            let stored: Vec<Arc<Fact>> = one.clone().into();
            prop_assert_eq!(FactSet::from(stored), one);
        }
    }
}
