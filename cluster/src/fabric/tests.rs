//! Nodes meet, speak, part and are refused, over a false network on a paused clock.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use meridian_config::name::NodeId;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Authority, CallError, Datagram, Fabric, FabricError, FabricSettings, Handler, Kind,
    MESSAGE_LIMIT, PeerIdentity, Sent, Transport,
    roster::Plane,
    testing::{Makings, eventually},
};
use crate::host::BoxFuture;

const DEADLINE: Duration = Duration::from_secs(1);

/// Answers with the caller's name and the body; remembers what it was asked.
#[derive(Default)]
struct Parrot {
    asked: Mutex<Vec<Bytes>>,
    pause: Duration,
}

impl Handler for Parrot {
    fn answer(
        self: Arc<Self>,
        from: PeerIdentity,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(body.clone());
            sleep(self.pause).await;
            Ok([from.id.as_str().as_bytes(), b": ", &body].concat().into())
        })
    }
}

fn connected(fabric: &Fabric, id: &str) -> bool {
    fabric
        .peers()
        .iter()
        .any(|peer| peer.identity.id.as_str() == id && peer.connected)
}

async fn meet(a: &Fabric, b: &Fabric) {
    eventually("two nodes meet", || {
        connected(a, b.own().id.as_str()) && connected(b, a.own().id.as_str())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_nodes_meet_and_answer_each_others_calls() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        to.fabric.register(Kind::Control, Arc::<Parrot>::default());
        let answer = from
            .fabric
            .call(&to.fabric.own().id, Kind::Control, "hi".into(), DEADLINE)
            .await
            .unwrap();
        let expected = format!("{}: hi", from.fabric.own().id);
        assert_eq!(answer, expected.as_bytes());
    }
    let peer = &a.fabric.peers()[0];
    assert_eq!(peer.identity, b.fabric.own());
    assert_eq!(peer.bulk, b.fabric.local_bulk());
    assert!(peer.rtt.is_some_and(|rtt| rtt >= Duration::from_millis(10)));
}

#[tokio::test(start_paused = true)]
async fn two_that_dial_each_other_end_with_one_connection() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    // `b` has joined `a`; now `a` dials `b` as well, as after gossip, at the same time as `b` again.
    for (from, to) in [(&a, &b), (&b, &a)] {
        let address = to.fabric.local_control();
        from.fabric
            .shared
            .dial(super::roster::Plane::Control, address);
    }
    sleep(Duration::from_secs(3)).await;
    let changes = (a.fabric.watch_peers(), b.fabric.watch_peers());
    sleep(Duration::from_secs(10)).await;
    assert!(!changes.0.has_changed().unwrap() && !changes.1.has_changed().unwrap());
    assert!(connected(&a.fabric, "b") && connected(&b.fabric, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_certificate_of_another_ca_is_refused_and_counted() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    // Of the same name, then of another.
    for (number, cluster) in [(2, "test"), (3, "other")] {
        let other = Authority::create(cluster, Some([number; 32])).unwrap();
        let b = makings
            .start_with("b", "us", number, Duration::ZERO, &other)
            .await
            .unwrap();
        eventually("both count it", || {
            [&a, &b]
                .iter()
                .all(|node| node.fabric.refused()["authority"] > 0)
        })
        .await;
        assert!(!connected(&a.fabric, "b"));
        b.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_cluster_by_id_is_refused_and_parted_from() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    a.fabric.set_member("one", 0);
    assert!(connected(&a.fabric, "b"), "b has no cluster id yet");
    b.fabric.set_member("two", 0);
    b.fabric.part(&"a".into(), "so that they meet again");
    eventually("a refuses b", || {
        [&a, &b]
            .iter()
            .any(|node| node.fabric.refused()["cluster-id"] > 0)
    })
    .await;
    eventually("they are parted", || !connected(&a.fabric, "b")).await;
}

#[tokio::test(start_paused = true)]
async fn a_later_start_takes_the_place_of_an_earlier_one() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let first = makings.start("b", "us", 2).await;
    meet(&a.fabric, &first.fabric).await;
    sleep(Duration::from_secs(3)).await;
    // A second process with the first one's certificate, on another machine.
    let second = makings.start("b", "us", 3).await;
    let by = timeout(Duration::from_secs(5), first.fabric.replaced())
        .await
        .expect("the first is told");
    assert_eq!(by, second.fabric.incarnation());
    meet(&a.fabric, &second.fabric).await;
    assert_eq!(
        a.fabric.peers()[0].identity.incarnation,
        second.fabric.incarnation()
    );
}

#[tokio::test(start_paused = true)]
async fn a_wiped_node_whose_clock_is_behind_counts_on() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let hour = Duration::from_secs(3600);
    let before = makings
        .start_with("b", "us", 2, hour, &makings.authority)
        .await
        .unwrap();
    meet(&a.fabric, &before.fabric).await;
    before.stop().await;
    makings.disks.lock().unwrap().remove("b");
    let after = makings.start("b", "us", 2).await;
    assert!(after.fabric.incarnation() < before.fabric.incarnation());
    meet(&a.fabric, &after.fabric).await;
    assert_eq!(after.fabric.incarnation(), before.fabric.incarnation() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_says_so() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    b.stop().await;
    let took = eventually("a hears it", || a.fabric.peers()[0].left).await;
    assert!(took < Duration::from_millis(50), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_resets_connections_of_its_former_life() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    makings.net.unplug("10.0.0.2");
    b.stop().await;
    makings.net.plug("10.0.0.2");
    assert!(connected(&a.fabric, "b"), "nobody has told a");
    // Without the reset a would wait for an answer of the former life until its connection idles out.
    makings.net.cut_one_way("10.0.0.2", "10.0.0.1");
    let again = makings.start("b", "us", 2).await;
    makings.net.heal();
    let call = a
        .fabric
        .call(&"b".into(), Kind::Control, Bytes::new(), DEADLINE);
    let start = Instant::now();
    let _ = call.await;
    assert!(start.elapsed() < Duration::from_millis(100));
    meet(&a.fabric, &again.fabric).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_never_keeps_a_connection_to_itself() {
    let makings = Makings::new();
    // It joins host 1, which is itself.
    let a = makings.start("a", "eu", 1).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(a.fabric.peers(), vec![]);
    let own = a
        .fabric
        .call(&"a".into(), Kind::Control, Bytes::new(), DEADLINE);
    assert_eq!(own.await, Err(CallError::Unreachable("a".into())));
}

#[tokio::test(start_paused = true)]
async fn messages_that_nobody_takes_are_refused_with_a_reason() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    let to = NodeId::new("b");
    let unknown = a.fabric.call(&to, Kind::Facts, "x".into(), DEADLINE).await;
    assert!(
        matches!(unknown, Err(CallError::Refused { .. })),
        "{unknown:?}"
    );
    assert_eq!(b.fabric.refused().get("kind"), Some(&1));
    let large = Bytes::from(vec![0; MESSAGE_LIMIT + 1]);
    let large = a.fabric.call(&to, Kind::Facts, large, DEADLINE).await;
    assert!(matches!(large, Err(CallError::Refused { .. })), "{large:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_message_and_its_answer_arrive_whole() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    b.fabric.register(Kind::Control, Arc::<Parrot>::default());
    meet(&a.fabric, &b.fabric).await;
    let body: Bytes = (0..3_000_000_u32)
        .map(|byte| byte.to_le_bytes()[0])
        .collect();
    let limit = Duration::from_secs(10);
    let answer = a
        .fabric
        .call(&"b".into(), Kind::Control, body.clone(), limit);
    let answer = answer.await.unwrap();
    assert_eq!(answer[..3], b"a: "[..]);
    assert_eq!(answer.slice(3..), body);
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_half_way_is_never_answered() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    let parrot = Arc::<Parrot>::default();
    b.fabric.register(Kind::Control, parrot.clone());
    meet(&a.fabric, &b.fabric).await;
    // Too large to be sent within the deadline.
    let body = Bytes::from(vec![7; 8 << 20]);
    let given_up = a
        .fabric
        .call(&"b".into(), Kind::Control, body, Duration::from_millis(20));
    assert_eq!(given_up.await, Err(CallError::Late("b".into())));
    sleep(Duration::from_secs(1)).await;
    assert!(parrot.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn calls_to_a_node_that_is_gone_end_in_time() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    let slow = Arc::new(Parrot {
        pause: Duration::from_secs(60),
        ..Parrot::default()
    });
    b.fabric.register(Kind::Control, slow);
    let to = NodeId::new("b");
    let call = a
        .fabric
        .call(&to, Kind::Control, "x".into(), DEADLINE)
        .await;
    assert_eq!(call, Err(CallError::Late(to.clone())));
    makings.net.unplug("10.0.0.2");
    let waiting = a.fabric.call(&to, Kind::Control, "x".into(), 9 * DEADLINE);
    let part = async {
        sleep(Duration::from_millis(100)).await;
        a.fabric.part(&to, "taken for dead");
    };
    let (waiting, ()) = tokio::join!(waiting, part);
    assert_eq!(waiting, Err(CallError::Broken(to)));
}

#[tokio::test(start_paused = true)]
async fn bulk_streams_carry_bytes_both_ways() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    // Either side opens, whoever dialled.
    for (from, to) in [(&a, &b), (&b, &a)] {
        let (mut send, mut recv) = from.fabric.open_bulk(&to.fabric.own().id).await.unwrap();
        send.write_all(b"question").await.unwrap();
        send.finish().unwrap();
        let mut taken = timeout(DEADLINE, to.fabric.accept_bulk())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(taken.from, from.fabric.own());
        assert_eq!(taken.recv.read_to_end(100).await.unwrap(), b"question");
        taken.send.write_all(b"answer").await.unwrap();
        taken.send.finish().unwrap();
        assert_eq!(recv.read_to_end(100).await.unwrap(), b"answer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_on_when_the_other_sides_dial_replaces_its_bulk_connection() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    let (to, standing) = (NodeId::new("b"), |fabric: &Fabric, peer: &str| {
        let roster = fabric.shared.roster();
        let connection = roster.connection(Plane::Bulk, &NodeId::new(peer));
        connection.map(quinn::Connection::stable_id)
    });
    // `b` dials first, and a request of `a` is under way on its connection when the dial of `a` gets through.
    b.fabric.prepare_bulk(&"a".into());
    eventually("they have a bulk connection", || {
        standing(&a.fabric, "b").is_some()
    })
    .await;
    let before = standing(&a.fabric, "b");
    let (mut send, mut recv) = a.fabric.open_bulk(&to).await.unwrap();
    send.write_all(b"question").await.unwrap();
    let mut taken = timeout(DEADLINE, b.fabric.accept_bulk())
        .await
        .unwrap()
        .unwrap();
    drop(a.fabric.shared.dial(Plane::Bulk, b.fabric.local_bulk()));
    eventually("the dial of the smaller id stays", || {
        standing(&a.fabric, "b") != before
    })
    .await;
    let after = standing(&b.fabric, "a");
    send.finish().unwrap();
    assert_eq!(taken.recv.read_to_end(100).await.unwrap(), b"question");
    taken.send.write_all(b"answer").await.unwrap();
    taken.send.finish().unwrap();
    assert_eq!(recv.read_to_end(100).await.unwrap(), b"answer");
    // New ones take the new connection, and the old one ends by itself.
    a.fabric.open_bulk(&to).await.unwrap();
    sleep(Duration::from_secs(31)).await;
    assert_eq!(standing(&b.fabric, "a"), after);
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_snapshot_travel_on_the_bulk_connection() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    b.fabric.register(Kind::Snapshot, Arc::<Parrot>::default());
    meet(&a.fabric, &b.fabric).await;
    let to = NodeId::new("b");
    let part = Bytes::from(vec![7; 300_000]);
    let answer = a.fabric.call(&to, Kind::Snapshot, part.clone(), DEADLINE);
    assert_eq!(answer.await.unwrap().len(), part.len() + "a: ".len());
    let sent = |plane| {
        let roster = a.fabric.shared.roster();
        roster.connection(plane, &to).unwrap().stats().udp_tx.bytes
    };
    assert!(sent(Plane::Bulk) > 300_000);
    assert!(sent(Plane::Control) < 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_kind_of_the_other_connection_is_refused() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    b.fabric.register(Kind::Control, Arc::<Parrot>::default());
    meet(&a.fabric, &b.fabric).await;
    let to = NodeId::new("b");
    let connection = a.fabric.shared.connection(Plane::Bulk, &to).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&[Kind::Control as u8, 1]).await.unwrap();
    send.finish().unwrap();
    assert!(recv.read_to_end(100).await.is_err());
    assert_eq!(b.fabric.refused().get("kind"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn many_callers_of_an_unconnected_node_share_one_dial() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    b.fabric.register(Kind::Control, Arc::<Parrot>::default());
    meet(&a.fabric, &b.fabric).await;
    a.fabric.part(&"b".into(), "so that it must dial again");
    let answered = AtomicU64::new(0);
    let calls = (0..20).map(|_| async {
        let call = a
            .fabric
            .call(&"b".into(), Kind::Control, "x".into(), DEADLINE);
        if call.await.is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(answered.into_inner(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_port_in_use_ends_the_start_with_its_name() {
    let makings = Makings::new();
    let _a = makings.start("a", "eu", 1).await;
    let second = makings
        .start_with("b", "eu", 1, Duration::ZERO, &makings.authority)
        .await
        .err()
        .unwrap();
    assert!(matches!(
        second,
        FabricError::Listen {
            key: "listen.fabric",
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_expired_by_the_others_clock_is_refused_on_both_sides() {
    let makings = Makings::new();
    let years = Duration::from_secs(3 * 365 * 86_400);
    // `a` lives three years later; `b`'s certificate has expired there, and its own start did not notice.
    let authority = Authority::create("test", Some([1; 32])).unwrap();
    let a = makings.start_later("a", "eu", 1, years, &authority).await;
    let b = makings.start("b", "us", 2).await;
    for node in [&a, &b] {
        eventually("it is counted", || node.fabric.refused()["expired"] > 0).await;
    }
    assert!(!connected(&a.fabric, "b"));
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_hello_is_not_its_certificates_is_refused_and_counted() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    type Claim = fn(&mut FabricSettings);
    let lies: [(&str, Claim); 3] = [
        ("node", |says| says.id = "c".into()),
        ("region", |says| says.region = "eu".into()),
        ("cluster-name", |says| says.cluster = "other".into()),
    ];
    for (number, (cause, lie)) in (2..).zip(lies) {
        let liar = makings.start_liar(number, lie).await;
        eventually("a counts it", || a.fabric.refused()[cause] > 0).await;
        eventually("the liar is told", || {
            liar.fabric.refused()["refused-there"] > 0
        })
        .await;
        assert_eq!(a.fabric.peers(), vec![]);
        liar.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_trusted_ca_of_another_cluster_lets_none_of_its_nodes_in() {
    let mut makings = Makings::new();
    let other = Authority::create("other", Some([2; 32])).unwrap();
    // The mistake of one large ca.pem for everything.
    makings.also_trusted = other.cert_pem().to_owned() + makings.authority.cert_pem();
    let a = makings.start("a", "eu", 1).await;
    let b = makings
        .start_with("b", "us", 2, Duration::ZERO, &other)
        .await
        .unwrap();
    for node in [&a, &b] {
        eventually("it is counted", || node.fabric.refused()["name"] > 0).await;
        assert_eq!(node.fabric.peers(), vec![]);
    }
}

#[tokio::test(start_paused = true)]
async fn probes_are_echoed_and_gossip_of_any_size_arrives() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    let (id, number) = (NodeId::new("b"), 7_u64.to_be_bytes());
    let mut echoes = a.fabric.inbox(Datagram::Echo);
    assert_eq!(
        a.fabric.send_datagram(&id, Datagram::Probe, &number),
        Sent::Given
    );
    let echo = timeout(DEADLINE, echoes.recv()).await.unwrap().unwrap();
    assert_eq!((&echo.from.id, &echo.body[..]), (&id, &number[..]));

    let mut gossip = b.fabric.inbox(Datagram::Gossip);
    for size in [10, 30_000] {
        a.fabric.send_gossip(&id, &vec![7; size]);
        let heard = timeout(DEADLINE, gossip.recv()).await.unwrap().unwrap();
        assert_eq!(heard.body, vec![7; size]);
    }
    assert_eq!(
        a.fabric
            .send_datagram(&"nobody".into(), Datagram::Probe, &number),
        Sent::NoConnection
    );
}

#[tokio::test(start_paused = true)]
async fn a_lossy_link_keeps_its_connection_and_answers_calls() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    b.fabric.register(Kind::Control, Arc::<Parrot>::default());
    meet(&a.fabric, &b.fabric).await;
    sleep(Duration::from_secs(3)).await;
    makings.net.spoil(0.05, Duration::from_millis(40));
    let changes = a.fabric.watch_peers();
    for _ in 0..600 {
        let call = a
            .fabric
            .call(&"b".into(), Kind::Control, "x".into(), DEADLINE);
        assert!(call.await.is_ok());
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn nodes_meet_again_after_a_cut() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    makings.net.cut("10.0.0.1", "10.0.0.2");
    eventually("both notice by themselves", || {
        !connected(&a.fabric, "b") && !connected(&b.fabric, "a")
    })
    .await;
    sleep(Duration::from_secs(60)).await;
    makings.net.heal();
    let healed = Instant::now();
    meet(&a.fabric, &b.fabric).await;
    assert!(
        healed.elapsed() < Duration::from_secs(3),
        "{:?}",
        healed.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_bulk_port_dialled_as_control_is_told_apart_from_a_bad_certificate() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    meet(&a.fabric, &b.fabric).await;
    b.fabric
        .shared
        .dial(super::roster::Plane::Control, a.fabric.local_bulk());
    eventually("b counts it", || b.fabric.refused()["protocol"] > 0).await;
    for other in ["authority", "certificate", "name"] {
        assert_eq!(b.fabric.refused()[other], 0, "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_is_told_so_and_forgotten_and_may_come_back_with_an_empty_disk() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    a.fabric.set_member("one", 0);
    b.fabric.set_member("one", 3);
    meet(&a.fabric, &b.fabric).await;
    let removed = std::collections::BTreeMap::from([("b".into(), 5)]);
    a.fabric.set_removed(removed.clone());
    let by = timeout(Duration::from_secs(5), b.fabric.expelled())
        .await
        .expect("it is told");
    assert_eq!(by, 5);
    assert_eq!(a.fabric.peers(), []);
    b.stop().await;

    // It starts again on its disk: refused and told again.
    let b = makings.start("b", "us", 2).await;
    b.fabric.set_member("one", 3);
    let by = timeout(Duration::from_secs(5), b.fabric.expelled())
        .await
        .expect("it is told again");
    assert_eq!(by, 5);
    assert!(a.fabric.refused().get("removed") > Some(&0));
    b.stop().await;

    // On an empty one it is let in, and stays once it has a newer seat.
    let b = makings.start("b", "us", 4).await;
    meet(&a.fabric, &b.fabric).await;
    b.fabric.set_member("one", 6);
    a.fabric.set_removed(removed);
    a.fabric.part(&"b".into(), "so that they meet again");
    meet(&a.fabric, &b.fabric).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_is_told_of_its_removal_on_a_connection_from_before_it_was_a_member() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    let c = makings.start("c", "ap", 3).await;
    meet(&a.fabric, &b.fabric).await;
    meet(&a.fabric, &c.fabric).await;
    // Founded, or taken in, after they met: what `a` knows of their hellos is old.
    for member in [&a, &b] {
        member.fabric.set_member("one", 0);
    }
    let removed = [("b".into(), 5), ("c".into(), 6)];
    a.fabric
        .set_removed(std::collections::BTreeMap::from(removed));
    let by = timeout(Duration::from_secs(5), b.fabric.expelled())
        .await
        .expect("it is told");
    assert_eq!(by, 5);
    // `c` is a wiped one on its way in: not meant, and back at once.
    meet(&a.fabric, &c.fabric).await;
    assert_eq!(*c.fabric.shared.expelled.borrow(), None);
}
