//! Blocks and revocations through the API.

use meridian_cluster::facts::{Claim, PublishError};

use super::*;

impl Office {
    async fn secure(&self, method: Method, target: &str, body: Value) -> (u16, Value) {
        let body = match body {
            Value::Null => Bytes::new(),
            body => body.to_string().into(),
        };
        let (code, value, _) = self.ask(Role::Security, method, target, None, body).await;
        (code, value)
    }
}

#[tokio::test]
async fn a_block_is_made_listed_and_removed_and_each_time_there_is_a_receipt() {
    let office = Office::new(Pretend::serving());
    let wish = json!({ "cidr": "203.0.113.0/24", "ttl": "15m", "reason": "flood" });
    let (code, receipt) = office.secure(Method::POST, "/api/v1/blocks", wish).await;
    assert_eq!(code, 200, "{receipt}");
    assert_eq!(receipt["what"], "203.0.113.0/24");
    assert_eq!(receipt["durable"], false);
    assert_eq!(
        receipt["regions"][0],
        json!({ "region": "eu", "state": "applied", "nodes": 1, "applied": 1, "after_ms": 1.5 })
    );
    {
        let facts = office.node.facts.lock().unwrap();
        let now = office.host.unix_time();
        let ahead = facts[0].expires_ms - u64::try_from(now.as_millis()).unwrap();
        assert!((14 * 60_000..=15 * 60_000).contains(&ahead), "{ahead} ms");
        assert_eq!((&*facts[0].actor.name, &*facts[0].reason), ("bob", "flood"));
    }
    let (_, list, _) = office.get("/api/v1/blocks").await;
    assert_eq!(list["blocks"][0]["cidr"], "203.0.113.0/24");
    assert_eq!(list["blocks"][0]["by"], "bob");
    assert_eq!(list["next"], Value::Null);
    let target = "/api/v1/blocks/203.0.113.0%2F24?reason=over";
    let (code, receipt) = office.secure(Method::DELETE, target, Value::Null).await;
    assert_eq!(code, 200, "{receipt}");
    let facts = office.node.facts.lock().unwrap().clone();
    assert!(matches!(facts[0].claim, Claim::Cancel(_)) && facts[0].reason == "over");
    let (code, refusal) = office.secure(Method::DELETE, target, Value::Null).await;
    assert_eq!(code, 404, "{refusal}");
    assert_eq!(refusal["type"], "urn:meridian:problem:not-in-force");
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap() {
    let office = Office::new(Pretend::serving());
    for number in 0..5 {
        let wish = json!({ "token_id": format!("t{number}") });
        let (code, receipt) = office
            .secure(Method::POST, "/api/v1/revocations", wish)
            .await;
        assert_eq!(code, 200, "{receipt}");
    }
    let (mut target, mut seen) = ("/api/v1/revocations?limit=2".to_owned(), Vec::new());
    loop {
        let (_, page, _) = office.get(&target).await;
        let tokens = page["revocations"].as_array().unwrap().iter();
        seen.extend(tokens.map(|one| one["token_id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        target = format!("/api/v1/revocations?limit=2&before={next}");
    }
    assert_eq!(seen, ["t4", "t3", "t2", "t1", "t0"]);
    for wrong in ["limit=0", "limit=1001", "limit=x", "before=12"] {
        let (code, _, _) = office.get(&format!("/api/v1/blocks?{wrong}")).await;
        assert_eq!(code, 400, "{wrong}");
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_with_its_reason() {
    let office = Office::new(Pretend::serving());
    for (target, wish, part) in [
        ("blocks", json!({ "cidr": "10.1.2.3/8" }), "10.0.0.0/8"),
        (
            "blocks",
            json!({ "cidr": "10.0.0.0/8", "ttl": "1d" }),
            "24h",
        ),
        (
            "blocks",
            json!({ "cidr": "10.0.0.0/8", "for": "1h" }),
            "for",
        ),
        ("revocations", json!({}), "token_id"),
        (
            "revocations",
            json!({ "token_id": "t", "expires": "soon" }),
            "RFC 3339",
        ),
    ] {
        let target = format!("/api/v1/{target}");
        let (code, refusal) = office.secure(Method::POST, &target, wish).await;
        assert_eq!(code, 400, "{refusal}");
        assert!(
            refusal["detail"].as_str().unwrap().contains(part),
            "{refusal}"
        );
    }
    assert!(office.node.facts.lock().unwrap().is_empty());
    let mut node = Pretend::serving();
    node.publish_error = Some(PublishError::Full { held: 250_000 });
    node.lane.held = 250_000;
    node.lane.refused = 1;
    let office = Office::new(node);
    let wish = json!({ "token_id": "t" });
    let (code, refusal) = office
        .secure(Method::POST, "/api/v1/revocations", wish)
        .await;
    assert_eq!(
        (code, &refusal["type"]),
        (409, &json!("urn:meridian:problem:facts-full"))
    );
    let (_, status, _) = office.get("/api/v1/status").await;
    assert_eq!(status["fast_lane"]["held"], 250_000);
    let notes = status["notes"].to_string();
    assert!(notes.contains("100 % of the room"), "{notes}");
}
