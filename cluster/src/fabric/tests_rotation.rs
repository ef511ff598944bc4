//! A running cluster changes its CA by files alone, over a false network on a paused clock.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Authority,
    testing::{EPOCH, Makings, Node, eventually},
};
use crate::membership::{Liveness, Membership};

/// Longer than two looks at the files.
const TAKEN: Duration = Duration::from_secs(11);

fn connected(node: &Node, id: &str) -> bool {
    node.fabric
        .peers()
        .iter()
        .any(|peer| peer.identity.id.as_str() == id && peer.connected)
}

fn issue(makings: &Makings, authority: &Authority, id: &str, region: &str) {
    let issued = authority
        .issue(&id.into(), &region.into(), &[], &[], EPOCH)
        .unwrap();
    let host = makings.host(id);
    host.put("node.pem", Some(&issued.cert_pem));
    host.put("node.key", Some(&issued.key_pem));
}

#[tokio::test(start_paused = true)]
async fn a_running_cluster_changes_its_ca_without_losing_a_connection() {
    let makings = Makings::new();
    let old = &makings.authority;
    let new = Authority::create("test", Some([2; 32])).unwrap();
    let places = [("a", "eu", 1), ("b", "us", 2), ("c", "ap", 3)];
    let mut nodes = Vec::new();
    for (id, region, number) in places {
        nodes.push(makings.start(id, region, number).await);
    }
    let memberships: Vec<Membership> = nodes
        .iter()
        .map(|node| Membership::start(&node.fabric, "test", &node.tracker, node.stop.clone()))
        .collect();
    eventually("all see all as up", || {
        memberships.iter().all(|membership| {
            let view = membership.view();
            let up = |id| {
                view.members
                    .get(id)
                    .is_some_and(|it| it.liveness == Liveness::Up)
            };
            places.iter().filter(|(id, _, _)| up(*id)).count() >= 2
        })
    })
    .await;
    sleep(TAKEN).await;
    let changes: Vec<_> = nodes.iter().map(|node| node.fabric.watch_peers()).collect();
    let verdicts: Vec<_> = memberships.iter().map(Membership::watch).collect();
    let undisturbed = || {
        let lost = changes.iter().any(|changes| changes.has_changed().unwrap());
        let doubted = verdicts.iter().any(|view| {
            let view = view.borrow();
            view.members.values().any(|it| it.liveness != Liveness::Up)
        });
        !lost && !doubted
    };

    // Both are trusted everywhere before any certificate of the new one is shown.
    let both = format!("{}{}", new.cert_pem(), old.cert_pem());
    for (id, _, _) in places {
        makings.host(id).put("ca.pem", Some(&both));
    }
    sleep(TAKEN).await;
    assert!(undisturbed());
    for (id, region, _) in places {
        issue(&makings, &new, id, region);
        sleep(TAKEN).await;
        assert!(undisturbed(), "after {id} has its new certificate");
    }
    for (id, _, _) in places {
        makings.host(id).put("ca.pem", Some(new.cert_pem()));
    }
    sleep(TAKEN).await;
    assert!(undisturbed());

    // New handshakes use the new one: both planes are closed and made again.
    nodes[0].fabric.part(&"b".into(), "so that they meet again");
    eventually("a and b meet again", || {
        connected(&nodes[0], "b") && connected(&nodes[1], "a")
    })
    .await;
    // A node that was forgotten is kept out, in either direction, and counted.
    let late = makings.start("d", "eu", 4).await;
    eventually("it is refused on both sides", || {
        [&late, &nodes[0]]
            .iter()
            .all(|node| node.fabric.refused()["authority"] > 0)
    })
    .await;
    assert!(!connected(&nodes[0], "d"));
    // Its files make it well, without a restart.
    makings.host("d").put("ca.pem", Some(&both));
    issue(&makings, &new, "d", "eu");
    eventually("it is let in", || connected(&nodes[0], "d")).await;
}

#[tokio::test(start_paused = true)]
async fn files_that_do_not_fit_leave_what_was_in_force() {
    let makings = Makings::new();
    let a = makings.start("a", "eu", 1).await;
    let b = makings.start("b", "us", 2).await;
    let meet = || connected(&a, "b") && connected(&b, "a");
    eventually("they meet", meet).await;
    let host = makings.host("b");
    let stranger = Authority::create("test", Some([2; 32])).unwrap();
    let nodes_own = makings
        .authority
        .issue(&"b".into(), &"us".into(), &[], &[], EPOCH)
        .unwrap();
    let spoilt: [&dyn Fn(); 6] = [
        &|| issue(&makings, &stranger, "b", "us"),
        &|| host.put("node.key", None),
        &|| host.put("node.pem", Some(&nodes_own.cert_pem[..300])),
        &|| host.put("ca.pem", Some("")),
        // Another node's, and another region's.
        &|| {
            let other = makings
                .authority
                .issue(&"c".into(), &"us".into(), &[], &[], EPOCH)
                .unwrap();
            host.put("node.pem", Some(&other.cert_pem));
            host.put("node.key", Some(&other.key_pem));
        },
        &|| issue(&makings, &makings.authority, "b", "eu"),
    ];
    for spoil in spoilt {
        spoil();
        sleep(TAKEN).await;
        b.fabric.part(&"a".into(), "so that they meet again");
        eventually("they meet by what was in force", meet).await;
        host.put("ca.pem", Some(makings.authority.cert_pem()));
        issue(&makings, &makings.authority, "b", "us");
        sleep(TAKEN).await;
    }
    assert_eq!(a.fabric.refused()["authority"], 0);
}
