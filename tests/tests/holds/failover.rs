//! Regions that die under load, come back, and are cut off.

use std::time::Duration;

use meridian_tests::{
    dev::Dev,
    http::get,
    load,
    wait::{LONG, until},
};

/// The contract is a second. These tests run a debug build beside other tests on a few shared cores, so
/// they allow twice that and print what they saw; a release build is held to the second elsewhere.
const GAP_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn the_leaders_region_is_killed_under_load_and_comes_back() {
    let dev = Dev::start().await;
    let witness = dev.node("us-east");
    let leader = dev.leader(&witness).await;
    let living: Vec<_> = dev
        .nodes()
        .into_iter()
        .filter(|node| node.id != leader.id)
        .collect();
    let token = dev.token("initech", &["plants:read"]).await;
    let request = get("/v1/plants").token(&token);

    let near = load::start(request.clone(), vec![living[0].http], 200);
    // This one begins at the node that dies.
    let addresses = vec![leader.http, living[1].http, living[0].http];
    let moving = load::start(request.clone(), addresses, 200);
    let before = dev.status(&living[0]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    dev.dev(&["kill", &leader.region]).await.expect(0);

    // Another node leads, and a document can be applied.
    let next = until("another leader", LONG, async || {
        let status = dev.status(&living[0]).await;
        let next = status["group"]["leader"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if next.is_empty() || next == leader.id {
            Err(status.to_string())
        } else {
            Ok(next)
        }
    })
    .await;
    assert!(living.iter().any(|node| node.id == next), "{next}");
    let path = dev.folder().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("the applied document");
    std::fs::write(&path, format!("{text}# changed while a region was dead\n")).expect("written");
    let file = path.to_str().expect("a plain path");
    dev.admin(&living[0], &["apply", "-f", file, "--wait", "20s"])
        .await
        .expect(0);

    let (near, moving) = (near.stop().await, moving.stop().await);
    println!("a client of a living node: {near:?}");
    println!("a client that moves on: {moving:?}");
    for (client, seen) in [("living", &near), ("moving", &moving)] {
        assert!(seen.good > 100, "{client}: {seen:?}");
        assert!(
            seen.longest_gap < GAP_MAX,
            "{client}: no good answer for {:?}",
            seen.longest_gap
        );
    }
    assert_eq!(
        near.broken, 0,
        "the living node broke connections: {near:?}"
    );

    // It comes back, with what was decided while it was away.
    dev.dev(&["start", &leader.region]).await.expect(0);
    let back = dev.node(&leader.region);
    let wanted = dev.status(&living[0]).await["serving"]["revision"].clone();
    assert_ne!(wanted, before["serving"]["revision"], "nothing was applied");
    until(
        "the region that was dead runs the newest revision",
        LONG,
        async || {
            let status = dev.status(&back).await;
            if status["serving"]["revision"] == wanted {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    )
    .await;
    let home = |answer: &meridian_tests::http::Answer| {
        answer.status == 200 && answer.json()["region"] == back.region
    };
    back.eventually(&request, LONG, home).await;
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_cut_off_serves_on_and_refuses_writes() {
    let dev = Dev::start().await;
    let alone = dev.node("ap-south");
    let token = dev.token("acme", &["plants:read"]).await;
    let request = get("/v1/plants").token(&token);
    dev.dev(&["cut", "ap-south", "eu-west"]).await.expect(0);
    dev.dev(&["cut", "ap-south", "us-east"]).await.expect(0);
    until("the node knows that it is alone", LONG, async || {
        let status = dev.status(&alone).await;
        if status["group"]["quorum"] == false {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    let answer = request.send(alone.http).await;
    assert_eq!(
        (answer.status, &answer.json()["region"]),
        (200, &"ap-south".into()),
        "{answer:?}"
    );

    let path = dev.folder().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("the applied document");
    std::fs::write(&path, format!("{text}# more\n")).expect("written");
    let file = path.to_str().expect("a plain path");
    let refused = dev.admin(&alone, &["apply", "-f", file]).await.expect(4);
    assert!(refused.stderr.contains("quorum"), "{refused:?}");
    // It stays ready: losing the quorum is no reason to send its clients away.
    let ready = get("/readyz").send(alone.admin).await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(
        String::from_utf8_lossy(&ready.body).contains("degraded"),
        "{ready:?}"
    );

    dev.dev(&["heal"]).await.expect(0);
    until("a write is accepted again", LONG, async || {
        let ran = dev
            .admin(&alone, &["apply", "-f", file, "--wait", "20s"])
            .await;
        if ran.code == Some(0) {
            Ok(())
        } else {
            Err(ran.stderr)
        }
    })
    .await;
    dev.stop().await;
}
