//! The fast lane as the rest of a node sees it.
//!
//! In: what operators want stopped. Out: receipts, lists, and the [`Index`] for the request path.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use ipnet::IpNet;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Claim, Digest, Fact, FactId, Index, Receipt, Shared, Unsound, Wait,
    handler::Answers,
    held::Held,
    journal::Journal,
    keeper::{INBOX, Keeper, Source},
    lasting, repair,
    set::{COUNT_LIMIT, Taken},
    spread::CARRY,
};
use crate::{
    directory::{Actor, Directory},
    fabric::{Handler, Transport},
    host::Host,
    membership::{Liveness, View},
};

/// The fast lane of this node. Clones share it.
#[derive(Clone)]
pub struct Facts {
    shared: Arc<Shared>,
    ids: Arc<Mutex<StdRng>>,
}

/// What a node needs for the fast lane.
pub(crate) struct Parts {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// A fact to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it says.
    pub claim: Claim,
    /// Until when: ms since the Unix epoch.
    pub expires_ms: u64,
    /// Who makes it.
    pub actor: Actor,
    /// Why; may be empty.
    pub reason: String,
}

/// Which facts to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Revocations.
    Revocations,
    /// Blocks.
    Blocks,
}

/// How the fast lane stands at this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Facts held, removals among them.
    pub held: usize,
    /// What they take, in bytes.
    pub bytes: usize,
    /// Of these, facts that no quorum is known to have agreed on.
    pub unsettled: usize,
    /// Facts refused for want of room since the start.
    pub refused: u64,
    /// Facts that a peer has to find by comparing since the start.
    pub left_to_digest: u64,
    /// Facts of peers that broke a bound since the start.
    pub unsound: u64,
}

/// Why a fact was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A part is out of bounds.
    #[error(transparent)]
    Unsound(#[from] Unsound),
    /// It would be over before it began.
    #[error("it would expire in the past; give it an expiry that lies ahead")]
    Past,
    /// The node holds as many as it may.
    #[error(
        "this cluster holds {held} revocations and blocks, as many as it may; remove some, or revoke by subject or tenant instead of token by token"
    )]
    Full {
        /// How many.
        held: usize,
    },
    /// There is no such fact.
    #[error(
        "nothing with the id {0} is in force here; it may have expired or been removed already"
    )]
    NotHeld(FactId),
    /// The node is on its way out.
    #[error("this node is stopping; ask another one")]
    Stopping,
}

/// Between two announcements of the digest. It is for comparing what the flood has missed, and need not
/// follow every fact.
const ANNOUNCE: Duration = Duration::from_millis(250);

impl Facts {
    /// Reads the node's own files and begins to keep facts; the request path may ask the index from now on.
    pub(crate) async fn start(parts: Parts) -> io::Result<Self> {
        let ids = StdRng::from_seed(parts.host.entropy("facts"));
        let (journal, facts) = Journal::load(Arc::clone(&parts.host)).await?;
        let (parcels, inbox) = mpsc::channel(INBOX);
        let mut held = Held::default();
        let index = Index::default();
        let now_ms = u64::try_from(parts.host.unix_time().as_millis()).unwrap_or(u64::MAX);
        let changes = held.restore(facts, now_ms);
        index.change(changes);
        let shared = Arc::new(Shared::new(
            parts.host,
            parts.transport,
            parts.view,
            held,
            index,
            parcels,
            parts.tracker,
            parts.stop,
        ));
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            journal,
            inbox,
        };
        shared.tracker.spawn(keeper.run(shared.stop.clone()));
        Ok(Self {
            shared,
            ids: Arc::new(Mutex::new(ids)),
        })
    }

    /// Begins to compare with peers, to make facts agreed on, and to say in gossip what is held.
    pub(crate) fn join(
        &self,
        directory: Directory,
        announce: impl Fn(Digest) + Send + Sync + 'static,
    ) {
        self.spawn(lasting::propose(
            Arc::clone(&self.shared),
            directory.clone(),
        ));
        self.spawn(lasting::absorb(Arc::clone(&self.shared), directory));
        self.compare(announce);
    }

    /// The part of [`join`](Self::join) that needs no directory.
    pub(super) fn compare(&self, announce: impl Fn(Digest) + Send + Sync + 'static) {
        self.spawn(repair::run(Arc::clone(&self.shared)));
        self.spawn(tell(Arc::clone(&self.shared), announce));
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shared.stop.clone();
        self.shared.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    #[cfg(test)]
    pub(super) async fn take_in(&self, facts: Vec<Arc<Fact>>, source: Source) -> Vec<super::Ack> {
        self.shared.take_in(facts, source).await
    }

    /// Who answers peers' calls.
    pub(crate) fn handler(&self) -> Arc<dyn Handler> {
        Arc::new(Answers(Arc::clone(&self.shared)))
    }

    /// What the request path asks.
    pub fn index(&self) -> Arc<Index> {
        Arc::clone(&self.shared.index)
    }

    /// Changes whenever facts come or go, or are agreed on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// How the fast lane stands.
    pub fn standing(&self) -> Standing {
        let held = self.shared.held();
        let counts = self.shared.counts();
        Standing {
            held: held.set().len(),
            bytes: held.set().bytes(),
            unsettled: held.unsettled_count(),
            refused: counts.refused.load(Ordering::Relaxed),
            left_to_digest: counts.left_to_digest.load(Ordering::Relaxed),
            unsound: counts.unsound.load(Ordering::Relaxed),
        }
    }

    /// Facts in force, the newest first, from the one before `before` on; and whether each is agreed on.
    pub fn list(
        &self,
        which: Listed,
        before: Option<FactId>,
        most: usize,
    ) -> Vec<(Arc<Fact>, bool)> {
        let now_ms = self.shared.now_ms();
        let held = self.shared.held();
        let facts = held.set().before(before.unwrap_or(FactId::LAST));
        facts
            .filter(|fact| fact.expires_ms > now_ms && which.takes(&fact.claim))
            .take(most)
            .map(|fact| (Arc::clone(fact), held.is_settled(&fact.id)))
            .collect()
    }

    /// The blocks of exactly this net that are in force.
    pub fn blocks_on(&self, net: IpNet) -> Vec<Arc<Fact>> {
        let now_ms = self.shared.now_ms();
        let mut facts = self.shared.held().blocks_on(net);
        facts.retain(|fact| fact.expires_ms > now_ms);
        facts
    }

    /// What is held, as two nodes compare it.
    pub fn digest(&self) -> Digest {
        self.shared.digest()
    }

    /// The fact of that id, where it is in force.
    pub fn get(&self, id: &FactId) -> Option<Arc<Fact>> {
        let now_ms = self.shared.now_ms();
        let held = self.shared.held();
        let fact = held.set().get(id);
        fact.filter(|fact| fact.expires_ms > now_ms).cloned()
    }

    /// Makes a fact, heeds it, sends it to every node in reach, and waits as asked: five seconds at most.
    ///
    /// Dropping the future does not take the fact back.
    pub async fn publish(&self, wanted: Wanted, wait: Wait) -> Result<Receipt, PublishError> {
        let now_ms = self.shared.now_ms();
        let random = {
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            ids.random()
        };
        let fact = Arc::new(Fact {
            id: FactId::new(now_ms, random),
            claim: wanted.claim,
            expires_ms: wanted.expires_ms,
            made_ms: now_ms,
            node: self.shared.own(),
            actor: wanted.actor,
            reason: wanted.reason,
        });
        fact.check()?;
        if fact.expires_ms <= now_ms {
            return Err(PublishError::Past);
        }
        let end = Instant::now() + CARRY;
        let mut heard = self.shared.receipts.open(fact.id);
        let _close = Close(&self.shared, fact.id);
        let acks = self
            .shared
            .take_in(vec![Arc::clone(&fact)], Source::Here)
            .await;
        let ack = *acks.first().ok_or(PublishError::Stopping)?;
        match ack.taken {
            Taken::New | Taken::Known | Taken::Cancelled => {}
            Taken::Expired => return Err(PublishError::Past),
            Taken::Full => {
                return Err(PublishError::Full {
                    held: self.shared.held().set().len().min(COUNT_LIMIT),
                });
            }
        }
        self.shared.receipts.hear(&fact.id, &self.shared.own(), ack);
        let mut view = self.shared.view.clone();
        let mut changed = self.shared.changed.subscribe();
        loop {
            let seen = view.borrow_and_update().clone();
            heard.mark_unchanged();
            changed.mark_unchanged();
            let durable = self.shared.held().is_settled(&fact.id);
            let reached = |acks: &super::receipt::Acks| acks.all(&seen);
            let enough = match wait {
                Wait::All => self.shared.receipts.look(&fact.id, reached).unwrap_or(true),
                Wait::Quorum => durable,
                Wait::None => true,
            };
            let next = async {
                tokio::select! {
                    biased;
                    _ = heard.changed() => {}
                    _ = view.changed() => {}
                    _ = changed.changed() => {}
                }
            };
            if enough || timeout_at(end, next).await.is_err() {
                let receipt =
                    |acks: &super::receipt::Acks| acks.receipt(Arc::clone(&fact), &seen, durable);
                let receipt = self.shared.receipts.look(&fact.id, receipt);
                return receipt.ok_or(PublishError::Stopping);
            }
        }
    }

    /// Takes a fact back everywhere: a fact of its own, that lives as long as the other would have.
    pub async fn cancel(
        &self,
        id: FactId,
        actor: Actor,
        reason: String,
        wait: Wait,
    ) -> Result<Receipt, PublishError> {
        let fact = self.get(&id).ok_or(PublishError::NotHeld(id))?;
        if fact.cancels().is_some() {
            return Err(PublishError::NotHeld(id));
        }
        let wanted = Wanted {
            claim: Claim::Cancel(id),
            expires_ms: fact.expires_ms,
            actor,
            reason,
        };
        self.publish(wanted, wait).await
    }

    /// Before a node that was away lets clients in: compares with the nearest peers and takes what it has missed, until they
    /// have given all. Returns at once where nobody is there to ask, and after `patience` at most; what is still
    /// missing then, the repair goes on to fetch.
    pub async fn catch_up(&self, patience: Duration) {
        let asking = async {
            while self.has_peers() && !self.compared().await {
                sleep(ANNOUNCE).await;
            }
        };
        let _ = timeout(patience, asking).await;
    }

    /// Before a node that began without anything serves its first document: waits for peers, and does the same. False
    /// where they had not after `patience`. Only for a node that has peers: alone it would wait in vain.
    pub async fn learn(&self, patience: Duration) -> bool {
        let asking = async {
            while !self.compared().await {
                sleep(ANNOUNCE).await;
            }
        };
        timeout(patience, asking).await.is_ok()
    }

    fn has_peers(&self) -> bool {
        let view = self.shared.view.borrow();
        let mut members = view.members.values();
        members.any(|member| member.id != view.own && member.liveness == Liveness::Up)
    }

    /// Compares with the nearest peers; whether there are any, and each has given all that it has: one alone may have come
    /// back together with this node, and lack the same.
    async fn compared(&self) -> bool {
        let peers = repair::living(&self.shared.view.borrow().clone());
        let mut whole = !peers.is_empty();
        for (peer, theirs) in peers.into_iter().take(ASKED) {
            whole &=
                theirs == self.shared.digest() || repair::pull(&self.shared, &peer).await.whole;
        }
        whole
    }
}

/// Peers that a node asks before it lets clients in. The nearest has nearly always all; two more are for the
/// case that it has just come back itself.
const ASKED: usize = 3;

impl Listed {
    fn takes(self, claim: &Claim) -> bool {
        match claim {
            Claim::Revoke(_) => self == Self::Revocations,
            Claim::Block(_) => self == Self::Blocks,
            Claim::Cancel(_) => false,
        }
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}

/// Ends a receipt's collecting, however the waiting ends.
struct Close<'a>(&'a Shared, FactId);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.receipts.close(&self.1);
    }
}

/// Says in gossip what is held.
async fn tell(shared: Arc<Shared>, announce: impl Fn(Digest) + Send + Sync) {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        announce(shared.digest());
        // The sender is in `shared`, which lives as long as this.
        let _ = changed.changed().await;
        sleep(ANNOUNCE).await;
    }
}
