//! `gateway.yaml` as it may be written: keys and kinds of values, before anything is checked.
//!
//! In: a tree, by the readers that [`raw!`] makes. Out: raw types for [`super::check`], and their JSON
//! Schema. A key that the contract names and this version cannot honour stands under `refused`.

mod identity;
mod limit;
mod route;
mod service;

pub(crate) use self::{identity::*, limit::*, route::*, service::*};
use crate::read::{List, Named, raw, words};

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
