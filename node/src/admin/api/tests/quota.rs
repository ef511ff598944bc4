//! Limits of tenants through the API.

use meridian_cluster::directory::{Overrides, SetQuota};

use super::*;

const QUOTA: &str = "/api/v1/tenants/acme/quota";

fn office() -> Office {
    let mut node = Pretend::serving();
    let mut kept = node.current.as_deref().unwrap().clone();
    let text = "meridian: 1\nregions: { eu: {} }\nplans: { p: { limits: [500/minute] } }\ntenants: { acme: { plan: p } }\nissuers: { i: { issuer: https://i/, audiences: [a] } }\nroutes: { r: { match: { path: / }, respond: { status: 204 }, limits: [{ rate: 9/second, name: mine }] } }\n";
    kept.files = Arc::from([meridian_config::diagnose::Source {
        name: "gateway.yaml".into(),
        text: text.into(),
    }]);
    node.current = Some(Arc::new(kept));
    Office::new(node)
}

impl Office {
    async fn set(&self, role: Role, target: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string().into();
        let (code, value, _) = self.ask(role, Method::PUT, target, None, body).await;
        (code, value)
    }
}

#[tokio::test]
async fn limits_are_set_as_text_or_as_json_and_cleared() {
    let office = office();
    let (code, quota, _) = office.get(QUOTA).await;
    assert_eq!(code, 200, "{quota}");
    assert_eq!((&quota["plan"], &quota["set"]), (&json!("p"), &Value::Null));
    assert_eq!(
        quota["limits"],
        json!([{ "id": "tenant-minute", "amount": 500, "window_s": 60.0, "window": "sliding",
            "per": "tenant", "on_empty": "deny", "on_lapse": "base", "priority": 50, "shadow": false }])
    );
    // A node without a cluster has nobody to ask, and says what it knows.
    assert_eq!(quota["ledger_answered"], false);
    let stand = &quota["stand"][0];
    assert_eq!(
        (&stand["id"], &stand["limit"]),
        (&json!("tenant-minute"), &json!(500))
    );
    assert_eq!((&stand["used"], &stand["pool"]), (&json!(0), &Value::Null));
    assert_eq!(
        (&stand["overshoot"], &quota["as_of"]),
        (&json!(0), &Value::Null)
    );
    let wish = json!({
        "limits": ["9000/hour", { "rate": "90/second", "window": "fixed" }],
        "for": "2h", "reason": "launch day",
    });
    let (code, changed) = office.set(Role::Operator, QUOTA, &wish).await;
    assert_eq!(code, 200, "{changed}");
    assert_eq!(
        (&changed["tenant"], &changed["index"]),
        (&json!("acme"), &json!(43))
    );
    let (code, cleared, _) = office
        .ask(Role::Admin, Method::DELETE, QUOTA, None, Bytes::new())
        .await;
    assert_eq!((code, &cleared["expires"]), (200, &Value::Null));
    let quotas = office.node.quotas.lock().unwrap();
    let (
        Ok(SetQuota {
            limits,
            expires_ms,
            reason,
            ..
        }),
        actor,
    ) = &quotas[0]
    else {
        panic!("{quotas:?}");
    };
    assert_eq!(
        *limits,
        ["9000/hour", r#"{"rate":"90/second","window":"fixed"}"#]
    );
    assert_eq!(
        (reason.as_str(), actor.name.as_str()),
        ("launch day", "bob")
    );
    let now = u64::try_from(office.host.unix_time().as_millis()).unwrap();
    let ahead = expires_ms.unwrap() - now;
    assert!((7_100_000..=7_200_000).contains(&ahead), "{ahead} ms");
    assert_eq!(quotas[1].0, Err("acme".into()));
}

#[tokio::test]
async fn what_is_wrong_is_told_and_nothing_is_set() {
    let office = office();
    let set = async |body: Value| office.set(Role::Operator, QUOTA, &body).await;
    for (limits, mistake) in [(
        json!(["9/second", "{ rate: 5/minute, name: mine }"]),
        "limits[1]: the id \"mine\" is taken by routes.r; give it another name",
    )] {
        let (code, told) = set(json!({ "limits": limits })).await;
        assert_eq!(
            (code, &told["type"]),
            (422, &json!("urn:meridian:problem:invalid-limits"))
        );
        assert_eq!(told["mistakes"], json!([mistake]));
    }
    for (body, reason) in [
        (json!({ "limits": ["9/second"], "for": "2 hours" }), "for: "),
        (
            json!({ "limits": ["9/second"], "for": "0s" }),
            "over at once",
        ),
        (
            json!({ "limits": ["9/second"], "until": "2h" }),
            "unknown field",
        ),
        (json!({ "limits": [9] }), "did not match"),
        (json!({}), "missing field"),
    ] {
        let (code, told) = set(body).await;
        assert_eq!(code, 400, "{told}");
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{detail}");
    }
    let unknown = "/api/v1/tenants/nobody/quota";
    let wish = json!({ "limits": ["9/second"] });
    let (code, told) = office.set(Role::Operator, unknown, &wish).await;
    assert_eq!(
        (code, &told["type"]),
        (404, &json!("urn:meridian:problem:no-such-tenant"))
    );
    for role in [Role::Viewer, Role::Security] {
        assert_eq!(office.set(role, QUOTA, &wish).await.0, 403);
    }
    assert!(office.node.quotas.lock().unwrap().is_empty());
}

#[tokio::test]
async fn refusals_of_the_cluster_have_their_status() {
    for (error, status, name) in [
        (
            WriteError::Invalid(vec!["limit 1:1:1: wrong".into()]),
            422,
            "invalid-limits",
        ),
        (WriteError::OverridesFull, 409, "overrides-full"),
        (WriteError::NotSet("acme".into()), 404, "not-set"),
        (
            WriteError::NoQuorum {
                voters: vec!["n2".into()],
            },
            503,
            "no-quorum",
        ),
    ] {
        let mut node = Pretend::serving();
        node.current = office().node.current.clone();
        node.quota_outcome = Err(error);
        let office = Office::new(node);
        let wish = json!({ "limits": ["9/second"] });
        let (code, told) = office.set(Role::Admin, QUOTA, &wish).await;
        let kind = format!("urn:meridian:problem:{name}");
        assert_eq!((code, &told["type"]), (status, &json!(kind)), "{told}");
    }
}

#[tokio::test]
async fn a_document_that_does_not_fit_beside_what_is_set_is_refused() {
    let mut node = Pretend::serving();
    node.current = office().node.current.clone();
    node.overrides = Arc::new(Overrides::of_tenant(SetQuota {
        tenant: "acme".into(),
        limits: vec!["{ rate: 70/minute, name: mine }".into()],
        expires_ms: None,
        reason: String::new(),
    }));
    let files = node.current.as_ref().unwrap().files.to_vec();
    let office = Office::new(node);
    for (method, target, body) in [
        (
            Method::PUT,
            "/api/v1/config?dry_run=true",
            json!({ "files": files, "message": "" }),
        ),
        (
            Method::PUT,
            "/api/v1/config",
            json!({ "files": files, "message": "" }),
        ),
        (
            Method::POST,
            "/api/v1/config/rollback",
            json!({ "revision": 7, "message": "" }),
        ),
    ] {
        let body = body.to_string().into();
        let (code, told, _) = office
            .ask(Role::Admin, method, target, Some("*"), body)
            .await;
        assert_eq!(code, 422, "{told}");
        let mistakes = told["mistakes"].to_string();
        assert!(mistakes.contains("meridian quota clear acme"), "{told}");
    }
    assert!(office.node.proposals.lock().unwrap().is_empty());
    assert!(office.node.ways_back.lock().unwrap().is_empty());
}
