//! What the ledger's leader does: it gathers asks into entries, has them agreed on, and tells what came of them.
//!
//! In: asks from the [`Desk`](super::desk), the ledger as this node has applied it, the clocks. Out: entries of the
//! ledger's log, and grants. Runs on every voter and does nothing while another leads. The cores are
//! [`crate::quota::leader`] and [`crate::quota::ledger`]; nothing here has to survive a change of the leader.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use meridian_config::name::NodeId;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    desk::Asked,
    message::{Reading, Reply, Said},
    wild::scramble_grant,
};
use crate::{
    consensus::{Group, ProposeError},
    control::Topic,
    directory::Directory,
    fabric::{Kind, Transport},
    host::Host,
    quota::{
        leader::Leader,
        ledger::machine::{Shown, Told},
        message::{ASKS, Act, AskItem, BYTES, Entry, QuotaAsk, QuotaGrant, Stamp},
        params::Params,
    },
    wire,
};

/// Entries under way at most: a second's worth.
const UNDER_WAY: usize = 64;

/// How long asks with nothing in them wait for company: an idle cluster writes an entry a second.
const IDLE: Duration = Duration::from_millis(900);

/// Between two looks for leases that are over, seats to be split, wishes that can be met, and caps.
const LOOK: Duration = Duration::from_millis(100);

/// Between two searches for nodes that are gone.
const GONE: Duration = Duration::from_secs(10);

/// A node that was not heard of for so long, by log time, counts as gone.
const SILENT_MS: u64 = 24 * 3600 * 1000;

/// How long news may be on their way.
const NEWS: Duration = Duration::from_secs(2);

/// What the task stands on.
pub(super) struct Leading {
    pub(super) host: Arc<dyn Host>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) group: Group,
    pub(super) directory: Directory,
    pub(super) shown: Arc<Shown>,
    pub(super) params: Params,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    /// News for this node itself.
    pub(super) news: mpsc::Sender<QuotaGrant>,
}

/// Whom to tell, by the node and the number of its ask.
type Replies = BTreeMap<(NodeId, u64), Owed>;

/// An ask that is to be replied to.
struct Owed {
    incarnation: u64,
    since: Instant,
    reply: oneshot::Sender<Reply>,
}

/// What came of an entry.
struct Settled {
    replies: Replies,
    outcome: Result<Vec<QuotaGrant>, ProposeError>,
}

/// What waits.
#[derive(Default)]
struct Waiting {
    asked: Vec<Asked>,
    due: Option<Instant>,
}

impl Leading {
    /// Leads while this node does. Never ends.
    pub(super) async fn run(self, mut inbox: mpsc::Receiver<Asked>) {
        let mut memory = Leader::new(self.params);
        let mut waiting = Waiting::default();
        let mut under_way = 0;
        let (settled, mut settling) = mpsc::channel::<Settled>(UNDER_WAY);
        let mut term = None;
        let mut look = Instant::now() + LOOK;
        let mut gone = Instant::now() + GONE;
        loop {
            let due = waiting.due.filter(|_| under_way < UNDER_WAY);
            tokio::select! {
                biased;
                Some(done) = settling.recv() => {
                    under_way -= 1;
                    self.tell(done, &memory);
                }
                () = async { sleep_until(due.unwrap_or(look)).await }, if due.is_some() => {
                    waiting.due = None;
                    under_way += 1;
                    self.flush(&mut waiting, &mut memory, &settled);
                }
                asked = inbox.recv() => {
                    let Some(asked) = asked else { return };
                    memory.hear(&asked.ask, &asked.region, self.shown.now_ms());
                    waiting.push(asked, &self.shown, self.params);
                }
                () = sleep_until(look) => {
                    look = Instant::now() + LOOK;
                    let (now, leader) = self.group.leadership();
                    if leader.as_ref() != Some(self.group.own()) {
                        term = None;
                        waiting = Waiting::default();
                        continue;
                    }
                    if term.replace(now) != Some(now) {
                        memory = Leader::new(self.params);
                    }
                    if under_way < UNDER_WAY {
                        under_way += self.look(&mut memory, &settled);
                    }
                    if Instant::now() >= gone && under_way < UNDER_WAY {
                        gone = Instant::now() + GONE;
                        under_way += self.bury(&settled);
                    }
                }
            }
        }
    }

    /// Has what waits agreed on.
    fn flush(&self, waiting: &mut Waiting, memory: &mut Leader, settled: &mpsc::Sender<Settled>) {
        let batch = waiting.take(self.params);
        let mut asks = Vec::with_capacity(batch.len());
        let mut replies = Replies::new();
        for asked in batch {
            let Asked {
                ask, since, reply, ..
            } = asked;
            let owed = Owed {
                incarnation: ask.incarnation,
                since,
                reply,
            };
            replies.insert((ask.node.clone(), ask.seq), owed);
            asks.push(ask);
        }
        let mut acts = Vec::new();
        let wishes = {
            let applied = self.shown.applied();
            memory.cut(&mut asks, &applied.ledger);
            let mut begun: BTreeMap<&NodeId, u64> = BTreeMap::new();
            for ask in &asks {
                let known = begun
                    .get(&ask.node)
                    .copied()
                    .or_else(|| applied.ledger.life(&ask.node));
                if known.is_none_or(|known| known < ask.incarnation) {
                    begun.insert(&ask.node, ask.incarnation);
                    acts.push(Act::NodeUp {
                        node: ask.node.clone(),
                        incarnation: ask.incarnation,
                    });
                }
            }
            memory.wishes(&applied.ledger)
        };
        acts.push(Act::Batch { asks, wishes });
        self.propose(acts, replies, settled);
    }

    /// Proposes acts, in this order and at once; the replies are to the last.
    fn propose(&self, acts: Vec<Act>, replies: Replies, settled: &mpsc::Sender<Settled>) {
        let Told { log_ms, line } = self.shown.told();
        let unix_ms = milliseconds(self.host.unix_time());
        let stamp = Stamp { log_ms, unix_ms };
        let (group, settled, stop) = (self.group.clone(), settled.clone(), self.stop.clone());
        self.tracker
            .spawn(stop.run_until_cancelled_owned(async move {
                // All are on their way before the first is agreed on: a second round trip is a node's wait.
                let entry = |act| {
                    let line = line.clone();
                    Entry { stamp, line, act }.encode()
                };
                let entries = acts.into_iter().map(entry);
                let proposals = entries.map(|entry| group.propose(entry.into()));
                let last = join_all(proposals).await.pop();
                let outcome = match last {
                    Some(Ok((_, answer))) => {
                        wire::decode(&answer).map_err(|why| ProposeError::Stopped(why.to_string()))
                    }
                    Some(Err(error)) => Err(error),
                    None => Ok(Vec::new()),
                };
                // Nobody listens any more at the node's end.
                let _ = settled.send(Settled { replies, outcome }).await;
            }));
    }

    /// Tells what came of an entry.
    fn tell(&self, done: Settled, memory: &Leader) {
        let Settled {
            mut replies,
            outcome,
        } = done;
        let applied = self.shown.applied();
        match outcome {
            Ok(mut grants) => {
                memory.dress(&mut grants, &applied.ledger);
                for mut grant in grants {
                    if self.params.planted.wild_hints {
                        scramble_grant(&mut grant);
                    }
                    let answered = grant.answers.map(|echo| (grant.node.clone(), echo.seq));
                    match answered.and_then(|answered| replies.remove(&answered)) {
                        // A node that is gone asks again when it is back.
                        Some(owed) => {
                            let clock = self.reading(owed.since);
                            drop(owed.reply.send(Reply::Granted { grant, clock }));
                        }
                        None => self.push(grant),
                    }
                }
                for ((node, _), owed) in replies {
                    let known = applied.ledger.life(&node).unwrap_or(0);
                    let _ = owed.reply.send(match known > owed.incarnation {
                        true => Reply::Outlived { known },
                        false => Reply::Later,
                    });
                }
            }
            Err(error) => {
                tracing::debug!(?error, "an entry of the quota's ledger was not agreed on");
                let (_, leader) = self.group.leadership();
                let leader = leader.filter(|leader| leader != self.group.own());
                for owed in replies.into_values() {
                    let leader = leader.clone();
                    let _ = owed.reply.send(match error {
                        ProposeError::Unknown => Reply::Later,
                        _ => Reply::NotHere { leader },
                    });
                }
            }
        }
    }

    /// This node's clock, for the answer to what came then.
    fn reading(&self, since: Instant) -> Reading {
        Reading {
            unix_ms: milliseconds(self.host.unix_time()),
            held_ms: milliseconds(since.elapsed()),
        }
    }

    /// Tells a node what it has not asked for now.
    fn push(&self, grant: QuotaGrant) {
        if grant.node == *self.group.own() {
            let _ = self.news.try_send(grant);
            return;
        }
        let (transport, stop, to) = (
            self.transport.clone(),
            self.stop.clone(),
            grant.node.clone(),
        );
        self.tracker
            .spawn(stop.run_until_cancelled_owned(async move {
                let body = Topic::Quota.address(&wire::encode(&Said::News(grant)));
                // What does not arrive is said again, when the node asks or at the next look.
                let _ = transport.call(&to, Kind::Control, body, NEWS).await;
            }));
    }

    /// Does what is due without an ask. How many entries it has proposed.
    fn look(&self, memory: &mut Leader, settled: &mpsc::Sender<Settled>) -> usize {
        let log_ms = self.shown.told().log_ms;
        let mut acts = Vec::new();
        let recalls = {
            let applied = self.shown.applied();
            let ledger = &applied.ledger;
            memory.forget(self.shown.now_ms());
            if ledger.next_lapse().is_some_and(|due| due <= log_ms) {
                acts.push(Act::Expire);
            }
            if ledger.unseated() > 0 && ledger.may_split() {
                let nodes = u16::try_from(self.directory.seats().len()).unwrap_or(u16::MAX);
                let seats = ledger.seats().saturating_mul(2).max(nodes).max(1);
                acts.push(Act::Split { seats });
            }
            let wishes = memory.wishes(ledger);
            if !wishes.is_empty() {
                let asks = Vec::new();
                acts.push(Act::Batch { asks, wishes });
            }
            memory.recalls(applied.index, ledger, self.shown.now_ms())
        };
        for recall in recalls {
            self.push(recall);
        }
        if acts.is_empty() {
            return 0;
        }
        self.propose(acts, Replies::new(), settled);
        1
    }

    /// Ends nodes that were removed, or not heard of for a day. How many entries it has proposed.
    fn bury(&self, settled: &mpsc::Sender<Settled>) -> usize {
        let (marks, seats) = (self.directory.marks(), self.directory.seats());
        let marks = marks.borrow().clone();
        let log_ms = self.shown.told().log_ms;
        let gone: Vec<Act> = {
            let applied = self.shown.applied();
            let nodes = applied.ledger.nodes();
            nodes
                .filter(|(node, _, contact)| {
                    let removed = marks.removed.contains_key(*node) && !seats.contains_key(*node);
                    removed || contact.saturating_add(SILENT_MS) < log_ms
                })
                .map(|(node, incarnation, _)| Act::NodeGone {
                    node: node.clone(),
                    incarnation,
                })
                .collect()
        };
        if gone.is_empty() {
            return 0;
        }
        self.propose(gone, Replies::new(), settled);
        1
    }
}

impl Waiting {
    fn push(&mut self, asked: Asked, shown: &Shown, params: Params) {
        let idle = asked.ask.items.is_empty();
        // A life's first word is waited for, and a node's that has no base yet.
        let waited_for = || {
            let applied = shown.applied();
            let known = applied.ledger.life(&asked.ask.node) == Some(asked.ask.incarnation);
            !known || asked.ask.seats == 0
        };
        let patience = match idle && !waited_for() {
            true => IDLE,
            false => params.batch,
        };
        let due = Instant::now() + patience;
        self.due = Some(self.due.map_or(due, |sooner| sooner.min(due)));
        self.asked.push(asked);
    }

    /// As many as an entry holds, in the order they came.
    fn take(&mut self, params: Params) -> Vec<Asked> {
        let mut room = BYTES / 2;
        let fits = self.asked.iter().take(ASKS).take_while(|asked| {
            let weight = weight(&asked.ask);
            let fits = weight <= room;
            room = room.saturating_sub(weight);
            fits
        });
        let count = fits.count().max(1).min(self.asked.len());
        let batch = self.asked.drain(..count).collect();
        if !self.asked.is_empty() {
            self.due = Some(Instant::now() + params.batch);
        }
        batch
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// About how many bytes an ask takes.
fn weight(ask: &QuotaAsk) -> usize {
    let rests = |item: &AskItem| item.rests.as_ref().map_or(0, |rests| rests.spans.len());
    let spans = |item: &AskItem| item.cooling.len() + rests(item);
    let spans: usize = ask.items.iter().map(spans).sum();
    96 + 24 * ask.terms.len() + 64 * ask.items.len() + 14 * spans
}
