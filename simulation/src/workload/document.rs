//! What the operator applies: the gateway's document for the regions of a scenario.
//!
//! Besides a service that every region has, there is one service for each region that lies everywhere *but*
//! there: its node must forward, whichever region a scenario takes away.

use std::{sync::Arc, time::Duration};

use http::Method;
use meridian_config::diagnose::Source;

use super::{
    Flow, Kind,
    ask::{Ask, Holder, NUMBER, Pattern},
    client::Line,
    issuer, upstream,
};
use crate::{scenario::Tenant, world::Place};

/// The tenant whose clients ask.
pub const TENANT: &str = "acme";

/// What a tenant's clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A GET of a service that every region has.
    Get,
    /// A GET of a service that every region has but the client's own.
    GetElsewhere,
    /// A PUT of a service that every region has.
    Put,
    /// A POST without an idempotency key.
    Post,
    /// A POST with one.
    PostKeyed,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Get,
        Self::GetElsewhere,
        Self::Put,
        Self::Post,
        Self::PostKeyed,
    ];

    /// Its name in a scenario file and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetElsewhere => "get-elsewhere",
            Self::Put => "put",
            Self::Post => "post",
            Self::PostKeyed => "post-keyed",
        }
    }
}

/// The document; `change` tells one version from the next.
pub fn document(regions: &[String], tenants: &[Tenant], change: u64) -> Source {
    let mut text = format!(
        "meridian: 1
regions:
{regions}
plans:
  unlimited: {{ limits: [1000000/second] }}
{plans}defaults: {{ plan: unlimited }}
issuers:
  demo:
    issuer: {issuer}
    audiences: [{audience}]
    algorithms: [EdDSA]
    claims: {{ tenant: tenant, scopes: scope }}
tenants:
  {TENANT}: {{ issuers: [demo] }}
",
        regions = join(regions, |region| format!(
            "  {region}: {{ zone: {region} }}"
        )),
        plans = plans(tenants, change),
        issuer = issuer::url(),
        audience = issuer::AUDIENCE,
    );
    for tenant in tenants {
        let zones: Vec<&str> = tenant.zones.iter().map(|zone| &*regions[zone.0]).collect();
        let residency = match &*zones {
            [] => String::new(),
            zones => format!(", residency: [{}]", zones.join(", ")),
        };
        let name = &tenant.name;
        let plan = match tenant.limits.is_empty() {
            true => String::new(),
            false => format!(", plan: {name}"),
        };
        text.push_str(&format!(
            "  {name}: {{ issuers: [demo]{residency}{plan} }}\n"
        ));
    }
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
    match: {{ path: \"/v1/orders/{{id}}\", methods: [POST, PUT] }}
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

/// The plans of tenants with limits of their own: each document in turn has the next of their sets.
fn plans(tenants: &[Tenant], change: u64) -> String {
    let limited = tenants.iter().filter(|tenant| !tenant.limits.is_empty());
    let plan = |tenant: &Tenant| {
        let sets = tenant.limits.len() as u64;
        let turn = usize::try_from(change % sets).expect("below a length");
        let limits = tenant.limits[turn].join(", ");
        format!("  {}: {{ limits: [{limits}] }}\n", tenant.name)
    };
    limited.map(plan).collect()
}

/// What the clients of a region ask for, of these kinds each once in `every`.
pub fn lines(from: Place, regions: &[String], every: Duration, kinds: &[Kind]) -> Vec<Line> {
    let elsewhere = regions.len() > 1;
    let kinds = kinds.iter().cloned();
    let kinds = kinds.filter(|kind| elsewhere || *kind != Kind::Remote);
    let line = |kind| Line {
        ask: Arc::new(ask(&kind, from, regions, every)),
        flow: Flow { from, kind },
    };
    kinds.map(line).collect()
}

/// What the clients of these tenants ask for.
pub fn asks(regions: &[String], tenants: &[Tenant]) -> Vec<Ask> {
    let all = || (0..regions.len()).map(Place);
    let mut asks = Vec::new();
    for tenant in tenants {
        let from = match &*tenant.from {
            [] => all().collect(),
            from => from.to_vec(),
        };
        let inside = |place: &Place| tenant.zones.is_empty() || tenant.zones.contains(place);
        for what in &tenant.asks {
            // What is asked for elsewhere is another service for each region's clients.
            let groups: Vec<Vec<Place>> = match what {
                What::GetElsewhere => from.iter().map(|place| vec![*place]).collect(),
                _ => vec![from.clone()],
            };
            for from in groups {
                let (method, path, not) = match what {
                    What::Get => (Method::GET, format!("/v1/everywhere/{NUMBER}"), None),
                    What::GetElsewhere => {
                        let region = &regions[from[0].0];
                        let path = format!("/v1/not-{region}/{NUMBER}");
                        (Method::GET, path, Some(from[0]))
                    }
                    What::Put => (Method::PUT, format!("/v1/orders/{NUMBER}"), None),
                    What::Post | What::PostKeyed => {
                        (Method::POST, format!("/v1/orders/{NUMBER}"), None)
                    }
                };
                let served_in: Vec<Place> = all()
                    .filter(inside)
                    .filter(|place| Some(*place) != not)
                    .collect();
                // What no region may serve is refused, and says nothing about a fault.
                if served_in.is_empty() {
                    continue;
                }
                let name = format!("{} as {}", what.name(), tenant.name);
                asks.push(Ask {
                    name: match not {
                        Some(place) => format!("{name} in {}", regions[place.0]),
                        None => name,
                    },
                    body: method != Method::GET,
                    method,
                    host: HOST.to_owned(),
                    path,
                    holder: Some(holder(&tenant.name, "client", tenant.tokens)),
                    keyed: *what == What::PostKeyed,
                    served_in: Some(served_in),
                    confined: (!tenant.zones.is_empty()).then(|| tenant.zones.clone()),
                    limited: tenant.limits.iter().any(|set| !set.is_empty()),
                    status: None,
                    from,
                    every: tenant.every,
                    pattern: tenant.pattern,
                });
            }
        }
    }
    asks
}

/// What holders of badges ask for.
pub fn badge(from: Place, regions: &[String], every: Duration) -> Ask {
    ask(&Kind::Local, from, regions, every)
}

fn ask(kind: &Kind, from: Place, regions: &[String], every: Duration) -> Ask {
    let (method, path) = match kind {
        Kind::Local | Kind::Asked(_) => (Method::GET, format!("/v1/everywhere/{NUMBER}")),
        Kind::Remote => (Method::GET, format!("/v1/not-{}/{NUMBER}", regions[from.0])),
        Kind::Order => (Method::POST, format!("/v1/orders/{NUMBER}")),
    };
    let flow = Flow {
        from,
        kind: kind.clone(),
    };
    Ask {
        name: kind.name().to_owned(),
        body: method == Method::POST,
        method,
        host: HOST.to_owned(),
        path,
        holder: Some(holder(TENANT, &format!("client-{}", from.0), DAY)),
        keyed: false,
        served_in: flow.regions(regions.len()),
        confined: None,
        limited: false,
        status: None,
        from: vec![from],
        every,
        pattern: Pattern::Steady,
    }
}

fn holder(tenant: &str, subject: &str, lifetime: Duration) -> Holder {
    Holder {
        issuer: issuer::url(),
        audience: issuer::AUDIENCE.to_owned(),
        subject: subject.to_owned(),
        texts: vec![("tenant".to_owned(), tenant.to_owned())],
        words: vec![(
            "scope".to_owned(),
            vec!["read".to_owned(), "write".to_owned()],
        )],
        lifetime,
    }
}

/// The host that clients ask for.
const HOST: &str = "api.simulated.example";

/// How long tokens are good for where a scenario says nothing: longer than any run.
pub const DAY: Duration = Duration::from_secs(86_400);

fn service(name: &str, regions: &[String]) -> String {
    let port = upstream::PORT;
    let endpoints = join(regions, |region| {
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

fn join(regions: &[String], line: impl Fn(&String) -> String) -> String {
    regions.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use meridian_config::document::Document;

    use super::*;

    #[test]
    fn the_document_passes_the_check_and_versions_differ() {
        let regions = ["eu-west", "us-east", "ap-south"].map(str::to_owned);
        let (first, second) = (document(&regions, &[], 1), document(&regions, &[], 2));
        assert_ne!(first, second);
        for source in [first, second, document(&regions[..1], &[], 1)] {
            let parsed = Document::parse(&[source]).unwrap();
            assert_eq!(parsed.document.tenants.len(), 1);
        }
    }

    #[test]
    fn a_confined_tenant_is_asked_for_only_where_it_may_be_served() {
        let regions = ["eu-west", "us-east"].map(str::to_owned);
        let tenant = Tenant {
            name: "bavaria".to_owned(),
            asks: What::ALL.to_vec(),
            every: Duration::from_millis(100),
            pattern: Pattern::Steady,
            from: Vec::new(),
            zones: vec![Place(0)],
            tokens: DAY,
            limits: Vec::new(),
            set: Vec::new(),
        };
        let parsed = Document::parse(&[document(&regions, std::slice::from_ref(&tenant), 1)]);
        let parsed = parsed.unwrap().document;
        assert_eq!(parsed.tenants["bavaria"].residency, ["eu-west".into()]);
        let anywhere = Tenant {
            zones: Vec::new(),
            ..tenant.clone()
        };
        assert!(Document::parse(&[document(&regions, &[anywhere], 1)]).is_ok());
        let asks = asks(&regions, &[tenant]);
        let names: Vec<&str> = asks.iter().map(|ask| &*ask.name).collect();
        let all = [
            "get as bavaria",
            "get-elsewhere as bavaria in us-east",
            "put as bavaria",
            "post as bavaria",
            "post-keyed as bavaria",
        ];
        assert_eq!(names, all);
        for ask in &asks {
            assert_eq!(ask.served_in, Some(vec![Place(0)]));
            assert_eq!(ask.confined, Some(vec![Place(0)]));
        }
        assert!(asks[4].repeatable() && asks[2].repeatable() && !asks[3].repeatable());
    }
}
