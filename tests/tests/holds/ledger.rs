//! Documents as a ledger: who applied what, what the nodes made of it, and what an apply must not disturb.

use std::time::{Duration, Instant};

use meridian_tests::{
    binary::command,
    dev::{Dev, Node},
    http::{Answer, call, get},
    process::Process,
    site::Site,
    wait::{LONG, until},
};
use serde_json::{Value, json};

/// A document without issuers, which every node can serve.
fn open(path: &str) -> String {
    format!(
        "meridian: 1\nregions: {{ eu-west: {{}}, us-east: {{}}, ap-south: {{}} }}\nroutes:\n  open: {{ match: {{ path: {path} }}, respond: {{ status: 200 }}, exempt: [auth, limits] }}\n"
    )
}

async fn apply(dev: &Dev, at: &Node, text: &str, more: &[&str]) -> meridian_tests::binary::Ran {
    let path = dev.folder().join("next.yaml");
    std::fs::write(&path, text).expect("written");
    let mut arguments = vec!["apply", "-f", path.to_str().expect("a plain path")];
    arguments.extend(more);
    dev.admin(at, &arguments).await
}

async fn read(dev: &Dev, at: &Node, path: &str) -> Answer {
    let token = std::fs::read_to_string(dev.folder().join("admin.token")).expect("a token");
    get(path).token(token.trim()).send(at.admin).await
}

/// The node's part in `history REVISION`, as another node tells it; null where there is none yet.
async fn ack(dev: &Dev, at: &Node, revision: u64, node: &str) -> Value {
    let number = revision.to_string();
    let ran = dev.admin(at, &["history", &number, "-o", "json"]).await;
    let record = ran.expect(0).json();
    let acks = record["nodes"].as_array().expect("a list").clone();
    let found = acks.into_iter().find(|ack| ack["node"] == node);
    found.unwrap_or_default()
}

/// One node of three is none of `meridian dev`'s: to it a plain `http:` issuer is no issuer, while the two
/// others take it. So a document that passes where it is applied cannot be served by every node.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_serve_a_revision_keeps_its_last_one_and_says_so_everywhere() {
    let dev = Dev::start().await;
    let eu = dev.node("eu-west");
    // Not the leader: it would refuse for all of them.
    let leader = dev.leader(&eu).await;
    let mut others = ["ap-south", "us-east"]
        .into_iter()
        .map(|region| dev.node(region));
    let odd = others
        .find(|node| node.id != leader.id)
        .expect("two others");
    let given = std::fs::read_to_string(dev.folder().join("gateway.yaml")).expect("a document");
    let ran = apply(&dev, &eu, &open("/two"), &["--wait", "30s"])
        .await
        .expect(0);
    assert!(ran.stderr.contains("3 of 3 nodes run it"), "{}", ran.stderr);

    dev.dev(&["kill", &odd.region]).await.expect(0);
    let folder = dev.folder().join("nodes").join(&odd.id);
    let mut node = command(&["node", "--config"]);
    node.arg(folder.join("node.yaml"));
    let begun = Instant::now();
    let mut process = Process::start("odd", &dev.folder(), node);
    until("the node serves its last revision", LONG, async || {
        process.must_run();
        let answer = get("/two").try_send(odd.http).await?;
        (answer.status == 200)
            .then_some(())
            .ok_or(format!("{answer:?}"))
    })
    .await;
    println!(
        "serving {:?} after its process was started",
        begun.elapsed()
    );
    until("the three nodes see each other", LONG, async || {
        let status = dev.status(&eu).await;
        let up = |node: &Value| node["state"] == "up";
        let nodes = status["nodes"].as_array().expect("nodes");
        (nodes.len() == 3 && nodes.iter().all(up))
            .then_some(())
            .ok_or(status.to_string())
    })
    .await;

    let ran = apply(&dev, &eu, &given, &["--wait", "30s"]).await.expect(1);
    let told = format!("node {} rejected revision 3", odd.id);
    assert!(ran.stderr.contains(&told), "{}", ran.stderr);
    assert!(ran.stderr.contains("https"), "no reason: {}", ran.stderr);
    assert!(ran.stderr.contains("2 of 3 nodes run it"), "{}", ran.stderr);

    // It serves what it had, and the others the new one.
    assert_eq!(get("/two").send(odd.http).await.status, 200);
    assert_eq!(get("/two").send(eu.http).await.status, 404);
    // By gossip, in another node's status.
    let status = dev.status(&eu).await;
    let nodes = status["nodes"].as_array().expect("nodes");
    let said = nodes
        .iter()
        .find(|node| node["id"] == odd.id.as_str())
        .expect("it is up");
    assert_eq!(
        (&said["revision"], &said["rejected"]["revision"]),
        (&json!(2), &json!(3))
    );
    // In its own health, metrics and log.
    let health = get("/healthz?verbose").send(odd.admin).await;
    assert_eq!(health.status, 200, "it serves: {health:?}");
    let health = health.json();
    assert_eq!(
        (&health["status"], &health["rejected"]["revision"]),
        (&json!("degraded"), &json!(3))
    );
    let page = read(&dev, &odd, "/metrics").await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    for line in [
        "meridian_config_revision 2",
        "meridian_config_rejected_revision 3",
    ] {
        assert!(
            page.lines().any(|shown| shown == line),
            "{line} is not on\n{page}"
        );
    }
    assert!(
        process.stderr().contains("cannot be served here"),
        "{}",
        process.stderr()
    );

    // And in the history, where it stays when the node is gone.
    let rejected = until("the rejection is on record", LONG, async || {
        let ack = ack(&dev, &eu, 3, &odd.id).await;
        (ack["state"] == "rejected")
            .then(|| ack.clone())
            .ok_or(ack.to_string())
    })
    .await;
    assert!(
        rejected["reason"]
            .as_str()
            .is_some_and(|why| why.contains("issuers.dev")),
        "{rejected}"
    );
    assert!(rejected["since"].is_string(), "{rejected}");
    // A newer revision makes the record all there is to tell of this one.
    let ran = apply(&dev, &eu, &open("/four"), &["--wait", "30s"])
        .await
        .expect(0);
    assert!(ran.stderr.contains("3 of 3 nodes run it"), "{}", ran.stderr);
    process.signal("KILL").await;
    process.end(LONG).await;
    assert_eq!(
        ack(&dev, &eu, 3, &odd.id).await["reason"],
        rejected["reason"]
    );
    assert_eq!(ack(&dev, &eu, 3, &eu.id).await["state"], "served");
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_tells_who_is_out_of_reach_and_without_a_quorum_ends_at_once() {
    let dev = Dev::start().await;
    let eu = dev.node("eu-west");
    dev.dev(&["kill", "ap-south"]).await.expect(0);
    let ran = apply(&dev, &eu, &open("/one"), &["--wait", "30s"])
        .await
        .expect(0);
    assert!(ran.stderr.contains("2 of 2 nodes run it"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("out of reach: ap-south-1"),
        "{}",
        ran.stderr
    );

    dev.dev(&["kill", "us-east"]).await.expect(0);
    until("the node sees that it is alone", LONG, async || {
        let answer = get("/readyz").try_send(eu.admin).await?;
        let said = answer.json();
        (said["quorum"] == false)
            .then_some(())
            .ok_or(said.to_string())
    })
    .await;
    let ready = get("/readyz").send(eu.admin).await;
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (200, &json!("degraded"))
    );
    let body = json!({ "files": [{ "name": "a.yaml", "text": open("/two") }] });
    let token = std::fs::read_to_string(dev.folder().join("admin.token")).expect("a token");
    let put = call("PUT", "/api/v1/config")
        .token(token.trim())
        .header("if-match", "*")
        .header("content-type", "application/json")
        .body(body.to_string());
    let begun = Instant::now();
    let refused = put.send(eu.admin).await;
    let took = begun.elapsed();
    println!("no-quorum answered after {took:?}");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.json()["type"], "urn:meridian:problem:no-quorum");
    // An election takes longer than this; so it was not waited for.
    assert!(took < Duration::from_millis(400), "{took:?}");
    let ran = apply(&dev, &eu, &open("/two"), &[]).await.expect(4);
    assert!(ran.stderr.contains("no quorum"), "{}", ran.stderr);
    // Reads of what it holds still answer, marked.
    let history = dev
        .admin(&eu, &["history", "-o", "json"])
        .await
        .expect(0)
        .json();
    assert_eq!(history["stale"], true);
    // A dry run writes nothing and needs nobody.
    let ran = apply(&dev, &eu, &open("/two"), &["--dry-run"])
        .await
        .expect(0);
    assert!(
        ran.stdout
            .contains("~ routes.open.match.path: /one -> /two"),
        "{ran:?}"
    );
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_is_told_by_history_and_audit_and_can_be_taken_back() {
    let site = Site::new("ledger", &[("one", "here")]).await;
    let place = &site.nodes[0];
    let _node = site.start(place).await;
    let document = |text: &str| {
        format!(
            "meridian: 1\nregions: {{ here: {{}} }}\nroutes:\n  open: {{ match: {{ path: /open }}, respond: {{ status: 200, json: {{ says: {text} }} }}, exempt: [auth, limits] }}\n"
        )
    };
    let says = async || get("/open").send(place.http).await.json()["says"].clone();
    let path = site.path("next.yaml");
    let file = path.to_str().expect("a plain path").to_owned();
    site.apply(place, &document("first")).await;

    std::fs::write(&path, document("second")).expect("written");
    let dry = site
        .admin(place, &["apply", "-f", &file, "--dry-run", "-o", "json"])
        .await;
    let dry = dry.expect(0).json();
    assert_eq!(
        (&dry["applied"], &dry["revision"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        dry["changes"][0],
        "~ routes.open.respond.json.says: first -> second"
    );
    assert_eq!(says().await, "first");
    // What a node would refuse is refused by the dry run too, though the file is well-formed.
    std::fs::write(
        &path,
        document("second") + "issuers: { x: { issuer: 'http://127.0.0.1:9/', audiences: [a] } }\n",
    )
    .expect("written");
    let ran = site
        .admin(place, &["apply", "-f", &file, "--dry-run"])
        .await
        .expect(2);
    assert!(ran.stderr.contains("issuers.x"), "{}", ran.stderr);

    std::fs::write(&path, document("second")).expect("written");
    site.admin(
        place,
        &["apply", "-f", &file, "-m", "a second\nfor good reasons"],
    )
    .await
    .expect(0);
    assert_eq!(says().await, "second");
    let ran = site.admin(place, &["apply", "-f", &file]).await.expect(0);
    assert!(
        ran.stderr.contains("Nothing to change; revision 2 stays"),
        "{}",
        ran.stderr
    );

    // Two writers who have both seen revision 2: one wins, and the other hears who.
    let token = std::fs::read_to_string(site.path("admin.token")).expect("a token");
    let put = |text: &str| {
        let body = json!({ "files": [{ "name": "a.yaml", "text": document(text) }] });
        call("PUT", "/api/v1/config")
            .token(token.trim())
            .header("if-match", "\"2\"")
            .body(body.to_string())
    };
    let (one, two) = (put("third"), put("other"));
    let answers = tokio::join!(one.send(place.admin), two.send(place.admin));
    let mut codes = [answers.0.status, answers.1.status];
    codes.sort_unstable();
    assert_eq!(codes, [200, 412], "{answers:?}");
    let loser = if answers.0.status == 412 {
        &answers.0
    } else {
        &answers.1
    };
    assert!(
        loser.json()["detail"]
            .as_str()
            .is_some_and(|text| text.contains("revision 3 by test")),
        "{loser:?}"
    );

    site.admin(place, &["rollback", "1", "-m", "they quarrelled"])
        .await
        .expect(0);
    assert_eq!(says().await, "first");
    let missing = site.admin(place, &["rollback", "99"]).await.expect(1);
    assert!(
        missing
            .stderr
            .contains("revision 99 is not kept; 1 to 4 are"),
        "{}",
        missing.stderr
    );

    let table = site.admin(place, &["history"]).await.expect(0).stdout;
    let line = table.lines().nth(1).expect("the newest revision");
    for part in ["4 ", "test", "+0 ~1 -0", "they quarrelled"] {
        assert!(line.contains(part), "{part}: {table}");
    }
    let record = site
        .admin(place, &["history", "4", "-o", "json"])
        .await
        .expect(0)
        .json();
    assert_eq!(record["rollback_of"], 1);
    assert_eq!(record["changes"]["compared_with"], 3);
    assert_eq!(
        (&record["nodes"][0]["node"], &record["nodes"][0]["state"]),
        (&json!("one"), &json!("served"))
    );
    let shown = site.admin(place, &["history", "2"]).await.expect(0).stdout;
    for part in [
        "for good reasons",
        "says: first -> second",
        "Changes from revision 1",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    let audit = site
        .admin(place, &["audit", "-o", "json"])
        .await
        .expect(0)
        .json();
    let acts = audit["acts"].as_array().expect("acts").clone();
    let told: Vec<(&str, bool, u64)> = acts
        .iter()
        .map(|act| {
            assert_eq!(
                (&act["who"], &act["role"], &act["node"]),
                (&json!("test"), &json!("admin"), &json!("one"))
            );
            assert!(
                act["from"]
                    .as_str()
                    .is_some_and(|from| from.starts_with("127.0.0.1:")),
                "{act}"
            );
            let after = act["after"].as_u64().expect("a revision");
            (
                act["act"].as_str().expect("a name"),
                act["done"] == true,
                after,
            )
        })
        .collect();
    let expected = [
        ("apply", true, 1),
        ("apply", true, 2),
        ("apply", true, 3),
        ("apply", false, 3),
        ("rollback", true, 4),
        ("rollback", false, 4),
    ];
    assert_eq!(told, expected, "{acts:#?}");
    let after = acts[3]["index"].as_u64().expect("an index").to_string();
    let next = site
        .admin(
            place,
            &["audit", "--after", &after, "--limit", "1", "-o", "json"],
        )
        .await;
    assert_eq!(next.expect(0).json()["acts"][0], acts[4]);
}
