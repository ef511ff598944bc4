//! Routes: rules from request to upstream.

use super::{Limit, Template};
use crate::name::{IssuerName, RouteName, ServiceName, TenantId};

/// A rule from request to upstream, or to a fixed answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name in the document, in metrics and in the log.
    pub name: RouteName,
    /// Which requests it takes.
    pub matching: Matching,
    /// Where they go.
    pub action: Action,
    /// Issuers whose tokens open it; empty: any issuer of the document (unless `exempt.auth`).
    pub issuers: Vec<IssuerName>,
    /// What it is exempt from.
    pub exempt: Exempt,
    /// What the identity must hold.
    pub access: Access,
    /// Its own limits, charged together with the tenant's. Ids are `route.NAME-second`. Those of a route that
    /// needs no token are per client address.
    pub limits: Vec<Limit>,
    /// What a request takes of every limit; at least 1, and at most what the least of them admits.
    pub cost: u32,
    /// What happens to the request on its way.
    pub request: RequestRules,
    /// What happens to the response on its way.
    pub response: ResponseRules,
}

/// Which requests a route takes. Of several that match, the most specific wins: exact host before
/// wildcard before none; then the path's static segments before its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching {
    /// Hosts; empty: every host.
    pub hosts: Vec<HostPattern>,
    /// A path in `matchit` syntax: `{name}` is one segment, `{*name}` the rest.
    pub path: String,
    /// Methods, upper case; empty: every method. `GET` includes `HEAD`.
    pub methods: Vec<String>,
}

/// A host name to match, lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This name.
    Exact(String),
    /// `*.example.com`: one label more than the suffix held here (`example.com`).
    Wildcard(String),
}

/// Where a route's requests go.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// To an endpoint of this service.
    Service(ServiceName),
    /// Nowhere: the gateway answers.
    Respond(FixedResponse),
}

/// An answer the gateway gives itself.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedResponse {
    /// Status, 200–599.
    pub status: u16,
    /// The body, and with it the content type (`application/json` or `text/plain`).
    pub body: String,
    /// Content type; none for an empty body.
    pub content_type: Option<&'static str>,
}

/// What a route is exempt from. It stands only in the document; nothing in a request can exempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exempt {
    /// No limit is charged.
    pub limits: bool,
    /// No token is needed; charged to `defaults.unidentified`.
    pub auth: bool,
    /// Requests that no limit is charged for: those that any of these names.
    pub some: Vec<Exemption>,
}

/// Names requests, by what a client cannot write into them: its verified identity, and how it came. All that
/// is given must hold; at least one thing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exemption {
    /// The token's tenant is one of these; empty: any, or none.
    pub tenants: Vec<TenantId>,
    /// The token holds one of these roles; empty: whatever it holds. Never without tenants: the issuer of any
    /// tenant can give its users any role.
    pub roles: Vec<String>,
    /// The token's subject is one of these; empty: anybody's. Never without tenants.
    pub subjects: Vec<String>,
    /// It came in by one of these; empty: by either.
    pub listeners: Vec<Listener>,
}

/// A listener that clients reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https,
}

/// What the identity must hold: every scope, and one of the roles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// All of these scopes.
    pub scopes: Vec<String>,
    /// Any one of these roles; empty: no role is needed.
    pub roles: Vec<String>,
}

/// What happens to a request on its way to the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRules {
    /// The path the upstream sees; none: as it came.
    pub rewrite: Option<Template>,
    /// Header changes.
    pub headers: HeaderChanges,
    /// Longest body in bytes. Default 10 MiB.
    pub max_body: u64,
}

/// What happens to a response on its way to the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseRules {
    /// Header changes.
    pub headers: HeaderChanges,
}

/// Header changes, in this order: remove, then set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Header names (lower case) and what they are set to.
    pub set: Vec<(String, Template)>,
    /// Header names (lower case) to remove.
    pub remove: Vec<String>,
}
