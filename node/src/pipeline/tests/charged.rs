//! What a request is charged when it comes to nothing, and what is told of limits that are nearly used up.

use meridian_cluster::directory::{Overrides, SetQuota};

use super::gateway::Gateway;

const DOCUMENT: &str = r#"
meridian: 1
regions: { here: { zone: eu }, there: { zone: us } }
defaults: { unidentified: { limits: [3/minute, { rate: 100/hour, window: fixed }], per: client_ip } }
issuers:
  demo: { issuer: "http://10.0.0.9/", audiences: [api], algorithms: [ES256] }
plans:
  small: { limits: [5/minute] }
tenants:
  acme: { plan: small }
services:
  dead: { endpoints: { here: ["http://10.0.0.7:80"] }, retries: { attempts: 0 } }
  abroad: { endpoints: { there: ["http://10.1.0.8:80"] } }
  echo: { endpoints: { here: ["http://10.0.0.8:80"] }, retries: { attempts: 0 }, timeouts: { response: 1s } }
routes:
  dead: { match: { path: /dead }, service: dead, exempt: [auth] }
  abroad: { match: { path: /abroad }, service: abroad, exempt: [auth] }
  hang: { match: { path: /seen/hang }, service: echo, exempt: [auth] }
  free: { match: { path: /free }, respond: { status: 204 }, exempt: [auth] }
  closed: { match: { path: /closed }, respond: { status: 204 } }
"#;

#[tokio::test(start_paused = true)]
async fn a_request_that_reaches_no_upstream_is_not_charged_and_one_that_does_is() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let mut statuses = Vec::new();
    // More than the limit: a connection is refused, or there is nobody to connect to.
    for path in ["/dead", "/abroad"].repeat(5) {
        let answer = gateway.get(path).await;
        statuses.push(answer.status);
        assert_eq!(answer.header("x-ratelimit-remaining"), "3");
        let told = answer.header("ratelimit");
        assert!(told.contains("\"unidentified-hour\";r=100;"), "{told}");
    }
    assert_eq!(statuses[..2], [502, 503]);
    let page = gateway.metrics.render();
    let refunds = "meridian_quota_decisions_total{decision=\"refund\"} 10";
    assert!(page.contains(refunds), "{page}");
    for (path, status, left) in [("/seen/hang", 504, "2"), ("/free", 204, "1")] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.header("x-ratelimit-remaining"), left, "{path}");
    }
    let page = gateway.metrics.render();
    assert!(page.contains(refunds), "{page}");
}

#[tokio::test(start_paused = true)]
async fn tenants_at_the_end_of_a_limit_and_waits_for_tokens_are_counted() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let shows = |level: &str, count: u64| {
        let page = gateway.metrics.render();
        let line =
            format!("meridian_quota_reached_total{{tenant=\"acme\",level=\"{level}\"}} {count}\n");
        assert!(page.contains(&line), "{line} is not on\n{page}");
    };
    let waits = |count: u64| {
        let page = gateway.metrics.render();
        let line = format!("meridian_quota_wait_seconds_count {count}\n");
        assert!(page.contains(&line), "{line} is not on\n{page}");
    };
    shows("80", 0);
    for (status, high, full) in [
        (204, 0, 0),
        (204, 0, 0),
        (204, 0, 0),
        (204, 1, 0),
        (204, 1, 1),
        (429, 1, 1),
    ] {
        assert_eq!(gateway.ask_as("acme", "/closed").await.status, status);
        shows("80", high);
        shows("100", full);
    }
    // Nothing cools off in time, so that nobody waited; what does is waited for.
    waits(0);
    tokio::time::sleep(std::time::Duration::from_millis(59_800)).await;
    assert_eq!(gateway.ask_as("acme", "/closed").await.status, 204);
    waits(1);
}

#[tokio::test(start_paused = true)]
async fn what_is_set_and_over_holds_no_longer_for_what_is_in_use() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let overrides = Overrides::of_tenant(SetQuota {
        tenant: "acme".into(),
        limits: vec!["9/minute".to_owned()],
        expires_ms: Some(1000),
        reason: String::new(),
    });
    gateway.set(&overrides, 0);
    for left in (3..9).rev() {
        let answer = gateway.ask_as("acme", "/closed").await;
        assert_eq!(
            (answer.status, answer.header("x-ratelimit-limit")),
            (204, "9")
        );
        assert_eq!(answer.header("x-ratelimit-remaining"), left.to_string());
    }
    gateway.set(&overrides, 1000);
    let answer = gateway.ask_as("acme", "/closed").await;
    assert_eq!(
        (answer.status, answer.header("x-ratelimit-limit")),
        (429, "5")
    );
    // A node whose clock is behind has the other limit, and what it says is older.
    gateway.set(&overrides, 999);
    assert_eq!(gateway.ask_as("acme", "/closed").await.status, 429);
}

/// What an operator sets.
fn set(gateway: &Gateway, limits: &[&str], unix_ms: u64) {
    let overrides = Overrides::of_tenant(SetQuota {
        tenant: "acme".into(),
        limits: limits.iter().map(|limit| (*limit).to_owned()).collect(),
        expires_ms: None,
        reason: String::new(),
    });
    gateway.set(&overrides, unix_ms);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_becomes_another_one_is_charged_as_it_was_too_for_a_window() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let ask = async || {
        let answer = gateway.ask_as("acme", "/closed").await;
        let left = answer.header("x-ratelimit-remaining").to_owned();
        (answer.status, left)
    };
    set(&gateway, &["4/minute"], gateway.unix_ms());
    assert_eq!(ask().await, (204, "3".to_owned()));
    assert_eq!(ask().await, (204, "2".to_owned()));
    // The same number of a fixed window: its count begins anew, and the other one's goes on.
    let fixed = "{ rate: 4/minute, window: fixed }";
    set(&gateway, &[fixed], gateway.unix_ms());
    assert_eq!(ask().await, (204, "1".to_owned()));
    assert_eq!(ask().await, (204, "0".to_owned()));
    let refused = gateway.ask_as("acme", "/closed").await;
    assert_eq!(refused.status, 429);
    let told = refused.header("ratelimit-policy");
    assert_eq!(told, "\"tenant-minute\";q=4;w=60", "it is told once");
    assert!(
        refused.body.contains("\"tenant-minute\""),
        "{}",
        refused.body
    );
    // Set again the same way, it is still known what it was.
    set(&gateway, &[fixed], gateway.unix_ms());
    assert_eq!(ask().await.0, 429);
    // A window later it is over.
    tokio::time::sleep(std::time::Duration::from_secs(65)).await;
    for left in ["3", "2", "1", "0"] {
        assert_eq!(ask().await, (204, left.to_owned()));
    }
    assert_eq!(ask().await.0, 429);
}
