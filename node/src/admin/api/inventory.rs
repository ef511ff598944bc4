//! Tenants and services of the running document.

use std::{collections::BTreeMap, sync::Arc};

use meridian_cluster::membership::{Liveness, View};
use meridian_config::{
    document::{self, Balance, Document, Protocol},
    name::{ServiceName, TenantId},
};

use super::{
    Asked, Desk,
    paging::{PAGE, Page},
    quota, reply,
    table::{Answer, Handler, Resource, shape},
};
use crate::admin::{body, fault::Fault};

pub(super) const RESOURCES: &[Resource] = &[
    Resource {
        query: PAGE,
        ..Resource::get(
            "/api/v1/tenants",
            "The tenants that the running document names, by name",
            shape::<body::TenantList>,
            Handler::Now(tenants),
        )
    },
    Resource::get(
        "/api/v1/tenants/{tenant}",
        "A tenant, by its name",
        shape::<body::Tenant>,
        Handler::Now(tenant),
    ),
    Resource {
        query: PAGE,
        ..Resource::get(
            "/api/v1/services",
            "The services of the running document and the health of their endpoints, by name",
            shape::<body::ServiceList>,
            Handler::Now(services),
        )
    },
    Resource::get(
        "/api/v1/services/{service}",
        "A service and the health of its endpoints",
        shape::<body::Service>,
        Handler::Now(service),
    ),
];

fn running(desk: &Desk) -> Result<(u64, Arc<Document>), Fault> {
    desk.node.document().ok_or(Fault::NoRevision)
}

fn tenants(desk: &Desk, asked: &Asked) -> Answer {
    let page = Page::of(asked)?;
    let (revision, document) = running(desk)?;
    let (found, next) = page.cut(document.tenants.iter(), |(id, _)| id.as_str());
    let tenants = found
        .into_iter()
        .map(|(id, tenant)| tenant_body(desk, &document, id, tenant));
    Ok(reply::json(&body::TenantList {
        stale: desk.stale(),
        revision,
        tenants: tenants.collect(),
        next,
    }))
}

fn tenant(desk: &Desk, asked: &Asked) -> Answer {
    let wanted = asked.parameter("tenant");
    let (_, document) = running(desk)?;
    let found = document.tenants.get_key_value(&TenantId::from(wanted));
    let (id, tenant) = found.ok_or_else(|| Fault::NoSuchTenant(wanted.to_owned()))?;
    Ok(reply::json(&tenant_body(desk, &document, id, tenant)))
}

fn tenant_body(
    desk: &Desk,
    document: &Document,
    id: &TenantId,
    tenant: &document::Tenant,
) -> body::Tenant {
    let (limits, set) = quota::in_force(desk, document, id);
    body::Tenant {
        tenant: id.to_string(),
        plan: tenant.plan.as_ref().map(ToString::to_string),
        limits,
        set,
        issuers: tenant.issuers.iter().map(ToString::to_string).collect(),
        residency: tenant.residency.iter().map(ToString::to_string).collect(),
        aliases: tenant.aliases.clone(),
    }
}

fn services(desk: &Desk, asked: &Asked) -> Answer {
    let page = Page::of(asked)?;
    let (revision, document) = running(desk)?;
    let (found, next) = page.cut(document.services.iter(), |(name, _)| name.as_str());
    let view = desk.node.view();
    let services = found
        .into_iter()
        .map(|(name, service)| service_body(desk, &view, name, service));
    Ok(reply::json(&body::ServiceList {
        stale: desk.stale(),
        revision,
        services: services.collect(),
        next,
    }))
}

fn service(desk: &Desk, asked: &Asked) -> Answer {
    let wanted = asked.parameter("service");
    let (_, document) = running(desk)?;
    let found = document.services.get_key_value(&ServiceName::from(wanted));
    let (name, service) = found.ok_or_else(|| Fault::NoSuchService(wanted.to_owned()))?;
    let view = desk.node.view();
    Ok(reply::json(&service_body(desk, &view, name, service)))
}

fn service_body(
    desk: &Desk,
    view: &View,
    name: &ServiceName,
    service: &document::Service,
) -> body::Service {
    let places = service.endpoints.iter().map(|(region, endpoints)| {
        let members = view.members.values();
        let there =
            members.filter(|member| member.region == *region && member.liveness != Liveness::Down);
        let healthy: BTreeMap<String, u32> = there
            .filter_map(|member| {
                let healthy = member.announced.services.get(name)?;
                Some((member.id.to_string(), *healthy))
            })
            .collect();
        body::Place {
            region: region.to_string(),
            endpoints: endpoints.iter().map(url).collect(),
            healthy,
        }
    });
    body::Service {
        service: name.to_string(),
        protocol: match service.protocol {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
        }
        .to_owned(),
        balance: match service.balance {
            Balance::LeastLoaded => "least_loaded",
            Balance::RoundRobin => "round_robin",
        }
        .to_owned(),
        checked: service.health.is_some(),
        places: places.collect(),
        here: desk.node.endpoints(name),
    }
}

fn url(endpoint: &document::Endpoint) -> String {
    let scheme = if endpoint.tls { "https" } else { "http" };
    let (host, port) = (&endpoint.host, endpoint.port);
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}
