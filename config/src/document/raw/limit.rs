//! Limits as they may be written.
//!
//! In: a tree. Out: raw types for [`super::super::check`].

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    diagnose::{Findings, Path, quoted},
    read::{At, Field, List, PerSpan, Read, Span, raw, word, words},
    tree::{Node, Value, wrong_kind},
};

raw! {
    /// A named set of limits.
    #[schemars(rename = "Plan")]
    struct PlanRaw {
        /// Charged all or none.
        #[schemars(length(max = 128))]
        "limits" => limits: List<LimitRaw>,
    }
    refused: []
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
        /// What becomes of a request when this node has no tokens left. Default: deny; for limits of up to
        /// 64, which have no part at every node, a wait of 400ms.
        "on_empty" => on_empty: OnEmptyRaw,
        /// What happens when a region dies. Default: strict.
        "on_region_loss" => on_region_loss: RegionLossWord,
        /// What a node does that has been out of contact for long. Default: base.
        "on_lapse" => on_lapse: LapseWord,
        /// Who has a count of its own. Default: tenant.
        "per" => per: PerWord,
        /// Which requests a node that is overloaded turns away last: those of limits with the most, from 0 to
        /// 100. Default: 50.
        #[schemars(range(min = 0, max = 100))]
        "priority" => priority: u64,
        /// Whether it is counted and reported, and turns nobody away. Default: false.
        "shadow" => shadow: bool,
    }
    refused: []
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
            rate: Field::Given(rate),
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

/// What becomes of a request that finds nothing: `deny`, or how long it may wait.
#[derive(Debug, Clone)]
pub(crate) enum OnEmptyRaw {
    /// It is denied.
    Deny,
    /// It waits.
    Wait(WaitMap),
}

raw! {
    /// How long a request may wait.
    #[schemars(rename = "Wait", extend("required" = ["wait"]))]
    struct WaitMap {
        /// At most so long, from 1ms to 5s.
        "wait" => wait: Span,
    }
    refused: []
}

impl Read for OnEmptyRaw {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Map(_) => WaitMap::read(node, path, findings).map(Self::Wait),
            Value::Text(text) if text == "wait" => {
                findings.mistake(
                    node.place,
                    format!("{path}: says not how long; write {{ wait: 400ms }}"),
                );
                None
            }
            Value::Text(text) if text == "deny" => Some(Self::Deny),
            Value::Text(text) => {
                findings.mistake(
                    node.place,
                    format!(
                        "{path}: {} is not known here; use deny or {{ wait: 400ms }}",
                        quoted(text)
                    ),
                );
                None
            }
            _ => {
                wrong_kind(node, "deny or { wait: 400ms }", path, findings);
                None
            }
        }
    }
}

impl JsonSchema for OnEmptyRaw {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OnEmpty".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "deny" }, generator.subschema_for::<WaitMap>()] })
    }
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

words! {
    /// What a node does with its part of a limit when it has been out of contact for long.
    #[schemars(rename = "OnLapse")]
    enum LapseWord {
        /// It goes on to spend its part.
        "base" => Base,
        /// It denies.
        "deny" => Deny,
    }
    refused: []
}

/// Who has a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(rename = "Per")]
pub(crate) enum PerWord {
    /// The tenant.
    #[schemars(rename = "tenant")]
    Tenant,
    /// Each subject of the tenant.
    #[schemars(rename = "subject")]
    Subject,
    /// Each client address.
    #[schemars(rename = "client_ip")]
    ClientIp,
}

impl Read for PerWord {
    fn read(node: &Node, path: &Path, findings: &mut Findings) -> Option<Self> {
        if let Value::Text(text) = &node.value
            && text == "header"
        {
            findings.mistake(
                node.place,
                format!("{path}: a client writes its headers itself, and could have as many counts as it likes; use tenant, subject or client_ip"),
            );
            return None;
        }
        if let Value::Text(text) = &node.value
            && text == "api_key"
        {
            findings.mistake(
                node.place,
                format!("{path}: there are no API keys here, clients are known by their tokens; use subject for a count of each client of a tenant, or tenant or client_ip"),
            );
            return None;
        }
        match word(
            node,
            &["tenant", "subject", "client_ip"],
            &[],
            path,
            findings,
        )? {
            "tenant" => Some(Self::Tenant),
            "subject" => Some(Self::Subject),
            _ => Some(Self::ClientIp),
        }
    }
}

raw! {
    /// The limits of requests that no identity was asked of.
    #[schemars(rename = "Unidentified")]
    struct UnidentifiedRaw {
        /// Of each client; charged all or none.
        #[schemars(length(max = 128))]
        "limits" => limits: List<LimitRaw>,
        /// By what they are counted. Default: client_ip.
        "per" => per: ClientWord,
        /// Of all of these clients together; charged with their own.
        #[schemars(length(max = 128))]
        "cap" => cap: List<LimitRaw>,
    }
    refused: []
}

words! {
    /// By what the limits of unidentified requests are counted.
    #[schemars(rename = "PerClient")]
    enum ClientWord {
        /// By the client's address.
        "client_ip" => ClientIp,
    }
    refused: ["tenant", "subject", "api_key", "token", "header", "route"]
}
