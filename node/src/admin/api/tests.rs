mod facts;
mod listing;
mod quota;

use std::time::Duration;

use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt, Full};
use meridian_cluster::{
    directory::{Accepted, Actor, WriteError},
    host::os::OsHost,
};
use serde_json::{Value, json};

use super::{super::testing::Pretend, config::LARGEST, *};
use crate::admin::access::Role;

/// The smallest document that passes the check.
const DOCUMENT: &str = "# not ${EXPANDED}\nmeridian: 1\nregions: { eu: {} }\n";

struct Office {
    node: Arc<Pretend>,
    host: Arc<dyn Host>,
    feed: Arc<Feed>,
    _place: tempfile::TempDir,
}

impl Office {
    fn new(node: Pretend) -> Self {
        let place = tempfile::tempdir().unwrap();
        Self {
            node: Arc::new(node),
            feed: Arc::new(Feed::new(7)),
            host: Arc::new(OsHost::new(place.path()).unwrap()),
            _place: place,
        }
    }

    async fn ask(
        &self,
        role: Role,
        method: Method,
        target: &str,
        if_match: Option<&str>,
        body: Bytes,
    ) -> (u16, Value, HeaderMap) {
        let mut request = http::Request::builder().method(method).uri(target);
        if let Some(tag) = if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let caller = Caller {
            name: "bob".into(),
            role,
        };
        let desk = super::Desk {
            host: self.host.clone(),
            node: self.node.clone(),
            feed: self.feed.clone(),
        };
        let peer = ([127, 0, 0, 1], 50_000).into();
        let answer = answer(&desk, &caller, peer, &parts, Full::new(body)).await;
        let response = answer.unwrap_or_else(|fault| problem(&fault));
        let (head, mut body) = response.into_parts();
        let streams = head.headers[header::CONTENT_TYPE] == "text/event-stream";
        let bytes = if streams {
            // It has no end; its beginning is there at once.
            body.frame().await.unwrap().unwrap().into_data().unwrap()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        (head.status.as_u16(), value, head.headers)
    }

    async fn get(&self, target: &str) -> (u16, Value, HeaderMap) {
        self.ask(Role::Viewer, Method::GET, target, None, Bytes::new())
            .await
    }

    async fn put(&self, role: Role, tag: Option<&str>, text: &str) -> (u16, Value) {
        let body = json!({ "files": [{ "name": "gateway.yaml", "text": text }], "message": "why" });
        let (status, value, _) = self
            .ask(
                role,
                Method::PUT,
                "/api/v1/config",
                tag,
                body.to_string().into(),
            )
            .await;
        (status, value)
    }
}

#[tokio::test]
async fn status_tells_node_group_and_regions() {
    let (code, status, _) = Office::new(Pretend::serving()).get("/api/v1/status").await;
    assert_eq!(code, 200);
    assert_eq!(status["node"], "n1");
    assert_eq!(status["stale"], false);
    assert_eq!(status["serving"]["revision"], 7);
    assert_eq!(status["group"]["leader"], "n1");
    assert_eq!(status["group"]["role"], "leader");
    assert_eq!(status["regions"][0]["name"], "eu");
    assert_eq!(status["nodes"][0]["rtt_ms"], 1.5);
    assert_eq!(status["nodes"][0]["services"]["plant"], 2);
}

#[tokio::test]
async fn without_a_quorum_reads_answer_and_are_marked_stale() {
    let mut node = Pretend::serving();
    node.group.quorum = false;
    let desk = Office::new(node);
    for target in ["status", "regions", "nodes", "config", "config/history"] {
        let (code, value, _) = desk.get(&format!("/api/v1/{target}")).await;
        assert_eq!((code, &value["stale"]), (200, &json!(true)), "{target}");
    }
}

#[tokio::test]
async fn the_document_comes_with_its_number_as_etag() {
    let desk = Office::new(Pretend::serving());
    let (code, config, headers) = desk.get("/api/v1/config").await;
    assert_eq!(code, 200);
    assert_eq!(headers[header::ETAG], "\"7\"");
    assert_eq!(config["files"][0]["name"], "gateway.yaml");
    assert_eq!(config["time"], "2026-05-28T20:26:40.123Z");
    assert_eq!(desk.get("/api/v1/config?revision=7").await.0, 200);
    let (code, refusal, _) = desk.get("/api/v1/config?revision=6").await;
    assert_eq!(code, 404);
    assert_eq!(refusal["type"], "urn:meridian:problem:revision-not-kept");
}

#[tokio::test]
async fn a_cluster_without_a_document_says_so() {
    let mut node = Pretend::serving();
    node.current = None;
    let (code, refusal, _) = Office::new(node).get("/api/v1/config").await;
    assert_eq!(code, 404);
    assert_eq!(refusal["type"], "urn:meridian:problem:no-revision");
}

#[tokio::test]
async fn an_operator_applies_a_document_against_the_revision_it_saw() {
    let desk = Office::new(Pretend::serving());
    let (code, applied) = desk.put(Role::Operator, Some("\"7\""), DOCUMENT).await;
    assert_eq!(code, 200, "{applied}");
    assert_eq!(
        (&applied["revision"], &applied["index"]),
        (&json!(8), &json!(13))
    );
    let proposals = desk.node.proposals.lock().unwrap();
    assert_eq!(proposals[0].expect, Some(7));
    assert_eq!(
        proposals[0].actor,
        Actor::new("bob", "operator", Some(([127, 0, 0, 1], 50_000).into()))
    );
    assert_eq!(proposals[0].message, "why");
}

#[tokio::test]
async fn a_write_needs_role_precondition_and_a_valid_document() {
    let desk = Office::new(Pretend::serving());
    let example = DOCUMENT;
    for (role, tag, text, code, name) in [
        (Role::Viewer, Some("\"7\""), example, 403, "forbidden"),
        (Role::Security, Some("\"7\""), example, 403, "forbidden"),
        (Role::Admin, None, example, 428, "precondition-required"),
        (Role::Admin, Some("7"), example, 400, "malformed-request"),
        (
            Role::Admin,
            Some("*"),
            "meridian: 1\nrutes: {}\n",
            422,
            "invalid-document",
        ),
        (
            Role::Admin,
            Some("*"),
            "meridian: ${VERSION}\n",
            400,
            "malformed-request",
        ),
    ] {
        let (got, refusal) = desk.put(role, tag, text).await;
        assert_eq!(got, code, "{refusal}");
        assert_eq!(refusal["type"], format!("urn:meridian:problem:{name}"));
    }
    let (_, refusal) = desk
        .put(Role::Admin, Some("*"), "meridian: 1\nrutes: {}\n")
        .await;
    let first = refusal["mistakes"][0].as_str().unwrap();
    assert!(first.starts_with("gateway.yaml:2:1: "), "{first}");
    assert!(desk.node.proposals.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_star_replaces_whichever_revision_is_the_newest() {
    let desk = Office::new(Pretend::serving());
    assert_eq!(desk.put(Role::Admin, Some("*"), DOCUMENT).await.0, 200);
    assert_eq!(desk.node.proposals.lock().unwrap()[0].expect, None);
}

#[tokio::test]
async fn the_directorys_refusals_have_their_statuses() {
    for (error, code, name) in [
        (
            WriteError::NoQuorum {
                voters: vec!["n1".into()],
            },
            503,
            "no-quorum",
        ),
        (
            WriteError::Conflict {
                expected: 7,
                current: 9,
                author: "carol".into(),
            },
            412,
            "revision-conflict",
        ),
        (
            WriteError::Unconfirmed {
                patience: Duration::from_secs(3),
            },
            504,
            "unconfirmed",
        ),
    ] {
        let mut node = Pretend::serving();
        node.outcome = Err(error);
        let (got, refusal) = Office::new(node)
            .put(Role::Admin, Some("\"7\""), DOCUMENT)
            .await;
        assert_eq!(got, code);
        assert_eq!(refusal["type"], format!("urn:meridian:problem:{name}"));
    }
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused() {
    let mut node = Pretend::serving();
    node.outcome = Ok(Accepted {
        revision: 8,
        index: 13,
    });
    let desk = Office::new(node);
    let body = Bytes::from(vec![b' '; LARGEST + 1]);
    let (code, _, _) = desk
        .ask(Role::Admin, Method::PUT, "/api/v1/config", Some("*"), body)
        .await;
    assert_eq!(code, 413);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_named() {
    let desk = Office::new(Pretend::serving());
    assert_eq!(desk.get("/api/v1/nothing").await.0, 404);
    assert_eq!(desk.get("/").await.0, 404);
    let (code, _, headers) = desk
        .ask(
            Role::Admin,
            Method::DELETE,
            "/api/v1/config",
            None,
            Bytes::new(),
        )
        .await;
    assert_eq!(
        (code, headers[header::ALLOW].as_bytes()),
        (405, &b"GET, HEAD, PUT"[..])
    );
}

#[tokio::test]
async fn metrics_stand_at_both_paths() {
    let desk = Office::new(Pretend::serving());
    for target in ["/metrics", "/api/v1/metrics"] {
        let (code, page, headers) = desk.get(target).await;
        assert_eq!((code, page), (200, json!("meridian_config_revision 7\n")));
        assert!(
            headers[header::CONTENT_TYPE]
                .as_bytes()
                .starts_with(b"text/plain")
        );
    }
}

#[tokio::test]
async fn every_role_may_do_what_its_rows_say_and_nothing_else() {
    let office = Office::new(Pretend::serving());
    for row in table::rows() {
        let target = row.path.replace(['{', '}'], "");
        for role in Role::ALL {
            let method = row.verb.name().parse().unwrap();
            // The empty body is refused by whoever takes one: after the role was found good.
            let (code, _, _) = office
                .ask(role, method, &target, Some("*"), Bytes::new())
                .await;
            assert_eq!(
                code != 403,
                role.may(row.deed),
                "{role} at {:?} {target}: {code}",
                row.verb
            );
        }
    }
}

#[tokio::test]
async fn a_head_is_answered_as_a_get() {
    let office = Office::new(Pretend::serving());
    let (code, _, _) = office
        .ask(
            Role::Viewer,
            Method::HEAD,
            "/api/v1/status",
            None,
            Bytes::new(),
        )
        .await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn a_query_that_a_resource_does_not_know_is_refused() {
    let office = Office::new(Pretend::serving());
    for target in [
        "/api/v1/status?verbose=1",
        "/api/v1/config?rev=7",
        "/api/v1/config?revision=7&revision=6",
        "/api/v1/config?revision=%f",
    ] {
        assert_eq!(office.get(target).await.0, 400, "{target}");
    }
}

#[tokio::test]
async fn a_kept_revision_becomes_the_newest_again_and_another_does_not() {
    let office = Office::new(Pretend::serving());
    for (body, code) in [
        (r#"{ "revision": 7 }"#, 200),
        (r#"{ "revision": 6 }"#, 404),
        (r#"{ "revision": 7, "why": "" }"#, 400),
    ] {
        let (got, answer, _) = office
            .ask(
                Role::Operator,
                Method::POST,
                "/api/v1/config/rollback",
                Some("\"7\""),
                body.into(),
            )
            .await;
        assert_eq!(got, code, "{answer}");
    }
    let ways = office.node.ways_back.lock().unwrap();
    assert_eq!(ways.len(), 2);
    assert_eq!(ways[0].message, "roll back to revision 7");
    assert_eq!(
        (ways[0].actor.name.as_str(), ways[0].expect),
        ("bob", Some(7))
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_writes_nothing() {
    let office = Office::new(Pretend::serving());
    let dry = async |query: &str, tag: &str, text: &str| {
        let body = json!({ "files": [{ "name": "gateway.yaml", "text": text }] });
        let target = format!("/api/v1/config?dry_run={query}");
        let method = Method::PUT;
        office
            .ask(
                Role::Operator,
                method,
                &target,
                Some(tag),
                body.to_string().into(),
            )
            .await
    };
    let (code, answer, _) = dry("true", "*", DOCUMENT).await;
    assert_eq!((code, &answer["applied"]), (200, &json!(false)), "{answer}");
    assert_eq!(answer["revision"], 7);
    assert_eq!(answer["changes"]["compared_with"], 7);
    assert_eq!(answer["changes"]["lines"], json!(["+ regions.eu"]));
    assert_eq!(dry("true", "\"6\"", DOCUMENT).await.0, 412);
    assert_eq!(dry("true", "*", "meridian: 1\nroute: {}\n").await.0, 422);
    assert_eq!(dry("perhaps", "*", DOCUMENT).await.0, 400);
    assert!(office.node.proposals.lock().unwrap().is_empty());
    dry("false", "*", DOCUMENT).await;
    assert_eq!(office.node.proposals.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_document_that_is_the_newest_already_makes_no_revision() {
    let mut node = Pretend::serving();
    let mut kept = node.current.as_deref().unwrap().clone();
    kept.files = Arc::from([meridian_config::diagnose::Source {
        name: "gateway.yaml".into(),
        text: DOCUMENT.into(),
    }]);
    node.current = Some(Arc::new(kept));
    let office = Office::new(node);
    let (code, answer) = office.put(Role::Operator, Some("\"7\""), DOCUMENT).await;
    assert_eq!((code, &answer["applied"]), (200, &json!(false)), "{answer}");
    assert_eq!(answer["changes"]["lines"], json!([]));
    assert!(office.node.proposals.lock().unwrap().is_empty());
    // Where the writer has seen another revision, the leader judges.
    office.put(Role::Operator, Some("\"6\""), DOCUMENT).await;
    assert_eq!(office.node.proposals.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_history_tells_changes_and_what_nodes_made_of_a_revision() {
    let office = Office::new(Pretend::serving());
    let (_, history, _) = office.get("/api/v1/config/history").await;
    let past = &history["revisions"][0];
    assert_eq!((&past["revision"], &past["added"]), (&json!(7), &json!(1)));
    assert_eq!((&past["served"], &past["rejected"]), (&json!(1), &json!(1)));
    let (code, record, _) = office.get("/api/v1/config/history/7").await;
    assert_eq!(code, 200, "{record}");
    assert_eq!(record["changes"]["lines"], json!(["+ tenants.acme"]));
    // One says it by gossip, the other is on record.
    assert_eq!(record["nodes"][0]["node"], "n1");
    assert_eq!(record["nodes"][0]["state"], "served");
    assert_eq!(record["nodes"][1]["state"], "rejected");
    assert_eq!(record["nodes"][1]["reason"], "no such key");
    assert_eq!(record["nodes"][1]["since"], "2026-05-28T20:26:40.456Z");
    for missing in ["6", "x"] {
        let target = format!("/api/v1/config/history/{missing}");
        assert_eq!(office.get(&target).await.0, 404, "{missing}");
    }
}

#[tokio::test]
async fn acts_are_read_page_by_page() {
    let office = Office::new(Pretend::serving());
    let indices = async |query: &str| {
        let (code, audit, _) = office.get(&format!("/api/v1/audit{query}")).await;
        assert_eq!(code, 200, "{audit}");
        let acts = audit["acts"].as_array().unwrap().clone();
        acts.iter()
            .map(|act| act["index"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(indices("").await, [11, 12, 13]);
    assert_eq!(indices("?limit=1").await, [13]);
    assert_eq!(indices("?after=11&limit=1").await, [12]);
    let (_, audit, _) = office.get("/api/v1/audit?after=11&limit=1").await;
    let act = &audit["acts"][0];
    assert_eq!(
        (&act["who"], &act["from"]),
        (&json!("alice"), &json!("192.0.2.1:999"))
    );
    assert_eq!((&act["done"], &act["after"]), (&json!(false), &json!(6)));
    assert_eq!(act["reason"], "revision 6 of bob was the newest");
    for wrong in ["?limit=0", "?limit=1001", "?after=x"] {
        assert_eq!(
            office.get(&format!("/api/v1/audit{wrong}")).await.0,
            400,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_consistent_read_is_refused_where_nobody_can_vouch_for_it() {
    let office = Office::new(Pretend::serving());
    let (status, value, _) = office.get("/api/v1/config?consistent=true").await;
    assert_eq!((status, &value["revision"]), (200, &json!(7)));
    let (status, value, _) = office.get("/api/v1/config?consistent=yes").await;
    assert_eq!(status, 400, "{value}");
    let mut alone = Pretend::serving();
    alone.group.quorum = false;
    let office = Office::new(alone);
    let (status, value, _) = office.get("/api/v1/config?consistent=true").await;
    assert_eq!(status, 503);
    assert_eq!(value["type"], "urn:meridian:problem:no-quorum");
    let (status, value, _) = office.get("/api/v1/config").await;
    assert_eq!((status, &value["stale"]), (200, &json!(true)));
}
