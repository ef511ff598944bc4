//! Clients of one region: a request of each kind at a steady rate, whether or not earlier ones were answered.
//!
//! In: the nodes' addresses, nearest first. Out: requests, and what became of them, to the oracle. A client
//! behaves as a careful HTTP library does: it dials the next address when one does not answer (RFC 8305), repeats a
//! GET that got no answer (RFC 9110 section 9.2.2), and keeps off a silent address for a while.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use meridian_cluster::host::{BoxStream, Host};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::{
    Flow, Oracle, Outcome, Request,
    ask::{Ask, Holder},
    badge::{self, Badges},
    issuer::Issuer,
    upstream::REGION_FIELD,
};
use crate::world::{Place, SimHost};

/// The clients of one region.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Where they are.
    pub from: Place,
    /// The nodes that they know.
    pub nodes: Nodes,
    /// What they ask for.
    pub lines: Vec<Line>,
    /// Who issues their tokens.
    pub issuer: Issuer,
    /// Badges to present; none: the operator revokes nothing.
    pub badges: Option<Badges>,
}

/// Edge addresses of nodes and their regions, nearest first, as a name server gives them. Clones are one list.
#[derive(Debug, Clone, Default)]
pub struct Nodes(Arc<Mutex<Vec<(Place, SocketAddr)>>>);

impl Nodes {
    /// Replaces the list.
    pub fn set(&self, nodes: Vec<(Place, SocketAddr)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// The order in which a request tries them: one of each region, the nearest region first and requests in turn in
    /// each, then another one of each, and so on. A client that walks through all nodes of a dead region first is
    /// down for as long as that takes; thus RFC 8305 section 4 mixes kinds of addresses.
    fn for_request(&self, number: u64) -> Vec<SocketAddr> {
        let nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut regions: Vec<(Place, VecDeque<SocketAddr>)> = Vec::new();
        for (place, address) in nodes.iter() {
            match regions.iter_mut().find(|(known, _)| known == place) {
                Some((_, addresses)) => addresses.push_back(*address),
                None => regions.push((*place, VecDeque::from([*address]))),
            }
        }
        for (_, addresses) in &mut regions {
            let count = u64::try_from(addresses.len()).unwrap_or(1);
            addresses.rotate_left(usize::try_from(number % count).unwrap_or_default());
        }
        let mut order = Vec::new();
        while let Some(longest) = regions.iter().map(|(_, left)| left.len()).max()
            && longest > 0
        {
            let firsts = regions.iter_mut();
            order.extend(firsts.filter_map(|(_, left)| left.pop_front()));
        }
        order
    }
}

/// One kind of request, as the clients of one region send it and as it is judged.
#[derive(Debug, Clone)]
pub struct Line {
    /// How it is judged.
    pub flow: Flow,
    /// How it is sent.
    pub ask: Arc<Ask>,
}

/// Sends requests until the machine is gone.
///
/// # Errors
/// Never by itself.
pub async fn run(host: Arc<SimHost>, oracle: Oracle, clients: Clients) -> Result<(), String> {
    let sender = Arc::new(Sender {
        host,
        oracle,
        silent: Mutex::default(),
        tokens: Mutex::default(),
        tasks: TaskTracker::new(),
        clients,
    });
    let lines = sender.clients.lines.clone();
    let count = u32::try_from(lines.len()).expect("a bounded number of kinds");
    for (index, line) in (0..).zip(lines) {
        // Spread evenly, so that the kinds do not march in step.
        let phase = line.ask.every * index / count;
        let sender = sender.clone();
        sender.tasks.clone().spawn(sender.keep_asking(line, phase));
    }
    if let Some(Badges { ask, nodes }) = sender.clients.badges.clone() {
        for node in nodes {
            let presenting = badge::present(sender.clone(), sender.clients.from, node, ask.clone());
            sender.tasks.spawn(presenting);
        }
    }
    sender.tasks.wait().await;
    Ok(())
}

pub(super) struct Sender {
    pub(super) host: Arc<SimHost>,
    pub(super) oracle: Oracle,
    clients: Clients,
    /// The tokens that clients hold, by kind of request: the number of the key, and until when they use them.
    tokens: Mutex<BTreeMap<String, (usize, String, Duration)>>,
    /// Nodes that did not answer when they were asked last.
    silent: Mutex<BTreeMap<SocketAddr, Silence>>,
    pub(super) tasks: TaskTracker,
}

/// How silent a node has been.
struct Silence {
    /// So many times in a row.
    times: u32,
    /// Until when it is tried last.
    until: Instant,
}

/// One attempt at one node.
enum Try {
    /// There was an answer.
    Answered(Outcome),
    /// It never left.
    Unsent(String),
    /// It left, or may have.
    Lost(String),
}

impl Sender {
    pub(super) fn issuer(&self) -> &Issuer {
        &self.clients.issuer
    }

    async fn keep_asking(self: Arc<Self>, line: Line, phase: Duration) {
        let mut next = Instant::now() + phase;
        let all = &line.ask.from;
        let nth = all.iter().position(|place| *place == line.flow.from);
        let turn = (nth.unwrap_or(0), all.len());
        loop {
            tokio::time::sleep_until(next).await;
            // In flight at most: rate times patience at every node. Boxed, for a task is copied when it is spawned and
            // when it ends.
            self.tasks
                .spawn(Box::pin(self.clone().request(line.clone())));
            let serving = self.oracle.history().serving_since;
            let time = serving.map_or(Duration::ZERO, |since| {
                self.oracle.now().saturating_sub(since)
            });
            next += line.ask.pattern.interval(line.ask.every, time, turn);
        }
    }

    async fn request(self: Arc<Self>, Line { flow, ask }: Line) {
        let sent = self.oracle.now();
        let id = self.oracle.begin(&ask);
        let mut nodes = self.in_order(id);
        let mut tries = 0;
        let mut outcome = Outcome::Failed("no node was tried".to_owned());
        while !nodes.is_empty() {
            let (node, stream) = match self.dial(&mut nodes, &mut tries).await {
                Ok(connected) => connected,
                Err(error) => {
                    outcome = Outcome::Failed(error);
                    break;
                }
            };
            match self.attempt(&ask, id, stream).await {
                Try::Answered(answer) => {
                    outcome = answer;
                    self.note(node, true);
                    break;
                }
                Try::Unsent(error) => outcome = Outcome::Failed(error),
                Try::Lost(error) => {
                    outcome = Outcome::Failed(error);
                    if !ask.repeatable() {
                        break;
                    }
                }
            }
            self.note(node, false);
        }
        let done = self.oracle.now();
        self.oracle.history().requests.push(Request {
            id,
            flow,
            sent,
            done,
            tries,
            outcome,
        });
    }

    /// Connects to the first of these nodes that answers (RFC 8305 section 5): the next one is dialled as soon as
    /// one refuses, or beside it when it has not answered for a while. Whoever was dialled in vain leaves the list;
    /// whoever was slower than the one that answered stays at its end.
    async fn dial(
        &self,
        nodes: &mut VecDeque<SocketAddr>,
        tries: &mut u32,
    ) -> Result<(SocketAddr, BoxStream), String> {
        let begun = Instant::now();
        let mut dials = FuturesUnordered::new();
        let mut under_way: Vec<SocketAddr> = Vec::new();
        let mut failure = "no node is left".to_owned();
        loop {
            if let Some(node) = nodes.pop_front() {
                let dial = self.host.connect(node);
                dials.push(async move { (node, dial.await) });
                under_way.push(node);
                *tries += 1;
            }
            if dials.is_empty() {
                return Err(failure);
            }
            let patience = if nodes.is_empty() {
                begun + ANSWER
            } else {
                Instant::now() + STAGGER
            };
            tokio::select! {
                biased;
                Some((node, dialled)) = dials.next() => {
                    under_way.retain(|other| *other != node);
                    match dialled {
                        Ok(stream) => {
                            for slower in under_way {
                                self.note(slower, false);
                                nodes.push_back(slower);
                            }
                            return Ok((node, stream));
                        }
                        Err(error) => {
                            self.note(node, false);
                            failure = format!("dial: {error}");
                        }
                    }
                }
                () = tokio::time::sleep_until(patience) => {
                    if nodes.is_empty() {
                        return Err("dial: no answer".to_owned());
                    }
                }
            }
        }
    }

    /// Nodes to try: the nearest first, those that were silent of late last.
    fn in_order(&self, number: u64) -> VecDeque<SocketAddr> {
        let now = Instant::now();
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut nodes = self.clients.nodes.for_request(number);
        nodes.sort_by_key(|node| {
            let silence = silent.get(node);
            silence.is_some_and(|silence| silence.times >= STRIKES && silence.until > now)
        });
        nodes.into()
    }

    /// Remembers whether a node answered.
    fn note(&self, node: SocketAddr, answered: bool) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            silent.remove(&node);
            return;
        }
        let silence = silent.entry(node).or_insert(Silence {
            times: 0,
            until: Instant::now(),
        });
        silence.times += 1;
        silence.until = Instant::now() + KEEP_OFF;
    }

    async fn attempt(&self, ask: &Ask, id: u64, stream: BoxStream) -> Try {
        let token = ask.holder.as_ref().map(|holder| self.token(ask, holder));
        let message = ask.message(id, token.as_deref());
        let io = TokioIo::new(stream);
        let (mut sender, connection) = match hyper::client::conn::http1::handshake(io).await {
            Ok(pair) => pair,
            Err(error) => return Try::Unsent(error.to_string()),
        };
        let connection = self.tasks.spawn(Box::pin(connection));
        let exchange = async {
            let answer = sender.send_request(message).await?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>((head, body))
        };
        let result = timeout(ANSWER, exchange).await;
        connection.abort();
        match result {
            Ok(Ok((head, body))) => Try::Answered(judge(&head, &body, ask.status)),
            Ok(Err(error)) => Try::Lost(format!("broken: {error}")),
            Err(_) => Try::Lost("no answer in time".to_owned()),
        }
    }

    /// Asks one node once, for itself.
    pub(super) async fn exchange(
        &self,
        node: SocketAddr,
        request: http::request::Builder,
    ) -> Result<Outcome, String> {
        let dialled = timeout(CONNECT, self.host.connect(node)).await;
        let stream = dialled.map_err(|_| "dial: no answer")?;
        let io = TokioIo::new(stream.map_err(|error| format!("dial: {error}"))?);
        let handshake = hyper::client::conn::http1::handshake::<_, Full<Bytes>>(io).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let connection = self.tasks.spawn(Box::pin(connection));
        let asking = async {
            let request = request
                .body(Full::default())
                .expect("all parts are plain ASCII");
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>(judge(&head, &body.collect().await?.to_bytes(), None))
        };
        let outcome = timeout(ANSWER, asking).await;
        connection.abort();
        match outcome {
            Ok(outcome) => outcome.map_err(|error| format!("broken: {error}")),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// The token of a kind of request; a new one where the old one is near its end, or the issuer has a new key.
    fn token(&self, ask: &Ask, holder: &Holder) -> String {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.host.unix_time();
        let key = self.issuer().key();
        match tokens.get(&ask.name) {
            Some((number, token, until)) if *number == key && now < *until => token.clone(),
            _ => {
                let token = holder.token(self.issuer(), None, now);
                let until = now + holder.lifetime * 3 / 4;
                tokens.insert(ask.name.clone(), (key, token.clone(), until));
                token
            }
        }
    }
}

/// `own`: the status by which the gateway itself answers as it should.
fn judge(head: &http::response::Parts, body: &Bytes, own: Option<u16>) -> Outcome {
    let field = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let expected = match own {
        Some(status) => head.status.as_u16() == status,
        None => head.status.is_success(),
    };
    if expected {
        return Outcome::Served(field(REGION_FIELD));
    }
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let problem = problem["type"].as_str().unwrap_or("without a problem type");
    Outcome::Refused(head.status.as_u16(), problem.to_owned())
}

/// How long a dial may go unanswered before the next address is dialled beside it: above the longest round trip of
/// the shipped scenarios with its jitter, and near the 250 ms of RFC 8305 section 8.
const STAGGER: Duration = Duration::from_millis(300);

/// For the only dial of a request that goes to one node: as long as others wait before they dial a second.
const CONNECT: Duration = STAGGER;

/// Silences in a row from which on a node is kept off: a lost packet makes one, and so does a node that is slower
/// than the one after it.
const STRIKES: u32 = 2;

/// For the whole answer, and for all dials of a request together.
const ANSWER: Duration = Duration::from_secs(3);

/// How long a silent node is tried last.
pub const KEEP_OFF: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_all_regions_alternate_and_nodes_of_a_region_take_turns() {
        let address = |last| SocketAddr::from(([10, 0, 0, last], 80));
        let nodes = Nodes::default();
        let list = [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (2, 6)];
        nodes.set(
            list.map(|(place, last)| (Place(place), address(last)))
                .to_vec(),
        );
        let order = |number| nodes.for_request(number);
        let lasts = |lasts: [u8; 6]| lasts.map(address).to_vec();
        assert_eq!(order(0), lasts([1, 4, 6, 2, 5, 3]));
        assert_eq!(order(1), lasts([2, 5, 6, 3, 4, 1]));
        nodes.set(vec![(Place(0), address(1))]);
        assert_eq!(order(7), [address(1)]);
        nodes.set(Vec::new());
        assert!(order(7).is_empty());
    }
}
