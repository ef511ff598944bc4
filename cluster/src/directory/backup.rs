//! The whole replicated state in one piece, for a cluster that may have to begin again.
//!
//! In: the state of a node that has applied every acknowledged write. Out: bytes under a checksum, and a
//! [`Backup`] again. Reading checks all of it: what [`Backup::read`] gives can be installed.
//! [`crate::bootstrap::Restorer`] does that.

use bytes::Bytes;
use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use super::{Actor, Directory, Note, ReadError, WriteError, machine, state::State};
use crate::{
    host::blocking,
    version::Versions,
    wire::{self, Payload},
};

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The cluster's name.
    pub cluster: String,
    /// Its id.
    pub cluster_id: String,
    /// The newest revision of the document in it; 0: none.
    pub revision: u64,
    /// Revisions in it.
    pub revisions: u64,
    /// Revocations and blocks in it.
    pub facts: u64,
    /// The last index of the log that it holds.
    pub index: u64,
    /// Which node made it.
    pub node: NodeId,
    /// When: ms since the Unix epoch, by that node's clock.
    pub unix_ms: u64,
    /// The release of Meridian that made it.
    pub release: String,
    /// Whether it is what that node had, without a majority that confirmed it as the newest.
    pub stale: bool,
}

/// A backup that was read and found whole.
#[derive(Debug)]
pub struct Backup {
    /// What it is of.
    pub about: About,
    pub(crate) state: State,
}

/// A backup as it is encoded. What it is of comes first, so that it can be named where the state is of a
/// release that this one does not know.
#[derive(Serialize, Deserialize)]
struct Stored {
    about: About,
    state: Payload,
}

/// Why bytes are no backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotABackup {
    /// They are damaged, cut off, or of something else.
    #[error("this is no whole backup: {0}; take the file that `meridian backup` wrote")]
    Damaged(String),
    /// Their state is of a release that this one does not read.
    #[error(
        "the backup is of release {release}, whose state this release ({}) does not read: {cause}; restore it with that release and upgrade then",
        env!("CARGO_PKG_VERSION")
    )]
    Release {
        /// Which release made it.
        release: String,
        /// What it stumbles over.
        cause: String,
    },
}

/// Why no backup was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// It could not be written down who takes it.
    #[error("{0}; to take what this node has all the same, ask for a stale backup")]
    Write(#[from] WriteError),
    /// This node cannot know whether it has the newest state.
    #[error("{0}; to take what this node has all the same, ask for a stale backup")]
    Read(#[from] ReadError),
    /// There is nothing.
    #[error("this node belongs to no cluster yet: there is nothing to back up")]
    Nothing,
}

impl Backup {
    /// Reads bytes that [`Directory::back_up`] gave. Takes time by their length.
    pub fn read(bytes: &[u8]) -> Result<Self, NotABackup> {
        let stored: Stored =
            wire::unseal_state(bytes).map_err(|why| NotABackup::Damaged(why.to_string()))?;
        let release = |cause: String| NotABackup::Release {
            release: stored.about.release.clone(),
            cause,
        };
        let state: State = State::decode(&stored.state.0, Versions::THIS_RELEASE)
            .map_err(|why| release(why.to_string()))?;
        if let Some(newest) = state.documents.newest() {
            machine::unpack(newest).map_err(|why| release(why.to_string()))?;
        }
        Ok(Self {
            about: stored.about,
            state,
        })
    }
}

impl Directory {
    /// The whole state as a backup of the cluster of that name, from any node: it holds every write that was
    /// acknowledged before the call, and the audit's entry of this one. `stale`: what this node has, where
    /// there is no quorum to ask.
    pub async fn back_up(
        &self,
        cluster: &str,
        actor: Actor,
        stale: bool,
    ) -> Result<Bytes, BackupError> {
        if self.shown.state().cluster_id().is_none() {
            return Err(BackupError::Nothing);
        }
        let note = Note {
            act: "backup".to_owned(),
            target: if stale { "stale state" } else { "state" }.to_owned(),
            refused: None,
        };
        match self.note(actor.clone(), note).await {
            Ok(_) => {}
            Err(error) if stale => {
                tracing::warn!(who = %actor, "a stale backup is taken without an entry in the audit: {error}");
            }
            Err(error) => return Err(error.into()),
        }
        if !stale {
            self.catch_up().await?;
        }
        let (shown, group) = (self.shown.clone(), self.group.clone());
        let unix_ms = u64::try_from(self.host.unix_time().as_millis()).unwrap_or(u64::MAX);
        let cluster = cluster.to_owned();
        let bytes = blocking(&*self.host, move || {
            let state = shown.state();
            let audited = state.audit.newest().map_or(0, |entry| entry.index);
            let about = About {
                cluster,
                cluster_id: state.cluster_id().unwrap_or_default().to_owned(),
                revision: state.documents.newest_number(),
                revisions: state.documents.history().len() as u64,
                facts: state.facts.len() as u64,
                // The status may lag behind what was just applied; what a state names of the log must not
                // lie after its end.
                index: group.status().applied_index.max(audited),
                node: group.own().clone(),
                unix_ms,
                release: env!("CARGO_PKG_VERSION").to_owned(),
                stale,
            };
            let encoded = state.encode();
            drop(state);
            wire::seal(&Stored {
                about,
                state: Payload(encoded.into()),
            })
        })
        .await;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(release: &str, state: Vec<u8>) -> Vec<u8> {
        wire::seal(&Stored {
            about: About {
                cluster: "test".to_owned(),
                cluster_id: "id".to_owned(),
                revision: 0,
                revisions: 0,
                facts: 0,
                index: 7,
                node: "a".into(),
                unix_ms: 5,
                release: release.to_owned(),
                stale: false,
            },
            state: Payload(state.into()),
        })
    }

    #[test]
    fn a_state_of_another_release_is_named_by_it() {
        let mut state = State::default().encode();
        assert_eq!(
            Backup::read(&stored("0.1.0", state.clone()))
                .unwrap()
                .about
                .index,
            7
        );
        state[0] = 200;
        assert!(matches!(
            Backup::read(&stored("9.0.0", state)),
            Err(NotABackup::Release { release, .. }) if release == "9.0.0"
        ));
    }

    proptest! {
        #[test]
        fn half_a_backup_and_one_with_a_flipped_bit_are_none(
            place: prop::sample::Index,
            bit in 0..8_u8,
        ) {
            let whole = stored("0.1.0", State::default().encode());
            let place = place.index(whole.len());
            prop_assert!(matches!(Backup::read(&whole[..place]), Err(NotABackup::Damaged(_))));
            let mut flipped = whole;
            flipped[place] ^= 1 << bit;
            prop_assert!(matches!(Backup::read(&flipped), Err(NotABackup::Damaged(_))));
        }

        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>) {
            prop_assert!(Backup::read(&bytes).is_err());
        }
    }
}
