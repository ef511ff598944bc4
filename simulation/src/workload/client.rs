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
    Flow, Kind, Oracle, Outcome, Request,
    badge::{self, Badges},
    document::{self, TENANT, flows},
    issuer::Issuer,
    upstream::{REGION_FIELD, REQUEST_FIELD},
};
use crate::world::{Place, SimHost};

/// The clients of one region.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Where they are.
    pub from: Place,
    /// All regions' names.
    pub regions: Vec<String>,
    /// Nodes' edge addresses, nearest first.
    pub nodes: Vec<SocketAddr>,
    /// Between two requests of one kind.
    pub every: Duration,
    /// Who issues their tokens.
    pub issuer: Issuer,
    /// Badges to present; none: the operator revokes nothing.
    pub badges: Option<Badges>,
}

/// Sends requests until the machine is gone.
///
/// # Errors
/// Never by itself.
pub async fn run(host: Arc<SimHost>, oracle: Oracle, clients: Clients) -> Result<(), String> {
    let sender = Arc::new(Sender {
        tokens: Mutex::default(),
        host,
        oracle,
        silent: Mutex::default(),
        tasks: TaskTracker::new(),
        clients,
    });
    let flows = flows(sender.clients.from, sender.clients.regions.len());
    let count = u32::try_from(flows.len()).expect("a handful of kinds");
    for (index, flow) in (0..).zip(flows) {
        // Spread evenly, so that the kinds do not march in step.
        let phase = sender.clients.every * index / count;
        let sender = sender.clone();
        sender.tasks.clone().spawn(sender.flow(flow, phase));
    }
    if let Some(Badges { nodes, every }) = sender.clients.badges.clone() {
        for node in nodes {
            let presenting = badge::present(sender.clone(), sender.clients.from, node, every);
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
    /// The token that was issued under each key, by the key's number.
    tokens: Mutex<BTreeMap<usize, String>>,
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

    /// A token of the key that the issuer signs with now: clients take a new one when keys rotate.
    fn token(&self) -> String {
        let subject = format!("client-{}", self.clients.from.0);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let issue = || self.issuer().token(TENANT, &subject, self.host.unix_time());
        tokens
            .entry(self.issuer().key())
            .or_insert_with(issue)
            .clone()
    }

    async fn flow(self: Arc<Self>, flow: Flow, phase: Duration) {
        let mut ticks = tokio::time::interval_at(Instant::now() + phase, self.clients.every);
        loop {
            ticks.tick().await;
            // In flight at most: rate times patience at every node.
            self.tasks.spawn(self.clone().request(flow.clone()));
        }
    }

    async fn request(self: Arc<Self>, flow: Flow) {
        let sent = self.oracle.now();
        let id = self.oracle.begin(flow.kind == Kind::Order);
        let mut nodes = self.in_order();
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
            match self.attempt(&flow, id, stream).await {
                Try::Answered(answer) => {
                    outcome = answer;
                    self.note(node, true);
                    break;
                }
                Try::Unsent(error) => outcome = Outcome::Failed(error),
                Try::Lost(error) => {
                    outcome = Outcome::Failed(error);
                    if flow.kind == Kind::Order {
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
    fn in_order(&self) -> VecDeque<SocketAddr> {
        let now = Instant::now();
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut nodes = self.clients.nodes.clone();
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

    async fn attempt(&self, flow: &Flow, id: u64, stream: BoxStream) -> Try {
        let io = TokioIo::new(stream);
        let (mut sender, connection) = match hyper::client::conn::http1::handshake(io).await {
            Ok(pair) => pair,
            Err(error) => return Try::Unsent(error.to_string()),
        };
        let connection = self.tasks.spawn(connection);
        let exchange = async {
            let answer = sender.send_request(self.message(flow, id)).await?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>((head, body))
        };
        let result = timeout(ANSWER, exchange).await;
        connection.abort();
        match result {
            Ok(Ok((head, body))) => Try::Answered(judge(&head, &body)),
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
        let connection = self.tasks.spawn(connection);
        let asking = async {
            let request = request
                .body(Full::default())
                .expect("all parts are plain ASCII");
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>(judge(&head, &body.collect().await?.to_bytes()))
        };
        let outcome = timeout(ANSWER, asking).await;
        connection.abort();
        match outcome {
            Ok(outcome) => outcome.map_err(|error| format!("broken: {error}")),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    fn message(&self, flow: &Flow, id: u64) -> http::Request<Full<Bytes>> {
        let path = document::path(flow, &self.clients.regions, id);
        let (method, body) = match flow.kind {
            Kind::Local | Kind::Remote => ("GET", Bytes::new()),
            Kind::Order => (
                "POST",
                Bytes::from_static(b"{\"item\":\"fern\",\"count\":1}"),
            ),
        };
        http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "api.simulated.example")
            .header("authorization", format!("Bearer {}", self.token()))
            .header(REQUEST_FIELD, id)
            .body(Full::new(body))
            .expect("all parts are plain ASCII")
    }
}

fn judge(head: &http::response::Parts, body: &Bytes) -> Outcome {
    let field = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    if head.status.is_success() {
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
const KEEP_OFF: Duration = Duration::from_secs(5);
