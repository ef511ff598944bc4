//! The quota of a running node: the cores around which this folder puts tasks, messages and files.
//!
//! ```text
//! requests ─► Quota::charging ► Holder ◄─ keeping ─ courier ──► desk (at the leader) ─► leading ─► the ledger's group
//!                                           ▲                                             │
//!                                           └────────── replies, news ◄────────────────────┘
//! member: the ledger's group is founded once, and has the directory's voters
//! ```

mod clock;
mod courier;
mod desk;
mod keeping;
mod leading;
mod lone;
mod member;
mod message;
mod offset;
#[cfg(test)]
mod samples;
mod starts;
mod tally;
mod wild;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use meridian_config::name::NodeId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use clock::NodeClock;
pub use keeping::Stage;
pub use message::{Holdings, Told};
pub use offset::Offset;
#[cfg(test)]
pub(crate) use samples::{samples, targets};
pub use starts::{Alone, Life};
pub use tally::Tally;

use super::{
    holder::{Holder, Keeper, Who},
    key::{KeyId, KeySpace},
    ledger::{
        Standing,
        machine::{LedgerMachine, Shown},
    },
    message::{QuotaAsk, QuotaGrant},
    onlooker::Onlooker,
    params::Params,
};
use crate::{
    consensus::{Answering, Foundation, Group, GroupError, GroupStatus},
    directory::Directory,
    fabric::{Handler, Transport},
    host::{GroupId, Host},
};
use courier::Courier;
use desk::{Asked, Desk, INBOX};
use keeping::Keeping;
use leading::Leading;
use lone::Lone;
use member::Members;
use message::{Reply, Said};
use offset::Offsets;
use tally::Tallies;

/// Keys that a node counts at most. Each takes some 300 bytes.
const KEYS_MOST: usize = 1 << 20;

/// How long a node that the ledger has answered waits for its share of base before it opens to clients: two asks of one
/// that has none.
const SEATLESS: Duration = Duration::from_millis(500);

/// A node that the ledger has not answered for so long is out of contact: ten of its heartbeats.
const ANSWERED: Duration = Duration::from_secs(10);

/// How long nodes may take to say what they know of themselves: an operator waits for it.
const AROUND: Duration = Duration::from_secs(1);

/// What the quota stands on.
pub(crate) struct Parts {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) directory: Directory,
    /// The directory's group, whose voters agree on the ledger too.
    pub(crate) electorate: Group,
    /// The cluster's id, once it has one.
    pub(crate) cluster_id: watch::Receiver<Option<String>>,
    pub(crate) own: NodeId,
    /// Counts the node's starts.
    pub(crate) incarnation: u64,
    /// Leases, drift, ticks: those of every cluster, with or without a planted mistake.
    pub(crate) params: Params,
    /// Looks on, in a simulation.
    pub(crate) onlooker: Option<Arc<dyn Onlooker>>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// The quota of this node. Clones share it.
#[derive(Clone)]
pub struct Quota(Arc<Inner>);

struct Inner {
    holder: Arc<Holder>,
    clock: Arc<NodeClock>,
    keys: ArcSwap<KeySpace>,
    stage: watch::Receiver<Stage>,
    tallies: Arc<Tallies>,
    /// None without a cluster.
    cluster: Option<InCluster>,
}

struct InCluster {
    group: Group,
    shown: Arc<Shown>,
    courier: Arc<Courier>,
    news: mpsc::Sender<QuotaGrant>,
    partings: mpsc::Sender<oneshot::Sender<()>>,
}

/// What a request is charged with.
#[derive(Debug)]
pub struct Charging<'a> {
    /// The keys of this node.
    pub holder: &'a Holder,
    /// Names keys.
    pub keys: Arc<KeySpace>,
    /// The clocks that charges read.
    pub clock: &'a NodeClock,
    /// Whether nobody else is charged with these: the cluster has no ledger.
    pub alone: bool,
}

/// A quota and who answers its peers.
pub(crate) struct Opened {
    pub(crate) quota: Quota,
    /// Raft calls and snapshots of the ledger's group.
    pub(crate) raft: Answering,
    /// Calls on the topic of quotas.
    pub(crate) desk: Arc<dyn Handler>,
}

impl Quota {
    /// Reads the ledger back from disk, where this node has a part in it, and begins to keep this node's keys.
    pub(crate) async fn open(
        parts: Parts,
        foundation: impl FnOnce(GroupId) -> Foundation,
    ) -> Result<Opened, GroupError> {
        let params = parts.params;
        let shown = Arc::new(Shown::new(parts.own.clone(), params));
        let machine = LedgerMachine::new(shown.clone(), params, parts.onlooker.clone());
        let (group, raft) = Group::start(foundation(GroupId::Ledger), Box::new(machine)).await?;
        let (asked, inbox) = mpsc::channel::<Asked>(INBOX);
        let (news, incoming) = mpsc::channel::<QuotaGrant>(INBOX);
        let (partings, parting) = mpsc::channel(1);
        let members = Arc::new(Members {
            own: parts.own.clone(),
            group: group.clone(),
            electorate: parts.electorate.clone(),
            directory: parts.directory.clone(),
            turn: tokio::sync::Mutex::default(),
        });
        let lone = Arc::new(Lone::new(parts.host.clone()));
        let mut of_node = params;
        if params.planted.ignores_deadline {
            of_node.extra_lease_least = Duration::MAX / 4;
        }
        let holder = Arc::new(Holder::with(KEYS_MOST, of_node));
        let desk = Arc::new(Desk {
            group: group.clone(),
            directory: parts.directory.clone(),
            shown: shown.clone(),
            members: members.clone(),
            asked,
            news: news.clone(),
            holder: holder.clone(),
            lone: lone.clone(),
        });
        let courier = Arc::new(Courier {
            own: parts.own.clone(),
            group: group.clone(),
            directory: parts.directory.clone(),
            transport: parts.transport.clone(),
            desk: desk.clone(),
            last: Mutex::default(),
        });
        let leading = Leading {
            host: parts.host.clone(),
            transport: parts.transport,
            group: group.clone(),
            directory: parts.directory.clone(),
            shown: shown.clone(),
            params,
            tracker: parts.tracker.clone(),
            stop: parts.stop.clone(),
            news: news.clone(),
        };
        let clock = Arc::new(NodeClock::new(parts.host.unix_time()));
        let (stage, staged) = watch::channel(Stage::Alone);
        let tallies = Arc::<Tallies>::default();
        let keeping = Keeping {
            host: parts.host,
            holder: holder.clone(),
            clock: clock.clone(),
            courier: courier.clone(),
            directory: parts.directory,
            electorate: parts.electorate,
            node: parts.own,
            // Room for new lives within a start.
            life: parts.incarnation << 16,
            reborn: None,
            stage,
            tallies: tallies.clone(),
            offsets: Offsets::default(),
            wild_hints: params.planted.wild_hints,
            onlooker: parts.onlooker,
            lone,
            tracker: parts.tracker.clone(),
            stop: parts.stop.clone(),
        };
        let quota = Self(Arc::new(Inner {
            holder,
            clock,
            keys: ArcSwap::from_pointee(KeySpace::new("")),
            stage: staged,
            tallies,
            cluster: Some(InCluster {
                group,
                shown,
                courier: courier.clone(),
                news,
                partings,
            }),
        }));
        let until_stop = |work: futures_util::future::BoxFuture<'static, ()>| {
            let stop = parts.stop.clone();
            parts
                .tracker
                .spawn(async move { stop.run_until_cancelled(work).await });
        };
        until_stop(Box::pin(members.keep(courier)));
        until_stop(Box::pin(leading.run(inbox)));
        until_stop(Box::pin(keeping.run(incoming, parting)));
        until_stop(Box::pin(name_keys(quota.clone(), parts.cluster_id)));
        Ok(Opened { quota, raft, desk })
    }

    /// The quota of a node that shares limits with nobody, whose wall clock stands there now.
    pub fn alone(unix: Duration) -> Self {
        let holder = Arc::new(Holder::new(KEYS_MOST));
        let clock = Arc::new(NodeClock::new(unix));
        let node = NodeId::default();
        let who = Who {
            node,
            incarnation: 0,
        };
        Keeper::new(holder.clone(), who).alone(&*clock);
        Self(Arc::new(Inner {
            holder,
            clock,
            keys: ArcSwap::from_pointee(KeySpace::new("")),
            stage: watch::channel(Stage::Alone).1,
            tallies: Arc::default(),
            cluster: None,
        }))
    }

    /// What requests are charged with. While the cluster has no ledger, as far as this node knows, that is all of every
    /// limit.
    pub fn charging(&self) -> Charging<'_> {
        Charging {
            holder: &self.0.holder,
            keys: self.0.keys.load_full(),
            clock: &self.0.clock,
            alone: self.stage() == Stage::Alone,
        }
    }

    /// Whether the ledger has answered this node lately, so that it gets what it asks for.
    pub fn is_answered(&self) -> bool {
        let now = crate::quota::clock::Clock::now(&*self.0.clock);
        let contact = self.0.holder.contact(now.monotonic);
        self.stage() == Stage::Answered && !contact.outlasts(ANSWERED)
    }

    /// How far this node has come.
    pub fn stage(&self) -> Stage {
        *self.0.stage.borrow()
    }

    /// Waits until the ledger has answered this life of the node, at most so long: a node that opens to clients before
    /// that has nothing to spend. At once where there is no ledger.
    ///
    /// An answer without a share of base is as good, a moment later: the share may be as far away as the end of the
    /// longest window, and until then the node spends what it asks for.
    pub async fn answered(&self, patience: Duration) {
        let mut stage = self.0.stage.clone();
        let cluster = self.0.cluster.as_ref();
        let founded = || cluster.is_some_and(|it| it.courier.directory.founders().is_some());
        let settled = async {
            let heard = stage.wait_for(|stage| match stage {
                Stage::Unanswered => false,
                // It has just heard of the ledger, and stops counting alone in a moment.
                Stage::Alone => !founded(),
                Stage::Assumed | Stage::Seatless | Stage::Answered => true,
            });
            if heard.await.is_ok() {
                let seated = stage.wait_for(|stage| *stage != Stage::Seatless);
                let _ = tokio::time::timeout(SEATLESS, seated).await;
            }
        };
        // Late: requests are denied until it answers.
        let _ = tokio::time::timeout(patience, settled).await;
    }

    /// Whether clients are to go to other nodes from now on: their tokens go there, too, as fast as fewer requests come here.
    pub fn drain(&self, draining: bool) {
        self.0.holder.set_draining(draining);
    }

    /// Before a planned stop: hands back everything that this node holds, and the lead if it has it. Nothing of a
    /// shared limit is admitted here afterwards. Waits no longer than that.
    pub async fn part(&self, patience: Duration) {
        if let Some(cluster) = &self.0.cluster {
            keeping::part(&cluster.partings, patience).await;
            cluster.group.hand_over(|_| true).await;
        }
    }

    /// What this node has said and heard since its start.
    pub fn tally(&self) -> Tally {
        self.0.tallies.read()
    }

    /// The ledger's group as this node sees it; none without a cluster.
    pub fn status(&self) -> Option<GroupStatus> {
        let cluster = self.0.cluster.as_ref()?;
        Some(cluster.group.status())
    }

    /// How keys stand by the ledger's leader, in their order; none for one that nobody holds more of than its base.
    /// No answer: no leader was found in time.
    pub async fn look(&self, keys: Vec<KeyId>) -> Option<Vec<Option<Holdings>>> {
        let cluster = self.0.cluster.as_ref()?;
        match cluster.courier.say(Said::Look(keys)).await? {
            Reply::Standings(standings) => Some(standings),
            _ => None,
        }
    }

    /// What these nodes know of themselves and have spent of these keys, in their order; none of one that is not reached
    /// within a second. None of any while the cluster has no ledger: nodes of the release before do not understand the
    /// question.
    pub async fn ask_around(&self, nodes: &[NodeId], keys: &[KeyId]) -> Vec<Option<Told>> {
        let cluster = self.0.cluster.as_ref();
        let Some(cluster) = cluster.filter(|_| self.stage() != Stage::Alone) else {
            return nodes.iter().map(|_| None).collect();
        };
        let asked = nodes.iter().map(|node| async {
            let deadline = tokio::time::Instant::now() + AROUND;
            let said = Said::Tell(keys.to_vec());
            match cluster.courier.call(node, said, deadline).await {
                Some(Reply::Told(told)) => Some(told),
                _ => None,
            }
        });
        futures_util::future::join_all(asked).await
    }

    /// Says to the ledger what this node, or an earlier life of it, has said before: as a network may that repeats a
    /// message, or delays it. For a simulation.
    pub async fn say_again(&self, ask: QuotaAsk) {
        if let Some(cluster) = &self.0.cluster {
            // Whatever is replied, nobody waits for it.
            let _ = cluster.courier.say(Said::Ask(ask)).await;
        }
    }

    /// Has this node hear what it, or an earlier life of it, has heard before. For a simulation.
    pub fn hear_again(&self, grant: QuotaGrant) {
        if let Some(cluster) = &self.0.cluster {
            // Full: a network may lose it, too.
            let _ = cluster.news.try_send(grant);
        }
    }

    /// Keys with a record in the ledger, and rows, as far as this node has applied it.
    pub fn size(&self) -> (usize, usize) {
        let Some(cluster) = &self.0.cluster else {
            return (0, 0);
        };
        let applied = cluster.shown.applied();
        (applied.ledger.keys(), applied.ledger.rows())
    }
}

impl std::fmt::Debug for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quota")
            .field("stage", &self.stage())
            .finish_non_exhaustive()
    }
}

impl From<Standing> for Holdings {
    fn from(standing: Standing) -> Self {
        Self {
            limit: standing.terms.limit(),
            pool: standing.pool,
            base: standing.base,
            cooling: standing.cooling,
            holders: standing.extra,
        }
    }
}

/// Makes keys by the cluster's id, once it has one.
async fn name_keys(quota: Quota, mut cluster_id: watch::Receiver<Option<String>>) {
    loop {
        if let Some(id) = cluster_id.borrow_and_update().as_deref() {
            quota.0.keys.store(Arc::new(KeySpace::new(id)));
        }
        if cluster_id.changed().await.is_err() {
            return;
        }
    }
}
