//! The beginning of a group that had another life before: a state that was backed up becomes its first
//! snapshot.
//!
//! In: the state, and the last index of the log that it came of. Out: a group of one voter, this node.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    Group,
    types::{
        Id, LeaderId, LogId, Membership, Seat, Snapshot, SnapshotMeta, StoredMembership, Vote,
    },
};

impl Group {
    /// Begins the group with a state that another life of it had, as if a leader that is no more had sent it
    /// as a snapshot up to `index`: this node, which must have an empty log and be admitted, is the only
    /// voter, and leads after an election timeout. The log goes on behind that index, so that what the state
    /// says of places in the log stays in order.
    ///
    /// An error leaves the log empty. A crash leaves it empty, or all of this done.
    pub(crate) async fn begin_with(
        &self,
        state: Bytes,
        index: u64,
        seat: Seat,
    ) -> Result<(), String> {
        // The empty name is no node's: none can believe that it was the leader.
        let leader = LeaderId {
            term: 1,
            node_id: Id::default(),
        };
        let vote = Vote::new_committed(leader.term, leader.node_id.clone());
        let last = LogId {
            leader_id: leader,
            index,
        };
        let own = Id(self.own.clone());
        let membership = Membership::new(
            vec![BTreeSet::from([own.clone()])],
            BTreeMap::from([(own, seat)]),
        )
        .map_err(|error| error.to_string())?;
        let snapshot = Snapshot {
            meta: SnapshotMeta {
                last_log_id: Some(last.clone()),
                last_membership: StoredMembership::new(Some(last), membership),
            },
            snapshot: state,
        };
        let installed = self.raft.install_full_snapshot(vote.clone(), snapshot);
        match installed.await {
            Ok(response) if response.vote == vote => Ok(()),
            Ok(_) => {
                Err("a vote lies in the log store of this node; empty its data_dir".to_owned())
            }
            Err(fatal) => Err(format!("Raft has stopped here: {fatal}")),
        }
    }
}
