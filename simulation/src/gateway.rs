//! The node under test, as the simulator holds it: the real one, and the handles that it gives out.
//!
//! In: a machine's doors and a `node.yaml`. Out: a running node. Nothing in it is the simulator's own; what
//! the simulator reads from it (its revision, its view) is read through the same types that the node uses.

use std::{future::Future, sync::Arc, time::Duration};

use meridian_cluster::{
    bootstrap::Origin,
    consensus::Profile,
    directory::{Accepted, Actor, Directory, Proposal, Revision, SourceFile, WriteError},
    facts::{Claim, Facts, PublishError, Receipt, Revocation, Wait, Wanted},
    host::Host,
    membership::{Liveness, Member, Membership},
    version::Versions,
};
use meridian_config::{diagnose::Source, node_file::NodeFile};
use meridian_node::Hooks;
use tokio::sync::oneshot;

use crate::{
    workload::{CommandSeen, EndState, Oracle, RevisionSeen},
    world::{Decision, SimHost},
};

/// A running node's insides. A cheap clone.
#[derive(Clone)]
pub struct Gateway {
    directory: Directory,
    membership: Membership,
    facts: Facts,
}

/// Runs a node until it ends; `observe` is given its insides once it has started. `deaf` plants a mistake: the node
/// heeds no revocation.
///
/// # Errors
/// The node's own, in words.
pub async fn run<Observing>(
    host: Arc<SimHost>,
    file: NodeFile,
    versions: Versions,
    deaf: bool,
    observe: impl FnOnce(Gateway) -> Observing,
) -> Result<(), String>
where
    Observing: Future<Output = ()>,
{
    let (send, handles) = oneshot::channel();
    let hooks = Hooks {
        // The issuer has no certificate that the world's nodes would trust.
        dev: true,
        // One machine runs it all, but its regions lie as far apart as real ones.
        profile: Some(Profile::Wan),
        versions: Some(versions),
        observe: Some(send),
        deaf,
    };
    let host: Arc<dyn Host> = host;
    let node = meridian_node::run(host, file, Origin::Founding, hooks);
    let onlooker = async {
        if let Ok(handles) = handles.await {
            let gateway = Gateway {
                directory: handles.cluster.directory().clone(),
                membership: handles.cluster.membership().clone(),
                facts: handles.cluster.facts().clone(),
            };
            observe(gateway).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        ended = node => ended.map_err(|error| error.to_string()),
        never = onlooker => never,
    }
}

impl Gateway {
    /// Tells the oracle of every revision that the node shows.
    pub async fn onlook(self, node: String, oracle: Oracle) {
        let mut revisions = self.directory.watch();
        loop {
            let shown = revisions.borrow_and_update().clone();
            if let Some(revision) = shown {
                let at = oracle.now();
                oracle.history().revisions.push(RevisionSeen {
                    at,
                    node: node.clone(),
                    number: revision.number,
                    digest: digest_of(&revision),
                });
            }
            if revisions.changed().await.is_err() {
                return;
            }
        }
    }

    /// The newest revision that the node shows; 0: none.
    pub fn revision(&self) -> u64 {
        let current = self.directory.current();
        current.map_or(0, |revision| revision.number)
    }

    /// Who leads the Raft group, in the node's eyes.
    pub fn leader(&self) -> Option<String> {
        let leader = self.directory.status().leader;
        leader.map(|leader| leader.to_string())
    }

    /// The version of what is replicated that the cluster has agreed on, as far as the node knows.
    pub fn level(&self) -> u8 {
        *self.directory.level().borrow()
    }

    /// How many members the node knows, and whether it takes each for living.
    pub fn sees_all_up(&self, count: usize) -> bool {
        let view = self.membership.view();
        let up = |member: &Member| member.liveness == Liveness::Up;
        view.members.len() == count && view.members.values().all(up)
    }

    /// Makes a document the newest revision.
    ///
    /// # Errors
    /// The directory's own.
    pub async fn apply(&self, source: Source) -> Result<Accepted, WriteError> {
        let proposal = Proposal {
            files: vec![SourceFile {
                name: source.name,
                text: source.text,
            }],
            actor: Actor::new("operator", "operator", None),
            message: "a change of the simulation".to_owned(),
            expect: None,
        };
        self.directory.apply(proposal).await
    }

    /// Revokes a token everywhere.
    ///
    /// # Errors
    /// The fast lane's own.
    pub async fn revoke(&self, token_id: String, now: Duration) -> Result<Receipt, PublishError> {
        let expires = now + Duration::from_secs(3600);
        let wanted = Wanted {
            claim: Claim::Revoke(Revocation::TokenId(token_id)),
            expires_ms: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
            actor: Actor::new("operator", "security", None),
            reason: "a change of the simulation".to_owned(),
        };
        self.facts.publish(wanted, Wait::All).await
    }

    /// What it holds of the fast lane, as nodes compare it.
    pub fn facts(&self) -> String {
        self.facts.digest().to_string()
    }

    /// What the node holds and sees.
    pub fn state(&self, node: String) -> EndState {
        let status = self.directory.status();
        let numbers = self.directory.history().into_iter().rev();
        let held = numbers.filter_map(|summary| self.directory.revision(summary.revision));
        let view = self.membership.view();
        let members = view.members.values();
        let seen = |member: &Member| format!("{} {:?}", member.id, member.liveness);
        EndState {
            node,
            revisions: held
                .map(|revision| (revision.number, digest_of(&revision)))
                .collect(),
            leadership: format!("term {}, leader {:?}", status.term, status.leader),
            members: members.map(seen).collect::<Vec<_>>().join(", "),
            facts: self.facts(),
        }
    }
}

/// Tells the oracle of a command that a node applied, if this decision is one.
///
/// Not called with the oracle's history locked.
pub fn note_command(oracle: &Oracle, decision: &Decision<'_>) {
    let Some(fields) = decision.text.strip_prefix("apply ") else {
        return;
    };
    let field = |name: &str| {
        let mut fields = fields.split(' ');
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    if let (Some(group), Some(index), Some(digest)) =
        (field("group"), field("index"), field("digest"))
        && let Ok(index) = index.parse()
    {
        oracle.history().commands.push(CommandSeen {
            at: decision.at,
            node: decision.machine.to_owned(),
            group: group.to_owned(),
            index,
            digest: digest.to_owned(),
        });
    }
}

/// The oracle's own digest of a document: not the one that the node computed.
pub fn digest<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in files.into_iter().flat_map(|(name, text)| [name, text]) {
        // The length keeps one part's end from passing for the next one's beginning.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn digest_of(revision: &Revision) -> String {
    let files = revision.files.iter();
    digest(files.map(|file| (file.name.as_str(), file.text.as_str())))
}
