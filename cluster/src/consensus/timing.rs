//! How patient a Raft group is: one profile for all nodes of a cluster.
//!
//! In: the profile's name. Out: openraft's configuration. openraft fixes these times when an instance is
//! made, and nodes must not differ in them.

use std::{sync::Arc, time::Duration};

use openraft::{Config, SnapshotPolicy};
use serde::{Deserialize, Serialize};

use crate::host::GroupId;

/// A set of timings for distances between the nodes.
///
/// The heartbeat interval is also openraft's time limit for AppendEntries: it must exceed the worst
/// round trip with margin, or far regions loop on snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// One machine or one building.
    Local,
    /// Regions of a continent or two: round trips up to about 250 ms. The default, since it is right for
    /// all but the farthest regions, and elections under it end within 3 s.
    #[default]
    Wan,
    /// Round trips up to about 500 ms.
    Far,
}

impl Profile {
    /// Time between heartbeats.
    pub fn heartbeat(self) -> Duration {
        Duration::from_millis(self.millis().0)
    }

    /// The lease of a leader that a quorum has acknowledged: nobody else is elected within it. openraft
    /// takes the greatest election timeout for it.
    pub fn lease(self) -> Duration {
        Duration::from_millis(self.millis().2)
    }

    /// How long a write waits for a leader: the lease, and two elections at their slowest.
    pub fn patience(self) -> Duration {
        3 * self.lease()
    }

    /// Heartbeat, least and greatest election timeout.
    fn millis(self) -> (u64, u64, u64) {
        match self {
            Self::Local => (50, 200, 300),
            Self::Wan => (350, 800, 1000),
            Self::Far => (700, 1800, 2400),
        }
    }

    pub(crate) fn config(self, group: GroupId) -> Arc<Config> {
        let (heartbeat_interval, election_timeout_min, election_timeout_max) = self.millis();
        // The directory's commands are documents, few and large: its log is kept short. The ledger's are small,
        // up to 66 a second, and its state may be large.
        let (snapshot_after, kept, together) = match group {
            GroupId::Directory => (64, 64, 64),
            GroupId::Ledger => (4096, 1024, 256),
        };
        let config = Config {
            cluster_name: group.name().to_owned(),
            heartbeat_interval,
            election_timeout_min,
            election_timeout_max,
            // A node that comes back after a cut must not unseat a healthy leader.
            enable_pre_vote: Some(true),
            // A restarted leader asks for votes again; until then it must not call itself leader.
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_after),
            max_in_snapshot_log_to_keep: kept,
            max_payload_entries: together,
            // A queue this long means that something is stuck.
            api_channel_size: Some(1024),
            notification_channel_size: Some(4096),
            backoff: "100ms 200ms 400ms ...1s".to_owned(),
            ..Config::default()
        };
        Arc::new(config.validate().expect("the profiles are valid: tested"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_valid_and_keeps_its_promise() {
        for profile in [Profile::Local, Profile::Wan, Profile::Far] {
            let config = profile.config(GroupId::Directory);
            assert!(config.heartbeat_interval * 2 <= config.election_timeout_min + 100);
        }
        // The failure contract: writes go on in 3 s under `wan`, 6 s is given for `far`'s re-election.
        assert!(Profile::Wan.patience() <= Duration::from_secs(3));
        assert!(2 * Profile::Far.lease() < Duration::from_secs(6));
    }
}
