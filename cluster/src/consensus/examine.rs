//! Whether what lies on disk makes a log and a state, before Raft runs on it.
//!
//! In: the host's store and files. Out: a store that Raft can run on, and whether the cluster has taken this
//! node in. What is damaged is named and set aside, and the node rejoins as a learner: never with a vote that
//! it may not remember. What is of an unknown version is not damaged: it is left alone, and the start refused.

use std::{io, sync::Arc};

use meridian_config::name::NodeId;
use serde::de::DeserializeOwned;

use super::{
    GroupError,
    admission::Admission,
    log::{COMMITTED, PURGED, VOTE},
    state_machine::{Stored, file_of, set_aside_orphan},
    types::{LogId, RaftEntry, Vote},
};
use crate::{
    host::{Entry, Files, GroupId, Host, LogStore, StoreError},
    wire::{self, Unreadable},
};

/// Entries looked at together: together they may be as many documents.
const TOGETHER: u64 = 16;

/// Opens what this node has of a group. Blocking.
///
/// All groups lie in one store, and what is damaged of one sets all of it aside. So the first group to be opened,
/// the directory's, has all of them examined, before Raft runs on any.
pub(super) fn open(
    host: &dyn Host,
    group: GroupId,
    own: &NodeId,
) -> Result<(Arc<dyn LogStore>, Option<Admission>), GroupError> {
    let mut store = match host.log_store() {
        Err(StoreError::Damaged { place, cause }) => set_log_aside(host, &place, &cause)?,
        opened => opened?,
    };
    if group == GroupId::Directory {
        for each in GroupId::ALL {
            store = examine(host, store, each)?;
        }
    }
    let files = host.files();
    let admitted = Admission::read(&*store, group)?;
    match &admitted {
        None => {
            set_aside_orphan(&*files, group).map_err(|error| state(group, error.to_string()))?
        }
        Some(admitted) => {
            let stored = admitted.node.clone().unwrap_or_else(|| own.clone());
            if stored != *own {
                return Err(GroupError::OtherNode {
                    stored,
                    configured: own.clone(),
                });
            }
        }
    }
    Ok((store, admitted))
}

/// The store as it is, or an empty one where this group's part of it was damaged.
fn examine(
    host: &dyn Host,
    mut store: Arc<dyn LogStore>,
    group: GroupId,
) -> Result<Arc<dyn LogStore>, GroupError> {
    if let Some(cause) = damage_of_log(&*store, group)? {
        drop(store);
        store = set_log_aside(host, group.name(), &cause)?;
    }
    let files = host.files();
    let Some(cause) = damage_of_snapshot(&*files, group)? else {
        return Ok(store);
    };
    let name = file_of(group);
    let ms = host.unix_time().as_millis();
    let aside = set_file_aside(&*files, &name, ms)
        .map_err(|error: io::Error| state(group, error.to_string()))?;
    // A log that begins at its start makes the state again.
    if store.marker(group, PURGED)?.is_some() {
        tracing::error!("the file {name} is damaged ({cause}) and is now {aside}");
        drop(store);
        let why = "the snapshot that it goes on from is damaged";
        return set_log_aside(host, group.name(), why);
    }
    tracing::error!(
        "the file {name} is damaged ({cause}) and is now {aside}; the log has all of it, and the node goes on with that"
    );
    Ok(store)
}

/// Renames a file of the node; its new name.
pub(crate) fn set_file_aside(files: &dyn Files, name: &str, ms: u128) -> io::Result<String> {
    let aside = format!("{name}.damaged-{ms}");
    if let Some(bytes) = files.read(name)? {
        files.write(&aside, &bytes)?;
        files.remove(name)?;
    }
    Ok(aside)
}

fn set_log_aside(
    host: &dyn Host,
    place: &str,
    cause: &str,
) -> Result<Arc<dyn LogStore>, GroupError> {
    let aside = host.set_log_aside().map_err(|error| {
        let cause = format!("{cause}, and cannot be moved aside: {error}");
        let place = place.to_owned();
        StoreError::Damaged { place, cause }
    })?;
    tracing::error!(
        "the log of {place} is damaged: {cause}. It is now {aside}, and this node rejoins as a learner; it serves its last revision meanwhile"
    );
    Ok(host.log_store()?)
}

fn state(group: GroupId, cause: String) -> GroupError {
    GroupError::State { group, cause }
}

/// What is wrong with some bytes, if they are damaged; an error where they are of an unknown version.
fn damage_of<T: DeserializeOwned>(
    what: &str,
    read: Result<T, Unreadable>,
    group: GroupId,
) -> Result<Result<T, String>, GroupError> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(why @ Unreadable::Version { .. }) => Err(state(group, format!("{what}: {why}"))),
        Err(why) => Ok(Err(format!("{what}: {why}"))),
    }
}

fn damage_of_snapshot(files: &dyn Files, group: GroupId) -> Result<Option<String>, GroupError> {
    let name = file_of(group);
    let bytes = files.read(&name);
    let Some(bytes) = bytes.map_err(|error| state(group, error.to_string()))? else {
        return Ok(None);
    };
    let stored = wire::unseal_state::<Stored>(&bytes);
    Ok(damage_of(&name, stored, group)?.err())
}

fn damage_of_log(store: &dyn LogStore, group: GroupId) -> Result<Option<String>, GroupError> {
    let marker = |name: &str| store.marker(group, name);
    let vote = marker(VOTE)?.map(|bytes| damage_of::<Vote>(VOTE, wire::decode(&bytes), group));
    let committed =
        marker(COMMITTED)?.map(|bytes| damage_of::<LogId>(COMMITTED, wire::decode(&bytes), group));
    let purged =
        marker(PURGED)?.map(|bytes| damage_of::<LogId>(PURGED, wire::decode(&bytes), group));
    if let Some(Err(cause)) = vote.transpose()? {
        return Ok(Some(cause));
    }
    if let Some(Err(cause)) = committed.transpose()? {
        return Ok(Some(cause));
    }
    let mut next = match purged.transpose()? {
        None => 0,
        Some(Ok(purged)) => purged.index + 1,
        Some(Err(cause)) => return Ok(Some(cause)),
    };
    let Some((_, last)) = store.bounds(group)? else {
        return Ok(None);
    };
    while next <= last {
        let entries = match store.read(group, next..=(next + TOGETHER - 1)) {
            Err(StoreError::Damaged { cause, .. }) => return Ok(Some(cause)),
            read => read?,
        };
        if entries.is_empty() {
            return Ok(Some(format!("entry {next} is missing")));
        }
        for Entry { index, bytes } in entries {
            if index != next {
                return Ok(Some(format!("entry {next} is missing")));
            }
            let what = format!("entry {index}");
            if let Err(cause) = damage_of::<RaftEntry>(&what, wire::decode(&bytes), group)? {
                return Ok(Some(cause));
            }
            next += 1;
        }
    }
    Ok(None)
}
