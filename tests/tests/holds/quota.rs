//! Limits that all regions share, on a running cluster: what clients and operators are told of them, and what requests
//! that come to nothing are charged.

use meridian_tests::{
    dev::{Dev, Node},
    http::{Answer, get},
    wait::{LONG, until},
};
use serde_json::{Value, json};

/// `meridian quota acme` as a node tells it.
async fn told(dev: &Dev, at: &Node) -> Value {
    let ran = dev.admin(at, &["quota", "acme", "-o", "json"]).await;
    ran.expect(0).json()
}

/// Sets a limit of the tenant, once the cluster has agreed on a version of what is replicated that has such.
async fn set(dev: &Dev, at: &Node, limit: &str) {
    let arguments = ["quota", "set", "acme", limit, "--reason", "a test"];
    until("the limit is set", LONG, async || {
        let ran = dev.admin(at, &arguments).await;
        match ran.code {
            Some(0) => Ok(()),
            _ => Err(ran.stderr),
        }
    })
    .await;
    // Until there is a ledger each node admits all of it.
    until("nodes share the limit", LONG, async || {
        for node in dev.nodes() {
            let page = told(dev, &node).await;
            let bound = &page["stand"][0]["overshoot"];
            if *bound != 0 || page["unheard"] != json!([]) {
                return Err(page.to_string());
            }
        }
        Ok(())
    })
    .await;
}

/// Asks until so many requests were admitted.
async fn admitted(dev: &Dev, at: &Node, wanted: u32) -> Answer {
    let token = dev.token("acme", &["plants:read"]).await;
    let call = get("/v1/plants").token(&token);
    let mut count = 0;
    until("so many requests are admitted", LONG, async || {
        while count < wanted {
            let answer = call.try_send(at.http).await?;
            match answer.status {
                200 => count += 1,
                429 => return Err(format!("{count} admitted: {:?}", answer.headers)),
                other => panic!("{other}: {answer:?}"),
            }
            if count == wanted {
                return Ok(answer);
            }
        }
        Err("none is wanted".to_owned())
    })
    .await
}

fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_a_limit_add_up_and_its_fields_are_those_of_the_contract() {
    let dev = Dev::start().await;
    let (eu, us) = (dev.node("eu-west"), dev.node("us-east"));
    set(&dev, &eu, "300/hour").await;
    until("the limit is in force", LONG, async || {
        let token = dev.token("acme", &["plants:read"]).await;
        let answer = get("/v1/plants").token(&token).try_send(eu.http).await?;
        let policy = answer.header("ratelimit-policy");
        (policy == "\"tenant-hour\";q=300;w=3600")
            .then_some(())
            .ok_or(policy.to_owned())
    })
    .await;
    // A node's part of the base is 50: it asks for more, and others lend theirs.
    let answer = admitted(&dev, &eu, 200).await;
    let field = |name: &str| answer.header(name);
    assert_eq!(field("x-ratelimit-limit"), "300");
    let left: u32 = field("x-ratelimit-remaining").parse().expect("a number");
    assert!(left < 100, "{left}");
    let reset: u32 = field("x-ratelimit-reset").parse().expect("a number");
    assert!((1..=3690).contains(&reset), "{reset}");
    assert_eq!(
        field("ratelimit"),
        format!("\"tenant-hour\";r={left};t={reset}")
    );

    let page = until("the page has what the ledger knows", LONG, async || {
        let page = told(&dev, &us).await;
        let stand = &page["stand"][0];
        let held = stand["holders"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        (page["ledger_answered"] == true && held && page["unheard"] == json!([]))
            .then(|| page.clone())
            .ok_or(page.to_string())
    })
    .await;
    let stand = &page["stand"][0];
    let holders = stand["holders"].as_array().expect("a list");
    let extra: i64 = holders.iter().map(|holder| number(&holder["extra"])).sum();
    let regions = stand["regions"].as_object().expect("by region");
    assert_eq!(regions.values().map(number).sum::<i64>(), extra);
    let parts = number(&stand["pool"]) + number(&stand["base"]) + number(&stand["cooling"]);
    assert_eq!(parts + extra, 300, "{stand}");
    assert_eq!(number(&stand["base"]), 150);
    let ours = holders
        .iter()
        .find(|holder| holder["node"] == eu.id.as_str());
    let ours = ours.unwrap_or_else(|| panic!("{} holds nothing: {stand}", eu.id));
    assert!(
        number(&ours["extra"]) >= 150,
        "it spent 200 of a base of 50: {stand}"
    );
    assert_eq!(ours["region"], "eu-west");
    assert_eq!(
        (&stand["overshoot"], &stand["overshoot_of"]),
        (&json!(0), &json!([]))
    );
    assert!(page["as_of"].is_u64(), "{page}");
    // Each node says what was spent at it, whichever is asked.
    let used = number(&stand["used"]);
    assert!((200..=300).contains(&used), "{stand}");
    let used_in = stand["used_in"].as_object().expect("by region");
    assert!(number(&used_in["eu-west"]) >= 200, "{stand}");
    assert!(used_in.values().map(number).sum::<i64>() <= used, "{stand}");
    let text = dev.admin(&eu, &["quota", "acme"]).await.expect(0).stdout;
    for word in [
        "USED IN",
        "eu-west 2",
        "MAY PASS BY",
        "eu-west-1 +",
        "No window that begins now passes its limit.",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }

    // Used up, wherever one asks.
    let token = dev.token("acme", &["plants:read"]).await;
    let refused = until("the limit is used up", LONG, async || {
        for node in dev.nodes() {
            let answer = get("/v1/plants").token(&token).try_send(node.http).await?;
            if answer.status == 200 {
                return Err(answer.header("ratelimit").to_owned());
            }
        }
        get("/v1/plants").token(&token).try_send(eu.http).await
    })
    .await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    let again: u32 = refused
        .header("retry-after")
        .parse()
        .expect("whole seconds");
    // Up to a fifth more than what was admitted takes to leave the window, which is an hour and one of its 40 slots.
    assert!((1..=3690 * 6 / 5).contains(&again), "{again}");
    let problem = refused.json();
    assert_eq!(
        (&problem["type"], &problem["limit"]),
        (
            &json!("urn:meridian:problem:rate-limited"),
            &json!("tenant-hour")
        )
    );
    until("the log tells of it", LONG, async || {
        let log = dev.log(&eu.id);
        log.contains("a tenant has used 100 % of a limit")
            .then_some(())
            .ok_or(log)
    })
    .await;
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_limit_that_becomes_another_one_no_more_is_admitted_than_of_one() {
    let dev = Dev::start().await;
    let eu = dev.node("eu-west");
    set(&dev, &eu, "300/hour").await;
    admitted(&dev, &eu, 200).await;
    set(&dev, &eu, "{ rate: 300/hour, window: fixed }").await;
    let token = dev.token("acme", &["plants:read"]).await;
    let call = get("/v1/plants").token(&token);
    for node in dev.nodes() {
        until("every node has heard of it", LONG, async || {
            let before = told(&dev, &node).await["before"].clone();
            let counts = before[0]["counts"] == true && before[0]["limit"]["window"] == "sliding";
            counts.then_some(()).ok_or(before.to_string())
        })
        .await;
    }
    let (mut more, mut refused) = (0, 0);
    until("both are used up", LONG, async || {
        refused += 1;
        for node in dev.nodes() {
            while call.try_send(node.http).await?.status == 200 {
                (more, refused) = (more + 1, 0);
                assert!(more <= 100, "200 of 300 had been admitted before");
            }
        }
        // A node may have nothing at first: what the pool has and what others lend comes when a request has been refused.
        let over = more > 30 && refused >= 5;
        over.then_some(()).ok_or(format!("{more} more"))
    })
    .await;
    let text = dev.admin(&eu, &["quota", "acme"]).await.expect(0).stdout;
    let was = "tenant-hour was 300/hour: requests pay that too until ";
    assert!(text.contains(was), "{text}");
    dev.stop().await;
}

/// A request takes 90 of 100, of which each node has a share of 16 or 17. All nodes are asked at once, again and again: what
/// there is comes together at one of them, the others' shares included, and is admitted once.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_take_most_of_a_limit_are_admitted_though_all_nodes_are_asked() {
    let dev = Dev::start().await;
    let path = dev.folder().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("the applied document");
    let more = format!(
        "{text}  much: {{ match: {{ path: /v1/much }}, respond: {{ status: 204 }}, cost: 90 }}\n"
    );
    std::fs::write(&path, more).expect("written");
    let file = path.to_str().expect("a plain path");
    let first = dev.node("eu-west");
    set(
        &dev,
        &first,
        "{ rate: 100/hour, on_empty: { wait: 400ms } }",
    )
    .await;
    dev.admin(&first, &["apply", "-f", file]).await.expect(0);
    for node in dev.nodes() {
        until("every node has heard of it", LONG, async || {
            let page = told(&dev, &node).await;
            let amount = &page["limits"][0]["amount"];
            (*amount == 100).then_some(()).ok_or(page.to_string())
        })
        .await;
    }
    let token = dev.token("acme", &["plants:read"]).await;
    let call = get("/v1/much").token(&token);
    let ask_all = async || {
        let asked = dev.nodes().into_iter().map(|node| {
            let call = call.clone();
            tokio::spawn(async move { call.send(node.http).await.status })
        });
        let mut admitted = 0;
        for answer in asked.collect::<Vec<_>>() {
            match answer.await.expect("an answer") {
                204 => admitted += 1,
                429 | 404 => {}
                other => panic!("{other}"),
            }
        }
        admitted
    };
    until("one is admitted", LONG, async || match ask_all().await {
        0 => Err("all were refused".to_owned()),
        1 => Ok(()),
        more => panic!("{more} admitted"),
    })
    .await;
    for _ in 0..3 {
        assert_eq!(ask_all().await, 0, "90 of 100 are spent");
    }
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_started_without_a_quorum_shows_in_the_bound_everywhere() {
    let dev = Dev::start().await;
    let eu = dev.node("eu-west");
    set(&dev, &eu, "300/hour").await;
    admitted(&dev, &eu, 1).await;
    assert_eq!(told(&dev, &eu).await["stand"][0]["overshoot"], 0);
    for region in ["us-east", "ap-south", "eu-west"] {
        dev.dev(&["kill", region]).await.expect(0);
    }
    dev.dev(&["start", "eu-west"]).await.expect(0);
    let eu = dev.node("eu-west");
    let alone = json!([{ "node": eu.id, "starts": 1, "tokens": 50 }]);
    until("it spends its base share", LONG, async || {
        let page = told(&dev, &eu).await;
        let stand = &page["stand"][0];
        let others = json!(["ap-south-1", "us-east-1"]);
        (stand["overshoot"] == 50 && stand["overshoot_of"] == alone && page["unheard"] == others)
            .then_some(())
            .ok_or(page.to_string())
    })
    .await;
    let text = dev.admin(&eu, &["quota", "acme"]).await.expect(0).stdout;
    let bound =
        "A window of tenant-hour may pass it by 50: 50 by 1 start of eu-west-1 without a quorum.";
    assert!(text.contains(bound), "{text}");
    for region in ["us-east", "ap-south"] {
        dev.dev(&["start", region]).await.expect(0);
    }
    // For an hour: what it spends may have been spent before.
    let us = dev.node("us-east");
    until("another node tells it too", LONG, async || {
        let page = told(&dev, &us).await;
        let stand = &page["stand"][0];
        (page["ledger_answered"] == true && stand["overshoot_of"] == alone)
            .then_some(())
            .ok_or(page.to_string())
    })
    .await;
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_no_upstream_takes_is_not_charged() {
    let dev = Dev::start().await;
    let eu = dev.node("eu-west");
    // Nobody listens on port 1.
    let text = std::fs::read_to_string(dev.folder().join("gateway.yaml")).expect("a document");
    let text = text.replacen(
        "\nservices:\n",
        "\nservices:\n  dead: { endpoints: { eu-west: [\"http://127.0.0.1:1\"] }, retries: { attempts: 0 } }\n",
        1,
    );
    let text = text.replacen(
        "\nroutes:\n",
        "\nroutes:\n  dead: { match: { path: /dead }, service: dead, exempt: [auth], per: client_ip, limits: [{ rate: 100/hour, name: dead }] }\n",
        1,
    );
    let path = dev.folder().join("next.yaml");
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("a plain path");
    dev.admin(&eu, &["apply", "-f", path, "--wait", "30s"])
        .await
        .expect(0);
    // More than the limit, which would refuse the last thirty if the others had been charged.
    for _ in 0..130 {
        let answer = get("/dead").send(eu.http).await;
        assert!([502, 503].contains(&answer.status), "{answer:?}");
        let policy = answer.header("ratelimit-policy").to_owned();
        assert!(policy.contains("\"dead\";q=100;w=3600"), "{policy}");
    }
    let token = std::fs::read_to_string(dev.folder().join("admin.token")).expect("a token");
    let page = get("/metrics").token(token.trim()).send(eu.admin).await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    let refunds = page
        .lines()
        .find_map(|line| line.strip_prefix("meridian_quota_decisions_total{decision=\"refund\"} "));
    let refunds: u32 = refunds.and_then(|text| text.parse().ok()).expect("a count");
    // One whose slot ended between the charge and the refusal stands.
    assert!(refunds >= 120, "{refunds} of 130");
    dev.stop().await;
}
