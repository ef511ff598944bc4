//! `meridian tenants` and `meridian services`: what the running document names, and how it fares.

use std::time::Duration;

use meridian_config::units::Rate;
use serde::de::DeserializeOwned;

use super::{
    client::{Client, encoded},
    outcome::{Exit, Failure},
    quota::set_text,
    terminal::{Terminal, columns},
};
use crate::admin::body::{Service, ServiceList, Tenant, TenantLimit, TenantList};

/// All tenants, or one.
pub(super) async fn tenants(
    tenant: Option<&str>,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    if let Some(tenant) = tenant {
        let path = format!("/api/v1/tenants/{}", encoded(tenant));
        let tenant: Tenant = client.get(&path).await?;
        terminal.value(&tenant, one_tenant);
        return Ok(Exit::Done);
    }
    let mut all: TenantList = client.get("/api/v1/tenants?limit=1000").await?;
    while let Some(after) = all.next.take() {
        let more: TenantList = next(client, "tenants", &after).await?;
        all.tenants.extend(more.tenants);
        all.next = more.next;
    }
    if all.stale {
        terminal.warn("this node sees no quorum; a newer document may exist");
    }
    terminal.value(&all, |all| {
        let mut rows = vec![header(&[
            "TENANT",
            "PLAN",
            "LIMITS",
            "ISSUERS",
            "RESIDENCY",
        ])];
        rows.extend(all.tenants.iter().map(|tenant| {
            vec![
                tenant.tenant.clone(),
                tenant.plan.clone().unwrap_or_else(|| "-".to_owned()),
                format!(
                    "{}{}",
                    list(&limits(tenant), "none"),
                    if tenant.set.is_some() { " (set)" } else { "" }
                ),
                list(&tenant.issuers, "any"),
                list(&tenant.residency, "anywhere"),
            ]
        }));
        columns(&rows)
    });
    Ok(Exit::Done)
}

/// All services, or one.
pub(super) async fn services(
    service: Option<&str>,
    client: &Client,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    if let Some(service) = service {
        let path = format!("/api/v1/services/{}", encoded(service));
        let service: Service = client.get(&path).await?;
        terminal.value(&service, one_service);
        return Ok(Exit::Done);
    }
    let mut all: ServiceList = client.get("/api/v1/services?limit=1000").await?;
    while let Some(after) = all.next.take() {
        let more: ServiceList = next(client, "services", &after).await?;
        all.services.extend(more.services);
        all.next = more.next;
    }
    if all.stale {
        terminal.warn("this node sees no quorum; a newer document may exist");
    }
    terminal.value(&all, |all| {
        let mut rows = vec![header(&["SERVICE", "REGION", "HEALTHY", "ENDPOINTS"])];
        for service in &all.services {
            rows.extend(places(service));
        }
        columns(&rows)
    });
    Ok(Exit::Done)
}

async fn next<T: DeserializeOwned>(client: &Client, what: &str, after: &str) -> Result<T, Failure> {
    let after = encoded(after);
    client
        .get(&format!("/api/v1/{what}?limit=1000&after={after}"))
        .await
}

fn one_tenant(tenant: &Tenant) -> String {
    columns(&[
        pair("Tenant", tenant.tenant.clone()),
        pair(
            "Plan",
            tenant.plan.clone().unwrap_or_else(|| "none".to_owned()),
        ),
        pair("Limits", list(&limits(tenant), "none")),
        pair(
            "Set",
            tenant
                .set
                .as_ref()
                .map_or_else(|| "no".to_owned(), set_text),
        ),
        pair("Issuers", list(&tenant.issuers, "any of the document")),
        pair("Residency", list(&tenant.residency, "anywhere")),
        pair("Aliases", list(&tenant.aliases, "none")),
    ])
}

fn one_service(service: &Service) -> String {
    let mut text = columns(&[
        pair("Service", service.service.clone()),
        pair("Protocol", service.protocol.clone()),
        pair("Balance", service.balance.clone()),
        pair(
            "Checks",
            if service.checked {
                "active and passive"
            } else {
                "passive only"
            }
            .to_owned(),
        ),
    ]);
    let mut rows = vec![header(&["SERVICE", "REGION", "HEALTHY", "ENDPOINTS"])];
    rows.extend(places(service));
    text.push('\n');
    text.push_str(&columns(&rows));
    if !service.here.is_empty() {
        let mut rows = vec![header(&["ENDPOINT HERE", "STATE", "IN FLIGHT"])];
        rows.extend(service.here.iter().map(|here| {
            vec![
                here.endpoint.clone(),
                if here.healthy { "healthy" } else { "unhealthy" }.to_owned(),
                here.in_flight.to_string(),
            ]
        }));
        text.push('\n');
        text.push_str(&columns(&rows));
    }
    text
}

/// A row for each region of a service. Nodes of a region may differ; then the least and the most are
/// shown.
fn places(service: &Service) -> Vec<Vec<String>> {
    let rows = service.places.iter().map(|place| {
        let of = place.endpoints.len();
        let told = (place.healthy.values().min(), place.healthy.values().max());
        let healthy = match told {
            (Some(least), Some(most)) if least == most => format!("{least} of {of}"),
            (Some(least), Some(most)) => format!("{least}-{most} of {of}"),
            _ => format!("? of {of}"),
        };
        vec![
            service.service.clone(),
            place.region.clone(),
            healthy,
            place.endpoints.join(" "),
        ]
    });
    rows.collect()
}

fn limits(tenant: &Tenant) -> Vec<String> {
    tenant.limits.iter().map(limit_text).collect()
}

/// A limit's rate, and how its window moves where that is not usual.
pub(super) fn limit_text(limit: &TenantLimit) -> String {
    let fixed = if limit.window == "fixed" {
        " fixed"
    } else {
        ""
    };
    match Duration::try_from_secs_f64(limit.window_s) {
        Ok(span) => {
            let amount = limit.amount;
            format!("{}{fixed}", Rate { amount, span })
        }
        Err(_) => format!("{}/{}s{fixed}", limit.amount, limit.window_s),
    }
}

fn list(items: &[String], none: &str) -> String {
    if items.is_empty() {
        none.to_owned()
    } else {
        items.join(", ")
    }
}

fn pair(name: &str, value: String) -> Vec<String> {
    vec![format!("{name}:"), value]
}

fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::admin::body::Place;

    #[test]
    fn nodes_that_differ_show_both_numbers() {
        let service = |healthy: &[(&str, u32)]| Service {
            service: "plant".into(),
            protocol: "http1".into(),
            balance: "round_robin".into(),
            checked: true,
            places: vec![Place {
                region: "eu".into(),
                endpoints: vec!["http://a:1".into(), "http://b:1".into()],
                healthy: healthy
                    .iter()
                    .map(|(node, count)| (node.to_string(), *count))
                    .collect::<BTreeMap<_, _>>(),
            }],
            here: Vec::new(),
        };
        let shown = |healthy: &[(&str, u32)]| places(&service(healthy))[0][2].clone();
        assert_eq!(shown(&[("n1", 2), ("n2", 2)]), "2 of 2");
        assert_eq!(shown(&[("n1", 1), ("n2", 2)]), "1-2 of 2");
        assert_eq!(shown(&[]), "? of 2");
    }
}
