//! What is legal but probably not meant.
//!
//! In: raw and checked document. Out: warnings among the findings; none stops an apply.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::raw::*, each};
use crate::{
    diagnose::Findings,
    document::{Action, Document},
    name::{RouteName, ServiceName, TenantId, Zone},
};

/// Warns of what is probably not meant.
pub(super) fn suspicious(raw: &DocumentRaw, document: &Document, findings: &mut Findings) {
    for (path, _, issuer) in each("issuers", &raw.issuers) {
        if let Some(url) = issuer.issuer.given()
            && url.starts_with("http:")
        {
            findings.warn(
                url.place,
                format!(
                    "{}: production nodes reject an http issuer; use https",
                    path.key("issuer")
                ),
            );
        }
    }
    let used: BTreeSet<&ServiceName> = document
        .routes
        .values()
        .filter_map(|route| match &route.action {
            Action::Service(name) => Some(name),
            Action::Respond(_) => None,
        })
        .collect();
    for (path, name, service) in each("services", &raw.services) {
        if !used.contains(&ServiceName::new(name)) {
            findings.warn(service.named, format!("{path}: no route uses it"));
        }
    }
    tenants(raw, document, &used, findings);
    routes(raw, document, findings);
}

fn tenants(
    raw: &DocumentRaw,
    document: &Document,
    used: &BTreeSet<&ServiceName>,
    findings: &mut Findings,
) {
    // Thousands of tenants share a few sets of zones.
    let mut missing_in: BTreeMap<&[Zone], String> = BTreeMap::new();
    for (path, name, at) in each("tenants", &raw.tenants) {
        let Some(tenant) = document.tenants.get(&TenantId::new(name)) else {
            continue;
        };
        if tenant.plan.is_none() {
            findings.warn(
                at.named,
                format!("{path}: has no plan, and there is no defaults.plan: its requests are not limited"),
            );
        }
        let Some(residency) = at.residency.given() else {
            continue;
        };
        let missing = missing_in.entry(&tenant.residency).or_insert_with(|| {
            let elsewhere = used
                .iter()
                .filter(|service| !serves(document, service, &tenant.residency));
            let names: Vec<&str> = elsewhere.map(|service| service.as_str()).collect();
            names.join(", ")
        });
        if !missing.is_empty() {
            findings.warn(
                residency.place,
                format!(
                    "{}: no endpoint of {missing} lies there; requests of this tenant for it end in 403 residency",
                    path.key("residency"),
                ),
            );
        }
    }
}

/// Whether the service has an endpoint in one of the zones.
fn serves(document: &Document, service: &ServiceName, zones: &[Zone]) -> bool {
    document.services.get(service).is_some_and(|service| {
        service.endpoints.iter().any(|(region, list)| {
            let zone = document.regions.get(region).map(|region| &region.zone);
            !list.is_empty() && zone.is_some_and(|zone| zones.contains(zone))
        })
    })
}

fn routes(raw: &DocumentRaw, document: &Document, findings: &mut Findings) {
    for (path, name, at) in each("routes", &raw.routes) {
        let Some(route) = document.routes.get(&RouteName::new(name)) else {
            continue;
        };
        if !route.exempt.auth && document.issuers.is_empty() {
            findings.warn(
                at.named,
                format!("{path}: needs a token, but the document has no issuers: every request ends in 401"),
            );
        }
        if route.exempt.auth && !route.exempt.limits && document.defaults.unidentified.is_empty() {
            findings.warn(
                at.named,
                format!("{path}: needs no token, and defaults.unidentified has no limits: nothing limits it"),
            );
        }
    }
}
