//! `gateway.yaml` as it may be written: keys and kinds of values, before anything is checked.
//!
//! In: a tree, by the readers that [`raw!`] makes. Out: raw types for [`super::check`], and their JSON
//! Schema. A key that the contract names and this version cannot honour stands under `refused`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::service::RetryOn;
use crate::{
    diagnose::{Findings, Path},
    read::{Any, At, Named, PerSpan, Read, Share, Size, Span, raw, word, words},
    tree::{Node, Value},
};

raw! {
    /// The whole cluster's desired state.
    #[schemars(rename = "Meridian", extend("required" = ["meridian"]))]
    struct DocumentRaw {
        /// The version of the document's schema: 1.
        #[schemars(range(min = 1, max = 1))]
        "meridian" => version: u64,
        /// The regions of the cluster.
        "regions" => regions: Named<RegionRaw>,
        /// Named sets of limits that tenants choose from.
        "plans" => plans: Named<PlanRaw>,
        /// Behaviour of the edge listeners.
        "edge" => edge: EdgeRaw,
        /// What holds where a tenant or request says nothing.
        "defaults" => defaults: DefaultsRaw,
        /// Whose tokens are accepted.
        "issuers" => issuers: Named<IssuerRaw>,
        /// Who is charged.
        "tenants" => tenants: Named<TenantRaw>,
        /// Where requests go.
        "services" => services: Named<ServiceRaw>,
        /// Which request goes where.
        "routes" => routes: Named<RouteRaw>,
        /// What the access log shows.
        "log" => log: LogRaw,
    }
    refused: []
}

raw! {
    /// A region of the cluster.
    #[schemars(rename = "Region")]
    struct RegionRaw {
        /// Where it is.
        "location" => location: LocationRaw,
        /// Its zone of residency. Default: a zone of its own, with the region's name.
        "zone" => zone: String,
    }
    refused: []
}

raw! {
    /// A place on Earth, in degrees.
    #[schemars(rename = "Location", extend("required" = ["lat", "lon"]))]
    struct LocationRaw {
        /// Latitude.
        #[schemars(range(min = -90, max = 90))]
        "lat" => lat: f64,
        /// Longitude.
        #[schemars(range(min = -180, max = 180))]
        "lon" => lon: f64,
    }
    refused: []
}

raw! {
    /// A named set of limits.
    #[schemars(rename = "Plan")]
    struct PlanRaw {
        /// Charged all or none.
        "limits" => limits: Vec<At<LimitRaw>>,
    }
    refused: ["cost", "on_empty", "on_lapse", "on_region_loss", "per", "priority"]
}

raw! {
    /// A limit.
    #[schemars(rename = "Limit", extend("required" = ["rate"]))]
    struct LimitMap {
        /// So many in a span: `1000/hour`, `20/30s`.
        "rate" => rate: PerSpan,
        /// How the window moves. Default: sliding.
        "window" => window: WindowWord,
        /// Its id. Default: where it stands and its span, such as `tenant-hour`.
        "name" => name: String,
        /// What happens when a region dies. Default: strict.
        "on_region_loss" => on_region_loss: RegionLossWord,
    }
    refused: ["cost", "on_empty", "on_lapse", "per", "priority"]
}

/// A limit: its rate alone, or a map.
#[derive(Debug, Clone)]
pub(crate) struct LimitRaw(pub(crate) LimitMap);

impl Read for LimitRaw {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            return LimitMap::read(node, path, findings).map(Self);
        }
        let rate = At::<PerSpan>::read(node, path, findings)?;
        Some(Self(LimitMap {
            rate: crate::read::Field::Given(rate),
            ..LimitMap::default()
        }))
    }
}

impl JsonSchema for LimitRaw {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LimitOrRate".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                generator.subschema_for::<PerSpan>(),
                generator.subschema_for::<LimitMap>(),
            ]
        })
    }
}

words! {
    /// How a limit's window moves.
    #[schemars(rename = "Window")]
    enum WindowWord {
        /// Any span of the window's length holds at most the amount.
        "sliding" => Sliding,
        /// Windows are aligned to the Unix epoch.
        "fixed" => Fixed,
    }
    refused: []
}

words! {
    /// What happens to a limit when a region dies.
    #[schemars(rename = "OnRegionLoss")]
    enum RegionLossWord {
        /// The limit holds; what the region held is missing until it is known to be spent.
        "strict" => Strict,
    }
    refused: ["elastic"]
}

raw! {
    /// Behaviour of the edge listeners.
    #[schemars(rename = "Edge")]
    struct EdgeRaw {
        /// Whether `/livez`, `/readyz` and `/healthz` answer at the edge too. Default: false.
        "probes" => probes: bool,
        /// Networks (CIDR) whose `x-forwarded-*` and `x-request-id` are believed.
        "trusted_proxies" => trusted_proxies: Vec<At<String>>,
    }
    refused: []
}

raw! {
    /// What holds where a tenant or request says nothing.
    #[schemars(rename = "Defaults")]
    struct DefaultsRaw {
        /// The plan of a listed tenant that names none.
        "plan" => plan: String,
        /// The limits of requests that no identity was asked of.
        "unidentified" => unidentified: UnidentifiedRaw,
    }
    refused: ["cors", "on_empty", "on_lapse"]
}

raw! {
    /// The limits of requests that no identity was asked of.
    #[schemars(rename = "Unidentified")]
    struct UnidentifiedRaw {
        /// Charged all or none.
        "limits" => limits: Vec<At<LimitRaw>>,
        /// By what they are counted.
        "per" => per: PerWord,
    }
    refused: ["cost", "on_empty", "on_lapse", "priority"]
}

words! {
    /// By what the limits of unidentified requests are counted.
    #[schemars(rename = "Per")]
    enum PerWord {
        /// By the client's address.
        "client_ip" => ClientIp,
    }
    refused: ["tenant", "subject", "token", "header", "route"]
}

raw! {
    /// A token issuer (OpenID Connect provider).
    #[schemars(rename = "Issuer", extend("required" = ["issuer", "audiences"]))]
    struct IssuerRaw {
        /// The `iss` claim, and the base of discovery.
        "issuer" => issuer: String,
        /// Accepted `aud` values.
        #[schemars(length(min = 1))]
        "audiences" => audiences: Vec<At<String>>,
        /// Accepted signature algorithms. Default: RS256, ES256.
        #[schemars(length(min = 1))]
        "algorithms" => algorithms: Vec<At<AlgorithmWord>>,
        /// Which claims carry what.
        "claims" => claims: ClaimsRaw,
        /// Allowance for clock differences. Default: 30s.
        "leeway" => leeway: Span,
        /// How its keys are fetched.
        "jwks" => jwks: JwksRaw,
    }
    refused: []
}

/// A signature algorithm by its JWA name (RFC 7518).
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename = "Algorithm", extend("enum" = ALGORITHMS))]
pub(crate) struct AlgorithmWord(pub(crate) String);

impl Read for AlgorithmWord {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        let reason = match &node.value {
            Value::Text(text) if text.eq_ignore_ascii_case("none") => {
                "\"none\" would accept tokens that nobody signed"
            }
            Value::Text(text) if matches!(text.as_str(), "HS256" | "HS384" | "HS512") => {
                "an HMAC key would have to be shared with the issuer, and whoever holds it can make tokens"
            }
            _ => {
                return word(node, &ALGORITHMS, &["ES256K", "ES512"], path, findings)
                    .map(|text| Self(text.to_owned()));
            }
        };
        findings.mistake(
            node.place,
            format!("{path}: {reason}; use an algorithm with a public key, such as RS256 or ES256"),
        );
        None
    }
}

/// Accepted signature algorithms: all with a public key.
pub(crate) const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

raw! {
    /// Which claims carry what. A name with dots reaches into objects.
    #[schemars(rename = "Claims")]
    struct ClaimsRaw {
        /// The tenant's name or one of its aliases. Default: tenant.
        "tenant" => tenant: String,
        /// Roles. Default: roles.
        "roles" => roles: String,
        /// Scopes. Default: scope.
        "scopes" => scopes: String,
    }
    refused: []
}

raw! {
    /// How an issuer's keys are fetched.
    #[schemars(rename = "Jwks")]
    struct JwksRaw {
        /// How often. Default: 10m.
        "refresh" => refresh: Span,
        /// How long they serve when the issuer cannot be reached. Default: 24h.
        "max_stale" => max_stale: Span,
    }
    refused: []
}

raw! {
    /// Who is charged.
    #[schemars(rename = "Tenant")]
    struct TenantRaw {
        /// Its plan. Default: `defaults.plan`.
        "plan" => plan: String,
        /// Issuers whose tokens may name it. Default: any of the document.
        #[schemars(length(min = 1))]
        "issuers" => issuers: Vec<At<String>>,
        /// Zones where its requests may be served. Default: anywhere.
        #[schemars(length(min = 1))]
        "residency" => residency: Vec<At<String>>,
        /// Other values of the tenant claim that mean this tenant.
        "aliases" => aliases: Vec<At<String>>,
    }
    refused: ["cors", "priority", "on_lapse"]
}

raw! {
    /// A named group of endpoints and how to treat them.
    #[schemars(rename = "Service", extend("required" = ["endpoints"]))]
    struct ServiceRaw {
        /// Addresses by region: `http://HOST:PORT` or `https://HOST:PORT`.
        "endpoints" => endpoints: Named<Vec<At<String>>>,
        /// What they speak. Default: http1.
        "protocol" => protocol: ProtocolWord,
        /// How one of several healthy endpoints is chosen. Default: least_loaded.
        "balance" => balance: BalanceWord,
        /// How long to wait for what.
        "timeouts" => timeouts: TimeoutsRaw,
        /// What is tried again.
        "retries" => retries: RetriesRaw,
        /// Active health checks. Default: none.
        "health" => health: HealthRaw,
    }
    refused: ["circuit_breaker"]
}

words! {
    /// What the endpoints of a service speak.
    #[schemars(rename = "Protocol")]
    enum ProtocolWord {
        /// HTTP/1.1.
        "http1" => Http1,
        /// HTTP/2; gRPC needs it.
        "http2" => Http2,
    }
    refused: ["http3"]
}

/// How one of several healthy endpoints is chosen.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(rename = "Balance", rename_all = "snake_case")]
pub(crate) enum BalanceWord {
    /// The less loaded of two random ones.
    LeastLoaded,
    /// Each in turn.
    RoundRobin,
}

impl Read for BalanceWord {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        if let Value::Map(entries) = &node.value
            && let Some((key, _)) = entries.iter().find(|(key, _)| key.text == "hash")
        {
            findings.mistake(
                key.place,
                format!("{path}: \"hash\" is not supported by this version; use least_loaded or round_robin"),
            );
            return None;
        }
        match word(
            node,
            &["least_loaded", "round_robin"],
            &["hash"],
            path,
            findings,
        )? {
            "round_robin" => Some(Self::RoundRobin),
            _ => Some(Self::LeastLoaded),
        }
    }
}

raw! {
    /// How long to wait for what.
    #[schemars(rename = "Timeouts")]
    struct TimeoutsRaw {
        /// For the connection, TLS included. Default: 1s.
        "connect" => connect: Span,
        /// From the request's end to the response's head. Default: 15s.
        "response" => response: Span,
        /// Between two pieces of a body, and of an idle pooled connection. Default: 60s.
        "idle" => idle: Span,
    }
    refused: []
}

raw! {
    /// What is tried again. Beyond `connect`, only requests that are idempotent or keyed.
    #[schemars(rename = "Retries")]
    struct RetriesRaw {
        /// Tries after the first. Default: 1.
        #[schemars(range(min = 0, max = 10))]
        "attempts" => attempts: u64,
        /// On what. Default: connect, reset, 502, 503, 504.
        "on" => on: Vec<At<RetryOnRaw>>,
        /// Retries may add at most this share of requests. Default: 20%.
        "budget" => budget: Share,
    }
    refused: []
}

/// What a try is repeated on: a word or a status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryOnRaw(pub(crate) RetryOn);

impl Read for RetryOnRaw {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "connect" => Some(Self(RetryOn::Connect)),
            Value::Text(text) if text == "reset" => Some(Self(RetryOn::Reset)),
            Value::Integer(status @ 502..=504) => u16::try_from(*status)
                .ok()
                .map(|status| Self(RetryOn::Status(status))),
            _ => {
                findings.mistake(
                    node.place,
                    format!(
                        "{path}: {} cannot be retried on; use connect, reset, 502, 503 or 504",
                        node.inline()
                    ),
                );
                None
            }
        }
    }
}

impl JsonSchema for RetryOnRaw {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RetryOn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["connect", "reset", 502, 503, 504] })
    }
}

raw! {
    /// Active health checks.
    #[schemars(rename = "Health", extend("required" = ["path"]))]
    struct HealthRaw {
        /// Path of a `GET` that answers 200–299 when the endpoint can serve.
        "path" => path: String,
        /// Between two checks. Default: 1s.
        "interval" => interval: Span,
        /// For one check. Default: 500ms.
        "timeout" => timeout: Span,
        /// Good checks in a row that make it healthy. Default: 2.
        #[schemars(range(min = 1, max = 100))]
        "healthy_after" => healthy_after: u64,
        /// Bad checks in a row that make it unhealthy. Default: 2.
        #[schemars(range(min = 1, max = 100))]
        "unhealthy_after" => unhealthy_after: u64,
    }
    refused: []
}

raw! {
    /// A rule from request to upstream, or to a fixed answer.
    #[schemars(rename = "Route", extend("required" = ["match"]))]
    struct RouteRaw {
        /// Which requests it takes.
        "match" => matching: MatchRaw,
        /// The service its requests go to.
        "service" => service: String,
        /// The answer that the gateway gives itself.
        "respond" => respond: RespondRaw,
        /// What identifies a request. Default: a token of any issuer of the document.
        "auth" => auth: AuthRaw,
        /// What the identity must hold.
        "allow" => allow: AllowRaw,
        /// Its own limits, charged together with the tenant's.
        "limits" => limits: Vec<At<LimitRaw>>,
        /// What the route is exempt from.
        "exempt" => exempt: Vec<At<ExemptWord>>,
        /// What happens to the request on its way.
        "request" => request: RequestRaw,
        /// What happens to the response on its way.
        "response" => response: ResponseRaw,
    }
    refused: ["cors", "cost", "per", "policy", "priority"]
}

raw! {
    /// Which requests a route takes.
    #[schemars(rename = "Match", extend("required" = ["path"]))]
    struct MatchRaw {
        /// Host names; `*.example.com` takes one label more. Default: every host.
        #[schemars(length(min = 1))]
        "hosts" => hosts: Vec<At<String>>,
        /// A path; `{name}` is one segment, `{*name}` the rest.
        "path" => path: String,
        /// Methods. Default: every method.
        #[schemars(length(min = 1))]
        "methods" => methods: Vec<At<String>>,
    }
    refused: []
}

raw! {
    /// An answer that the gateway gives itself.
    #[schemars(rename = "Respond", extend("required" = ["status"]))]
    struct RespondRaw {
        /// The status.
        #[schemars(range(min = 200, max = 599))]
        "status" => status: u64,
        /// The body, sent as JSON.
        "json" => json: Any,
        /// The body, sent as plain text.
        "text" => text: String,
    }
    refused: []
}

raw! {
    /// What identifies a request.
    #[schemars(rename = "Auth", extend("required" = ["any"]))]
    struct AuthRaw {
        /// Any one of these.
        #[schemars(length(min = 1))]
        "any" => any: Vec<At<SchemeRaw>>,
    }
    refused: []
}

raw! {
    /// A way to identify a request.
    #[schemars(rename = "Scheme", extend("required" = ["jwt"]))]
    struct SchemeRaw {
        /// A token of one of these issuers.
        #[schemars(length(min = 1))]
        "jwt" => jwt: Vec<At<String>>,
    }
    refused: ["api_key", "mtls"]
}

raw! {
    /// What the identity must hold.
    #[schemars(rename = "Allow")]
    struct AllowRaw {
        /// All of these scopes.
        "scopes" => scopes: Vec<At<String>>,
        /// Any one of these roles.
        "roles" => roles: Vec<At<String>>,
    }
    refused: ["policy"]
}

words! {
    /// What a route can be exempt from.
    #[schemars(rename = "Exempt")]
    enum ExemptWord {
        /// No limit is charged.
        "limits" => Limits,
        /// No token is needed.
        "auth" => Auth,
    }
    refused: []
}

raw! {
    /// What happens to the request on its way.
    #[schemars(rename = "Request")]
    struct RequestRaw {
        /// The path the upstream sees. Default: as it came.
        "rewrite" => rewrite: String,
        /// Header changes.
        "headers" => headers: HeadersRaw,
        /// The longest body. Default: 10MiB.
        "max_body" => max_body: Size,
    }
    refused: []
}

raw! {
    /// What happens to the response on its way.
    #[schemars(rename = "Response")]
    struct ResponseRaw {
        /// Header changes.
        "headers" => headers: HeadersRaw,
    }
    refused: []
}

raw! {
    /// Header changes: remove, then set.
    #[schemars(rename = "Headers")]
    struct HeadersRaw {
        /// Names and what they are set to.
        "set" => set: Texts,
        /// Names to remove.
        "remove" => remove: Vec<At<String>>,
    }
    refused: []
}

/// Texts by keys that are not names of the document's own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts(pub(crate) Vec<(crate::tree::Key, At<String>)>);

impl Read for Texts {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        let mut texts = Vec::new();
        for (key, value) in crate::tree::entries(node, path, findings)? {
            if let Some(value) = At::read(value, &path.key(&key.text), findings) {
                texts.push((key.clone(), value));
            }
        }
        Some(Self(texts))
    }
}

impl JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

words! {
    /// How client addresses are logged.
    #[schemars(rename = "ClientIp")]
    enum ClientIpWord {
        /// Cut to /24 or /48.
        "truncated" => Truncated,
        /// Whole.
        "full" => Full,
    }
    refused: []
}

raw! {
    /// What the access log shows.
    #[schemars(rename = "Log")]
    struct LogRaw {
        /// How client addresses are logged. Default: truncated.
        "client_ip" => client_ip: ClientIpWord,
    }
    refused: []
}
