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
        holder::Holding,
        key::KeyId,
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
    books::{self, Books, Message, is_alone},
    flawed::Flaws,
    workload::{
        Assumed, Charge, CommandSeen, DecisionSeen, DoubtSeen, EndState, History, Oracle, ReadSeen,
        RevisionSeen, TokensDeed, TokensSeen,
    },
    world::{Decision, SimHost},
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

/// Tells the oracle of a command that a node applied, and of doubts about another node, if this decision is one.
///
/// Not called with the oracle's history locked.
pub fn note_decision(oracle: &Oracle, books: &Books, decision: &Decision<'_>) {
    let text = decision.text;
    let field = |name: &str| {
        let mut fields = text.split(' ');
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let doubt = match text {
        _ if text.starts_with("verdict ") => field("liveness") != Some("Up"),
        _ if text.starts_with("raft asked ") => {
            matches!(field("question"), Some("vote" | "pre-vote"))
        }
        _ => text.starts_with("raft unanswered "),
    };
    if text.starts_with("charged ") {
        let number = |name: &str| field(name)?.parse::<u64>().ok();
        if let (Some(key), Some(cost), Some(amount), Some(span_ms)) = (
            field("key"),
            number("cost"),
            number("amount"),
            number("span_ms"),
        ) {
            let seen = match amount < books::FAR {
                true => held_after(books, decision, key),
                false => None,
            };
            let mut history = oracle.history();
            // One that has waited says what was so when it came: the node may have joined the others meanwhile.
            let holding = seen.and_then(|(_, seen)| seen).map(|(holding, _)| holding);
            let alone = holding.is_none_or(|holding| is_alone(&holding));
            if field("alone") == Some("true") && alone {
                if history.counts_together {
                    history
                        .alone
                        .push((decision.at, decision.machine.to_owned()));
                }
                return;
            }
            history.charges.push(Charge {
                at: decision.at,
                node: decision.machine.to_owned(),
                key: key.to_owned(),
                limit: field("limit").unwrap_or_default().to_owned(),
                cost,
                amount,
                span: Duration::from_millis(span_ms),
                window: number("window"),
                back: false,
            });
            note_charge(&mut history, decision, seen);
        }
        return;
    }
    if text.starts_with("refunded ") {
        let cost = field("cost").and_then(|cost| cost.parse::<u64>().ok());
        if let (Some(key), Some(cost)) = (field("key"), cost) {
            let seen = held_after(books, decision, key);
            let mut history = oracle.history();
            // Which of equal charges of a slot it was makes no difference: the last one.
            let charges = history.charges.iter().rev();
            let charged = charges.take(LATELY).find(|charge| {
                let same = charge.node == decision.machine && charge.key == key;
                same && !charge.back && charge.cost >= cost
            });
            if let Some(charge) = charged.cloned() {
                history.charges.push(Charge {
                    cost,
                    back: true,
                    ..charge.clone()
                });
                note_charge(
                    &mut history,
                    decision,
                    seen.filter(|_| charge.amount < books::FAR),
                );
            }
        }
        return;
    }
    if text.starts_with("base assumed ") {
        let seats = field("seats").and_then(|seats| seats.parse().ok());
        oracle.history().assumed.push(Assumed {
            at: decision.at,
            node: decision.machine.to_owned(),
            agreed: None,
            seats: seats.unwrap_or(1),
        });
    }
    if text.starts_with("base agreed") {
        let mut history = oracle.history();
        let of_node = history.assumed.iter_mut();
        let open = of_node.filter(|start| start.agreed.is_none() && start.node == decision.machine);
        open.for_each(|start| start.agreed = Some(decision.at));
    }
    if text.starts_with("request ended ") {
        if let Some(status) = field("status").and_then(|status| status.parse().ok()) {
            let mut history = oracle.history();
            history.count_answer(decision.at, decision.machine, status);
        }
        return;
    }
    if STORY.iter().any(|begin| text.starts_with(begin)) && !text.contains(" question=append ") {
        oracle.history().keep(DecisionSeen {
            at: decision.at,
            node: decision.machine.to_owned(),
            says: text.to_owned(),
        });
    }
    if doubt {
        oracle.history().doubts.push(DoubtSeen {
            at: decision.at,
            node: decision.machine.to_owned(),
            says: text.to_owned(),
        });
        return;
    }
    if !text.starts_with("apply ") {
        return;
    }
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

/// A key, and what its node holds of it now by its own clock.
type HeldAfter = Option<(KeyId, Option<(Holding, u64)>)>;

fn held_after(books: &Books, decision: &Decision<'_>, key: &str) -> HeldAfter {
    let key = books::key_of(key)?;
    Some((key, books.holding(decision.machine, key)))
}

/// Tells of the last charge what its node holds after it.
fn note_charge(history: &mut History, decision: &Decision<'_>, seen: HeldAfter) {
    let Some((key, seen)) = seen else { return };
    // Nobody looks on at this node.
    let Some((holding, clock_ms)) = seen else {
        return;
    };
    history.tokens.push(TokensSeen {
        at: decision.at,
        node: decision.machine.into(),
        what: TokensDeed::Charged {
            nth: history.charges.len() - 1,
            key,
            holding,
            clock_ms,
        },
    });
}

/// A charge that is given back is among so many of the last.
const LATELY: usize = 100_000;

/// What the operator says about every document.
pub(crate) const MESSAGE: &str = "a change of the simulation";

/// Beginnings of the decisions that tell the story of a run: rare ones, not those of every request or heartbeat.
const STORY: [&str; 22] = [
    "a try at an upstream failed",
    "base agreed",
    "base assumed ",
    "bootstrap ",
    "dismissed ",
    "drained",
    "draining",
    "endpoint health changed",
    "fabric connects",
    "fabric loses",
    "fabric refuses",
    "keys ",
    "leadership handed over",
    "no upstream",
    "opens to clients",
    "raft asked ",
    "raft unanswered ",
    "revision ",
    "seats ",
    "snapshot ",
    "undrained",
    "verdict ",
];

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
