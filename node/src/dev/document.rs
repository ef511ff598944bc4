//! The demo document: what `meridian dev` applies.
//!
//! In: the plan. Out: the text of `gateway.yaml`. A core.

use std::fmt::Write;

use super::{issuer::AUDIENCE, plan::Plan};

/// The document for this plan.
pub(crate) fn text(plan: &Plan) -> String {
    let mut endpoints = String::new();
    for upstream in &plan.upstreams {
        writeln!(
            endpoints,
            "      {}: [http://{}]",
            upstream.region, upstream.listen
        )
        .expect("writing to a string does not fail");
    }
    TEMPLATE
        .replace("ISSUER", &format!("http://{}", plan.issuer))
        .replace("AUDIENCE", AUDIENCE)
        .replace("ENDPOINTS\n", &endpoints)
}

/// Words in capitals are replaced.
const TEMPLATE: &str = r#"# The document of this dev cluster. Change it, then: meridian apply -f PATH-OF-THIS-FILE
meridian: 1

regions:
  eu-west:  { location: { lat: 53.35, lon: -6.26 },  zone: eu }
  us-east:  { location: { lat: 38.95, lon: -77.45 }, zone: us }
  ap-south: { location: { lat: 19.08, lon: 72.88 },  zone: in }

plans:
  standard:   { limits: [1000/hour] }
  premium:    { limits: [5000/hour, 100/second] }
  enterprise: { limits: [{ rate: 10000/hour, window: sliding, on_region_loss: strict }] }

edge: { probes: true }

defaults: { plan: standard, unidentified: { limits: [120/minute] } }

issuers:
  dev:
    issuer: ISSUER
    audiences: [AUDIENCE]
    algorithms: [ES256]

tenants:
  acme:    { plan: premium }
  globex:  { plan: standard }
  initech: { plan: enterprise }

services:
  demo:
    endpoints:
ENDPOINTS
    health: { path: /health, interval: 500ms, timeout: 500ms, healthy_after: 1, unhealthy_after: 2 }

routes:
  plants:
    match: { path: /v1/plants, methods: [GET] }
    service: demo
    allow: { scopes: [plants:read] }
    response: { headers: { set: { x-served-by: "{region}" } } }
  plant:
    match: { path: "/v1/plants/{id}", methods: [GET] }
    service: demo
    allow: { scopes: [plants:read] }
    response: { headers: { set: { x-served-by: "{region}" } } }
  echo:
    match: { path: /v1/echo }
    service: demo
    response: { headers: { set: { x-served-by: "{region}" } } }
  ws:
    match: { path: /v1/ws, methods: [GET] }
    service: demo
  slow:
    match: { path: /v1/slow, methods: [GET] }
    service: demo
  status:
    match: { path: "/v1/status/{code}", methods: [GET] }
    service: demo
"#;
