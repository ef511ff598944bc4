//! Applies committed commands to a group's machine, and keeps its snapshot.
//!
//! In: committed entries and snapshots from openraft. Out: answers, files, and the machine's newest state.
//! The core that decides what a command means is the [`Machine`].

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::types::{LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::{
    host::{Files, GroupId, Host, blocking},
    wire::{self, Unreadable},
};

/// What a group's commands mean. A core: no clock, no randomness, the same on every node.
pub(crate) trait Machine: Send + Sync + 'static {
    /// Applies the command at `index` and gives its answer.
    ///
    /// An error means that this node cannot follow (the command is of a newer version): it stops taking
    /// part rather than have a state of its own.
    fn apply(&mut self, index: u64, command: &[u8]) -> Result<Bytes, Unreadable>;

    /// The whole state as bytes.
    fn snapshot(&self) -> Bytes;

    /// Replaces the state by one that [`snapshot`](Self::snapshot) gave.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Unreadable>;

    /// Files to be durable before the state is shown and the writer hears of it; each is given once.
    fn take_files(&mut self) -> Vec<(&'static str, Vec<u8>)>;

    /// Shows the newest state to readers.
    fn publish(&mut self);
}

/// A snapshot as it lies in its file.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    meta: SnapshotMeta,
    state: Payload,
}

/// openraft's state machine over a [`Machine`].
pub(crate) struct StateMachine {
    host: Arc<dyn Host>,
    group: GroupId,
    machine: Box<dyn Machine>,
    applied: Option<LogId>,
    membership: StoredMembership,
    shelf: Shelf,
}

impl StateMachine {
    /// An empty state; openraft restores snapshot and log into it.
    pub(crate) fn new(host: Arc<dyn Host>, group: GroupId, machine: Box<dyn Machine>) -> Self {
        Self {
            shelf: Shelf {
                host: Arc::clone(&host),
                file: file_of(group),
                newest: Arc::default(),
            },
            host,
            group,
            machine,
            applied: None,
            membership: StoredMembership::default(),
        }
    }

    /// Files first, then readers: what was shown once is there after a restart.
    async fn show(&mut self) -> io::Result<()> {
        let files = self.machine.take_files();
        let written = if files.is_empty() {
            Ok(())
        } else {
            let place = self.host.files();
            blocking(&*self.host, move || {
                files
                    .iter()
                    .try_for_each(|(name, bytes)| place.write(name, bytes))
            })
            .await
        };
        // With a broken disk the node leaves Raft, but what a quorum has agreed on it still serves.
        self.machine.publish();
        written
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied.clone(), self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let index = entry.log_id.index;
            let answer = match entry.payload {
                EntryPayload::Blank => Payload::default(),
                EntryPayload::Normal(command) => {
                    tracing::trace!(
                        target: "meridian::decision",
                        group = self.group.name(),
                        index,
                        digest = %blake3::hash(&command.0).to_hex(),
                        "apply"
                    );
                    let answer = self.machine.apply(index, &command.0).map_err(|why| {
                        tracing::error!(
                            index,
                            "this node stops taking part in agreement: it cannot read a command: {why}"
                        );
                        io::Error::new(io::ErrorKind::InvalidData, why)
                    })?;
                    Payload(answer)
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id.clone()), membership);
                    Payload::default()
                }
            };
            self.applied = Some(entry.log_id);
            answers.extend(responder.map(|responder| (responder, answer)));
        }
        self.show().await?;
        for (responder, answer) in answers {
            responder.send(answer);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder {
            meta: SnapshotMeta {
                last_log_id: self.applied.clone(),
                last_membership: self.membership.clone(),
            },
            state: self.machine.snapshot(),
            shelf: self.shelf.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        self.machine
            .restore(&snapshot)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        self.applied.clone_from(&meta.last_log_id);
        self.membership = meta.last_membership.clone();
        tracing::trace!(
            target: "meridian::decision",
            index = meta.last_log_id.as_ref().map_or(0, |id| id.index),
            length = snapshot.len(),
            "snapshot installed"
        );
        self.shelf.put(meta, snapshot).await?;
        self.show().await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.shelf.newest().await
    }
}

/// Writes the snapshot of one moment.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    state: Bytes,
    shelf: Shelf,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.shelf.put(&self.meta, self.state.clone()).await?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: self.state.clone(),
        })
    }
}

pub(super) fn file_of(group: GroupId) -> String {
    format!("snapshot-{group}")
}

/// Sets a snapshot aside whose log is gone, and with it the node's vote: its membership would make this
/// node a voter again that does not remember what it has voted for and acknowledged.
pub(super) fn set_aside_orphan(files: &dyn Files, group: GroupId) -> io::Result<()> {
    let name = file_of(group);
    if let Some(bytes) = files.read(&name)? {
        let aside = format!("{name}.without-log");
        files.write(&aside, &bytes)?;
        files.remove(&name)?;
        tracing::error!(
            "the log that the file {name} belongs to is gone; the file is now {aside}, and this node rejoins as a learner"
        );
    }
    Ok(())
}

/// The file that holds the newest snapshot.
#[derive(Clone)]
struct Shelf {
    host: Arc<dyn Host>,
    file: String,
    /// What the file holds in this life. A builder runs beside the state machine, and its older snapshot
    /// must not replace one that was installed meanwhile.
    newest: Arc<Mutex<Option<LogId>>>,
}

impl Shelf {
    async fn put(&self, meta: &SnapshotMeta, state: Bytes) -> io::Result<()> {
        let mut newest = self.newest.lock().await;
        if *newest > meta.last_log_id {
            return Ok(());
        }
        let bytes = wire::seal(&Stored {
            meta: meta.clone(),
            state: Payload(state),
        });
        let (files, name) = (self.host.files(), self.file.clone());
        blocking(&*self.host, move || files.write(&name, &bytes)).await?;
        newest.clone_from(&meta.last_log_id);
        Ok(())
    }

    async fn newest(&self) -> io::Result<Option<Snapshot>> {
        let _in_turn = self.newest.lock().await;
        let (files, name) = (self.host.files(), self.file.clone());
        let bytes = blocking(&*self.host, move || files.read(&name)).await?;
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let stored: Stored = wire::unseal_state(&bytes).map_err(|why| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the file {} is damaged: {why}", self.file),
            )
        })?;
        Ok(Some(Snapshot {
            meta: stored.meta,
            snapshot: stored.state.0,
        }))
    }
}
