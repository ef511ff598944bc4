//! The fast lane of several nodes, over a network in memory and a paused clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use meridian_config::name::NodeId;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{fact::tests::revocation, keeper::Source, shell::Parts, *};
use crate::{
    directory::Actor,
    fabric::{CallError, Handler, Kind, PeerIdentity, Transport},
    host::{
        BoxFuture, Host,
        memory::{Disk, MemoryHost},
    },
    membership::{Announced, Footing, Liveness, Member, View},
};

/// What the nodes share.
#[derive(Default)]
struct Net {
    handlers: Mutex<BTreeMap<NodeId, Arc<dyn Handler>>>,
    views: Mutex<BTreeMap<NodeId, watch::Sender<Arc<View>>>>,
    /// Nothing passes from the first to the second.
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    /// Calls and the longest body of any.
    calls: Mutex<(u64, usize)>,
}

fn region(node: &NodeId) -> &str {
    node.as_str().split_once('-').unwrap().0
}

/// One way between two nodes.
fn latency(from: &NodeId, to: &NodeId) -> Duration {
    let mut ends = [region(from), region(to)];
    ends.sort_unstable();
    Duration::from_millis(match ends {
        ["eu", "us"] => 40,
        ["ap", "eu"] => 75,
        ["ap", "us"] => 110,
        _ => 1,
    })
}

impl Net {
    fn passes(&self, from: &NodeId, to: &NodeId) -> bool {
        let cut = self.cut.lock().unwrap();
        !cut.contains(&(from.clone(), to.clone()))
    }

    fn cut(&self, from: &str, to: &str) {
        self.cut.lock().unwrap().insert((from.into(), to.into()));
    }

    /// Nodes see each other's digests, and take for dead those that they cannot hear.
    fn gossip(&self) {
        let digests: BTreeMap<NodeId, Option<Digest>> = {
            let views = self.views.lock().unwrap();
            let own = |(id, view): (&NodeId, &watch::Sender<Arc<View>>)| {
                (id.clone(), view.borrow().members[id].announced.facts)
            };
            views.iter().map(own).collect()
        };
        for (id, view) in &*self.views.lock().unwrap() {
            view.send_modify(|view| {
                let mut next = View::clone(view);
                for (other, member) in &mut next.members {
                    let hears = self.passes(other, id) && self.passes(id, other);
                    member.liveness = if hears { Liveness::Up } else { Liveness::Down };
                    if self.passes(other, id) {
                        member.announced.facts = digests[other];
                    }
                }
                *view = Arc::new(next);
            });
        }
    }
}

struct Link {
    net: Arc<Net>,
    own: NodeId,
}

impl Transport for Link {
    fn call(
        &self,
        to: &NodeId,
        kind: Kind,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        assert_eq!(kind, Kind::Facts);
        let (net, own, to) = (Arc::clone(&self.net), self.own.clone(), to.clone());
        Box::pin(async move {
            let exchange = async {
                let count = |bytes: usize| {
                    let mut calls = net.calls.lock().unwrap();
                    *calls = (calls.0 + 1, calls.1.max(bytes));
                };
                count(body.len());
                sleep(latency(&own, &to)).await;
                if !net.passes(&own, &to) {
                    std::future::pending::<()>().await;
                }
                let handler = net.handlers.lock().unwrap().get(&to).cloned();
                let handler = handler.ok_or(CallError::Unreachable(to.clone()))?;
                let from = PeerIdentity {
                    id: own.clone(),
                    region: region(&own).into(),
                    incarnation: 1,
                };
                let answer = handler.answer(from, body).await?;
                count(answer.len());
                sleep(latency(&to, &own)).await;
                if !net.passes(&to, &own) {
                    std::future::pending::<()>().await;
                }
                Ok(answer)
            };
            timeout(deadline, exchange)
                .await
                .unwrap_or(Err(CallError::Late(to.clone())))
        })
    }
}

struct TestNode {
    facts: Facts,
    disk: Disk,
    stop: CancellationToken,
    tracker: TaskTracker,
}

struct Cluster {
    net: Arc<Net>,
    names: Vec<NodeId>,
    nodes: BTreeMap<NodeId, TestNode>,
}

impl Cluster {
    async fn start(names: &[&str]) -> Self {
        let names: Vec<NodeId> = names.iter().map(|name| NodeId::from(*name)).collect();
        let mut cluster = Self {
            net: Arc::default(),
            names: names.clone(),
            nodes: BTreeMap::new(),
        };
        for name in &names {
            cluster.start_node(name, Disk::default()).await;
        }
        cluster.net.gossip();
        cluster
    }

    async fn nine() -> Self {
        let names: Vec<String> = ["eu", "us", "ap"]
            .iter()
            .flat_map(|region| (1..=3).map(move |n| format!("{region}-{n}")))
            .collect();
        Self::start(&names.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    async fn start_node(&mut self, name: &NodeId, disk: Disk) {
        let member = |id: &NodeId| Member {
            id: id.clone(),
            region: region(id).into(),
            incarnation: 1,
            liveness: Liveness::Up,
            footing: Footing::Steady,
            control: "10.0.0.1:1".parse().unwrap(),
            bulk: "10.0.0.1:2".parse().unwrap(),
            announced: Announced::default(),
            rtt: Some(2 * latency(name, id)),
        };
        let view = watch::Sender::new(Arc::new(View {
            own: name.clone(),
            own_region: region(name).into(),
            members: self
                .names
                .iter()
                .map(|id| (id.clone(), member(id)))
                .collect(),
            regions: BTreeMap::new(),
        }));
        let seed = u8::try_from(self.names.iter().position(|id| id == name).unwrap()).unwrap();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let facts = Facts::start(Parts {
            host: Arc::new(MemoryHost::new(disk.clone(), seed)),
            transport: Arc::new(Link {
                net: Arc::clone(&self.net),
                own: name.clone(),
            }),
            view: view.subscribe(),
            tracker: tracker.clone(),
            stop: stop.clone(),
        })
        .await
        .unwrap();
        let handlers = &self.net.handlers;
        handlers
            .lock()
            .unwrap()
            .insert(name.clone(), facts.handler());
        self.net.views.lock().unwrap().insert(name.clone(), view);
        let (net, own) = (Arc::clone(&self.net), name.clone());
        facts.compare(move |digest| {
            let views = net.views.lock().unwrap();
            views[&own].send_modify(|view| {
                let mut next = View::clone(view);
                next.members.get_mut(&own).unwrap().announced.facts = Some(digest);
                *view = Arc::new(next);
            });
        });
        let node = TestNode {
            facts,
            disk,
            stop,
            tracker,
        };
        self.nodes.insert(name.clone(), node);
    }

    fn facts(&self, name: &str) -> &Facts {
        &self.nodes[&NodeId::from(name)].facts
    }

    fn holds(&self, name: &str, id: &FactId) -> bool {
        self.facts(name).get(id).is_some()
    }

    /// Gossips until it holds, ten seconds at most; how long it took.
    async fn eventually(&self, what: &str, holds: impl Fn() -> bool) -> Duration {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
            self.net.gossip();
            sleep(Duration::from_millis(100)).await;
        }
        start.elapsed()
    }
}

fn now_ms() -> u64 {
    let host: Arc<dyn Host> = Arc::new(MemoryHost::new(Disk::default(), 0));
    u64::try_from(host.unix_time().as_millis()).unwrap()
}

fn actor() -> Actor {
    Actor::new("test", "security", None)
}

/// A revocation that a peer would take.
fn fresh(number: u64, expires_ms: u64) -> Fact {
    Fact {
        made_ms: expires_ms - 3_600_000,
        ..revocation(number, expires_ms)
    }
}

fn wanted(token: &str) -> Wanted {
    Wanted {
        claim: Claim::Revoke(Revocation::TokenId(token.to_owned())),
        expires_ms: now_ms() + 3_600_000,
        actor: actor(),
        reason: String::new(),
    }
}

fn applied(receipt: &Receipt) -> BTreeMap<&str, Duration> {
    let nodes = receipt.nodes.iter().filter_map(|node| match node.state {
        Reached::Applied { after, .. } => Some((node.node.as_str(), after)),
        _ => None,
    });
    nodes.collect()
}

fn state(receipt: &Receipt, name: &str) -> Reached {
    let node = receipt.nodes.iter().find(|node| node.node.as_str() == name);
    node.unwrap().state
}

#[tokio::test(start_paused = true)]
async fn a_fact_is_everywhere_within_half_a_second_and_the_receipt_says_so() {
    let cluster = Cluster::nine().await;
    let mut slowest = Duration::ZERO;
    for (round, name) in cluster.names.iter().cycle().take(100).enumerate() {
        let facts = cluster.facts(name.as_str());
        let token = format!("token-{round}");
        let receipt = facts.publish(wanted(&token), Wait::All).await.unwrap();
        let applied = applied(&receipt);
        assert_eq!(applied.len(), 9);
        slowest = slowest.max(*applied.values().max().unwrap());
        for other in &cluster.names {
            assert!(cluster.holds(other.as_str(), &receipt.fact.id));
        }
        assert!(!receipt.durable);
    }
    // A round trip to the farthest; the fact itself takes half of that.
    assert!(slowest <= Duration::from_millis(250), "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_is_gone_around_one_way_and_both() {
    for one_way in [false, true] {
        let cluster = Cluster::nine().await;
        cluster.net.cut("eu-1", "ap-2");
        if !one_way {
            cluster.net.cut("ap-2", "eu-1");
        }
        // The cut is not known yet: the sender believes in the link.
        let facts = cluster.facts("eu-1");
        let start = Instant::now();
        let receipt = facts.publish(wanted("t"), Wait::All).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_eq!(applied(&receipt).len(), 9, "{receipt:?}");
        assert!(
            applied(&receipt)["ap-2"] > Duration::from_millis(150),
            "by another's word"
        );
        // And when it is known, nobody waits for it.
        cluster.net.gossip();
        let start = Instant::now();
        let receipt = facts.publish(wanted("u"), Wait::All).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(500));
        cluster
            .eventually("all have it", || cluster.holds("ap-2", &receipt.fact.id))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_out_of_reach_are_named_and_get_everything_when_they_can() {
    let cluster = Cluster::nine().await;
    let (here, there) = (
        ["eu-1", "eu-2", "eu-3"],
        ["us-1", "us-2", "us-3", "ap-1", "ap-2", "ap-3"],
    );
    for a in here {
        for b in there {
            cluster.net.cut(a, b);
            cluster.net.cut(b, a);
        }
    }
    cluster.net.gossip();
    let receipt = cluster
        .facts("eu-1")
        .publish(wanted("t0"), Wait::All)
        .await
        .unwrap();
    assert_eq!(applied(&receipt).len(), 3);
    for name in there {
        assert_eq!(state(&receipt, name), Reached::OutOfReach);
    }
    for n in 1..1500 {
        cluster
            .facts("eu-1")
            .publish(wanted(&format!("t{n}")), Wait::None)
            .await
            .unwrap();
        cluster
            .facts("us-1")
            .publish(wanted(&format!("u{n}")), Wait::None)
            .await
            .unwrap();
    }
    cluster.net.cut.lock().unwrap().clear();
    let all = |name: &&str| cluster.facts(name).standing().held == 2999;
    let took = cluster
        .eventually("all hold all", || here.iter().chain(&there).all(all))
        .await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_empty_node_pulls_a_hundred_thousand_facts_in_bounded_messages() {
    let cluster = Cluster::start(&["eu-1"]).await;
    let expires = now_ms() + 3_600_000;
    for first in (0..100_000_u64).step_by(1000) {
        let batch = (first..first + 1000).map(|n| Arc::new(fresh(n, expires)));
        let acks = cluster
            .facts("eu-1")
            .take_in(batch.collect(), Source::Repair)
            .await;
        assert!(acks.iter().all(|ack| ack.taken == Taken::New && ack.saved));
    }
    let mut cluster = cluster;
    cluster.names.push("us-1".into());
    let (full, empty) = (cluster.names[0].clone(), cluster.names[1].clone());
    let disk = cluster.nodes[&full].disk.clone();
    cluster.start_node(&empty, Disk::default()).await;
    cluster.start_node(&full, disk.crash()).await;
    assert_eq!(cluster.facts("eu-1").standing().held, 100_000);
    *cluster.net.calls.lock().unwrap() = (0, 0);
    cluster
        .eventually("it has them", || {
            cluster.facts("us-1").standing().held == 100_000
        })
        .await;
    let (calls, longest) = *cluster.net.calls.lock().unwrap();
    assert!(longest < 1 << 20, "{longest} bytes");
    assert!(calls < 120, "{calls} messages");
    let index = cluster.facts("us-1").index();
    let token = Presented {
        token_id: Some("token-77777"),
        subject: "s",
        issuer: &"i".into(),
        tenant: &"t".into(),
        issued: None,
    };
    assert!(index.revokes(token, now_ms()).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_heeded_after_a_restart_alone_and_a_removal_too() {
    let mut cluster = Cluster::start(&["eu-1", "us-1", "ap-1"]).await;
    let stays = cluster
        .facts("eu-1")
        .publish(wanted("stays"), Wait::All)
        .await
        .unwrap();
    let goes = cluster
        .facts("us-1")
        .publish(wanted("goes"), Wait::All)
        .await
        .unwrap();
    let back = cluster.facts("ap-1");
    let receipt = back
        .cancel(goes.fact.id, actor(), String::new(), Wait::All)
        .await
        .unwrap();
    assert_eq!(applied(&receipt).len(), 3);
    let again = back.cancel(goes.fact.id, actor(), String::new(), Wait::All);
    assert_eq!(again.await, Err(PublishError::NotHeld(goes.fact.id)));
    for name in ["eu-1", "us-1", "ap-1"] {
        assert!(cluster.holds(name, &stays.fact.id) && !cluster.holds(name, &goes.fact.id));
    }
    let name = NodeId::from("us-1");
    let node = cluster.nodes.remove(&name).unwrap();
    node.stop.cancel();
    node.tracker.close();
    node.tracker.wait().await;
    cluster.net.handlers.lock().unwrap().clear();
    cluster.start_node(&name, node.disk.crash()).await;
    assert!(cluster.holds("us-1", &stays.fact.id));
    // The one that it cancels comes again from somewhere late: it stays out.
    let late = vec![Arc::clone(&goes.fact)];
    let acks = cluster.facts("us-1").take_in(late, Source::Repair).await;
    assert_eq!(acks[0].taken, Taken::Cancelled);
    assert_eq!(
        cluster
            .facts("us-1")
            .list(Listed::Revocations, None, 9)
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_away_asks_before_it_lets_clients_in() {
    let mut cluster = Cluster::start(&["eu-1", "us-1"]).await;
    let name = NodeId::from("us-1");
    let node = cluster.nodes.remove(&name).unwrap();
    node.stop.cancel();
    cluster.net.handlers.lock().unwrap().remove(&name);
    let receipt = cluster
        .facts("eu-1")
        .publish(wanted("t"), Wait::All)
        .await
        .unwrap();
    assert_eq!(state(&receipt, "us-1"), Reached::Late);
    cluster.start_node(&name, node.disk.crash()).await;
    cluster.net.gossip();
    assert!(!cluster.holds("us-1", &receipt.fact.id));
    cluster.facts("us-1").catch_up(Duration::from_secs(1)).await;
    assert!(cluster.holds("us-1", &receipt.fact.id));
}

#[tokio::test(start_paused = true)]
async fn facts_expire_by_the_nodes_own_clock() {
    let cluster = Cluster::start(&["eu-1", "us-1"]).await;
    let short = Wanted {
        expires_ms: now_ms() + 2000,
        ..wanted("t")
    };
    let receipt = cluster
        .facts("eu-1")
        .publish(short, Wait::All)
        .await
        .unwrap();
    assert!(cluster.holds("us-1", &receipt.fact.id));
    sleep(Duration::from_millis(3500)).await;
    for name in ["eu-1", "us-1"] {
        assert!(!cluster.holds(name, &receipt.fact.id));
        assert_eq!(cluster.facts(name).standing().held, 0);
        assert!(cluster.facts(name).index().is_empty());
    }
    let past = Wanted {
        expires_ms: 1000,
        ..wanted("t")
    };
    let outcome = cluster.facts("eu-1").publish(past, Wait::All).await;
    assert_eq!(outcome, Err(PublishError::Past));
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_an_operator_is_told_and_what_is_held_stays() {
    let cluster = Cluster::start(&["eu-1"]).await;
    let facts = cluster.facts("eu-1");
    let expires = now_ms() + 3_600_000;
    for first in (0..COUNT_LIMIT as u64).step_by(4000) {
        let last = (first + 4000).min(COUNT_LIMIT as u64);
        let batch = (first..last).map(|n| Arc::new(revocation(n, expires)));
        facts.take_in(batch.collect(), Source::Repair).await;
    }
    let refused = facts.publish(wanted("one more"), Wait::All).await;
    assert_eq!(refused, Err(PublishError::Full { held: COUNT_LIMIT }));
    assert_eq!(facts.standing().refused, 1);
    assert_eq!(facts.standing().held, COUNT_LIMIT);
    // Taking one back makes room for none, but is possible; it takes the other's place.
    let id = revocation(5, expires).id;
    let gone = facts.cancel(id, actor(), String::new(), Wait::All);
    assert!(gone.await.is_ok());
    assert!(facts.get(&id).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_does_not_keep_a_revocation_from_being_heeded() {
    let cluster = Cluster::start(&["eu-1", "us-1"]).await;
    cluster.nodes[&NodeId::from("us-1")].disk.break_down();
    let receipt = cluster
        .facts("eu-1")
        .publish(wanted("t"), Wait::All)
        .await
        .unwrap();
    let saved = |name| match state(&receipt, name) {
        Reached::Applied { saved, .. } => saved,
        other => panic!("{other:?}"),
    };
    assert!(saved("eu-1") && !saved("us-1"));
    assert!(cluster.holds("us-1", &receipt.fact.id));
    let disk = &cluster.nodes[&NodeId::from("us-1")].disk;
    disk.mend();
    sleep(Duration::from_secs(2)).await;
    assert!(
        disk.files
            .lock()
            .unwrap()
            .keys()
            .any(|name| name.starts_with("facts-"))
    );
}
