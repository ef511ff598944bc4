//! The replicated document and its revisions.
//!
//! ```text
//! any node: Directory::apply ─► writer ─► forward ─► the leader's Proposer ─► consensus::Group
//! every node:                                            machine ◄── committed commands
//!                                                        │  └ state (core: what a command means)
//!             Directory::{current, watch, history} ◄─────┘  └ the file last-revision
//! reads that must not be old: Directory::catch_up ─► read ─► the leader's read index
//! all of it in one piece: Directory::back_up ─► backup
//! ```

mod actor;
mod backup;
mod changes;
mod command;
mod error;
mod forward;
mod founders;
mod limits;
mod machine;
mod marks;
mod overrides;
mod packed;
mod read;
mod revision;
#[cfg(test)]
mod samples;
mod state;
mod writer;

#[cfg(test)]
pub(crate) use samples::{samples, targets};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use meridian_config::name::{NodeId, RegionName};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::watch;

pub use actor::Actor;
pub use backup::{About, Backup, BackupError, NotABackup};
pub use changes::Changes;
pub use command::{Ack, Note};
pub use error::{OpenError, WriteError};
pub(crate) use founders::{Founder, Founders};
pub use marks::{Decision, Mark, MarkError, Marks};
pub use overrides::{AsOf, Override, Overrides, SetQuota};
pub use packed::{DOCUMENT_LIMIT, digest};
pub use read::ReadError;
pub use revision::{Revision, SourceFile};
pub use state::{AuditEntry, Summary};

use crate::{
    consensus::{Answering, Foundation, Group, GroupStatus},
    fabric::{Handler, Transport},
    facts::{Fact, FactId},
    host::{GroupId, Host, blocking},
    version::Versions,
};
use command::{Acknowledge, Action, Apply, Outcome, ProposalId, Rollback, check_message};
use forward::{Proposer, Write};
use machine::{DirectoryMachine, Shown};
use packed::Packed;
use read::Reader;
use writer::Writer;

/// Says whether a document is one, or what is wrong with it, a line each. The accepting node and the
/// leader ask it before a document is proposed.
pub type DocumentCheck = Arc<dyn Fn(&[SourceFile]) -> Result<(), Vec<String>> + Send + Sync>;

/// A document to become the newest revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The operator's files; names are unique, order does not matter.
    pub files: Vec<SourceFile>,
    /// Who applies it.
    pub actor: Actor,
    /// What the author says about it.
    pub message: String,
    /// The revision that must be the newest (`If-Match`); 0: none yet. `None`: whichever is.
    pub expect: Option<u64>,
}

/// A kept revision to become the newest again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayBack {
    /// Which one.
    pub revision: u64,
    /// Who goes back to it.
    pub actor: Actor,
    /// What the author says about it.
    pub message: String,
    /// As of [`Proposal::expect`].
    pub expect: Option<u64>,
}

/// A write that a quorum has agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The revision it made.
    pub revision: u64,
    /// Its place in the log.
    pub index: u64,
}

/// The replicated directory on this node. A cheap clone.
#[derive(Clone)]
pub struct Directory {
    shown: Arc<Shown>,
    group: Group,
    writer: Writer,
    reader: Reader,
    check: DocumentCheck,
    host: Arc<dyn Host>,
    ids: Arc<Mutex<StdRng>>,
}

/// A running directory and who answers its peers.
pub(crate) struct Opened {
    pub(crate) directory: Directory,
    pub(crate) group: Group,
    /// Answers Raft calls and takes in snapshots.
    pub(crate) raft: Answering,
    /// Answers forwarded writes.
    pub(crate) writes: Arc<dyn Handler>,
    /// Tells readers how far they must have applied.
    pub(crate) reads: Arc<dyn Handler>,
}

impl Directory {
    /// Reads the directory back from disk and takes part in its group.
    pub(crate) async fn open(
        host: Arc<dyn Host>,
        transport: Arc<dyn Transport>,
        check: DocumentCheck,
        versions: Versions,
        foundation: impl FnOnce(GroupId) -> Foundation,
    ) -> Result<Opened, OpenError> {
        let shown = Shown::load(&*host).await?;
        let machine = DirectoryMachine::new(Arc::clone(&shown), versions);
        let (group, raft) = Group::start(foundation(GroupId::Directory), Box::new(machine)).await?;
        let proposer = Proposer {
            host: Arc::clone(&host),
            group: group.clone(),
            shown: Arc::clone(&shown),
            check: Arc::clone(&check),
        };
        let reader = Reader {
            group: group.clone(),
            transport: Arc::clone(&transport),
        };
        let directory = Self {
            shown,
            group: group.clone(),
            writer: Writer {
                proposer: proposer.clone(),
                transport,
            },
            reader: reader.clone(),
            check,
            ids: Arc::new(Mutex::new(StdRng::from_seed(host.entropy("proposals")))),
            host,
        };
        Ok(Opened {
            directory,
            group,
            raft,
            writes: Arc::new(proposer),
            reads: Arc::new(reader),
        })
    }

    /// The newest revision this node has applied; after a restart the last one it had, at once.
    pub fn current(&self) -> Option<Arc<Revision>> {
        self.shown.revision().borrow().clone()
    }

    /// Follows [`current`](Self::current).
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Revision>>> {
        self.shown.revision()
    }

    /// The kept revisions without their files, the newest first: the last 64, fewer where they are large
    /// (4 MiB beside the newest, documents compressed).
    pub fn history(&self) -> Vec<Summary> {
        self.shown.state().documents.history()
    }

    /// A kept revision.
    pub fn revision(&self, number: u64) -> Option<Arc<Revision>> {
        let current = self.current();
        if let Some(current) = current.filter(|current| current.number == number) {
            return Some(current);
        }
        let kept = self.shown.state().documents.revision(number).cloned()?;
        machine::unpack(&kept).ok().map(Arc::new)
    }

    /// So many acts on the cluster in the order they were agreed on, and the rest of those that share the last
    /// one's index: the first ones after that index of the log, or without one the last there are. The last 4096 are kept, fewer where they are
    /// long (1 MiB).
    pub fn audit(&self, after: Option<u64>, limit: usize) -> Vec<AuditEntry> {
        self.shown.state().audit.page(after, limit)
    }

    /// The term and the leader as this node sees them now; cheaper than [`status`](Self::status).
    pub fn leadership(&self) -> (u64, Option<NodeId>) {
        self.group.leadership()
    }

    /// The group as this node sees it now.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    /// Waits until this node has applied every write that was acknowledged anywhere before the call, so
    /// that what is read next is not old. One round trip to the leader, and the leader's to a majority.
    pub async fn catch_up(&self) -> Result<(), ReadError> {
        self.reader.catch_up().await
    }

    /// Makes a document the newest revision, from any node.
    ///
    /// Returns after a quorum holds it. Dropping the future does not take the write back.
    pub async fn apply(&self, proposal: Proposal) -> Result<Accepted, WriteError> {
        let mut files = proposal.files;
        files.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(pair) = files.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(WriteError::Invalid(vec![format!(
                "two files are named {}; give each file a name of its own",
                pair[0].name
            )]));
        }
        check_message(&proposal.message).map_err(WriteError::Invalid)?;
        let files: Arc<[SourceFile]> = files.into();
        // Side by side, and beside the runtime: a large document takes long enough to hold up heartbeats.
        let (packed, changes) = tokio::join!(self.prepare(&files), self.changes(&files));
        let apply = Apply {
            files: packed?,
            digest: digest(&files),
            message: proposal.message,
            expect: proposal.expect,
            changes,
        };
        let outcome = self.write(proposal.actor, Action::Apply(apply)).await?;
        self.accepted(outcome, proposal.expect).await
    }

    /// Makes a kept revision's document the newest revision again, from any node. As of
    /// [`apply`](Self::apply).
    pub async fn roll_back(&self, back: WayBack) -> Result<Accepted, WriteError> {
        let WayBack {
            revision,
            actor,
            message,
            expect,
        } = back;
        check_message(&message).map_err(WriteError::Invalid)?;
        // What is not kept here may be at the leader, and the other way round: the command decides.
        let changes = match self.revision(revision) {
            Some(old) => self.changes(&old.files).await,
            None => Changes::default(),
        };
        let action = Action::Rollback(Rollback {
            revision,
            message,
            expect,
            changes,
        });
        match self.write(actor, action).await? {
            Outcome::NotKept => Err(WriteError::NotKept {
                revision,
                kept: self.kept(),
            }),
            outcome => self.accepted(outcome, expect).await,
        }
    }

    /// What a document would change, were it applied now. Reads both documents, so it takes a moment
    /// where they are large.
    pub async fn changes(&self, files: &Arc<[SourceFile]>) -> Changes {
        let (current, files) = (self.current(), Arc::clone(files));
        blocking(&*self.host, move || match current {
            Some(current) => Changes::between(current.number, &current.files, &files),
            None => Changes::between(0, &[], &files),
        })
        .await
    }

    /// Checks and compresses a document.
    async fn prepare(&self, files: &Arc<[SourceFile]>) -> Result<Packed, WriteError> {
        let (check, files) = (Arc::clone(&self.check), Arc::clone(files));
        blocking(&*self.host, move || {
            let packed = Packed::new(&files).map_err(|large| WriteError::TooLarge {
                length: large.length,
                limit: large.limit,
            })?;
            check(&files).map_err(WriteError::Invalid)?;
            Ok(packed)
        })
        .await
    }

    /// Puts on record what nodes have made of a revision.
    pub(crate) async fn acknowledge(
        &self,
        revision: u64,
        acks: BTreeMap<NodeId, Ack>,
    ) -> Result<u64, WriteError> {
        let said = Acknowledge { revision, acks };
        self.done(Actor::system(), Action::Acknowledge(said)).await
    }

    /// The newest revision without its files, as far as this node has applied it.
    pub fn newest(&self) -> Option<Summary> {
        let state = self.shown.state();
        state.documents.newest().map(|kept| kept.summary.clone())
    }

    /// A kept revision without its files.
    pub fn summary(&self, number: u64) -> Option<Summary> {
        let state = self.shown.state();
        let kept = state.documents.revision(number);
        kept.map(|kept| kept.summary.clone())
    }

    /// Records an act that is made elsewhere than in this state; its place in the log.
    pub async fn note(&self, actor: Actor, note: Note) -> Result<u64, WriteError> {
        self.done(actor, Action::Note(note)).await
    }

    /// Before a planned stop: where this node leads, another takes over, so that writes do not wait for an
    /// election. Returns when that is done, at most after the profile's lease.
    pub async fn hand_over(&self) {
        let marks = self.marks().borrow().clone();
        self.group.hand_over(|node| !marks.is_drained(node)).await;
    }

    /// Takes a node out, puts it back, or forgets it; any node may be asked about any node. The index of the
    /// decision in the log.
    ///
    /// Returns after a quorum has agreed; the node in question and the leader act on it from then on.
    pub async fn mark(
        &self,
        node: &NodeId,
        decision: Decision,
        actor: Actor,
    ) -> Result<u64, WriteError> {
        let action = Action::Mark {
            node: node.clone(),
            decision,
        };
        // Here first: a mistake should not have to travel. The leader looks again.
        self.writer.proposer.check_mark(&action)?;
        let index = self.done(actor, action).await?;
        let patience = 2 * self.group.profile().heartbeat();
        let mut marks = self.marks();
        let there = marks.wait_for(|marks| match decision {
            Decision::Drain => marks.drained.contains_key(node),
            Decision::Undrain => !marks.drained.contains_key(node),
            Decision::Remove => marks.removed.contains_key(node),
        });
        // Late or stopped: the decision stands all the same.
        let _ = tokio::time::timeout(patience, there).await;
        Ok(index)
    }

    /// Follows what operators have decided about nodes, as far as this node has applied it.
    pub fn marks(&self) -> watch::Receiver<Arc<Marks>> {
        self.shown.marks()
    }

    /// Whether operators let this node take work, as far as it has applied what they decided: it is neither
    /// drained nor removed since it was taken in.
    pub fn takes_work(&self) -> bool {
        let (own, seat) = (self.group.own(), self.group.seat_number());
        let marks = self.marks();
        let marks = marks.borrow();
        !marks.is_drained(own) && !marks.is_removed(own, seat)
    }

    /// Every node of the group and its region, as far as this node has heard.
    pub fn seats(&self) -> BTreeMap<NodeId, RegionName> {
        let seats = self.group.seats().into_iter();
        seats.map(|(node, seat)| (node, seat.region)).collect()
    }

    /// Gives the cluster its id, unless it has one; the id it has.
    pub(crate) async fn found(&self, cluster_id: String) -> Result<String, WriteError> {
        match self
            .write(Actor::system(), Action::Found { cluster_id })
            .await?
        {
            Outcome::Founded { cluster_id } => Ok(cluster_id),
            _ => Err(self.unconfirmed()),
        }
    }

    /// Has the cluster agree on a version of what is replicated. Asked by the leader, once every member
    /// reads it.
    pub(crate) async fn raise(&self, level: u8) -> Result<u64, WriteError> {
        self.done(Actor::system(), Action::Raise { level }).await
    }

    /// Has the cluster agree on who founds the quota's ledger, unless it has.
    pub(crate) async fn found_ledger(&self, founders: Founders) -> Result<u64, WriteError> {
        self.done(Actor::system(), Action::FoundLedger(founders))
            .await
    }

    /// Who founds the quota's ledger, once this node has applied it.
    pub(crate) fn founders(&self) -> Option<Founders> {
        self.shown.state().founders().cloned()
    }

    /// Follows the version of what is replicated, as far as this node has applied it.
    pub fn level(&self) -> watch::Receiver<u8> {
        self.shown.level()
    }

    /// Keeps facts of the fast lane. Those that are not kept for want of room are named.
    pub(crate) async fn keep_facts(
        &self,
        facts: Vec<Arc<Fact>>,
    ) -> Result<Vec<FactId>, WriteError> {
        let action = Action::KeepFacts(facts);
        match self.write(Actor::system(), action).await? {
            Outcome::FactsKept { refused } => Ok(refused),
            _ => Err(self.unconfirmed()),
        }
    }

    /// Changes whenever this node has applied facts.
    pub(crate) fn applied_facts(&self) -> watch::Receiver<u64> {
        self.shown.facts_came()
    }

    /// The facts applied since this was asked last.
    pub(crate) fn take_applied_facts(&self) -> Vec<Arc<Fact>> {
        self.shown.take_applied_facts()
    }

    /// The cluster's id, once this node has applied it.
    pub(crate) fn cluster_id(&self) -> watch::Receiver<Option<String>> {
        self.shown.cluster_id()
    }

    /// The oldest and the newest revision that are kept.
    fn kept(&self) -> Option<(u64, u64)> {
        let history = self.history();
        Some((history.last()?.revision, history.first()?.revision))
    }

    /// What came of a write that makes a revision.
    async fn accepted(
        &self,
        outcome: Outcome,
        expect: Option<u64>,
    ) -> Result<Accepted, WriteError> {
        match outcome {
            Outcome::Applied { revision, index } => {
                self.wait_until_shown(revision).await;
                Ok(Accepted { revision, index })
            }
            Outcome::Conflict { current, author } => Err(WriteError::Conflict {
                expected: expect.unwrap_or(current),
                current,
                author,
            }),
            // A leader that answers another question proves nothing about this one.
            _ => Err(self.unconfirmed()),
        }
    }

    /// Has an action done whose outcome is its place in the log.
    async fn done(&self, actor: Actor, action: Action) -> Result<u64, WriteError> {
        match self.write(actor, action).await? {
            Outcome::Done { index } => Ok(index),
            _ => Err(self.unconfirmed()),
        }
    }

    fn unconfirmed(&self) -> WriteError {
        let patience = self.group.profile().patience();
        WriteError::Unconfirmed { patience }
    }

    async fn write(&self, actor: Actor, action: Action) -> Result<Outcome, WriteError> {
        let id = {
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            ProposalId(ids.random())
        };
        let unix_ms = u64::try_from(self.host.unix_time().as_millis()).unwrap_or(u64::MAX);
        self.writer
            .write(Write {
                id,
                unix_ms,
                actor,
                action,
            })
            .await
    }

    /// So that the writer finds its revision at the node it wrote through. The leader tells the commit
    /// with its next message; a node that hears nothing for two heartbeats answers without it, and one that is not a
    /// member yet at once: it is told when it has been taken in.
    async fn wait_until_shown(&self, revision: u64) {
        if self.status().voters.is_empty() {
            return;
        }
        let mut shown = self.watch();
        let is_there = |shown: &Option<Arc<Revision>>| {
            shown.as_ref().is_some_and(|shown| shown.number >= revision)
        };
        let patience = 2 * self.group.profile().heartbeat();
        // Late or stopped: the write stands all the same.
        let _ = tokio::time::timeout(patience, shown.wait_for(is_there)).await;
    }
}
