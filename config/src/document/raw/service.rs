//! Services as they may be written.
//!
//! In: a tree. Out: raw types for [`super::super::check`].

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    diagnose::{Findings, Path},
    document::RetryOn,
    read::{List, Named, Read, Share, Span, raw, word, words},
    tree::{Node, Value},
};

raw! {
    /// A named group of endpoints and how to treat them.
    #[schemars(rename = "Service", extend("required" = ["endpoints"]))]
    struct ServiceRaw {
        /// Addresses by region: `http://HOST:PORT` or `https://HOST:PORT`.
        "endpoints" => endpoints: Named<List<String>>,
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
        /// Between two pieces of a body, and of an idle pooled connection. Default: 60s. Where the upstream closes idle
        /// connections sooner, a POST may be on its way just then, and fails: write less than it waits.
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
        "on" => on: List<RetryOnRaw>,
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
