//! Takes in the snapshot that a leader sends, part by part.
//!
//! In: calls of kind Snapshot. Out: an installed snapshot. What has come is kept by the core
//! [`Gathering`]; the sending side is [`super::send`]. Parts lie in memory until the whole is there and its
//! checksum fits, so that no half of a snapshot ever stands in the place of a good one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use meridian_config::name::NodeId;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    admission::{Admission, decode_in, fits},
    transfer::{Answer, Gathering, Message, Stamp, Step},
    types::{Payload, Raft, Snapshot, Vote},
};
use crate::{
    fabric::{CallError, Handler, PeerIdentity},
    host::{BoxFuture, GroupId, Host, blocking},
    wire,
};

/// Parts of a snapshot that nobody goes on sending are forgotten after this long: a leader whose
/// connection broke is back sooner, or another leads.
const IDLE: Duration = Duration::from_secs(60);

/// The receiving side of one group.
pub(super) struct Receiver {
    pub(super) host: Arc<dyn Host>,
    pub(super) group: GroupId,
    pub(super) raft: Raft,
    /// See [`super::answer::Answerer::admitted`].
    pub(super) admitted: watch::Receiver<Option<Admission>>,
    /// The snapshot that is coming in; one at a time, since there is one leader at a time.
    pub(super) coming: Mutex<Option<Coming>>,
}

/// A snapshot of which some parts have come.
pub(super) struct Coming {
    from: NodeId,
    gathering: Gathering,
    touched: Instant,
}

/// The receiving sides of all groups.
pub(super) struct Receivers(pub(super) Vec<Arc<Receiver>>);

impl Handler for Receivers {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move {
            let refused = |cause: String| CallError::Refused {
                peer: from.id.clone(),
                cause,
            };
            let (era, message): (_, Message) =
                decode_in(&body).map_err(|why| CallError::unread(&from.id, &why))?;
            let Some(group) = self.0.iter().find(|each| each.group == message.group) else {
                return Err(refused(format!("no group {} here", message.group)));
            };
            if message.vote.leader_id.node_id.0 != from.id {
                return Err(refused("a snapshot in another node's name".to_owned()));
            }
            let fits = fits(group.admitted.borrow().as_ref(), era);
            let answer = match fits {
                Ok(()) => group
                    .follow(&from.id, message)
                    .await
                    .unwrap_or_else(Answer::No),
                Err(why) => Answer::No(why.to_owned()),
            };
            Ok(wire::encode(&answer).into())
        })
    }
}

impl Receiver {
    async fn follow(&self, from: &NodeId, message: Message) -> Result<Answer, String> {
        match message.step {
            Step::Offer => self.begin(from, message.stamp).map(Answer::Missing),
            Step::Part { number, sum, bytes } => {
                self.take(from, &message.stamp, number, sum, bytes)?;
                Ok(Answer::Taken)
            }
            Step::Install => self.install(from, message.vote, &message.stamp).await,
        }
    }

    /// Goes on with the snapshot that is coming, or forgets it for another.
    fn begin(&self, from: &NodeId, stamp: Stamp) -> Result<Vec<u32>, String> {
        let mut slot = self.slot();
        let same = slot
            .as_ref()
            .is_some_and(|coming| coming.from == *from && *coming.gathering.stamp() == stamp);
        if !same {
            let gathering = Gathering::new(stamp).map_err(|fault| fault.to_string())?;
            *slot = Some(Coming {
                from: from.clone(),
                gathering,
                touched: Instant::now(),
            });
        }
        let coming = slot.as_mut().expect("it was put there if it was not");
        coming.touched = Instant::now();
        Ok(coming.gathering.missing())
    }

    fn take(
        &self,
        from: &NodeId,
        stamp: &Stamp,
        number: u32,
        sum: [u8; 32],
        bytes: Payload,
    ) -> Result<(), String> {
        let mut slot = self.slot();
        let coming = slot
            .as_mut()
            .filter(|coming| coming.from == *from && coming.gathering.stamp() == stamp)
            .ok_or_else(|| "that snapshot is not coming in here; offer it first".to_owned())?;
        coming.touched = Instant::now();
        coming
            .gathering
            .take(number, sum, bytes.0)
            .map_err(|fault| fault.to_string())
    }

    async fn install(&self, from: &NodeId, vote: Vote, stamp: &Stamp) -> Result<Answer, String> {
        let whole = self
            .slot()
            .take_if(|coming| coming.from == *from && coming.gathering.stamp() == stamp)
            .ok_or_else(|| "that snapshot is not coming in here; offer it first".to_owned())?;
        let state = blocking(&*self.host, move || whole.gathering.assemble())
            .await
            .map_err(|fault| fault.to_string())?;
        let snapshot = Snapshot {
            meta: stamp.meta.clone(),
            snapshot: state,
        };
        match self.raft.install_full_snapshot(vote, snapshot).await {
            Ok(response) => Ok(Answer::Installed(response)),
            Err(error) => Err(format!("Raft has stopped here: {error}")),
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Coming>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the memory of a snapshot back that nobody goes on sending. Never ends.
    pub(super) async fn forget_idle(self: Arc<Self>) {
        loop {
            sleep(IDLE).await;
            self.slot()
                .take_if(|coming| coming.touched.elapsed() >= IDLE);
        }
    }
}
