//! Tenants and services, as the running document and the nodes have them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/tenants`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TenantList {
    /// The answering node sees no quorum: it may be old.
    pub(crate) stale: bool,
    /// The revision that names them.
    pub(crate) revision: u64,
    /// By name.
    pub(crate) tenants: Vec<Tenant>,
    /// Where the next page begins: give it as `after`. None: this is the last page.
    pub(crate) next: Option<String>,
}

/// A tenant. `GET /api/v1/tenants/{tenant}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Tenant {
    /// Its name.
    pub(crate) tenant: String,
    /// Its plan.
    pub(crate) plan: Option<String>,
    /// The plan's limits.
    pub(crate) limits: Vec<TenantLimit>,
    /// Issuers whose tokens may name it; empty: any of the document.
    pub(crate) issuers: Vec<String>,
    /// Zones where its requests may be served; empty: anywhere.
    pub(crate) residency: Vec<String>,
    /// Other values of the tenant claim that mean it.
    pub(crate) aliases: Vec<String>,
}

/// A limit of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TenantLimit {
    /// Its name in `RateLimit-Policy`.
    pub(crate) id: String,
    /// Requests admitted per window.
    pub(crate) amount: u64,
    /// The window's length in seconds.
    pub(crate) window_s: f64,
    /// `sliding` or `fixed`.
    pub(crate) window: String,
}

/// `GET /api/v1/services`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ServiceList {
    /// The answering node sees no quorum: it may be old.
    pub(crate) stale: bool,
    /// The revision that names them.
    pub(crate) revision: u64,
    /// By name.
    pub(crate) services: Vec<Service>,
    /// Where the next page begins: give it as `after`. None: this is the last page.
    pub(crate) next: Option<String>,
}

/// A service. `GET /api/v1/services/{service}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) service: String,
    /// `http1` or `http2`.
    pub(crate) protocol: String,
    /// How one of several endpoints is chosen: `least_loaded` or `round_robin`.
    pub(crate) balance: String,
    /// Whether endpoints are checked actively.
    pub(crate) checked: bool,
    /// Its regions.
    pub(crate) places: Vec<Place>,
    /// Its endpoints in the answering node's region, as that node sees them.
    pub(crate) here: Vec<EndpointHere>,
}

/// A service in one region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Place {
    /// The region.
    pub(crate) region: String,
    /// Its endpoints, as URLs.
    pub(crate) endpoints: Vec<String>,
    /// How many are healthy, in the eyes of each node there that is up and has said so.
    pub(crate) healthy: BTreeMap<String, u32>,
}

/// An endpoint of the answering node's region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EndpointHere {
    /// `host:port`, without the scheme's own port.
    pub(crate) endpoint: String,
    /// Whether it takes requests.
    pub(crate) healthy: bool,
    /// Requests in flight from this node.
    pub(crate) in_flight: u32,
}
