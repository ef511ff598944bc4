//! Every node is stopped in an orderly way and started again, one after another, under writes and requests.

use std::{net::SocketAddr, time::Duration};

use meridian_tests::{
    http::get,
    load::{self, Record},
    peer::Upstream,
    process::Process,
    site::{Place, Site},
    wait::{LONG, until},
    writers::{self, Outcome},
};
use serde_json::Value;
use tokio::time::Instant;

/// What an election costs under the profile that `meridian node` runs with: its lease of 1 s must expire, and a
/// candidate waits up to 1 s more and may have to try twice. A hand-over costs far less; this is the bound.
const ELECTION: Duration = Duration::from_secs(3);

/// Requests a second of each client: enough to hit every moment of a stop, and little beside what a debug build on
/// a few shared cores can do.
const RATE: u32 = 40;

/// A service in every region, and for each region one that lies everywhere but there: its node must forward.
fn document(regions: &[&str], upstream: SocketAddr) -> String {
    let endpoints = |but: Option<&str>| -> String {
        let there = regions.iter().filter(|region| Some(**region) != but);
        there
            .map(|region| format!("      {region}: [\"http://{upstream}\"]\n"))
            .collect()
    };
    let health = "    health: { path: /health, interval: 2s, timeout: 2s, healthy_after: 1, unhealthy_after: 3 }\n";
    let mut text = "meridian: 1\nregions:\n".to_owned();
    for region in regions {
        text += &format!("  {region}: {{}}\n");
    }
    text += "defaults: { unidentified: { limits: [100000000/hour], per: client_ip } }\nservices:\n";
    text += &format!("  near:\n    endpoints:\n{}{health}", endpoints(None));
    for region in regions {
        text += &format!(
            "  far-{region}:\n    endpoints:\n{}{health}",
            endpoints(Some(region))
        );
    }
    text += "routes:\n";
    let services = regions.iter().map(|region| format!("far-{region}"));
    for service in services.chain(["near".to_owned()]) {
        text += &format!(
            "  {service}: {{ match: {{ path: \"/{service}/{{*rest}}\" }}, service: {service}, request: {{ rewrite: \"/{{rest}}\" }}, exempt: [auth] }}\n"
        );
    }
    text
}

/// Waits until requests of both kinds pass at a node.
async fn serves(node: &Place) {
    for path in [
        "/near/plants".to_owned(),
        format!("/far-{}/plants", node.region),
    ] {
        until(&format!("{} serves {path}", node.id), LONG, async || {
            let answer = get(&path).try_send(node.http).await?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_no_write_and_no_request_of_the_others() {
    let places = [("a", "eu"), ("b", "us"), ("c", "ap")];
    let site = Site::new("rolling", &places).await;
    let mut processes: Vec<Process> = site.nodes.iter().map(|node| site.spawn(node)).collect();
    let upstream = Upstream::start(&site.path(""), "upstream").await;
    let all: Vec<&Place> = site.nodes.iter().collect();
    until("the admin APIs listen", LONG, async || {
        for node in &all {
            get("/livez").try_send(node.admin).await?;
        }
        Ok(())
    })
    .await;
    let document = document(&["eu", "us", "ap"], upstream.address);
    site.apply(all[0], &document).await;
    site.whole(&all).await;
    for node in &all {
        serves(node).await;
    }

    let writing = writers::start(&site, &site.nodes, &document);
    writing.acknowledged(20).await;
    let begun = Instant::now();
    let mut leaders = Vec::new();
    for (at, node) in all.iter().enumerate() {
        let status = site.status(node).await;
        leaders.push(status["group"]["leader"] == node.id.as_str());
        let others: Vec<&Place> = all
            .iter()
            .filter(|other| other.id != node.id)
            .copied()
            .collect();
        let clients: Vec<(String, load::Load)> = others
            .iter()
            .flat_map(|other| {
                [
                    (other, "/near/plants".to_owned()),
                    (other, format!("/far-{}/plants", other.region)),
                ]
            })
            .map(|(other, path)| {
                let client = load::start(get(&path), vec![other.http], RATE);
                (
                    format!("{path} at {} while {} was restarted", other.id, node.id),
                    client,
                )
            })
            .collect();
        writing.acknowledged(6).await;
        processes[at].signal("TERM").await;
        let status = processes[at].end(LONG).await;
        assert_eq!(status.code(), Some(0), "{}", processes[at].stderr());
        writing.acknowledged(6).await;
        processes[at] = site.start(node).await;
        until(&format!("{} is ready", node.id), LONG, async || {
            let answer = get("/readyz").try_send(node.admin).await?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
        serves(node).await;
        site.whole(&all).await;
        writing.acknowledged(6).await;
        for (what, client) in clients {
            let seen: Record = client.stop().await;
            println!("{what}: {seen:?}");
            assert!(seen.good > 50, "{what}: {seen:?}");
            assert_eq!(
                (seen.broken, seen.refused.len()),
                (0, 0),
                "{what}: {seen:?}"
            );
        }
    }
    assert!(leaders.contains(&true), "the leader was never among them");
    let ended = Instant::now();
    let written = writing.stop(&site, all[0]).await;
    println!(
        "{} writes acknowledged, the slowest took {:?}; none was for at most {:?}; not acknowledged: {:?}",
        written.acknowledged().count(),
        written.slowest(),
        written.longest_gap(begun, ended),
        written.failed()
    );
    assert_eq!(written.lost(), Vec::<String>::new());
    assert!(
        written.longest_gap(begun, ended) < ELECTION,
        "{:?}",
        written.longest_gap(begun, ended)
    );
    assert!(written.slowest() < ELECTION, "{:?}", written.slowest());
    let refused = |write: &&writers::Write| matches!(write.outcome, Outcome::Refused(..));
    assert_eq!(
        written.writes.iter().filter(refused).count(),
        0,
        "{:?}",
        written.failed()
    );
    // What was told to a node as it closed its API may be left without an answer; its writer sends it elsewhere.
    assert!(
        written.failed().len() <= all.len(),
        "{:?}",
        written.failed()
    );

    // All nodes tell one history, once each has applied all of it.
    let last = written.ledger.keys().next_back().copied();
    let mut tales = Vec::new();
    for node in &all {
        until(
            &format!("{} has the last revision", node.id),
            LONG,
            async || {
                let serving = site.try_status(node).await?["serving"]["revision"].as_u64();
                if serving >= last {
                    Ok(())
                } else {
                    Err(format!("{serving:?} of {last:?}"))
                }
            },
        )
        .await;
        let history = site
            .admin(node, &["history", "-o", "json"])
            .await
            .expect(0)
            .json();
        // Not who serves each by now: that is still being told.
        let revisions = history["revisions"].as_array().expect("a list").iter();
        let tale: Vec<_> = revisions
            .map(|one| [&one["revision"], &one["digest"], &one["message"]].map(Value::clone))
            .collect();
        tales.push(tale);
    }
    for (node, tale) in all.iter().zip(&tales) {
        assert_eq!(tale, &tales[0], "{}", node.id);
    }
}
