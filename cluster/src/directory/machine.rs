//! The directory as a Raft group's machine: its state, the revision shown to readers, and the file that
//! serves a restarted node before Raft runs.
//!
//! In: the log's commands. Out: the newest [`Revision`] on a watch, the file `last-revision`, and a line in
//! the node's log for each act. The core is [`super::state`].

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Revision,
    command::{Action, Command, Outcome},
    marks::Marks,
    overrides::Overrides,
    state::{AuditEntry, Kept, State},
};
use crate::{
    consensus::Machine,
    facts::Fact,
    host::{Host, blocking},
    version::{FIRST, Versions},
    wire::{self, Unreadable},
};

/// The newest applied revision, whole.
const LAST_REVISION: &str = "last-revision";

/// What readers see.
pub(super) struct Shown {
    state: RwLock<State>,
    revision: watch::Sender<Option<Arc<Revision>>>,
    cluster_id: watch::Sender<Option<String>>,
    /// Facts that were applied and not taken by the fast lane yet: no more than the state keeps.
    applied_facts: Mutex<Vec<Arc<Fact>>>,
    /// Counts how often there were such.
    facts_came: watch::Sender<u64>,
    marks: watch::Sender<Arc<Marks>>,
    overrides: watch::Sender<Arc<Overrides>>,
    level: watch::Sender<u8>,
}

impl Shown {
    /// What an earlier life of the node has left, to serve by before Raft runs.
    pub(super) async fn load(host: &dyn Host) -> io::Result<Arc<Self>> {
        let files = host.files();
        let bytes = blocking(host, move || files.read(LAST_REVISION)).await?;
        let revision = bytes.and_then(|bytes| match wire::unseal::<Revision>(&bytes) {
            Ok(revision) => Some(Arc::new(revision)),
            Err(why) => {
                // The log has it too; only a node without its log and peers would miss it.
                tracing::error!("the file {LAST_REVISION} is not readable and is left out: {why}");
                None
            }
        });
        Ok(Arc::new(Self {
            state: RwLock::default(),
            revision: watch::Sender::new(revision),
            cluster_id: watch::Sender::new(None),
            applied_facts: Mutex::default(),
            facts_came: watch::Sender::new(0),
            marks: watch::Sender::default(),
            overrides: watch::Sender::default(),
            level: watch::Sender::new(FIRST),
        }))
    }

    /// The replicated state, as far as this node has applied it. Never held across an await.
    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn revision(&self) -> watch::Receiver<Option<Arc<Revision>>> {
        self.revision.subscribe()
    }

    pub(super) fn cluster_id(&self) -> watch::Receiver<Option<String>> {
        self.cluster_id.subscribe()
    }

    pub(super) fn facts_came(&self) -> watch::Receiver<u64> {
        self.facts_came.subscribe()
    }

    pub(super) fn take_applied_facts(&self) -> Vec<Arc<Fact>> {
        std::mem::take(&mut *self.applied_facts())
    }

    fn applied_facts(&self) -> MutexGuard<'_, Vec<Arc<Fact>>> {
        let facts = self.applied_facts.lock();
        facts.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn marks(&self) -> watch::Receiver<Arc<Marks>> {
        self.marks.subscribe()
    }

    pub(super) fn overrides(&self) -> watch::Receiver<Arc<Overrides>> {
        self.overrides.subscribe()
    }

    pub(super) fn level(&self) -> watch::Receiver<u8> {
        self.level.subscribe()
    }
}

/// The machine; its readers hold the [`Shown`].
pub(super) struct DirectoryMachine {
    shown: Arc<Shown>,
    /// What this node reads.
    versions: Versions,
    /// Durable in its file, to be shown next.
    next: Option<Arc<Revision>>,
    /// The newest act that stands in the node's log; none before the first state of this life.
    logged: Option<u64>,
}

impl DirectoryMachine {
    pub(super) fn new(shown: Arc<Shown>, versions: Versions) -> Self {
        Self {
            shown,
            versions,
            next: None,
            logged: None,
        }
    }

    fn shown_number(&self) -> u64 {
        let shown = self.shown.revision.borrow();
        shown.as_ref().map_or(0, |revision| revision.number)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self
            .shown
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut state)
    }

    /// Writes the acts since the last call to the node's log, which keeps those that fall out of the
    /// state. What a start reads back from its own snapshot was logged in an earlier life; a restarted
    /// node logs what it applies again from its log a second time, under the same index.
    fn log_acts(&mut self) {
        let state = self.shown.state();
        let newest = state.audit.newest().map_or(0, |entry| entry.index);
        if self.logged.is_some_and(|logged| logged < newest) {
            for entry in state.audit.page(self.logged, usize::MAX) {
                log_act(&entry);
            }
        }
        drop(state);
        self.logged = self.logged.max(Some(newest));
    }
}

fn log_act(entry: &AuditEntry) {
    tracing::info!(
        target: "meridian::audit",
        index = entry.index,
        unix_ms = entry.unix_ms,
        who = %entry.actor.name,
        role = %entry.actor.role,
        from = entry.actor.from.map(tracing::field::display),
        node = %entry.node,
        target = %entry.target,
        before = entry.before,
        after = entry.after,
        refused = entry.refused.as_deref(),
        "{}",
        entry.act
    );
}

impl Machine for DirectoryMachine {
    fn apply(&mut self, index: u64, command: &[u8]) -> Result<Bytes, Unreadable> {
        let command = Command::decode(command, self.versions)?;
        // An empty state is complete: what comes now is new to it.
        self.logged.get_or_insert(0);
        let facts = match &command.action {
            Action::KeepFacts(facts) => facts.clone(),
            _ => Vec::new(),
        };
        let outcome = self.change(|state| state.apply(index, command));
        if let Outcome::FactsKept { refused } = &outcome {
            let kept = facts.into_iter().filter(|fact| !refused.contains(&fact.id));
            self.shown.applied_facts().extend(kept);
        }
        self.log_acts();
        tracing::trace!(target: "meridian::decision", index, ?outcome, "applied");
        Ok(wire::encode(&outcome).into())
    }

    fn snapshot(&self) -> Bytes {
        self.shown.state().encode().into()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Unreadable> {
        let restored = State::decode(snapshot, self.versions)?;
        self.change(|state| *state = restored);
        let facts = self.shown.state().facts.all().cloned().collect();
        *self.shown.applied_facts() = facts;
        self.log_acts();
        Ok(())
    }

    fn take_files(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        // While a restarted node applies its log again it passes revisions older than the one it serves.
        let newer = {
            let state = self.shown.state();
            let newest = state.documents.newest();
            newest
                .filter(|kept| kept.summary.revision > self.shown_number())
                .map(unpack)
        };
        match newer {
            None => Vec::new(),
            Some(Ok(revision)) => {
                let file = wire::seal(&revision);
                self.next = Some(Arc::new(revision));
                vec![(LAST_REVISION, file)]
            }
            Some(Err(why)) => {
                tracing::error!("the newest revision cannot be unpacked and is not served: {why}");
                Vec::new()
            }
        }
    }

    fn publish(&mut self) {
        if let Some(next) = self.next.take() {
            self.shown.revision.send_replace(Some(next));
        }
        if !self.shown.applied_facts().is_empty() {
            self.shown.facts_came.send_modify(|count| *count += 1);
        }
        let cluster_id = self.shown.state().cluster_id().map(str::to_owned);
        self.shown.cluster_id.send_if_modified(|shown| {
            let differs = *shown != cluster_id;
            *shown = cluster_id;
            differs
        });
        let state = self.shown.state();
        self.shown.level.send_if_modified(|shown| {
            let differs = *shown != state.level();
            *shown = state.level();
            differs
        });
        // After the revision: who looks at both at a change of this has the revision that it speaks of.
        self.shown.overrides.send_if_modified(|shown| {
            let differs = shown.version() != state.overrides().version();
            if differs {
                *shown = Arc::new(state.overrides().clone());
            }
            differs
        });
        self.shown.marks.send_if_modified(|shown| {
            let differs = **shown != state.marks;
            if differs {
                *shown = Arc::new(state.marks.clone());
            }
            differs
        });
    }
}

/// A kept revision with its files.
pub(super) fn unpack(kept: &Kept) -> Result<Revision, Unreadable> {
    let summary = kept.summary.clone();
    Ok(Revision {
        number: summary.revision,
        files: kept.files.unpack()?.into(),
        digest: summary.digest,
        author: summary.author,
        message: summary.message,
        unix_ms: summary.unix_ms,
    })
}
