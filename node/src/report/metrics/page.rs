//! The request path's series as Prometheus families.
//!
//! In: the counters of [`super::RequestPath`]. Out: metric families, gathered when somebody asks.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use prometheus::{
    core::{Collector, Desc},
    proto::{Metric, MetricFamily, MetricType},
};

use super::{AUTH_FAILURES, BLOCKED, DECISIONS, Quota, RequestPath, RouteSeries};
use crate::limit::Level;
use crate::report::{
    family::{counter, description, family, gauge, histogram, level},
    series::Counts,
};

/// Collects the request path's series.
pub(super) struct Page {
    path: Arc<RequestPath>,
    descriptions: Vec<Desc>,
}

/// Name, help and labels of every family here.
const FAMILIES: [(&str, &str, &[&str]); 14] = [
    (
        "meridian_requests_total",
        "Requests answered, by route, method and status.",
        &["route", "method", "status"],
    ),
    (
        "meridian_request_duration_seconds",
        "From a request's head to its response's end.",
        &["route"],
    ),
    (
        "meridian_tenant_requests_total",
        "Requests of identified tenants, by what was decided.",
        &["tenant", "decision"],
    ),
    (
        "meridian_gateway_overhead_seconds",
        "From a request's head to its response's head, without waiting for the upstream.",
        &[],
    ),
    (
        "meridian_upstream_duration_seconds",
        "Waiting for an upstream's response head.",
        &["service", "region"],
    ),
    (
        "meridian_quota_decisions_total",
        "Charges against limits, by what was decided.",
        &["decision"],
    ),
    (
        "meridian_quota_wait_seconds",
        "How long requests waited for tokens of a limit, of those that did, admitted or not.",
        &[],
    ),
    (
        "meridian_quota_reached_total",
        "Times that a tenant has used so many percent of a limit of its own, as this node saw it: each counts once in five minutes or the limit's window, whichever is longer.",
        &["tenant", "level"],
    ),
    (
        "meridian_auth_failures_total",
        "Requests whose identity could not be established.",
        &["reason"],
    ),
    (
        "meridian_failovers_total",
        "Requests that another region served although this one has endpoints for them.",
        &["from", "to"],
    ),
    (
        "meridian_config_revision",
        "The revision of the document that this node serves; 0 is none yet.",
        &[],
    ),
    (
        "meridian_config_rejected_revision",
        "A newer revision that this node cannot serve, so that it stays with the one before; 0 is none.",
        &[],
    ),
    (
        "meridian_connections",
        "Open client connections.",
        &["listener"],
    ),
    (
        "meridian_blocked_total",
        "Requests and connections that the guard turned away.",
        &["reason"],
    ),
];

impl Page {
    pub(super) fn new(path: Arc<RequestPath>) -> Self {
        let descriptions = FAMILIES
            .iter()
            .map(|(name, help, labels)| description(name, help, labels))
            .collect();
        Self { path, descriptions }
    }
}

impl Collector for Page {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let path = &self.path;
        let mut requests = Vec::new();
        let mut durations = Vec::new();
        let mut route = |name: &str, series: &RouteSeries| {
            series.requests.each(|method, status, count| {
                let status = status.to_string();
                requests.push(counter(
                    &[("route", name), ("method", method), ("status", &status)],
                    count,
                ));
            });
            durations.push(histogram(&[("route", name)], &series.duration));
        };
        for (name, series) in held(&path.routes).iter() {
            route(name.as_str(), series);
        }
        route("(none)", &path.unrouted);
        let mut tenants = Vec::new();
        for (tenant, counts) in held(&path.tenants).iter() {
            for (kind, decision) in DECISIONS.iter().enumerate() {
                let count = counts.sum(kind);
                if count > 0 {
                    let labels = [("tenant", tenant.as_str()), ("decision", decision)];
                    tenants.push(counter(&labels, count));
                }
            }
        }
        let mut reached = Vec::new();
        for (tenant, counts) in held(&path.reached).iter() {
            // Zeros too: a rate of a counter that begins with 1 is lost.
            for (kind, level) in Level::NAMES.iter().enumerate() {
                let labels = [("tenant", tenant.as_str()), ("level", level)];
                reached.push(counter(&labels, counts.sum(kind)));
            }
        }
        let upstreams = held(&path.upstreams)
            .iter()
            .map(|((service, region), durations)| {
                let labels = [("service", service.as_str()), ("region", region.as_str())];
                histogram(&labels, durations)
            })
            .collect();
        let failovers = held(&path.failovers)
            .iter()
            .map(|((from, to), counts)| {
                counter(
                    &[("from", from.as_str()), ("to", to.as_str())],
                    counts.sum(0),
                )
            })
            .collect();
        let overhead = vec![histogram(&[], &path.overhead)];
        let revision = path.revision.load(Ordering::Relaxed);
        let rejected = path.rejected.load(Ordering::Relaxed);
        let connections = ["http", "https"].iter().enumerate();
        [
            (MetricType::COUNTER, requests),
            (MetricType::HISTOGRAM, durations),
            (MetricType::COUNTER, tenants),
            (MetricType::HISTOGRAM, overhead),
            (MetricType::HISTOGRAM, upstreams),
            (
                MetricType::COUNTER,
                named(&path.quota, "decision", &Quota::NAMES),
            ),
            (
                MetricType::HISTOGRAM,
                vec![histogram(&[], &path.quota_wait)],
            ),
            (MetricType::COUNTER, reached),
            (
                MetricType::COUNTER,
                named(&path.auth_failures, "reason", &AUTH_FAILURES),
            ),
            (MetricType::COUNTER, failovers),
            (MetricType::GAUGE, vec![gauge(&[], level(revision))]),
            (MetricType::GAUGE, vec![gauge(&[], level(rejected))]),
            (
                MetricType::GAUGE,
                connections
                    .map(|(kind, name)| {
                        gauge(&[("listener", name)], level(path.connections.sum(kind)))
                    })
                    .collect(),
            ),
            (
                MetricType::COUNTER,
                named(&path.blocked, "reason", &BLOCKED),
            ),
        ]
        .into_iter()
        .zip(FAMILIES)
        .filter(|((_, metrics), _)| !metrics.is_empty())
        .map(|((kind, metrics), (name, help, _))| family(name, help, kind, metrics))
        .collect()
    }
}

fn held<T>(map: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

fn named(counts: &Counts, label: &str, names: &[&str]) -> Vec<Metric> {
    names
        .iter()
        .enumerate()
        .map(|(kind, name)| counter(&[(label, name)], counts.sum(kind)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, StatusCode};
    use meridian_cluster::facts::FactId;
    use meridian_config::name::{RouteName, TenantId};

    use super::super::{Metrics, decision};
    use crate::limit::Why;
    use crate::problem::{Refusal, TokenFault, UpstreamFault};

    #[test]
    fn the_page_shows_what_was_counted_under_the_names_of_the_interface() {
        let metrics = Metrics::new(2);
        let path = metrics.path();
        let route = path.route(&RouteName::from("plants"));
        route.requests.count(1, &Method::GET, StatusCode::OK);
        route.duration.observe(1, Duration::from_millis(3));
        path.tenant(&TenantId::from("acme")).add(0, decision(None));
        path.connections.add(0, 1);
        path.set_revision(7);
        path.set_rejected(8);
        let page = metrics.render();
        for line in [
            "meridian_requests_total{method=\"GET\",route=\"plants\",status=\"200\"} 1",
            "meridian_tenant_requests_total{decision=\"admit\",tenant=\"acme\"} 1",
            "meridian_request_duration_seconds_bucket{route=\"plants\",le=\"0.005\"} 1",
            "meridian_request_duration_seconds_bucket{route=\"plants\",le=\"+Inf\"} 1",
            "meridian_connections{listener=\"https\"} 1",
            "meridian_config_revision 7",
            "meridian_config_rejected_revision 8",
        ] {
            let sorted = |text: &str| {
                let mut parts: Vec<String> = text
                    .split(['{', '}', ','])
                    .map(|part| part.trim().to_owned())
                    .collect();
                parts.sort();
                parts
            };
            assert!(
                page.lines().any(|shown| sorted(shown) == sorted(line)),
                "{line} is not on\n{page}"
            );
        }
    }

    #[test]
    fn every_refusal_has_a_label() {
        let tenant = TenantId::from("acme");
        let text = String::new;
        for refusal in [
            Refusal::Malformed(text()),
            Refusal::Unauthenticated(TokenFault::Missing),
            Refusal::Unauthenticated(TokenFault::Expired),
            Refusal::Unauthenticated(TokenFault::Revoked(FactId::FIRST)),
            Refusal::Blocked(FactId::FIRST),
            Refusal::Forbidden {
                tenant: None,
                detail: text(),
                scopes: Vec::new(),
            },
            Refusal::Residency(tenant.clone()),
            Refusal::NoRoute,
            Refusal::MethodNotAllowed { allow: Vec::new() },
            Refusal::SlowRequest,
            Refusal::BodyTooLarge { limit: 1 },
            Refusal::UriTooLong { limit: 1 },
            Refusal::HeadersTooLarge { limit: 1 },
            Refusal::Misdirected(text()),
            Refusal::RateLimited {
                tenant: None,
                limit: text(),
                why: Why::Limit,
                retry_after: Duration::ZERO,
            },
            Refusal::UpstreamError(UpstreamFault::Connect),
            Refusal::NoHealthyUpstream,
            Refusal::Overloaded,
            Refusal::IssuerUnavailable,
            Refusal::ResidencyUnavailable(tenant),
            Refusal::NotConfigured,
            Refusal::UpstreamTimeout,
        ] {
            assert!(decision(Some(&refusal)) > 0, "{refusal:?}");
        }
    }

    #[test]
    fn tenants_beyond_the_bound_share_a_label() {
        let metrics = Metrics::new(1);
        for n in 0..1_200 {
            metrics
                .path()
                .tenant(&TenantId::new(format!("t{n}")))
                .add(0, 0);
        }
        let page = metrics.render();
        let series = page
            .lines()
            .filter(|line| line.starts_with("meridian_tenant_requests_total{"))
            .count();
        assert_eq!(series, 1_001);
        let shared = page.lines().find(|line| line.contains("tenant=\"other\""));
        assert!(
            shared.is_some_and(|line| line.ends_with(" 200")),
            "{shared:?}"
        );
    }
}
