//! Routes as they may be written.
//!
//! In: a tree. Out: raw types for [`super::super::check`].

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{LimitRaw, PerWord};
use crate::{
    diagnose::{Findings, Path},
    read::{Any, At, List, Read, Size, raw, word, words},
    tree::{Key, Node, Value, entries},
};

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
        #[schemars(length(max = 128))]
        "limits" => limits: List<LimitRaw>,
        /// Who has a count of its own of each of these limits that does not say so itself. Default: tenant.
        "per" => per: PerWord,
        /// What a request of it takes of every limit. Default: 1.
        #[schemars(range(min = 1, max = 1073741824))]
        "cost" => cost: u64,
        /// What the route, or some of its requests, are exempt from.
        "exempt" => exempt: List<ExemptRaw>,
        /// What happens to the request on its way.
        "request" => request: RequestRaw,
        /// What happens to the response on its way.
        "response" => response: ResponseRaw,
    }
    refused: ["cors", "policy", "priority"]
}

raw! {
    /// Which requests a route takes.
    #[schemars(rename = "Match", extend("required" = ["path"]))]
    struct MatchRaw {
        /// Host names; `*.example.com` takes one label more. Default: every host.
        #[schemars(length(min = 1))]
        "hosts" => hosts: List<String>,
        /// A path; `{name}` is one segment, `{*name}` the rest.
        "path" => path: String,
        /// Methods. Default: every method.
        #[schemars(length(min = 1))]
        "methods" => methods: List<String>,
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
        "any" => any: List<SchemeRaw>,
    }
    refused: []
}

raw! {
    /// A way to identify a request.
    #[schemars(rename = "Scheme", extend("required" = ["jwt"]))]
    struct SchemeRaw {
        /// A token of one of these issuers.
        #[schemars(length(min = 1))]
        "jwt" => jwt: List<String>,
    }
    refused: ["api_key", "mtls"]
}

raw! {
    /// What the identity must hold.
    #[schemars(rename = "Allow")]
    struct AllowRaw {
        /// All of these scopes.
        "scopes" => scopes: List<String>,
        /// Any one of these roles.
        "roles" => roles: List<String>,
    }
    refused: ["policy"]
}

/// What a route, or some of its requests, are exempt from.
#[derive(Debug, Clone)]
pub(crate) enum ExemptRaw {
    /// No limit is charged.
    Limits,
    /// No token is needed.
    Auth,
    /// No limit is charged for some requests.
    Some(Box<ExemptMap>),
}

raw! {
    /// Some requests that are exempt.
    #[schemars(rename = "ExemptSome", extend("required" = ["limits"]))]
    struct ExemptMap {
        /// No limit is charged for these.
        "limits" => limits: WhoRaw,
    }
    refused: []
}

raw! {
    /// Which requests: those of which all that is given here holds.
    #[schemars(rename = "ExemptWho")]
    struct WhoRaw {
        /// Their token names one of these tenants.
        #[schemars(length(min = 1))]
        "tenants" => tenants: List<String>,
        /// It holds one of these roles.
        #[schemars(length(min = 1))]
        "roles" => roles: List<String>,
        /// Its subject is one of these.
        #[schemars(length(min = 1))]
        "subjects" => subjects: List<String>,
        /// They came in by one of these listeners.
        #[schemars(length(min = 1))]
        "listeners" => listeners: List<ListenerWord>,
    }
    refused: ["networks", "client_ip"]
}

words! {
    /// A listener that clients reach.
    #[schemars(rename = "Listener")]
    enum ListenerWord {
        /// Plain HTTP.
        "http" => Http,
        /// HTTPS.
        "https" => Https,
    }
    refused: []
}

impl Read for ExemptRaw {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            return ExemptMap::read(node, path, findings).map(|map| Self::Some(Box::new(map)));
        }
        match word(node, &["limits", "auth"], &[], path, findings)? {
            "limits" => Some(Self::Limits),
            _ => Some(Self::Auth),
        }
    }
}

impl JsonSchema for ExemptRaw {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Exempt".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "enum": ["limits", "auth"] }, generator.subschema_for::<ExemptMap>()]
        })
    }
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
        "remove" => remove: List<String>,
    }
    refused: []
}

/// Texts by keys that are not names of the document's own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts(pub(crate) Vec<(Key, At<String>)>);

impl Read for Texts {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        let mut texts = Vec::new();
        for (key, value) in entries(node, path, findings)? {
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
