//! How far voters' logs reach, as they said when they granted a vote.
//!
//! In: granted votes, asks of a new leader. Out: whether a voter is known to hold certain entries already. openraft
//! looks for the place where a new leader's log and a voter's agree by sending entries from the middle of its log
//! on, eight at a time, a round trip each: up to eight of them before the first write is agreed on. But the voter
//! told the last entry of its log as it granted the vote; where this node's log has the same entry in that place,
//! the two are equal up to there (Log Matching; Ongaro, Consensus, section 3.5), and these rounds need not travel.
//! The asking shell is [`super::network`].
//!
//! Sound, because a voter saves its vote after what it had appended, so that the entry is durable when the grant is
//! heard; it takes entries from no earlier leader any more; and what it takes from a later one makes this leader's
//! next message fail. Nothing becomes committed by such an answer: for that a majority must take an entry of the
//! leader's own term. A voter that comes back with an empty disk must be taken in anew, by a change of the
//! membership, and every change forgets the grants.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::types::{Id, LogId, Vote};

/// Grants of the last election that this node stood in. Clones are one memory.
#[derive(Clone, Default)]
pub(super) struct Grants(Arc<Mutex<BTreeMap<Id, Grant>>>);

struct Grant {
    /// The vote that was granted.
    vote: Vote,
    /// The voter's last entry.
    last: LogId,
    /// Whether this node's log has that entry too, once it has looked.
    agrees: Option<bool>,
}

/// What is known of whether a voter holds an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    /// It does.
    Yes,
    /// Nothing is known, or it does not.
    Unknown,
    /// It does if this node's log has this entry.
    IfHereIs(LogId),
}

impl Grants {
    /// A voter granted a vote, and said what its last entry is.
    pub(super) fn note(&self, voter: &Id, vote: &Vote, last: Option<LogId>) {
        let grant = last.map(|last| Grant {
            vote: vote.clone(),
            last,
            agrees: None,
        });
        match grant {
            Some(grant) => self.lock().insert(voter.clone(), grant),
            None => self.lock().remove(voter),
        };
    }

    /// Whether a voter holds all entries up to `index` of the leader with that vote.
    pub(super) fn holds(&self, voter: &Id, vote: &Vote, index: u64) -> Holds {
        let grants = self.lock();
        let Some(grant) = grants.get(voter) else {
            return Holds::Unknown;
        };
        // Between the vote and the lead only its mark as committed changes.
        if grant.vote.leader_id != vote.leader_id || index > grant.last.index {
            return Holds::Unknown;
        }
        match grant.agrees {
            Some(true) => Holds::Yes,
            Some(false) => Holds::Unknown,
            None => Holds::IfHereIs(grant.last.clone()),
        }
    }

    /// Whether this node's log has the voter's last entry.
    pub(super) fn settle(&self, voter: &Id, last: &LogId, agrees: bool) {
        if let Some(grant) = self.lock().get_mut(voter)
            && grant.last == *last
        {
            grant.agrees = Some(agrees);
        }
    }

    /// Forgets them all.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Grant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId as _;

    use super::*;
    use crate::consensus::types::Types;

    fn vote(term: u64) -> Vote {
        Vote::new(term, Id("a".into()))
    }

    fn entry(term: u64, index: u64) -> LogId {
        openraft::alias::LogIdOf::<Types>::new(vote(term).leader_id.to_committed(), index)
    }

    #[test]
    fn a_grant_holds_for_its_vote_and_up_to_its_last_entry_once_the_own_log_agrees() {
        let (grants, voter) = (Grants::default(), Id("b".into()));
        assert_eq!(grants.holds(&voter, &vote(3), 1), Holds::Unknown);
        grants.note(&voter, &vote(3), Some(entry(2, 10)));
        let looks = Holds::IfHereIs(entry(2, 10));
        assert_eq!(grants.holds(&voter, &vote(3), 10), looks);
        grants.settle(&voter, &entry(2, 10), true);
        assert_eq!(grants.holds(&voter, &vote(3), 10), Holds::Yes);
        assert_eq!(grants.holds(&voter, &vote(3), 11), Holds::Unknown);
        assert_eq!(grants.holds(&voter, &vote(4), 10), Holds::Unknown);
        assert_eq!(grants.holds(&Id("c".into()), &vote(3), 1), Holds::Unknown);
        // What differs, or came in another election, or before a change, says nothing.
        grants.settle(&voter, &entry(2, 10), false);
        assert_eq!(grants.holds(&voter, &vote(3), 1), Holds::Unknown);
        grants.note(&voter, &vote(5), Some(entry(2, 10)));
        grants.settle(&voter, &entry(2, 9), true);
        assert_eq!(grants.holds(&voter, &vote(5), 1), looks);
        grants.note(&voter, &vote(5), None);
        assert_eq!(grants.holds(&voter, &vote(5), 1), Holds::Unknown);
        grants.note(&voter, &vote(5), Some(entry(2, 10)));
        grants.forget();
        assert_eq!(grants.holds(&voter, &vote(5), 1), Holds::Unknown);
    }
}
