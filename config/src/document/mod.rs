//! `gateway.yaml`: the cluster's desired state, checked.
//!
//! In: the operator's files. Out: a [`Document`], or every mistake. The types here cannot be wrong: names
//! resolve, numbers are possible, routes are reachable.
//!
//! ```text
//! sources ──► tree ──► merge ──► raw ──► check ──► Document
//! ```

mod apart;
mod check;
mod env;
mod limit;
mod merge;
mod raw;
mod route;
mod service;
mod template;

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;

pub use apart::tenant_limits;
pub(crate) use check::host_name;
pub use check::network;
pub use env::{EnvError, expand_env};
pub use limit::{LIMITS_MOST, Limit, OnEmpty, OnLapse, PRIORITY, Per, SMALL_MOST, Window};
pub use route::{
    Access, Action, Exempt, Exemption, FixedResponse, HeaderChanges, HostPattern, Listener,
    Matching, RequestRules, ResponseRules, Route,
};
pub use service::{Balance, Endpoint, Health, Protocol, Retries, RetryOn, Service, Timeouts};
pub use template::{Part, Template};

pub use crate::tree::MAX_TEXT;

use crate::{
    diagnose::{Diagnostic, Findings, Path, Source},
    name::{IssuerName, PlanName, RegionName, RouteName, ServiceName, TenantId, Zone},
    read::Read,
    tree::{self, Node},
};

/// A checked document, and what is legal in it but probably not meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The document.
    pub document: Document,
    /// What an operator should look at; nothing here stops an apply.
    pub warnings: Vec<Diagnostic>,
}

/// A whole checked document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The regions of the cluster.
    pub regions: BTreeMap<RegionName, Region>,
    /// Plans that tenants name.
    pub plans: BTreeMap<PlanName, Plan>,
    /// Behaviour of the edge listeners.
    pub edge: Edge,
    /// What holds where a tenant or request says nothing.
    pub defaults: Defaults,
    /// Whose tokens are accepted.
    pub issuers: BTreeMap<IssuerName, Issuer>,
    /// Who is charged.
    pub tenants: BTreeMap<TenantId, Tenant>,
    /// Where requests go.
    pub services: BTreeMap<ServiceName, Service>,
    /// Which request goes where.
    pub routes: BTreeMap<RouteName, Route>,
    /// What the access log shows.
    pub log: Log,
}

impl Document {
    /// Reads and checks a document from its files.
    ///
    /// # Errors
    /// Every mistake in all of the files, in the order of the files.
    pub fn parse(sources: &[Source]) -> Result<Parsed, Vec<Diagnostic>> {
        let mut findings = Findings::in_sources(sources);
        // Half a document would be full of names that are missing only because a file could not be read.
        let document = tree(sources, &mut findings).and_then(|tree| {
            let raw = raw::DocumentRaw::read(&tree, &Path::default(), &mut findings)?;
            Some(check::document(&raw, tree.place, &mut findings))
        });
        let warnings = findings.end()?;
        Ok(Parsed {
            document: document.expect("a document that could not be read is a mistake"),
            warnings,
        })
    }
}

/// The files as one tree, or `None` after a mistake of syntax.
pub(crate) fn tree(sources: &[Source], findings: &mut Findings) -> Option<Node> {
    let nodes = tree::parse(sources, findings)?;
    Some(merge::merge(nodes, findings))
}

/// The JSON Schema of a document, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::DocumentRaw).to_value()
}

/// A whole document with comments. It passes the check, and shows what a later version takes.
pub const EXAMPLE: &str = include_str!("../../example/gateway.yaml");

/// A region of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Where it is, for geographic answers.
    pub location: Option<Location>,
    /// Its zone of residency; its own name where the document gives none.
    pub zone: Zone,
}

/// A place on Earth, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    /// Latitude, −90 to 90.
    pub lat: f64,
    /// Longitude, −180 to 180.
    pub lon: f64,
}

/// A named set of limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Charged all or none; ids are `tenant-hour` and the like.
    pub limits: Vec<Limit>,
}

/// Behaviour of the edge listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    /// Whether `/livez`, `/readyz` and `/healthz` answer at the edge too.
    pub probes: bool,
    /// Peers whose `x-forwarded-*` and `x-request-id` are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// What holds where a tenant or request says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// The plan of a listed tenant that names none.
    pub plan: Option<PlanName>,
    /// The limits of requests that no identity was asked of: those of each client ([`Per::ClientIp`]) with ids
    /// such as `unidentified-minute`, then those of all together ([`Per::Tenant`]) with ids such as
    /// `unidentified-all-minute`. Empty: not limited.
    pub unidentified: Vec<Limit>,
}

/// A token issuer (OpenID Connect provider).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The `iss` claim, and the base of discovery. An `http:` URL passes the check; a production node
    /// rejects it when it compiles the revision.
    pub issuer: String,
    /// Accepted `aud` values; never empty.
    pub audiences: Vec<String>,
    /// Accepted signature algorithms (JWA names, RFC 7518); never empty, never `none` or an HMAC.
    pub algorithms: Vec<String>,
    /// Which claims carry what.
    pub claims: Claims,
    /// Allowance for clock differences when `exp` and `nbf` are checked. Default 30 s.
    pub leeway: Duration,
    /// How often keys are fetched again. Default 10 min.
    pub jwks_refresh: Duration,
    /// How long keys serve when the issuer cannot be reached. Default 24 h.
    pub jwks_max_stale: Duration,
}

/// Which claims carry what. A name with dots reaches into objects (`realm_access.roles`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The tenant's name or one of its aliases. Default `tenant`.
    pub tenant: String,
    /// Roles: an array of strings. Default `roles`.
    pub roles: String,
    /// Scopes: an array, or one string of words (RFC 8693 section 4.2). Default `scope`.
    pub scopes: String,
}

/// Who is charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its plan, after `defaults.plan` was applied.
    pub plan: Option<PlanName>,
    /// Issuers whose tokens may name it. Empty: any of the document.
    pub issuers: Vec<IssuerName>,
    /// Zones where its requests may be served. Empty: anywhere.
    pub residency: Vec<Zone>,
    /// Other values of the tenant claim that mean this tenant.
    pub aliases: Vec<String>,
}

impl Tenant {
    /// Whether a token that names it may pass the route's identity step, by its issuer.
    pub fn opens(&self, route: &Route) -> bool {
        self.issuers.is_empty()
            || route.issuers.is_empty()
            || route.issuers.iter().any(|name| self.issuers.contains(name))
    }
}

/// What the access log shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Log {
    /// Whether client addresses are written whole instead of cut to /24 or /48.
    pub client_ip_full: bool,
}

#[cfg(test)]
mod tests;
