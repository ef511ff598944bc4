//! Sends a snapshot to a follower, part by part over the bulk connection.
//!
//! In: a snapshot and the leader's vote. Out: the follower's word that it is installed, or an error after
//! which openraft calls again, and the follower is asked what it has already. The messages are
//! [`super::transfer`]'s, the receiving side is [`super::receive`].

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use openraft::{
    RPCTypes,
    errors::{NetworkError, RPCError, StreamingError},
    raft::SnapshotResponse,
};

use super::{
    admission::encode_in,
    network::{Link, mismatch},
    transfer::{Answer, Message, PART, Stamp, Step, UNDER_WAY},
    types::{Payload, Snapshot, Types, Vote},
};
use crate::{fabric::Kind, host::blocking, wire};

/// How long an offer or a part may take: a full window of parts over 128 KiB a second.
const PART_PATIENCE: Duration = Duration::from_secs(20);

/// How long a follower may take to check, install and write the largest snapshot.
const INSTALL_PATIENCE: Duration = Duration::from_secs(60);

impl Link {
    /// Sends the snapshot. Dropping the future stops it; the follower keeps what it has for a while.
    pub(super) async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let (meta, state) = (snapshot.meta, snapshot.snapshot);
        let stamp = {
            let state = state.clone();
            blocking(&*self.host, move || Stamp::of(meta, &state)).await
        };
        if stamp.total > wire::STATE_LIMIT as u64 {
            return Err(failed("the snapshot is longer than the limit of this version").into());
        }
        let tell = |step| self.tell(&vote, &stamp, step);
        let Answer::Missing(missing) = tell(Step::Offer).await? else {
            return Err(mismatch().into());
        };
        if missing.iter().any(|number| *number >= stamp.parts()) {
            return Err(mismatch().into());
        }
        tracing::trace!(
            target: "meridian::decision",
            to = %self.target,
            parts = stamp.parts(),
            missing = missing.len(),
            "snapshot offered"
        );
        stream::iter(missing)
            .map(|number| {
                let bytes = state.slice(stamp.place(number));
                debug_assert!(bytes.len() <= PART);
                tell(part(number, bytes))
            })
            .buffer_unordered(UNDER_WAY)
            .try_for_each(async |answer| match answer {
                Answer::Taken => Ok(()),
                _ => Err(mismatch()),
            })
            .await?;
        match tell(Step::Install).await? {
            Answer::Installed(response) => Ok(response),
            _ => Err(mismatch().into()),
        }
    }

    async fn tell(
        &self,
        vote: &Vote,
        stamp: &Stamp,
        step: Step,
    ) -> Result<Answer, RPCError<Types>> {
        let patience = match step {
            Step::Offer | Step::Part { .. } => PART_PATIENCE,
            Step::Install => INSTALL_PATIENCE,
        };
        let message = Message {
            group: self.group,
            vote: vote.clone(),
            stamp: stamp.clone(),
            step,
        };
        let body = encode_in(self.era(), &message);
        let answer = self
            .transport
            .call(&self.target.0, Kind::Snapshot, body.into(), patience)
            .await
            .map_err(|error| self.failure(RPCTypes::InstallSnapshot, patience, error))?;
        match wire::decode(&answer) {
            Ok(Answer::No(why)) => Err(failed(&why)),
            Ok(answer) => Ok(answer),
            Err(unreadable) => Err(RPCError::Network(NetworkError::new(&unreadable))),
        }
    }
}

fn part(number: u32, bytes: Bytes) -> Step {
    Step::Part {
        number,
        sum: *blake3::hash(&bytes).as_bytes(),
        bytes: Payload(bytes),
    }
}

fn failed(why: &str) -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string(why.to_owned()))
}
