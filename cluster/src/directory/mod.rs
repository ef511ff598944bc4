//! The replicated document and its revisions.
//!
//! ```text
//! any node: Directory::apply ─► writer ─► forward ─► the leader's Proposer ─► consensus::Group
//! every node:                                            machine ◄── committed commands
//!                                                        │  └ state (core: what a command means)
//!             Directory::{current, watch, history} ◄─────┘  └ the file last-revision
//! ```

mod command;
mod forward;
mod machine;
mod revision;
mod state;
mod writer;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meridian_config::name::NodeId;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::watch;

pub use command::DOCUMENT_LIMIT;
pub use revision::{Revision, SourceFile};
pub use state::Summary;

use crate::{
    consensus::{Foundation, Group, GroupError, GroupStatus},
    fabric::{Handler, Transport},
    host::{GroupId, Host},
};
use command::{Action, Apply, Outcome, Packed, ProposalId, digest};
use forward::{Proposer, Write};
use machine::{DirectoryMachine, Shown};
use writer::Writer;

/// Says whether a document is one, or what is wrong with it, a line each. The accepting node and the
/// leader ask it before a document is proposed.
pub type DocumentCheck = Arc<dyn Fn(&[SourceFile]) -> Result<(), Vec<String>> + Send + Sync>;

/// A document to become the newest revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The operator's files; names are unique, order does not matter.
    pub files: Vec<SourceFile>,
    /// Who applies it (the admin token's name).
    pub author: String,
    /// What the author says about it.
    pub message: String,
    /// The revision that must be the newest (`If-Match`); 0: none yet. `None`: whichever is.
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

/// Why a write was not made, or is not known to have been made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// This node sees fewer than a majority of the voters; nothing was written.
    #[error(
        "no quorum: this node reaches fewer than a majority of the voters ({}); nothing was written, try again when they are back",
        names(voters)
    )]
    NoQuorum {
        /// Who has a vote.
        voters: Vec<NodeId>,
    },
    /// No leader was elected in time; nothing was written.
    #[error("no leader was elected within {patience:?}; nothing was written, try again")]
    NoLeader {
        /// How long the write waited.
        patience: Duration,
    },
    /// The write was sent, but no answer came in time: it may have been made or may yet be.
    #[error(
        "the write was not confirmed within {patience:?} and may or may not take effect; look at the history before trying again"
    )]
    Unconfirmed {
        /// How long the write waited.
        patience: Duration,
    },
    /// This node belongs to no cluster yet.
    #[error(
        "the cluster is not founded yet: all nodes of `cluster.bootstrap` must be running and reach each other; nothing was written"
    )]
    NotFounded,
    /// Another revision than the expected one is the newest; nothing was written.
    #[error(
        "revision {current} is the newest, not the expected {expected}; look at what changed and apply again"
    )]
    Conflict {
        /// What the author expected.
        expected: u64,
        /// What is.
        current: u64,
    },
    /// The document is longer than the cluster keeps.
    #[error("the document is {length} bytes long, {limit} is the most; nothing was written")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The document does not pass the check; one line a mistake.
    #[error("the document is not valid; nothing was written:\n{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// This node takes no part in agreement any more.
    #[error("this node takes no part in agreement any more: {cause}; write through another node")]
    Stopped {
        /// Why.
        cause: String,
    },
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    names.join(", ")
}

/// Why the directory could not be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The node's files could not be read.
    #[error("the node's files cannot be read: {0}; mend the disk and start the node again")]
    Files(#[from] io::Error),
    /// Its Raft group could not be started.
    #[error(transparent)]
    Group(#[from] GroupError),
}

/// The replicated directory on this node. A cheap clone.
#[derive(Clone)]
pub struct Directory {
    shown: Arc<Shown>,
    group: Group,
    writer: Writer,
    check: DocumentCheck,
    host: Arc<dyn Host>,
    ids: Arc<Mutex<StdRng>>,
}

/// A running directory and who answers its peers.
pub(crate) struct Opened {
    pub(crate) directory: Directory,
    pub(crate) group: Group,
    /// Answers Raft calls.
    pub(crate) raft: Arc<dyn Handler>,
    /// Answers forwarded writes.
    pub(crate) writes: Arc<dyn Handler>,
}

impl Directory {
    /// Reads the directory back from disk and takes part in its group.
    pub(crate) async fn open(
        host: Arc<dyn Host>,
        transport: Arc<dyn Transport>,
        check: DocumentCheck,
        foundation: impl FnOnce(GroupId) -> Foundation,
    ) -> Result<Opened, OpenError> {
        let shown = Shown::load(&*host).await?;
        let machine = DirectoryMachine::new(Arc::clone(&shown));
        let (group, raft) = Group::start(foundation(GroupId::Directory), Box::new(machine)).await?;
        let proposer = Proposer {
            host: Arc::clone(&host),
            group: group.clone(),
            shown: Arc::clone(&shown),
            check: Arc::clone(&check),
        };
        let directory = Self {
            shown,
            group: group.clone(),
            writer: Writer {
                proposer: proposer.clone(),
                transport,
            },
            check,
            ids: Arc::new(Mutex::new(StdRng::from_seed(host.entropy("proposals")))),
            host,
        };
        Ok(Opened {
            directory,
            group,
            raft,
            writes: Arc::new(proposer),
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
    /// (4 MiB compressed beside the newest).
    pub fn history(&self) -> Vec<Summary> {
        self.shown.state().history()
    }

    /// A kept revision.
    pub fn revision(&self, number: u64) -> Option<Arc<Revision>> {
        let current = self.current();
        if let Some(current) = current.filter(|current| current.number == number) {
            return Some(current);
        }
        let kept = self.shown.state().revision(number).cloned()?;
        machine::unpack(&kept).ok().map(Arc::new)
    }

    /// The group as this node sees it now.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
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
        let packed = Packed::new(&files).map_err(|large| WriteError::TooLarge {
            length: large.length,
            limit: large.limit,
        })?;
        (self.check)(&files).map_err(WriteError::Invalid)?;
        let apply = Apply {
            files: packed,
            digest: digest(&files),
            author: proposal.author,
            message: proposal.message,
            expect: proposal.expect,
        };
        apply.check_remarks().map_err(WriteError::Invalid)?;
        match self.write(Action::Apply(apply)).await? {
            Outcome::Applied { revision, index } => {
                self.wait_until_shown(revision).await;
                Ok(Accepted { revision, index })
            }
            Outcome::Conflict { current } => Err(WriteError::Conflict {
                expected: proposal.expect.unwrap_or(current),
                current,
            }),
            // A leader that answers another question proves nothing about this one.
            Outcome::Founded { .. } => Err(self.unconfirmed()),
        }
    }

    /// Before a planned stop: where this node leads, another takes over, so that writes do not wait for an
    /// election. Returns when that is done, at most after the profile's lease.
    pub async fn hand_over(&self) {
        self.group.hand_over().await;
    }

    /// Gives the cluster its id, unless it has one; the id it has.
    pub(crate) async fn found(&self, cluster_id: String) -> Result<String, WriteError> {
        match self.write(Action::Found { cluster_id }).await? {
            Outcome::Founded { cluster_id } => Ok(cluster_id),
            Outcome::Applied { .. } | Outcome::Conflict { .. } => Err(self.unconfirmed()),
        }
    }

    /// The cluster's id, once this node has applied it.
    pub(crate) fn cluster_id(&self) -> watch::Receiver<Option<String>> {
        self.shown.cluster_id()
    }

    fn unconfirmed(&self) -> WriteError {
        let patience = self.group.profile().patience();
        WriteError::Unconfirmed { patience }
    }

    async fn write(&self, action: Action) -> Result<Outcome, WriteError> {
        let id = {
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            ProposalId(ids.random())
        };
        let unix_ms = u64::try_from(self.host.unix_time().as_millis()).unwrap_or(u64::MAX);
        self.writer
            .write(Write {
                id,
                unix_ms,
                action,
            })
            .await
    }

    /// So that the writer finds its revision at the node it wrote through. The leader tells the commit
    /// with its next message; a node that hears nothing for two heartbeats answers without it.
    async fn wait_until_shown(&self, revision: u64) {
        let mut shown = self.watch();
        let is_there = |shown: &Option<Arc<Revision>>| {
            shown.as_ref().is_some_and(|shown| shown.number >= revision)
        };
        let patience = 2 * self.group.profile().heartbeat();
        // Late or stopped: the write stands all the same.
        let _ = tokio::time::timeout(patience, shown.wait_for(is_there)).await;
    }
}
