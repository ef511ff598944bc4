//! Operators who change the document through every node at once, and remember what they were told.
//!
//! In: the nodes' admin addresses. Out: every write with its outcome, and the ledger that the cluster's own history
//! told meanwhile: revision to message.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    http::{Wire, call, get},
    site::{Place, Site},
    wait::{LONG, until},
};

/// Running writers, one near each node.
#[derive(Debug)]
pub struct Writers {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    seen: Arc<Mutex<Written>>,
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Every write, in the order of their outcomes.
    pub writes: Vec<Write>,
    /// What the cluster's history told: revision to message.
    pub ledger: BTreeMap<u64, String>,
    /// Revisions of which the history told two tales.
    pub contradictions: Vec<String>,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Write {
    /// Its message, unique.
    pub message: String,
    /// The node that took it; the first one that could be connected to.
    pub node: String,
    /// When the writer began.
    pub began: Instant,
    /// When it knew the outcome.
    pub ended: Instant,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It became this revision.
    Acknowledged(u64),
    /// The node's answer was no: status and body.
    Refused(u16, String),
    /// There was no answer.
    Unknown(String),
}

/// Starts a writer near each of these nodes. Each writes, pauses, and writes again; where its own node cannot be
/// connected to, it goes to the next one.
pub fn start(site: &Site, nodes: &[Place], document: &str) -> Writers {
    let (stop, stopped) = watch::channel(false);
    let seen = Arc::<Mutex<Written>>::default();
    let mut tasks = JoinSet::new();
    for first in 0..nodes.len() {
        let mut nodes = nodes.to_vec();
        nodes.rotate_left(first);
        let writer = Writer {
            token: site.admin_token(),
            nodes,
            document: document.to_owned(),
            seen: seen.clone(),
        };
        tasks.spawn(writer.write(stopped.clone()));
    }
    let addresses = nodes.iter().map(|node| node.admin).collect();
    tasks.spawn(keep_ledger(
        site.admin_token(),
        addresses,
        seen.clone(),
        stopped,
    ));
    Writers { stop, tasks, seen }
}

impl Writers {
    /// Waits until so many more writes were acknowledged.
    pub async fn acknowledged(&self, more: usize) {
        let count = || lock(&self.seen).acknowledged().count();
        let wanted = count() + more;
        until("writes are acknowledged", LONG, async || {
            if count() >= wanted {
                Ok(())
            } else {
                Err(format!(
                    "{} of {wanted}; {:?}",
                    count(),
                    lock(&self.seen).writes.last()
                ))
            }
        })
        .await;
    }

    /// Stops them; what was written, with the whole ledger as `site` tells it in the end.
    pub async fn stop(mut self, site: &Site, at: &Place) -> Written {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a writer does not panic");
        }
        // A write returns when a quorum and the node that took it have it; this one may be a moment behind.
        let last = lock(&self.seen)
            .acknowledged()
            .map(|(_, revision)| revision)
            .max();
        until("the history reaches the last write", LONG, async || {
            look_at_history(&site.admin_token(), at.admin, &self.seen).await;
            let reached = lock(&self.seen).ledger.keys().next_back().copied();
            if reached >= last {
                Ok(())
            } else {
                Err(format!("{reached:?} of {last:?}"))
            }
        })
        .await;
        lock(&self.seen).clone()
    }
}

impl Written {
    /// Acknowledged writes and their revisions.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&Write, u64)> {
        self.writes.iter().filter_map(|write| match write.outcome {
            Outcome::Acknowledged(revision) => Some((write, revision)),
            _ => None,
        })
    }

    /// Acknowledged writes that the ledger does not have where they were said to be, and what it has there.
    pub fn lost(&self) -> Vec<String> {
        let lost = self.acknowledged().filter_map(|(write, revision)| {
            let there = self.ledger.get(&revision);
            (there != Some(&write.message))
                .then(|| format!("{revision} is {there:?} and not {:?}", write.message))
        });
        lost.chain(self.contradictions.iter().cloned()).collect()
    }

    /// Writes that were not acknowledged.
    pub fn failed(&self) -> Vec<&Write> {
        let failed = self.writes.iter();
        failed
            .filter(|write| !matches!(write.outcome, Outcome::Acknowledged(_)))
            .collect()
    }

    /// The longest time in which no write was acknowledged, between two instants.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let mut ends: Vec<Instant> = self.acknowledged().map(|(write, _)| write.ended).collect();
        ends.retain(|end| (from..=to).contains(end));
        ends.extend([from, to]);
        ends.sort();
        let gaps = ends.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }

    /// The longest that an acknowledged write has taken, from its writer's first attempt on.
    pub fn slowest(&self) -> Duration {
        let took = self
            .acknowledged()
            .map(|(write, _)| write.ended - write.began);
        took.max().unwrap_or_default()
    }
}

struct Writer {
    token: String,
    /// Its own first.
    nodes: Vec<Place>,
    document: String,
    seen: Arc<Mutex<Written>>,
}

impl Writer {
    async fn write(self, mut stopped: watch::Receiver<bool>) {
        for count in 0_u64.. {
            let message = format!("{}/{count}", self.nodes[0].id);
            let write = self.once(message).await;
            lock(&self.seen).writes.push(write);
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = sleep(PAUSE) => {}
            }
        }
    }

    async fn once(&self, message: String) -> Write {
        let body = json!({
            "files": [{ "name": "gateway.yaml", "text": format!("{}# {message}\n", self.document) }],
            "message": message,
        });
        let put = call("PUT", "/api/v1/config")
            .token(&self.token)
            .header("if-match", "*")
            .header("content-type", "application/json")
            .body(body.to_string());
        let began = Instant::now();
        let mut refusals = String::new();
        for node in &self.nodes {
            // A connection of its own: whatever fails before it stands was surely not sent.
            let mut wire = match Wire::open(node.admin).await {
                Ok(wire) => wire,
                Err(error) => {
                    refusals = error;
                    continue;
                }
            };
            let outcome = match wire.send(&put, ANSWER).await {
                Ok(answer) if answer.status == 200 => {
                    let revision = answer.json()["revision"].as_u64();
                    Outcome::Acknowledged(revision.expect("a revision"))
                }
                Ok(answer) => {
                    let body = String::from_utf8_lossy(&answer.body).into_owned();
                    Outcome::Refused(answer.status, body)
                }
                Err(error) => Outcome::Unknown(error),
            };
            return Write {
                message,
                node: node.id.clone(),
                began,
                ended: Instant::now(),
                outcome,
            };
        }
        Write {
            message,
            node: String::new(),
            began,
            ended: Instant::now(),
            outcome: Outcome::Unknown(format!("no node could be connected to: {refusals}")),
        }
    }
}

/// Looks often: the history keeps the last 64 revisions.
async fn keep_ledger(
    token: String,
    addresses: Vec<SocketAddr>,
    seen: Arc<Mutex<Written>>,
    mut stopped: watch::Receiver<bool>,
) {
    for address in addresses.iter().cycle() {
        look_at_history(&token, *address, &seen).await;
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = sleep(LOOK) => {}
        }
    }
}

/// Adds what a node's history tells to the ledger; one that is away tells nothing.
async fn look_at_history(token: &str, at: SocketAddr, seen: &Mutex<Written>) {
    let history = get("/api/v1/config/history").token(token);
    let Ok(answer) = history.try_send(at).await else {
        return;
    };
    if answer.status != 200 {
        return;
    }
    let answer = answer.json();
    let mut seen = lock(seen);
    for one in answer["revisions"].as_array().expect("a list") {
        let revision = one["revision"].as_u64().expect("a number");
        let message = one["message"].as_str().expect("a text").to_owned();
        let known = seen
            .ledger
            .entry(revision)
            .or_insert_with(|| message.clone());
        if *known != message {
            let says = format!("revision {revision} is {known:?} and {message:?}");
            seen.contradictions.push(says);
        }
    }
}

fn lock(seen: &Mutex<Written>) -> MutexGuard<'_, Written> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between two writes of a writer: some ten a second come from three of them, as much as a debug build on two
/// cores takes beside requests.
const PAUSE: Duration = Duration::from_millis(100);

/// Above what the node itself grants a write.
const ANSWER: Duration = Duration::from_secs(20);

const LOOK: Duration = Duration::from_millis(300);
