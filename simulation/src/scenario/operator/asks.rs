//! What clients ask for: requests that the document's routes match, with tokens of tenants that may make them.
//!
//! A core: a checked document comes in; requests, and what no client can ask for, come out.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use meridian_config::{
    document::{Action, Document, HostPattern, Issuer, Route},
    name::{IssuerName, RegionName, TenantId},
};

use super::Operator;
use crate::{
    workload::{
        ask::{Ask, Holder, NUMBER, Pattern},
        issuer,
    },
    world::Place,
};

/// A request of each route, one whose method may be repeated and one whose may not where the route takes both;
/// and a sentence for each route that nobody can be asked to serve.
pub(super) fn asks(document: &Document, regions: &[String]) -> (Vec<Ask>, Vec<String>) {
    let mut asks = Vec::new();
    let mut notes = Vec::new();
    // Tenants take turns, so that each has its share of the routes.
    let mut turn = 0;
    for route in document.routes.values() {
        let (holder, confined) = match caller(document, regions, route, &mut turn) {
            Ok(caller) => caller,
            Err(why) => {
                notes.push(format!("routes.{}: not asked for: {why}", route.name));
                continue;
            }
        };
        let (served_in, status) = match &route.action {
            Action::Respond(fixed) => (None, Some(fixed.status)),
            Action::Service(service) => {
                let endpoints = document.services.get(service).map(|it| &it.endpoints);
                let has = |(_, name): &(usize, &String)| {
                    endpoints.is_some_and(|all| all.contains_key(name.as_str()))
                };
                let all = regions.iter().enumerate().filter(has);
                let all = all.map(|(place, _)| Place(place));
                let allowed = all.filter(|place| {
                    confined
                        .as_ref()
                        .is_none_or(|confined: &Vec<Place>| confined.contains(place))
                });
                (Some(allowed.collect()), None)
            }
        };
        let whose = match &holder {
            Some(holder) => format!("{} as {}", route.name, holder.subject),
            None => route.name.to_string(),
        };
        for method in methods(&route.matching.methods) {
            asks.push(Ask {
                name: format!("{method} {whose}"),
                host: host(&route.matching.hosts),
                path: path(&route.matching.path),
                holder: holder.clone(),
                keyed: false,
                served_in: served_in.clone(),
                confined: confined.clone(),
                limited: false,
                status,
                body: matches!(method, Method::POST | Method::PUT | Method::PATCH)
                    && route.request.max_body >= SMALL,
                method,
                from: (0..regions.len()).map(Place).collect(),
                every: Duration::ZERO,
                pattern: Pattern::Steady,
            });
        }
    }
    (asks, notes)
}

/// Sets the pace: `every` unless that were more than the world can play in a reasonable time. Of too many kinds some
/// are left out, evenly.
pub(super) fn pace(asks: &mut Vec<Ask>, every: Duration, notes: &mut Vec<String>) {
    let count = asks.len();
    if count > MOST {
        let mut index = 0;
        asks.retain(|_| {
            index += 1;
            (index * MOST) / count != ((index - 1) * MOST) / count
        });
        notes.push(format!(
            "routes: {MOST} of {count} kinds of request are asked for, evenly chosen; more would take too long"
        ));
    }
    let flows: usize = asks.iter().map(|ask| ask.from.len()).sum();
    let least = TOGETHER * u32::try_from(flows).unwrap_or(u32::MAX);
    let slower = every.max(least.min(SLOWEST)).max(every);
    if slower > every {
        notes.push(format!(
            "traffic: each kind is asked for every {slower:?} in each region instead of every {every:?}; there are {flows} kinds and regions"
        ));
    }
    for ask in asks {
        ask.every = slower;
    }
}

/// A tenant that may use a route.
struct Candidate<'a> {
    tenant: &'a TenantId,
    name: &'a IssuerName,
    issuer: &'a Issuer,
    confined: Option<Vec<Place>>,
}

type Caller = (Option<Holder>, Option<Vec<Place>>);

/// Who may use a route, and where upstreams may see him.
fn caller(
    document: &Document,
    regions: &[String],
    route: &Route,
    turn: &mut usize,
) -> Result<Caller, String> {
    if route.exempt.auth {
        return Ok((None, None));
    }
    let served: Option<Vec<&str>> = match &route.action {
        Action::Respond(_) => None,
        Action::Service(service) => document
            .services
            .get(service)
            .map(|it| it.endpoints.keys().map(RegionName::as_str).collect()),
    };
    let mut callers = Vec::new();
    for (tenant, rules) in &document.tenants {
        let trusted = document.issuers.iter().find(|(issuer, _)| {
            (route.issuers.is_empty() || route.issuers.contains(issuer))
                && (rules.issuers.is_empty() || rules.issuers.contains(issuer))
        });
        let Some((name, issuer)) = trusted else {
            continue;
        };
        let confined = (!rules.residency.is_empty())
            .then(|| Operator::places_in(document, regions, &rules.residency));
        let reachable = match (&served, &confined) {
            (Some(served), Some(places)) => {
                let mut places = places.iter();
                places.any(|place| served.contains(&regions[place.0].as_str()))
            }
            _ => true,
        };
        if reachable {
            callers.push(Candidate {
                tenant,
                name,
                issuer,
                confined,
            });
        }
    }
    if callers.is_empty() {
        return Err(
            "no tenant of the document has an issuer that the route takes and a zone that its service lies in".to_owned(),
        );
    }
    let Candidate {
        tenant,
        name,
        issuer,
        confined,
    } = callers.swap_remove(*turn % callers.len());
    *turn += 1;
    let mut words: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let held = [
        (&issuer.claims.scopes, &route.access.scopes),
        (&issuer.claims.roles, &route.access.roles),
    ];
    for (claim, needed) in held {
        words
            .entry(claim.clone())
            .or_default()
            .extend(needed.iter().cloned());
    }
    let holder = Holder {
        issuer: url(name),
        audience: issuer.audiences.first().cloned().unwrap_or_default(),
        subject: tenant.to_string(),
        texts: vec![(issuer.claims.tenant.clone(), tenant.to_string())],
        words: words.into_iter().collect(),
        lifetime: Duration::from_secs(86_400),
    };
    Ok((Some(holder), confined))
}

/// Where the issuer of this name is in the false world.
pub(super) fn url(issuer: &IssuerName) -> String {
    format!("{}/{issuer}", issuer::url())
}

/// One method that may be repeated, and one that may not, of those that a route takes; none given: all.
fn methods(taken: &[String]) -> Vec<Method> {
    let first = |wanted: &[Method]| {
        let mut wanted = wanted.iter();
        let is_taken =
            |method: &&Method| taken.is_empty() || taken.iter().any(|it| it == method.as_str());
        wanted.find(is_taken).cloned()
    };
    let safe = first(&[
        Method::GET,
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
    ]);
    let once = first(&[Method::POST, Method::PATCH]);
    safe.into_iter().chain(once).collect()
}

fn host(hosts: &[HostPattern]) -> String {
    match hosts.first() {
        None => "api.simulated.example".to_owned(),
        Some(HostPattern::Exact(name)) => name.clone(),
        Some(HostPattern::Wildcard(suffix)) => format!("simulated.{suffix}"),
    }
}

/// A path that a pattern matches, with the request's number where it has room for one.
fn path(pattern: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        path.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            path.push_str(&rest[..1]);
            rest = &rest[2..];
            continue;
        }
        path.push_str(NUMBER);
        rest = rest.split_once('}').map_or("", |(_, after)| after);
    }
    path.push_str(rest);
    path
}

/// Kinds of request of one run at most: beyond it a run takes minutes.
const MOST: usize = 24;

/// Between any two requests of a run, on average: 250 a second, all regions together.
const TOGETHER: Duration = Duration::from_millis(4);

/// Between two requests of a kind in a region at most: an outage of a second must be seen.
const SLOWEST: Duration = Duration::from_millis(250);

/// The length of a client's body, in bytes.
const SMALL: u64 = 64;
