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
    /// The limits in force: the plan's, or those that were set in their place.
    pub(crate) limits: Vec<TenantLimit>,
    /// What an operator has set in place of the plan's limits.
    pub(crate) set: Option<SetLimits>,
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
    /// Who has a count of its own: `tenant`, `subject` or `client_ip`.
    pub(crate) per: String,
    /// What becomes of a request that finds nothing: `deny` or `{ wait: 400ms }`.
    pub(crate) on_empty: String,
    /// What a node does that has been out of contact for long: `base` or `deny`.
    pub(crate) on_lapse: String,
    /// 0 to 100: requests of limits with the least are turned away first where a node is overloaded.
    pub(crate) priority: u8,
    /// Whether it is only counted.
    pub(crate) shadow: bool,
}

/// Limits that stand in the place of a plan's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SetLimits {
    /// As they were written.
    pub(crate) limits: Vec<String>,
    /// Who set them.
    pub(crate) by: String,
    /// When (RFC 3339).
    pub(crate) since: String,
    /// When the plan's hold again (RFC 3339); none: when they are cleared.
    pub(crate) expires: Option<String>,
    /// Why.
    pub(crate) reason: String,
    /// Their place in the log.
    pub(crate) index: u64,
}

/// `GET /api/v1/tenants/{tenant}/quota`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Quota {
    /// The answering node sees no quorum: it may be old.
    pub(crate) stale: bool,
    /// The revision that names the tenant.
    pub(crate) revision: u64,
    /// The tenant.
    pub(crate) tenant: String,
    /// Its plan.
    pub(crate) plan: Option<String>,
    /// The limits in force.
    pub(crate) limits: Vec<TenantLimit>,
    /// What an operator has set in place of the plan's limits.
    pub(crate) set: Option<SetLimits>,
    /// What they were before they became others, where that still matters at this node.
    #[serde(default)]
    pub(crate) before: Vec<LimitBefore>,
    /// How those limits stand that the tenant has one count of, in the order above.
    #[serde(default)]
    pub(crate) stand: Vec<LimitStand>,
    /// Whether the ledger's leader has said so; else only what this node knows by itself is here.
    #[serde(default)]
    pub(crate) ledger_answered: bool,
    /// The entry of the log that last changed a limit, by a document or by an operator; none: this node has not read the
    /// log since its start, or serves an older revision, and limits of other nodes count as newer.
    #[serde(default)]
    pub(crate) as_of: Option<u64>,
    /// Nodes that did not say how they were started: each may add its base share to `overshoot`, once for each start
    /// without a quorum.
    #[serde(default)]
    pub(crate) unheard: Vec<String>,
}

/// What a limit was before it became another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LimitBefore {
    /// As it was.
    pub(crate) limit: TenantLimit,
    /// Until when that matters (RFC 3339).
    pub(crate) until: String,
    /// Requests pay it beside what it is now. If not, a window may pass what it is now by its amount.
    pub(crate) counts: bool,
}

/// How a limit stands over all nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LimitStand {
    /// Its id.
    pub(crate) id: String,
    /// Units per window.
    pub(crate) limit: u64,
    /// Of these, used in the window that ends now: what the nodes have spent, as each says of its present life. Where some
    /// could not be asked, at least what this node thinks is gone.
    pub(crate) used: u64,
    /// What nodes have spent of it, by region.
    #[serde(default)]
    pub(crate) used_in: std::collections::BTreeMap<String, u64>,
    /// Tokens that this node could spend now.
    pub(crate) free_here: u64,
    /// Tokens that have still to come back before the limit holds: it was lowered, or what a node had lent is with others
    /// when that node starts again.
    #[serde(default)]
    pub(crate) settling: u64,
    /// Tokens that nobody holds; less than 0 while it settles. None: no node holds more than its base share, all the rest is there.
    pub(crate) pool: Option<i64>,
    /// Tokens that nodes have as base shares, all together.
    pub(crate) base: Option<u64>,
    /// Tokens of lost nodes and lost leases, which are nobody's until a window is over.
    pub(crate) cooling: Option<u64>,
    /// Nodes that hold more than their base share, or have lent some of it.
    pub(crate) holders: Vec<LimitHolder>,
    /// The same by region.
    pub(crate) regions: std::collections::BTreeMap<String, i64>,
    /// By how much a window that begins now may pass the limit: nothing, but for nodes that were started without a
    /// quorum, which go on with their base share once for each such start (of all nodes that could be asked), and for
    /// what `before` has of the limit that does not count. In a cluster that has no ledger yet each node admits all of
    /// the limit.
    pub(crate) overshoot: u64,
    /// What of that comes from which node's starts.
    #[serde(default)]
    pub(crate) overshoot_of: Vec<LimitOvershoot>,
}

/// What a node's starts without a quorum may add to a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LimitOvershoot {
    /// The node.
    pub(crate) node: String,
    /// How many of its starts may have spent its base share in a window that is not over.
    pub(crate) starts: u32,
    /// Their base shares.
    pub(crate) tokens: u64,
}

/// A node that holds tokens beside its base share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LimitHolder {
    /// The node.
    pub(crate) node: String,
    /// Its region; empty where this node does not know it.
    pub(crate) region: String,
    /// How many tokens more than its base share; less than 0: fewer.
    pub(crate) extra: i64,
}

/// `PUT /api/v1/tenants/{tenant}/quota`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedQuota {
    /// The limits, as in a plan of the document; all of them, in place of the plan's.
    pub(crate) limits: Vec<WantedLimit>,
    /// For how long, for example `2h`; none: until they are cleared.
    #[serde(default, rename = "for")]
    pub(crate) lasting: Option<String>,
    /// Why.
    #[serde(default)]
    pub(crate) reason: String,
}

/// A limit as in a plan of the document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum WantedLimit {
    /// A rate, or a map on one line: `1000/hour`, `{ rate: 1000/hour, window: fixed }`.
    Text(String),
    /// The map as JSON.
    Map(serde_json::Map<String, serde_json::Value>),
}

/// A change of a tenant's limits that was agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct QuotaChanged {
    /// The tenant.
    pub(crate) tenant: String,
    /// Its place in the log.
    pub(crate) index: u64,
    /// When the plan's limits hold again (RFC 3339); none: when they are cleared, or at once where they were.
    pub(crate) expires: Option<String>,
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
