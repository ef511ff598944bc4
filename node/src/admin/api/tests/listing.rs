//! Tenants, services and the stream of events.

use std::time::Duration;

use http_body_util::BodyExt as _;
use meridian_cluster::membership::Liveness;
use tokio::time::timeout;

use super::*;
use crate::admin::body::{Event, Happening};

/// Thirty tenants, one service.
fn document() -> String {
    let tenants: String = (0..30).map(|n| format!("  t{n:02}: {{}}\n")).collect();
    format!(
        "meridian: 1\nregions: {{ eu: {{}} }}\nplans: {{ p: {{ limits: [5/minute] }} }}\ndefaults: {{ plan: p }}\nservices: {{ plant: {{ endpoints: {{ eu: [\"http://10.0.0.1:8000\"] }} }} }}\nroutes: {{ plants: {{ match: {{ path: /p }}, service: plant, exempt: [auth] }} }}\ntenants:\n{tenants}"
    )
}

fn office() -> Office {
    let mut node = Pretend::serving();
    let mut kept = node.current.as_deref().unwrap().clone();
    kept.files = Arc::from([meridian_config::diagnose::Source {
        name: "gateway.yaml".into(),
        text: document(),
    }]);
    node.current = Some(Arc::new(kept));
    Office::new(node)
}

#[tokio::test]
async fn tenants_come_in_pages_and_one_by_one() {
    let office = office();
    let (code, first, _) = office.get("/api/v1/tenants?limit=20").await;
    assert_eq!(code, 200, "{first}");
    assert_eq!(first["tenants"].as_array().unwrap().len(), 20);
    assert_eq!(
        (&first["revision"], &first["next"]),
        (&json!(7), &json!("t19"))
    );
    let (_, rest, _) = office.get("/api/v1/tenants?limit=20&after=t19").await;
    assert_eq!(rest["tenants"].as_array().unwrap().len(), 10);
    assert_eq!(
        (&rest["tenants"][0]["tenant"], &rest["next"]),
        (&json!("t20"), &Value::Null)
    );
    let (code, one, _) = office.get("/api/v1/tenants/t03").await;
    assert_eq!((code, &one["plan"]), (200, &json!("p")));
    assert_eq!(
        one["limits"],
        json!([{ "id": "tenant-minute", "amount": 5, "window_s": 60.0, "window": "sliding",
            "per": "tenant", "on_empty": "{ wait: 400ms }", "on_lapse": "base", "priority": 50, "shadow": false }])
    );
    let (code, problem, _) = office.get("/api/v1/tenants/t99").await;
    assert_eq!(
        (code, &problem["type"]),
        (404, &json!("urn:meridian:problem:no-such-tenant"))
    );
    for bad in ["limit=0", "limit=1001", "limit=x", "page=2"] {
        assert_eq!(
            office.get(&format!("/api/v1/tenants?{bad}")).await.0,
            400,
            "{bad}"
        );
    }
    let mut node = Pretend::serving();
    node.current = None;
    assert_eq!(Office::new(node).get("/api/v1/tenants").await.0, 404);
}

#[tokio::test]
async fn a_service_shows_what_each_node_says_of_it() {
    let office = office();
    let (code, answer, _) = office.get("/api/v1/services").await;
    assert_eq!(code, 200, "{answer}");
    let service = &answer["services"][0];
    assert_eq!(service["service"], "plant");
    assert_eq!(
        service["places"],
        json!([{ "region": "eu", "endpoints": ["http://10.0.0.1:8000"], "healthy": { "n1": 2 } }])
    );
    assert_eq!(service["here"][0]["in_flight"], 3);
    assert_eq!(&office.get("/api/v1/services/plant").await.1, service);
    assert_eq!(office.get("/api/v1/services/none").await.0, 404);
}

/// A stream of events as it comes.
struct Listening {
    body: Body,
}

impl Listening {
    async fn open(office: &Office, target: &str, last: Option<&str>) -> Self {
        let mut request = http::Request::builder().uri(target);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let caller = Caller {
            name: "bob".into(),
            role: Role::Viewer,
        };
        let desk = super::super::Desk {
            host: office.host.clone(),
            node: office.node.clone(),
            feed: office.feed.clone(),
        };
        let peer = ([127, 0, 0, 1], 50_000).into();
        let answer = answer(&desk, &caller, peer, &parts, Full::new(Bytes::new())).await;
        let (head, body) = answer.unwrap().into_parts();
        assert_eq!(head.headers["content-type"], "text/event-stream");
        Self { body }
    }

    /// What comes next; `None` where the stream has ended.
    async fn next(&mut self) -> Option<String> {
        let frame = timeout(Duration::from_secs(60), self.body.frame());
        let frame = frame.await.expect("something comes at least every 15 s")?;
        Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    }
}

fn down(node: &str) -> Event {
    Event {
        time: "T".into(),
        what: Happening::Node {
            node: node.into(),
            region: "eu".into(),
            state: Some(Liveness::Down),
            before: Some(Liveness::Up),
        },
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_hears_how_things_stand_and_then_what_happens() {
    let office = office();
    office.feed.push(&down("before"));
    let mut all = Listening::open(&office, "/api/v1/events", None).await;
    let mut acts = Listening::open(&office, "/api/v1/events?types=act,leader", None).await;
    let opening = all.next().await.unwrap();
    assert!(
        opening.starts_with("retry: 1000\n\nid: 7-1\nevent: start\ndata: {"),
        "{opening}"
    );
    assert!(opening.contains("\"revision\":7"), "{opening}");
    acts.next().await.unwrap();
    office.feed.push(&down("n2"));
    let event = all.next().await.unwrap();
    assert_eq!(
        event,
        "id: 7-2\nevent: node\ndata: {\"time\":\"T\",\"type\":\"node\",\"node\":\"n2\",\"region\":\"eu\",\"state\":\"down\",\"before\":\"up\"}\n\n"
    );
    // The other type is not for this one, which hears that the stream lives.
    assert_eq!(acts.next().await.unwrap(), ": alive\n\n");

    let mut back = Listening::open(&office, "/api/v1/events", Some("7-1")).await;
    assert_eq!(back.next().await.unwrap(), "retry: 1000\n\n");
    assert_eq!(back.next().await.unwrap(), event);
    let mut stranger = Listening::open(&office, "/api/v1/events", Some("8-1")).await;
    let opening = stranger.next().await.unwrap();
    assert!(
        opening.contains("event: missed") && opening.contains("event: start"),
        "{opening}"
    );
    office.feed.end();
    assert_eq!(all.next().await, None);
}

#[tokio::test]
async fn types_that_do_not_exist_and_one_stream_too_many_are_refused() {
    let office = office();
    let (code, problem, _) = office.get("/api/v1/events?types=node,nodes").await;
    assert_eq!(code, 400);
    assert!(
        problem["detail"].as_str().unwrap().contains("\"nodes\""),
        "{problem}"
    );
    let seats: Vec<_> = std::iter::from_fn(|| office.feed.place()).collect();
    let (code, problem, _) = office.get("/api/v1/events").await;
    assert_eq!(
        (code, &problem["type"]),
        (503, &json!("urn:meridian:problem:overloaded"))
    );
    drop(seats);
}
