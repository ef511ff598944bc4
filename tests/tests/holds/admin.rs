//! The admin API and its command line against a running cluster: is the description true, and does a
//! listener hear what happens?

use meridian_tests::{
    binary::command,
    dev::{Dev, Node},
    peer::openapi,
    process::Process,
    wait::{LONG, until},
};
use serde_json::Value;

/// A long-running admin command at a node.
fn start(dev: &Dev, at: &Node, name: &str, arguments: &[&str]) -> Process {
    let mut command = command(arguments);
    command
        .args(["--admin", &format!("http://{}", at.admin)])
        .arg("--token-file")
        .arg(dev.folder().join("admin.token"));
    Process::start(name, &dev.folder(), command)
}

/// What a listener has told so far, an object a line.
fn told(listener: &Process) -> Vec<Value> {
    let text = listener.stdout();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_true_and_listeners_hear_what_happens() {
    let dev = Dev::start().await;
    let eu = dev.node("eu-west");
    let token = dev.folder().join("admin.token");
    let ran = openapi(&format!("http://{}", eu.admin), &token).await;
    let ran = ran.expect(0);
    assert!(ran.stdout.starts_with("checked "), "{ran:?}");

    let mut listener = start(&dev, &eu, "events", &["events", "-o", "json"]);
    let heard = async |what: &str, is: &dyn Fn(&Value) -> bool| {
        until(what, LONG, async || {
            let events = told(&listener);
            let found = events.iter().find(|event| is(event)).cloned();
            found.ok_or(format!("{events:?}"))
        })
        .await
    };
    let begun = heard("the stream begins", &|event| event["type"] == "start").await;
    assert_eq!(begun["node"], eu.id.as_str());

    let mut pages = start(&dev, &eu, "watch", &["status", "--watch"]);
    dev.dev(&["kill", "ap-south"]).await.expect(0);
    let south = dev.node("ap-south");
    let lost = heard("a lost region", &|event| {
        event["type"] == "region" && event["region"] == "ap-south" && event["state"] == "down"
    })
    .await;
    assert!(
        lost["time"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    );
    heard("a lost node", &|event| {
        event["type"] == "node" && event["node"] == south.id.as_str() && event["state"] == "down"
    })
    .await;
    // Not on a terminal, so the status again and again; the page follows the event.
    until("the page shows it", LONG, async || {
        let text = pages.stdout();
        let last = text.rsplit("Cluster:").next().unwrap_or_default();
        let row = last.lines().find(|line| line.starts_with("ap-south "));
        row.is_some_and(|row| row.contains("down"))
            .then_some(())
            .ok_or(last.to_owned())
    })
    .await;
    dev.dev(&["start", "ap-south"]).await.expect(0);
    heard("the region is back", &|event| {
        event["type"] == "region" && event["region"] == "ap-south" && event["state"] == "up"
    })
    .await;

    let document = dev.folder().join("gateway.yaml");
    let text = std::fs::read_to_string(&document).expect("a document");
    std::fs::write(&document, format!("{text}# once more\n")).expect("written");
    let path = document.to_str().expect("a plain path");
    dev.admin(
        &eu,
        &["apply", "-f", path, "-m", "once more", "--wait", "30s"],
    )
    .await
    .expect(0);
    let revision = heard("the revision", &|event| {
        event["type"] == "revision" && event["message"] == "once more"
    })
    .await;
    let act = heard("who applied it", &|event| {
        event["type"] == "act" && event["entry"]["after"] == revision["revision"]
    })
    .await;
    assert_eq!(
        (&act["entry"]["act"], &act["entry"]["done"]),
        (&"apply".into(), &true.into()),
        "{act}"
    );
    for node in dev.nodes() {
        heard("every node serves it", &|event| {
            event["type"] == "serving"
                && event["node"] == node.id.as_str()
                && event["revision"] == revision["revision"]
        })
        .await;
    }
    let only = dev
        .admin(&eu, &["events", "--types", "leader", "--count", "1"])
        .await
        .expect(0);
    assert!(only.stdout.contains("tells: revision"), "{}", only.stdout);
    let wrong = dev.admin(&eu, &["events", "--types", "weather"]).await;
    assert!(wrong.expect(2).stderr.contains("\"weather\""));

    let tenants = dev.admin(&eu, &["tenants"]).await.expect(0).stdout;
    for tenant in ["acme", "globex", "initech"] {
        assert!(tenants.contains(tenant), "{tenants}");
    }
    let one = dev.admin(&eu, &["tenants", "acme", "-o", "json"]).await;
    assert_eq!(one.expect(0).json()["plan"], "premium");
    let set = [
        "quota",
        "set",
        "acme",
        "900/hour",
        "{ rate: 70/second, window: fixed }",
        "--for",
        "1h",
    ];
    dev.admin(&eu, &set).await.expect(0);
    let quota = dev.admin(&eu, &["quota", "acme"]).await.expect(0).stdout;
    assert!(
        quota.contains("900/hour") && quota.contains("70/second fixed"),
        "{quota}"
    );
    let wrong = dev
        .admin(&eu, &["quota", "set", "acme", "900/hours"])
        .await
        .expect(2);
    assert!(
        wrong.stderr.contains("limit 1:1:1: limits[0]: "),
        "{}",
        wrong.stderr
    );
    for (lasting, told) in [("0s", "it is over at once"), ("tomorrow", "\"tomorrow\"")] {
        let set = ["quota", "set", "acme", "900/hour", "--for", lasting];
        let wrong = dev.admin(&eu, &set).await.expect(2);
        assert!(
            wrong.stderr.contains("--for") && wrong.stderr.contains(told),
            "{}",
            wrong.stderr
        );
    }
    dev.admin(&eu, &["quota", "clear", "acme"]).await.expect(0);
    dev.admin(&eu, &["quota", "clear", "acme"]).await.expect(1);
    let quota = dev
        .admin(&eu, &["quota", "acme", "-o", "json"])
        .await
        .expect(0)
        .json();
    assert_eq!(
        (&quota["limits"][0]["amount"], &quota["set"]),
        (&5000.into(), &serde_json::Value::Null)
    );
    let services = dev.admin(&eu, &["services"]).await.expect(0).stdout;
    assert!(services.contains("1 of 1"), "{services}");
    dev.admin(&eu, &["services", "no-such"]).await.expect(1);
    listener.must_run();
    pages.must_run();
    pages.signal("INT").await;
    assert_eq!(pages.end(LONG).await.code(), Some(0));
    dev.stop().await;
}
