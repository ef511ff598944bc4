//! `gateway.yaml` as it may be written: keys and kinds of values, before anything is checked.
//!
//! In: a tree, by the readers that [`raw!`] makes. Out: raw types for [`super::check`], and their JSON
//! Schema. A key that the contract names and this version cannot honour stands under `refused`.

mod identity;
mod route;
mod service;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

pub(crate) use self::{identity::*, route::*, service::*};
use crate::{
    diagnose::{Findings, Path},
    read::{At, List, Named, PerSpan, Read, raw, words},
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
        "limits" => limits: List<LimitRaw>,
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
        "trusted_proxies" => trusted_proxies: List<String>,
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
        "limits" => limits: List<LimitRaw>,
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
