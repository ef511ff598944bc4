//! The node under test, as the simulator holds it: the real one, and the handles that it gives out.
//!
//! In: a machine's doors and a `node.yaml`. Out: a running node. Nothing in it is the simulator's own; what
//! the simulator reads from it (its revision, its view) is read through the same types that the node uses.

use std::{future::Future, sync::Arc, time::Duration};

use meridian_cluster::{
    bootstrap::Origin,
    consensus::Profile,
    directory::{
        self, Accepted, Actor, Directory, Proposal, Revision, SetQuota, SourceFile, WriteError,
    },
    fabric::Fabric,
    facts::{Claim, Facts, PublishError, Receipt, Revocation, Standing, Wait, Wanted},
    host::Host,
    membership::{Liveness, Member, Membership, View},
    quota::{
        onlooker::Onlooker,
        params::Planted as QuotaPlanted,
        service::{Quota, Stage},
    },
    version::Versions,
};
use meridian_config::{diagnose::Source, name::NodeId, node_file::NodeFile};
use meridian_node::{Hooks, report::metrics::Metrics, upstream::Upstreams};
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    books::Message,
    flawed::Flaws,
    workload::{EndState, Oracle, ReadSeen, RevisionSeen},
    world::SimHost,
};

/// Mistakes that are planted in a node, to see whether they are noticed.
#[derive(Debug, Clone, Default)]
pub struct Mistakes {
    /// It heeds no revocation.
    pub deaf_to_revocations: bool,
    /// It answers a read that must not be old with what it has.
    pub stale_reads: bool,
    /// It ends at once when it is told to stop.
    pub undrained: bool,
    /// It ends by itself.
    pub ends: bool,
    /// Those in what limits rest on.
    pub quota: QuotaPlanted,
    /// Nobody looks on at its tokens.
    pub unwatched: bool,
    /// Those of its machine, and the switch of them all.
    pub flaws: Flaws,
}

/// A running node's insides. A cheap clone.
#[derive(Clone)]
pub struct Gateway {
    stale_reads: bool,
    directory: Directory,
    membership: Membership,
    facts: Facts,
    fabric: Fabric,
    quota: Quota,
    metrics: Metrics,
    upstreams: Upstreams,
    /// The machine's: what is asked from outside is told by the machine's own clock.
    runtime: Handle,
}

/// Runs a node until it ends; `observe` is given its insides once it has started.
///
/// # Errors
/// The node's own, in words.
pub async fn run<Observing>(
    host: Arc<SimHost>,
    file: NodeFile,
    versions: Versions,
    mistakes: Mistakes,
    onlooker: Arc<dyn Onlooker>,
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
        deaf: mistakes.deaf_to_revocations,
        quota: mistakes.quota,
        onlooker: (!mistakes.unwatched).then_some(onlooker),
    };
    let told = host.stop_asked();
    let armed = mistakes.flaws.armed.clone();
    let cut_short = async {
        if mistakes.undrained {
            told.await;
            return Ok(());
        }
        while !(mistakes.ends && armed.is_set()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("a planted mistake".to_owned())
    };
    let host = mistakes.flaws.put_on(host);
    let node = meridian_node::run(host, file, Origin::Founding, hooks);
    let onlooker = async {
        if let Ok(handles) = handles.await {
            let gateway = Gateway {
                stale_reads: mistakes.stale_reads,
                directory: handles.cluster.directory().clone(),
                membership: handles.cluster.membership().clone(),
                facts: handles.cluster.facts().clone(),
                fabric: handles.cluster.fabric().clone(),
                quota: handles.cluster.quota().clone(),
                metrics: handles.metrics,
                upstreams: handles.upstreams,
                runtime: Handle::current(),
            };
            observe(gateway).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        ended = node => ended.map_err(|error| error.to_string()),
        never = onlooker => never,
        ended = cut_short, if mistakes.undrained || mistakes.ends => ended,
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

    /// Whether the node spends what the ledger has given it, or the cluster's version has no ledger.
    pub fn counts_together(&self) -> bool {
        self.level() < 2 || matches!(self.quota.stage(), Stage::Answered | Stage::Seatless)
    }

    /// The newest revision that the node shows; 0: none.
    pub fn revision(&self) -> u64 {
        let current = self.directory.current();
        current.map_or(0, |revision| revision.number)
    }

    /// Who leads the Raft group, in the node's eyes.
    pub fn leader(&self) -> Option<String> {
        let _inside = self.runtime.enter();
        let leader = self.directory.status().leader;
        leader.map(|leader| leader.to_string())
    }

    /// The term, and who leads it, in the node's eyes.
    pub fn leadership(&self) -> (u64, Option<NodeId>) {
        self.directory.leadership()
    }

    /// The cluster in the node's eyes.
    pub fn view(&self) -> Arc<View> {
        self.membership.view()
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

    /// Sends bulk to a node as fast as the connection takes it, until told to stop.
    pub async fn flood(self, to: NodeId, stop: CancellationToken) {
        let streams = (0..FLOOD_STREAMS).map(|_| self.pour(&to));
        let all = futures_util::future::join_all(streams);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            _ = all => {}
        }
    }

    /// Sends one stream after another, each a forwarded request whose head never ends: the receiver takes all
    /// of it and waits for the rest.
    async fn pour(&self, to: &NodeId) {
        let length = u32::try_from(FLOOD_BYTES).expect("far below 4 GiB");
        let mut frame = vec![1; 1 + size_of::<u32>() + FLOOD_BYTES - 1];
        frame[1..5].copy_from_slice(&length.to_le_bytes());
        loop {
            if let Ok((mut send, _answer)) = self.fabric.open_bulk(to).await
                && send.write_all(&frame).await.is_ok()
                && send.finish().is_ok()
            {
                // The next one waits until the peer has it, or has had enough of it.
                let _ = send.stopped().await;
            } else {
                tokio::time::sleep(FLOOD_PAUSE).await;
            }
        }
    }

    /// Asks again and again how far the leader has committed, as a read that must not be old does, and tells the
    /// oracle how long that took: a question to the leader and a heartbeat to a majority.
    pub async fn ask_around(self, node: String, oracle: Oracle) {
        loop {
            let asked = oracle.now();
            let outcome = self.directory.catch_up().await;
            let answered = oracle.now();
            oracle.history().reads.push(ReadSeen {
                at: asked,
                node: node.clone(),
                took: outcome.is_ok().then_some(answered - asked),
            });
            tokio::time::sleep(ASK_PAUSE).await;
        }
    }

    /// The newest revision and the oracle's digest of its text, as a read that must not be old gives them;
    /// revision 0, without a text, is none at all. None: the node cannot know.
    pub async fn read(&self) -> Option<(u64, String)> {
        if !self.stale_reads {
            self.directory.catch_up().await.ok()?;
        }
        let newest = self.directory.current();
        Some(newest.map_or_else(
            || (0, String::new()),
            |newest| (newest.number, digest_of(&newest)),
        ))
    }

    /// Makes a document the newest revision; with `expect`, where that one is the newest.
    ///
    /// # Errors
    /// The directory's own.
    pub async fn apply(&self, source: Source, expect: Option<u64>) -> Result<Accepted, WriteError> {
        let proposal = Proposal {
            files: vec![SourceFile {
                name: source.name,
                text: source.text,
            }],
            actor: Actor::new("operator", "operator", None),
            message: MESSAGE.to_owned(),
            expect,
        };
        self.directory.apply(proposal).await
    }

    /// Sets limits of a tenant in place of its plan's, as `meridian quota set` does.
    ///
    /// # Errors
    /// The directory's own.
    pub async fn set_limits(
        &self,
        tenant: &str,
        limits: Vec<String>,
        over: Duration,
    ) -> Result<(), WriteError> {
        let wish = SetQuota {
            tenant: tenant.into(),
            limits,
            expires_ms: Some(u64::try_from(over.as_millis()).unwrap_or(u64::MAX)),
            reason: MESSAGE.to_owned(),
        };
        let actor = Actor::new("operator", "operator", None);
        self.directory.set_quota(wish, actor).await.map(|_| ())
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

    /// How the fast lane stands.
    pub fn standing(&self) -> Standing {
        self.facts.standing()
    }

    /// Requests of its own clients that are under way.
    pub fn in_flight(&self) -> u64 {
        self.metrics.path().in_flight.sum(0)
    }

    /// Requests that wait to be forwarded, and those that are served for peers.
    pub fn forwarding(&self) -> (usize, usize) {
        (self.upstreams.waiting(), self.upstreams.running())
    }

    /// Says to the ledger, or hears from it, what was said or heard before.
    pub async fn repeat(self, message: Message) {
        match message {
            Message::Ask(ask) => self.quota.say_again(ask).await,
            Message::Grant(grant) => self.quota.hear_again(grant),
        }
    }

    /// Keys and rows of the quota's ledger, as far as it has applied that.
    pub fn ledger(&self) -> (usize, usize) {
        self.quota.size()
    }

    /// How many revisions it keeps.
    pub fn kept(&self) -> usize {
        self.directory.history().len()
    }

    /// How long the newest document is, in bytes.
    pub fn document(&self) -> usize {
        let current = self.directory.current();
        let files = current.iter().flat_map(|revision| revision.files.iter());
        files.map(|file| file.text.len()).sum()
    }

    /// How many other nodes its fabric knows.
    pub fn peers(&self) -> usize {
        self.fabric.peers().len()
    }

    /// Has the cluster take a node out, or forget it, as `meridian drain` and `meridian remove` do.
    ///
    /// # Errors
    /// The directory's own, in words.
    pub async fn decide(&self, node: &NodeId, decision: directory::Decision) -> Result<(), String> {
        let actor = Actor::new("operator", "operator", None);
        let decided = self.directory.mark(node, decision, actor).await;
        decided.map(|_| ()).map_err(|error| error.to_string())
    }

    /// What it holds of the fast lane, as nodes compare it.
    pub fn facts(&self) -> String {
        self.facts.digest().to_string()
    }

    /// What the node holds and sees.
    pub fn state(&self, node: String) -> EndState {
        let _inside = self.runtime.enter();
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

/// What the operator says about every document.
pub(crate) const MESSAGE: &str = "a change of the simulation";

/// Streams of a flood at once: more than one slow one could hold up.
pub(crate) const FLOOD_STREAMS: usize = 8;

/// Bytes of each: below the longest head that a node takes (256 KiB).
const FLOOD_BYTES: usize = 250_000;

/// Before a stream that could not be opened is tried again.
const FLOOD_PAUSE: Duration = Duration::from_millis(50);

/// Between an answer and the next question.
const ASK_PAUSE: Duration = Duration::from_millis(50);

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
