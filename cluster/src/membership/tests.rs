//! Nodes find each other, notice deaths and returns, over a false network on a paused clock.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Liveness, Membership, View};
use crate::fabric::testing::{Makings, Node, eventually};

struct Member {
    node: Node,
    membership: Membership,
}

impl Member {
    async fn start(makings: &Makings, id: &str, region: &str, number: u8) -> Self {
        let node = makings.start(id, region, number).await;
        let membership = Membership::start(&node.fabric, "test", &node.tracker, node.stop.clone());
        Self { node, membership }
    }

    fn sees(&self, id: &str) -> Option<Liveness> {
        let view = self.membership.view();
        view.members.get(id).map(|member| member.liveness)
    }

    /// How long until this node's view is as wanted.
    async fn takes(&self, what: &str, wanted: impl Fn(&View) -> bool) -> Duration {
        let start = Instant::now();
        let mut views = self.membership.watch();
        timeout(Duration::from_secs(60), views.wait_for(|view| wanted(view)))
            .await
            .unwrap_or_else(|_| panic!("{what}: not within a minute"))
            .unwrap();
        start.elapsed()
    }

    async fn takes_to_see(&self, id: &str, liveness: Liveness) -> Duration {
        self.takes(&format!("{id} is {liveness:?}"), |view| {
            view.members
                .get(id)
                .is_some_and(|member| member.liveness == liveness)
        })
        .await
    }
}

async fn three(makings: &Makings) -> [Member; 3] {
    let members = [
        Member::start(makings, "eu-1", "eu", 1).await,
        Member::start(makings, "us-1", "us", 2).await,
        Member::start(makings, "ap-1", "ap", 3).await,
    ];
    eventually("all see all", || {
        members.iter().all(|member| {
            ["eu-1", "us-1", "ap-1"]
                .iter()
                .all(|id| member.sees(id) == Some(Liveness::Up))
        })
    })
    .await;
    members
}

#[tokio::test(start_paused = true)]
async fn three_nodes_find_each_other_and_hear_what_each_says() {
    let makings = Makings::new();
    let start = Instant::now();
    let [eu, us, ap] = three(&makings).await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    us.membership.announce(|own| {
        own.revision = 7;
        own.services.insert("plant".into(), 2);
    });
    for other in [&eu, &ap] {
        let heard = other
            .takes("us-1 serves revision 7", |view| {
                let says = &view.members["us-1"].announced;
                says.revision == 7 && says.services.get("plant") == Some(&2)
            })
            .await;
        assert!(heard < Duration::from_secs(1), "{heard:?}");
    }
    let view = eu.membership.view();
    assert_eq!(view.members["us-1"].bulk, us.node.fabric.local_bulk());
    assert!(
        view.regions["us"]
            .rtt
            .is_some_and(|rtt| rtt >= Duration::from_millis(10))
    );
}

#[tokio::test(start_paused = true)]
async fn every_node_tells_its_row_of_the_latency_matrix() {
    let makings = Makings::new();
    let [eu, ..] = three(&makings).await;
    let row = |view: &View| -> Vec<(String, Duration)> {
        let latencies = &view.members["us-1"].announced.latencies;
        latencies
            .iter()
            .map(|(region, latency)| (region.to_string(), *latency))
            .collect()
    };
    eu.takes("us-1 tells its row", |view| row(view).len() == 2)
        .await;
    let row = row(&eu.membership.view());
    assert_eq!((row[0].0.as_str(), row[1].0.as_str()), ("ap", "eu"));
    let (way, much) = (Duration::from_millis(10), Duration::from_millis(60));
    assert!(
        row.iter().all(|(_, rtt)| (way..much).contains(rtt)),
        "{row:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn two_minutes_of_loss_and_jitter_take_no_node_for_dead() {
    let makings = Makings::new();
    let members = three(&makings).await;
    makings.net.spoil(0.01, Duration::from_millis(20));
    for minute in 0..2 {
        let watches: Vec<_> = members
            .iter()
            .map(|member| {
                let mut views = member.membership.watch();
                async move {
                    views
                        .wait_for(|view| {
                            let mut members = view.members.values();
                            members.any(|member| member.liveness == Liveness::Down)
                        })
                        .await
                        .map(|view| view.clone())
                }
            })
            .map(Box::pin)
            .collect();
        let dead = futures_util::future::select_all(watches);
        let dead = timeout(Duration::from_secs(60), dead).await;
        if let Ok((view, ..)) = dead {
            panic!("minute {minute}: {view:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_region_is_down_within_a_second_and_up_again_after_its_return() {
    let makings = Makings::new();
    let [eu, us, _ap] = three(&makings).await;
    makings.net.unplug("10.0.0.2");
    let noticed = eu.takes_to_see("us-1", Liveness::Down).await;
    assert!(
        noticed >= Duration::from_millis(400) && noticed <= Duration::from_millis(700),
        "{noticed:?}"
    );
    assert_eq!(eu.membership.view().regions["us"].liveness, Liveness::Down);
    assert!(us.takes_to_see("eu-1", Liveness::Down).await < Duration::from_secs(1));

    makings.net.plug("10.0.0.2");
    let back = eu.takes_to_see("us-1", Liveness::Up).await;
    assert!(back < Duration::from_secs(5), "{back:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_cut_one_way_is_down_on_both_sides() {
    let makings = Makings::new();
    let [eu, us, ap] = three(&makings).await;
    makings.net.cut_one_way("10.0.0.1", "10.0.0.2");
    assert!(eu.takes_to_see("us-1", Liveness::Down).await < Duration::from_secs(1));
    assert!(us.takes_to_see("eu-1", Liveness::Down).await < Duration::from_secs(1));
    assert_eq!(ap.sees("eu-1"), Some(Liveness::Up));
    assert_eq!(ap.sees("us-1"), Some(Liveness::Up));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_in_good_order_is_down_at_once() {
    let makings = Makings::new();
    let [eu, us, _ap] = three(&makings).await;
    let (noticed, ()) = tokio::join!(eu.takes_to_see("us-1", Liveness::Down), us.node.stop());
    assert!(noticed < Duration::from_millis(250), "{noticed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_is_known_by_its_new_incarnation() {
    let makings = Makings::new();
    let [eu, us, _ap] = three(&makings).await;
    let before = us.node.fabric.incarnation();
    us.node.stop().await;
    let again = Member::start(&makings, "us-1", "us", 2).await;
    let incarnation = again.node.fabric.incarnation();
    assert!(incarnation > before);
    eu.takes("the new incarnation is up", |view| {
        let us = &view.members["us-1"];
        us.incarnation == incarnation && us.liveness == Liveness::Up
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_crashes_again_and_again_is_taken_in_at_a_pace() {
    let makings = Makings::new();
    let [eu, mut us, ap] = three(&makings).await;
    let mut waited = 0;
    for _ in 0..30 {
        us.node.stop().await;
        us = Member::start(&makings, "us-1", "us", 2).await;
        let incarnation = us.node.fabric.incarnation();
        let up = eu
            .takes("the new incarnation is up", |view| {
                let us = &view.members["us-1"];
                us.incarnation == incarnation && us.liveness == Liveness::Up
            })
            .await;
        waited += u32::from(up > Duration::from_secs(15));
    }
    assert!((5..=10).contains(&waited), "{waited}");
    assert_eq!(ap.sees("eu-1"), Some(Liveness::Up));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_gossip_has_forgotten_is_still_known_and_taken_in_again() {
    let makings = Makings::new();
    let [eu, us, ap] = three(&makings).await;
    makings.net.unplug("10.0.0.2");
    eu.takes_to_see("us-1", Liveness::Down).await;
    // Longer than gossip remembers.
    tokio::time::sleep(Duration::from_secs(25 * 60)).await;
    assert_eq!(eu.sees("us-1"), Some(Liveness::Down));
    assert_eq!(us.sees("ap-1"), Some(Liveness::Down));

    makings.net.plug("10.0.0.2");
    for (member, other) in [(&eu, "us-1"), (&us, "ap-1"), (&ap, "us-1")] {
        let back = member.takes_to_see(other, Liveness::Up).await;
        assert!(back < Duration::from_secs(5), "{back:?}");
    }
    let announced = |view: &View| view.members["us-1"].announced.revision == 9;
    us.membership.announce(|own| own.revision = 9);
    assert!(eu.takes("what it says is heard", announced).await < Duration::from_secs(1));
}
