//! The one task that changes what a node holds.
//!
//! In: facts from everywhere, through one bounded channel. Out: for each batch, in this order: the node's
//! files have it, the request path heeds it, whoever sent it hears so, and it is passed on. So no
//! acknowledged fact is lost by a restart, and none that was ever heeded either, unless the disk is so slow
//! that waiting for it would be the greater danger.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use meridian_config::name::NodeId;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Ack, Fact, Shared, journal::Journal, set::Taken, spread};

/// Where facts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// An operator, through this node.
    Here,
    /// A peer that has just heard of them.
    Peer(NodeId),
    /// A peer that had them all along.
    Repair,
    /// The directory: a quorum has agreed to keep them.
    Directory,
}

/// Facts for the keeper.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) facts: Vec<Arc<Fact>>,
    pub(super) source: Source,
    /// What became of each, in order.
    pub(super) done: oneshot::Sender<Vec<Ack>>,
}

/// Parcels that wait. The keeper takes all that are there at once, so a full queue means a disk that stands
/// still; whoever brings more then waits, until the call's own deadline.
pub(super) const INBOX: usize = 256;

/// Facts of one batch: so many that a burst shares one write to the disk, and so few that it is soon over.
const BATCH: usize = 4096;

/// A revocation is heeded after so long even where the disk has not taken it. An fsync takes 1 to 30 ms;
/// half the time in which a fact is to be everywhere is too long to wait for one.
const DISK_PATIENCE: Duration = Duration::from_millis(250);

/// Between two looks at the clock and at what is left over. Expiry needs no haste: readers look at a rule's
/// own time.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Journal,
    pub(super) inbox: mpsc::Receiver<Parcel>,
}

impl Keeper {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut tick = Instant::now() + TICK;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(parcel) = self.inbox.recv() => self.round(parcel).await,
                () = self.journal.tidied() => {}
                () = sleep_until(tick) => {
                    tick = Instant::now() + TICK;
                    self.tick().await;
                }
            }
        }
    }

    async fn round(&mut self, first: Parcel) {
        let mut count = first.facts.len();
        let mut parcels = vec![first];
        while count < BATCH
            && let Ok(parcel) = self.inbox.try_recv()
        {
            count += parcel.facts.len();
            parcels.push(parcel);
        }
        let now_ms = self.shared.now_ms();
        let saved = {
            let mut fresh = Vec::new();
            {
                let held = self.shared.held();
                let mut seen = BTreeSet::new();
                for fact in parcels.iter().flat_map(|parcel| &parcel.facts) {
                    if held.judge(fact, now_ms) == Taken::New && seen.insert(fact.id) {
                        fresh.push(Arc::clone(fact));
                    }
                }
            }
            fresh.is_empty() || self.journal.save(&fresh, DISK_PATIENCE).await
        };
        let saved = saved && !self.journal.is_behind();
        let mut changed = BTreeSet::new();
        let mut news = Vec::new();
        let mut answers = Vec::new();
        let mut refused = 0_u64;
        let (changes, bytes) = {
            let mut held = self.shared.held();
            for parcel in &parcels {
                let mut new = Vec::new();
                let mut acks = Vec::with_capacity(parcel.facts.len());
                for fact in &parcel.facts {
                    let taken = held.take(fact, now_ms, &mut changed);
                    match taken {
                        Taken::New => new.push(Arc::clone(fact)),
                        Taken::Full => refused += 1,
                        Taken::Known | Taken::Cancelled | Taken::Expired => {}
                    }
                    if parcel.source == Source::Directory {
                        held.settle(&fact.id);
                    }
                    acks.push(Ack { taken, saved });
                }
                news.push(new);
                answers.push(acks);
            }
            (held.rules(changed), held.set().bytes())
        };
        self.shared.index.change(changes);
        for (parcel, acks) in parcels.iter().zip(&answers) {
            for (fact, ack) in parcel.facts.iter().zip(acks) {
                if ack.taken == Taken::New {
                    tracing::trace!(target: "meridian::decision", fact = %fact.id, source = ?parcel.source, saved = ack.saved, "fact applied");
                }
            }
        }
        self.shared.count_refused(refused);
        self.shared.note_change();
        for ((parcel, new), acks) in parcels.into_iter().zip(news).zip(answers) {
            // Whoever waited may have gone; the facts stand all the same.
            let _ = parcel.done.send(acks);
            let sender = match parcel.source {
                Source::Here => None,
                Source::Peer(sender) => Some(sender),
                // Everybody learns of these by the same way, each for himself.
                Source::Repair | Source::Directory => continue,
            };
            spread::pass_on(&self.shared, &new, sender.as_ref());
        }
        self.journal.tidy(bytes, now_ms);
    }

    async fn tick(&mut self) {
        let now_ms = self.shared.now_ms();
        if self.journal.is_behind() {
            self.journal.save(&[], DISK_PATIENCE).await;
        }
        let mut changed = BTreeSet::new();
        let (changes, bytes) = {
            let mut held = self.shared.held();
            if held.next_expiry().is_none_or(|next| next > now_ms) {
                return;
            }
            held.expire(now_ms, &mut changed);
            (held.rules(changed), held.set().bytes())
        };
        self.shared.index.change(changes);
        self.shared.note_change();
        self.journal.tidy(bytes, now_ms);
    }
}
