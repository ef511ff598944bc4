//! What the operator applies: the gateway's document for the regions of a scenario.
//!
//! Besides a service that every region has, there is one service for each region that lies everywhere *but*
//! there: its node must forward, whichever region a scenario takes away.

use meridian_config::diagnose::Source;

use super::{Flow, Kind, issuer, upstream};
use crate::world::Place;

/// The tenant whose clients ask.
pub const TENANT: &str = "acme";

/// The document; `change` tells one version from the next.
pub fn document(regions: &[String], change: u64) -> Source {
    let mut text = format!(
        "meridian: 1
regions:
{regions}
plans:
  unlimited: {{ limits: [1000000/second] }}
defaults: {{ plan: unlimited }}
issuers:
  demo:
    issuer: {issuer}
    audiences: [{audience}]
    algorithms: [EdDSA]
    claims: {{ tenant: tenant, scopes: scope }}
tenants:
  {TENANT}: {{ issuers: [demo] }}
",
        regions = lines(regions, |region| format!(
            "  {region}: {{ zone: {region} }}"
        )),
        issuer = issuer::url(),
        audience = issuer::AUDIENCE,
    );
    text.push_str("services:\n");
    text.push_str(&service("everywhere", regions));
    let remote = regions.iter().filter(|_| regions.len() > 1);
    for region in remote.clone() {
        let others: Vec<String> = regions
            .iter()
            .filter(|other| *other != region)
            .cloned()
            .collect();
        text.push_str(&service(&format!("not-{region}"), &others));
    }
    text.push_str("routes:\n");
    text.push_str(&route("everywhere", "GET", change));
    text.push_str(&format!(
        "  orders:
    match: {{ path: \"/v1/orders/{{id}}\", methods: [POST] }}
    service: everywhere
    auth: {{ any: [{{ jwt: [demo] }}] }}
    allow: {{ scopes: [write] }}
    response: {{ headers: {{ set: {{ x-change: \"{change}\" }} }} }}
"
    ));
    for region in remote {
        text.push_str(&route(&format!("not-{region}"), "GET", change));
    }
    Source {
        name: "gateway.yaml".to_owned(),
        text,
    }
}

/// The path of one request of a flow.
pub fn path(flow: &Flow, regions: &[String], id: u64) -> String {
    match flow.kind {
        Kind::Local => format!("/v1/everywhere/{id}"),
        Kind::Remote => format!("/v1/not-{}/{id}", regions[flow.from.0]),
        Kind::Order => format!("/v1/orders/{id}"),
    }
}

/// The flows that clients of a region have.
pub fn flows(from: Place, regions: usize) -> Vec<Flow> {
    let mut kinds = vec![Kind::Local, Kind::Order];
    if regions > 1 {
        kinds.push(Kind::Remote);
    }
    let flow = |kind| Flow { from, kind };
    kinds.into_iter().map(flow).collect()
}

fn service(name: &str, regions: &[String]) -> String {
    let port = upstream::PORT;
    let endpoints = lines(regions, |region| {
        format!(
            "      {region}: [\"http://{}:{port}\"]",
            upstream_name(region)
        )
    });
    format!(
        "  {name}:
    endpoints:
{endpoints}
    timeouts: {{ connect: 500ms, response: 2s, idle: 30s }}
    retries: {{ attempts: 2, on: [connect, reset, 502, 503, 504], budget: 100% }}
    health: {{ path: /health, interval: 500ms, timeout: 250ms, healthy_after: 2, unhealthy_after: 2 }}
"
    )
}

fn route(service: &str, method: &str, change: u64) -> String {
    format!(
        "  {service}:
    match: {{ path: \"/v1/{service}/{{id}}\", methods: [{method}] }}
    service: {service}
    auth: {{ any: [{{ jwt: [demo] }}] }}
    allow: {{ scopes: [read] }}
    response: {{ headers: {{ set: {{ x-change: \"{change}\" }} }} }}
"
    )
}

/// The host name of a region's upstream.
pub fn upstream_name(region: &str) -> String {
    format!("upstream.{region}")
}

fn lines(regions: &[String], line: impl Fn(&String) -> String) -> String {
    regions.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use meridian_config::document::Document;

    use super::*;

    #[test]
    fn the_document_passes_the_check_and_versions_differ() {
        let regions = ["eu-west", "us-east", "ap-south"].map(str::to_owned);
        let (first, second) = (document(&regions, 1), document(&regions, 2));
        assert_ne!(first, second);
        for source in [first, second, document(&regions[..1], 1)] {
            let parsed = Document::parse(&[source]).unwrap();
            assert_eq!(parsed.document.tenants.len(), 1);
        }
    }
}
