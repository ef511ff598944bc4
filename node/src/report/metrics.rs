//! Every series of the request path, and the page that shows them.
//!
//! In: handles, resolved when a revision is compiled, that workers count on without a lock. Out: the
//! Prometheus text page. Other parts of the node register their own series in [`Metrics::registry`]; it is
//! the node's, not the process's, so that a simulation can hold many nodes.

mod page;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use meridian_config::name::{RegionName, RouteName, ServiceName, TenantId};
use prometheus::{Registry, TextEncoder};

use super::series::{Counts, Durations, OVERHEAD, QUOTA_WAIT, REQUEST, Requests};
use crate::{
    limit::{Level, Why},
    problem::{Refusal, TokenFault},
};

/// The node's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    path: Arc<RequestPath>,
}

/// The series of one route.
#[derive(Debug)]
pub struct RouteSeries {
    /// `meridian_requests_total`.
    pub requests: Requests,
    /// `meridian_request_duration_seconds`.
    pub duration: Durations,
}

/// The series of the request path.
#[derive(Debug)]
pub struct RequestPath {
    workers: usize,
    routes: Mutex<BTreeMap<RouteName, Arc<RouteSeries>>>,
    tenants: Mutex<BTreeMap<TenantId, Arc<Counts>>>,
    reached: Mutex<BTreeMap<TenantId, Arc<Counts>>>,
    upstreams: Mutex<BTreeMap<(ServiceName, RegionName), Arc<Durations>>>,
    failovers: Mutex<BTreeMap<(RegionName, RegionName), Arc<Counts>>>,
    /// Requests that no route took.
    pub unrouted: RouteSeries,
    /// `meridian_gateway_overhead_seconds`.
    pub overhead: Durations,
    /// `meridian_quota_decisions_total`, by [`Quota`].
    pub quota: Counts,
    /// `meridian_quota_wait_seconds`.
    pub quota_wait: Durations,
    /// `meridian_auth_failures_total`, by [`auth_failure`].
    pub auth_failures: Counts,
    /// `meridian_blocked_total`, by [`blocked`].
    pub blocked: Counts,
    /// `meridian_connections`, by [`ListenerKind`].
    pub connections: Counts,
    /// Requests in flight: the load that a node announces.
    pub in_flight: Counts,
    /// `meridian_config_revision`.
    revision: AtomicU64,
    /// `meridian_config_rejected_revision`.
    rejected: AtomicU64,
}

/// What became of a charge against limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Every limit has paid.
    Admit,
    /// One was used up, as far as the node knew.
    Limit,
    /// One had tokens elsewhere only.
    Local,
    /// The node was out of contact for too long.
    Lapsed,
    /// The node was overloaded.
    Overload,
    /// The node counted as many keys as it may.
    Crowded,
    /// A shadow limit would have refused a request that was admitted.
    Shadow,
    /// The request was exempt.
    Exempt,
    /// The request reached nothing, and got its tokens back.
    Refund,
}

impl Quota {
    /// Their names, as the label has them, in order.
    pub const NAMES: [&str; 9] = [
        "admit", "limit", "local", "lapsed", "overload", "crowded", "shadow", "exempt", "refund",
    ];
}

impl From<Why> for Quota {
    fn from(why: Why) -> Self {
        match why {
            Why::Limit => Self::Limit,
            Why::Local => Self::Local,
            Why::Lapsed => Self::Lapsed,
            Why::Overload => Self::Overload,
            Why::Crowded => Self::Crowded,
        }
    }
}

/// Which listener a connection came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https,
}

/// Tenants with a series of their own; the rest share `other`, so that the page stays
/// bounded whatever the document holds.
const TENANTS: usize = 1_000;
/// Routes with a series of their own. Names come from documents; the bound holds when documents change
/// theirs for months.
const ROUTES: usize = 10_000;

/// Labels of decisions: `admit`, then the refusals' names.
const DECISIONS: [&str; 23] = [
    "admit",
    "malformed-request",
    "unauthenticated",
    "token-expired",
    "token-revoked",
    "blocked",
    "forbidden",
    "residency",
    "no-route",
    "method-not-allowed",
    "slow-request",
    "body-too-large",
    "uri-too-long",
    "headers-too-large",
    "misdirected",
    "rate-limited",
    "upstream-error",
    "no-healthy-upstream",
    "overloaded",
    "issuer-unavailable",
    "residency-unavailable",
    "not-configured",
    "upstream-timeout",
];

const AUTH_FAILURES: [&str; 10] = [
    "missing",
    "malformed",
    "signature",
    "issuer",
    "audience",
    "not-yet-valid",
    "expired",
    "revoked",
    "claims",
    "issuer-unavailable",
];

/// Reasons of `meridian_blocked_total`: what the guard turned away, and connections above the cap.
const BLOCKED: [&str; 8] = [
    "blocked",
    "malformed-request",
    "slow-request",
    "body-too-large",
    "uri-too-long",
    "headers-too-large",
    "misdirected",
    "connections",
];

/// The index of `connections` in [`RequestPath::blocked`].
pub const BLOCKED_CONNECTION: usize = BLOCKED.len() - 1;

impl Metrics {
    /// All series at zero, counted by so many workers.
    pub fn new(workers: usize) -> Self {
        let path = Arc::new(RequestPath {
            workers,
            routes: Mutex::default(),
            tenants: Mutex::default(),
            reached: Mutex::default(),
            upstreams: Mutex::default(),
            failovers: Mutex::default(),
            unrouted: RouteSeries::new(workers),
            overhead: Durations::new(OVERHEAD, workers),
            quota: Counts::new(Quota::NAMES.len(), workers),
            quota_wait: Durations::new(QUOTA_WAIT, workers),
            auth_failures: Counts::new(AUTH_FAILURES.len(), workers),
            blocked: Counts::new(BLOCKED.len(), workers),
            connections: Counts::new(2, workers),
            in_flight: Counts::new(1, workers),
            revision: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        });
        let registry = Registry::new();
        registry
            .register(Box::new(page::Page::new(path.clone())))
            .expect("a fresh registry takes any collector");
        Self { registry, path }
    }

    /// Where other parts of the node register series of their own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The series of the request path.
    pub fn path(&self) -> &Arc<RequestPath> {
        &self.path
    }

    /// The page, in Prometheus' text format.
    pub fn render(&self) -> String {
        // A family that can't be encoded (two collectors with one name) is a mistake of ours; the page
        // then says less instead of failing.
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

impl RequestPath {
    /// A route's series. Routes of one name in two revisions share theirs.
    pub fn route(&self, name: &RouteName) -> Arc<RouteSeries> {
        shared(
            &self.routes,
            ROUTES,
            name,
            &RouteName::from("other"),
            || RouteSeries::new(self.workers),
        )
    }

    /// A tenant's decisions, by [`decision`].
    pub fn tenant(&self, name: &TenantId) -> Arc<Counts> {
        shared(
            &self.tenants,
            TENANTS,
            name,
            &TenantId::from("other"),
            || Counts::new(DECISIONS.len(), self.workers),
        )
    }

    /// How often a tenant has come near the end of a limit, by [`Level`].
    pub fn reached(&self, name: &TenantId) -> Arc<Counts> {
        shared(
            &self.reached,
            TENANTS,
            name,
            &TenantId::from("other"),
            || Counts::new(Level::NAMES.len(), self.workers),
        )
    }

    /// Waits for a service's endpoints in a region.
    pub fn upstream(&self, service: &ServiceName, region: &RegionName) -> Arc<Durations> {
        let other = (ServiceName::from("other"), region.clone());
        let key = (service.clone(), region.clone());
        shared(&self.upstreams, ROUTES, &key, &other, || {
            Durations::new(REQUEST, self.workers)
        })
    }

    /// Requests that left one region for another.
    pub fn failover(&self, from: &RegionName, to: &RegionName) -> Arc<Counts> {
        let key = (from.clone(), to.clone());
        shared(&self.failovers, ROUTES, &key, &key, || {
            Counts::new(1, self.workers)
        })
    }

    /// How many requests were answered since the start, by the status's hundred (`2xx`).
    pub fn answered(&self) -> BTreeMap<String, u64> {
        let mut answered = BTreeMap::new();
        let mut add = |series: &RouteSeries| {
            for (hundred, count) in (1..).zip(series.requests.by_hundred()) {
                if count > 0 {
                    *answered.entry(format!("{hundred}xx")).or_insert(0) += count;
                }
            }
        };
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.values().for_each(|series| add(series));
        add(&self.unrouted);
        answered
    }

    /// Says which revision is served: the newest.
    pub fn set_revision(&self, number: u64) {
        self.revision.store(number, Ordering::Relaxed);
        self.rejected.store(0, Ordering::Relaxed);
    }

    /// Says which revision could not be served: the newest.
    pub fn set_rejected(&self, number: u64) {
        self.rejected.store(number, Ordering::Relaxed);
    }
}

impl RouteSeries {
    fn new(workers: usize) -> Self {
        Self {
            requests: Requests::new(workers),
            duration: Durations::new(REQUEST, workers),
        }
    }
}

/// The index of a decision: `None` for a request that was admitted.
pub fn decision(refusal: Option<&Refusal>) -> usize {
    let name = refusal.map_or("admit", Refusal::name);
    DECISIONS
        .iter()
        .position(|&known| known == name)
        .expect("every refusal has a label; a test asks for each")
}

/// The index of an authentication's failure.
pub fn auth_failure(refusal: &Refusal) -> Option<usize> {
    let label = match refusal {
        Refusal::Unauthenticated(fault) => match fault {
            TokenFault::Missing => "missing",
            TokenFault::Malformed => "malformed",
            TokenFault::Signature => "signature",
            TokenFault::Issuer => "issuer",
            TokenFault::Audience => "audience",
            TokenFault::NotYetValid => "not-yet-valid",
            TokenFault::Expired => "expired",
            TokenFault::Revoked(_) => "revoked",
            TokenFault::Claims => "claims",
        },
        Refusal::IssuerUnavailable => "issuer-unavailable",
        _ => return None,
    };
    AUTH_FAILURES.iter().position(|&known| known == label)
}

/// The index of what the guard turned away.
pub fn blocked(refusal: &Refusal) -> Option<usize> {
    BLOCKED.iter().position(|&known| known == refusal.name())
}

fn shared<K: Ord + Clone, V>(
    map: &Mutex<BTreeMap<K, Arc<V>>>,
    most: usize,
    key: &K,
    other: &K,
    make: impl Fn() -> V,
) -> Arc<V> {
    // Held for a lookup, by compilers of revisions and the metrics page, never by a request.
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = map.get(key) {
        return known.clone();
    }
    let key = if map.len() < most { key } else { other };
    map.entry(key.clone())
        .or_insert_with(|| Arc::new(make()))
        .clone()
}
