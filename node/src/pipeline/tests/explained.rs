//! An explanation says what the request then gets.

use std::{sync::Arc, time::Duration};

use meridian_cluster::{
    directory::{Overrides, SetQuota},
    facts::{Claim, Revocation},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    DOCUMENT,
    gateway::{CLIENT, Gateway},
};
use crate::{
    explain::{Ending, Explanation, Field, Question, StepResult},
    testing::NOW,
};

impl Gateway {
    /// The explanation of what [`Gateway::ask`] would send.
    async fn explain(&self, method: &str, path: &str, fields: &str) -> Explanation {
        let mut headers: Vec<Field> = fields
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| Field {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .collect();
        // What `ask` sends first.
        headers.insert(
            0,
            Field {
                name: "host".to_owned(),
                value: "x".to_owned(),
            },
        );
        let question = Question {
            method: method.to_owned(),
            url: format!("http://x{path}"),
            headers,
            client_ip: Some(CLIENT.parse().expect("an address")),
        };
        self.explainer.explain(&question).await.expect("a question")
    }

    /// Explains, asks, and compares. Returns the explanation.
    async fn compare(&self, method: &str, path: &str, fields: &str) -> Explanation {
        let told = self.explain(method, path, fields).await;
        let answer = self.ask(method, path, fields, "").await;
        let verdict = &told.verdict;
        match verdict.outcome {
            Ending::Forwarded => {
                assert_eq!(
                    answer.header("content-type"),
                    "",
                    "{method} {path}: {}",
                    answer.body
                );
                let seen: Value =
                    serde_json::from_str(&answer.body).expect("the upstream's answer");
                let sent = told.upstream.as_ref().expect("it says what is sent");
                assert_eq!(
                    (seen["target"].as_str(), seen["method"].as_str()),
                    (Some(&*sent.target), Some(&*sent.method))
                );
                for field in &sent.set {
                    // Ids are made anew for each request.
                    if !["x-request-id", "traceparent"].contains(&&*field.name) {
                        assert_eq!(seen["headers"][&field.name], field.value, "{}", field.name);
                    }
                }
                for name in &sent.removed {
                    assert_eq!(seen["headers"][name], Value::Null, "{name}");
                }
            }
            Ending::Answered => assert_eq!(Some(answer.status), verdict.status, "{method} {path}"),
            Ending::Refused => {
                assert_eq!(
                    Some(answer.status),
                    verdict.status,
                    "{method} {path}: {told:?}"
                );
                let problem: Value = serde_json::from_str(&answer.body).expect("a problem");
                assert_eq!(problem["type"].as_str(), verdict.problem.as_deref());
                assert_eq!(
                    told.steps.last().map(|step| step.result),
                    Some(StepResult::Refuse)
                );
            }
        }
        let text = serde_json::to_string(&told).expect("JSON");
        if let Some((_, token)) = fields.split_once("Bearer ") {
            assert!(!text.contains(token.trim()), "the token is repeated");
        }
        told
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// The last step's name.
fn last(told: &Explanation) -> &str {
    told.steps.last().map_or("", |step| &step.step)
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_verdict_is_what_the_request_gets() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let with = |tenant: &str, own: &[(&str, Value)]| bearer(&gateway.token(tenant, own));
    let good = with("acme", &[]);
    let mut forged = gateway.token("acme", &[]);
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    for (method, path, fields, step) in [
        ("GET", "/livez", String::new(), "guard"),
        ("CONNECT", "/status", String::new(), "guard"),
        ("GET", "/a%2fb", String::new(), "guard"),
        ("GET", "/status", "host: b\r\n".into(), "guard"),
        ("GET", "/nowhere", String::new(), "route"),
        ("POST", "/status", String::new(), "route"),
        ("GET", "/closed", String::new(), "identity"),
        (
            "GET",
            "/closed",
            "authorization: Basic eA==\r\n".into(),
            "identity",
        ),
        ("GET", "/closed", bearer("a.b.c"), "identity"),
        ("GET", "/closed", bearer(&forged), "identity"),
        (
            "GET",
            "/closed",
            with("acme", &[("iss", json!("http://other/"))]),
            "identity",
        ),
        (
            "GET",
            "/closed",
            with("acme", &[("aud", json!("other"))]),
            "identity",
        ),
        (
            "GET",
            "/closed",
            with("acme", &[("exp", json!(1))]),
            "identity",
        ),
        (
            "GET",
            "/closed",
            with("acme", &[("nbf", json!(99_999_999_999_u64))]),
            "identity",
        ),
        (
            "GET",
            "/closed",
            with("acme", &[("tenant", Value::Null)]),
            "identity",
        ),
        ("GET", "/closed", with("nobody", &[]), "identity"),
        ("GET", "/scoped", good.clone(), "access"),
        ("GET", "/closed", with("strict", &[]), "residency"),
        ("POST", "/echo/x", "content-length: 17\r\n".into(), "body"),
        ("GET", "/status", String::new(), "transform"),
        ("GET", "/abroad", good.clone(), "upstream"),
        ("GET", "/abroad", with("strict", &[]), "upstream"),
        ("GET", "/echo/a/../b?q=1", "cookie: a=b\r\n".into(), "guard"),
        (
            "GET",
            "/echo/%61b?q=1",
            "cookie: a=b\r\nx-forwarded-for: 9.9.9.9\r\nx-tenant: t\r\n".into(),
            "upstream",
        ),
    ] {
        let told = gateway.compare(method, path, &fields).await;
        assert_eq!(last(&told), step, "{method} {path} {fields}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_banned_reads_so_and_the_client_gets_the_same() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let fields = bearer(&gateway.token("acme", &[("jti", json!("t"))]));
    let token = Claim::Revoke(Revocation::TokenId("t".into()));
    gateway.decree.decree(1, token);
    let told = gateway.compare("GET", "/closed", &fields).await;
    assert_eq!(last(&told), "identity");
    let problem = told.verdict.problem.as_deref();
    assert_eq!(problem, Some("urn:meridian:problem:token-revoked"));
    let net = format!("{CLIENT}/32").parse().expect("a net");
    gateway.decree.decree(2, Claim::Block(net));
    let told = gateway.compare("GET", "/status", "").await;
    assert_eq!(last(&told), "guard");
    let problem = told.verdict.problem.as_deref();
    assert_eq!(problem, Some("urn:meridian:problem:blocked"));
}

#[tokio::test(start_paused = true)]
async fn explaining_charges_nothing_and_sees_what_is_charged() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let before = gateway.metrics.render();
    for left in (0..=3).rev() {
        for _ in 0..5 {
            let told = gateway.explain("GET", "/limited", "").await;
            assert_eq!(told.limits[0].remaining, left);
            let refused = told.verdict.outcome == Ending::Refused;
            assert_eq!(refused, left == 0, "{told:?}");
        }
        if left == 3 {
            assert_eq!(gateway.metrics.render(), before);
        }
        let told = gateway.compare("GET", "/limited", "").await;
        assert_eq!(told.verdict.retry_after.is_some(), left == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_reads_what_is_missing_and_what_came_near() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let facts = |told: &Explanation| told.steps.last().expect("a step").facts.join("\n");
    let told = gateway.explain("POST", "/only", "").await;
    assert_eq!(
        facts(&told),
        "nearly: host: takes only the hosts api.example.com"
    );
    let told = gateway.explain("POST", "/status", "").await;
    assert!(
        facts(&told).contains("nearly: status: takes only GET"),
        "{told:?}"
    );
    let other = gateway.token("acme", &[("aud", json!("other"))]);
    let told = gateway.explain("GET", "/closed", &bearer(&other)).await;
    assert!(
        facts(&told).contains("tokens of demo must hold aud api"),
        "{told:?}"
    );
    let told = gateway
        .explain("GET", "/scoped", &bearer(&gateway.token("acme", &[])))
        .await;
    assert!(
        facts(&told).contains("scopes needed: plants:write"),
        "{told:?}"
    );
    let told = gateway
        .explain("GET", "/closed", &bearer(&gateway.token("acme", &[])))
        .await;
    let endpoint = &told.candidates[0];
    assert_eq!(
        (endpoint.endpoint.as_deref(), endpoint.chosen),
        (Some("10.0.0.8"), true)
    );
    let told = gateway
        .explain("GET", "/abroad", &bearer(&gateway.token("acme", &[])))
        .await;
    assert_eq!(
        (
            told.candidates[0].region.as_str(),
            told.candidates[0].usable
        ),
        ("there", false)
    );
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_set_hold_in_place_of_the_plans_until_they_are_over() {
    let gateway = Gateway::start(Some(DOCUMENT)).await;
    let fields = bearer(&gateway.token("acme", &[]));
    let set = Overrides::of_tenant(SetQuota {
        tenant: "acme".into(),
        limits: vec![
            "{ rate: 4/minute, window: fixed }".to_owned(),
            "9/hour".to_owned(),
            "{ rate: 2/second, shadow: true }".to_owned(),
        ],
        expires_ms: Some(1_000_000),
        reason: "launch day".to_owned(),
    });
    gateway.set(&set, 999_999);
    let told = gateway.compare("GET", "/closed", &fields).await;
    let uses: Vec<_> = told
        .limits
        .iter()
        .map(|used| {
            (
                used.limit.as_str(),
                used.amount,
                used.remaining,
                used.terms.clone(),
            )
        })
        .collect();
    let none: Vec<String> = Vec::new();
    assert_eq!(
        uses,
        [
            ("tenant-minute", 4, 4, vec!["window: fixed".to_owned()]),
            ("tenant-hour", 9, 9, none.clone()),
        ]
    );
    let step = told
        .steps
        .iter()
        .find(|step| step.step == "limit")
        .expect("a step");
    assert_eq!(
        step.facts,
        [
            "tenant-minute: 4 of 4 left in 60 s; window: fixed",
            "tenant-hour: 9 of 9 left in 3600 s",
            "tenant-second: 2/second is a shadow limit: counted, and refuses nobody",
            "ada set the tenant's limits in place of its plan's, until 1970-01-01T00:16:40Z: launch day",
        ]
    );
    // Another tenant has its plan's.
    let strict = gateway.token("strict", &[]);
    let told = gateway.explain("GET", "/abroad", &bearer(&strict)).await;
    assert_eq!(told.limits[0].amount, 2);
    gateway.set(&set, 1_000_000);
    let told = gateway.compare("GET", "/closed", &fields).await;
    assert_eq!((told.limits.len(), told.limits[0].amount), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn who_is_exempt_is_not_charged_and_is_counted_and_nothing_in_a_request_can_exempt() {
    let document = DOCUMENT.replace(
        "closed: { match: { path: /closed }, service: echo }",
        "closed: { match: { path: /closed }, service: echo, exempt: [limits: { tenants: [acme], roles: [ops] }, limits: { listeners: [https] }] }",
    );
    let gateway = Gateway::start(Some(&document)).await;
    let ops = bearer(&gateway.token("acme", &[("roles", json!(["ops"]))]));
    for _ in 0..5 {
        let told = gateway.compare("GET", "/closed", &ops).await;
        assert!(told.limits.is_empty(), "{told:?}");
        let step = told
            .steps
            .iter()
            .find(|step| step.step == "limit")
            .expect("a step");
        assert_eq!(
            step.says,
            "the route exempts tenant acme, role ops: no limit is charged"
        );
    }
    let page = gateway.metrics.render();
    let line = "meridian_quota_decisions_total{decision=\"exempt\"} 5";
    assert!(page.contains(line), "{page}");
    let plain = bearer(&gateway.token("acme", &[]));
    let strict = bearer(&gateway.token("strict", &[("roles", json!(["ops"]))]));
    for (who, path) in [(&plain, "/closed"), (&strict, "/abroad")] {
        let pretends = format!("{who}x-forwarded-proto: https\r\nx-roles: ops\r\n");
        let told = gateway.explain("GET", path, &pretends).await;
        assert_eq!(told.limits.len(), 1, "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_set_comes_as_it_is_set_and_goes_by_the_nodes_clock() {
    let mut gateway = Gateway::start(Some(DOCUMENT)).await;
    let set = watch::Sender::new(Arc::new(Overrides::default()));
    gateway.follow(DOCUMENT, set.subscribe());
    let fields = bearer(&gateway.token("acme", &[]));
    let amount = async || {
        // The tables are swapped beside the runtime.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let told = gateway.explain("GET", "/closed", &fields).await;
        told.limits[0].amount
    };
    assert_eq!(amount().await, 2);
    let expires = NOW * 1000 + 90_000;
    set.send_replace(Arc::new(Overrides::of_tenant(SetQuota {
        tenant: "acme".into(),
        limits: vec!["9/minute".to_owned()],
        expires_ms: Some(expires),
        reason: String::new(),
    })));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(amount().await, 9);
    tokio::time::sleep(Duration::from_secs(88)).await;
    assert_eq!(amount().await, 9);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(amount().await, 2);
}
