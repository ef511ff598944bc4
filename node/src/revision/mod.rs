//! The document, made ready for requests.
//!
//! ```text
//! Revision (bytes) ─► Draft (checked, every mistake at once) ─► Compiled (tables, handles) ─► ArcSwap ─► workers
//! ```
//!
//! - [`draft`]: what a revision's bytes say, and all the reasons why this node can't serve them;
//! - [`Drafts`]: the last draft, so that a node reads a document once;
//! - [`adopt`]: the loop that follows the directory, and keeps the old revision where the new one fails.
//!
//! A request pins the [`Compiled`] it started with.

pub mod adopt;
pub mod draft;
mod drafts;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use meridian_cluster::directory::Revision;
use meridian_config::{
    document::{Action, Document, Limit, Route},
    name::{RegionName, TenantId, Zone},
};

pub use draft::Draft;
pub use drafts::Drafts;

use crate::{
    identity,
    report::{
        metrics::{RequestPath, RouteSeries},
        series::{Counts, Durations},
    },
    route::Table,
    transform::Rules,
    upstream::{Destination, Destinations},
};

/// A revision's ready tables.
pub struct Compiled {
    /// The revision's number.
    pub number: u64,
    /// Its digest.
    pub digest: String,
    /// What it says.
    pub document: Arc<Document>,
    /// Which route takes a request; its answers are indices of `routes`.
    pub table: Table,
    /// The routes.
    pub routes: Vec<CompiledRoute>,
    /// What it says about tokens.
    pub identity: identity::Rules,
    /// Who is charged how.
    pub tenants: BTreeMap<TenantId, CompiledTenant>,
    /// The zone of this node's region; none where the document does not list the region.
    pub own_zone: Option<Zone>,
}

/// A route, ready.
pub struct CompiledRoute {
    /// What the document says.
    pub route: Arc<Route>,
    /// Its changes to requests and responses.
    pub rules: Rules,
    /// What becomes of its requests.
    pub handling: Handling,
    /// Its counters.
    pub series: Arc<RouteSeries>,
}

/// What becomes of a route's requests.
pub enum Handling {
    /// A service's endpoint answers.
    Service {
        /// The service.
        destination: Arc<Destination>,
        /// The zones that it has endpoints in.
        zones: Vec<Zone>,
        /// Counters of waits, by the region that served.
        waits: BTreeMap<RegionName, Arc<Durations>>,
    },
    /// The gateway answers.
    Respond {
        /// The status.
        status: StatusCode,
        /// The body.
        body: Bytes,
        /// Its type.
        content_type: Option<HeaderValue>,
    },
}

/// A tenant, ready.
pub struct CompiledTenant {
    /// The limits of its plan.
    pub limits: Vec<Limit>,
    /// Its counters of decisions.
    pub decisions: Arc<Counts>,
}

/// What a compiled revision is made of beside its draft.
pub struct Surroundings<'a> {
    /// This node's region.
    pub own_region: &'a RegionName,
    /// The services' endpoints with their state.
    pub destinations: &'a Destinations,
    /// Where handles of counters come from.
    pub metrics: &'a RequestPath,
}

impl Compiled {
    /// Puts a draft and its surroundings together.
    pub fn assemble(draft: Draft, revision: &Revision, around: &Surroundings<'_>) -> Self {
        let Draft {
            document,
            routes,
            table,
            warnings: _,
        } = draft;
        let routes = routes
            .into_iter()
            .map(|(route, rules)| CompiledRoute {
                handling: Handling::of(&route, &document, around),
                series: around.metrics.route(&route.name),
                route,
                rules,
            })
            .collect();
        let tenants = document
            .tenants
            .iter()
            .map(|(name, tenant)| {
                let plan = tenant
                    .plan
                    .as_ref()
                    .and_then(|plan| document.plans.get(plan));
                let compiled = CompiledTenant {
                    limits: plan.map(|plan| plan.limits.clone()).unwrap_or_default(),
                    decisions: around.metrics.tenant(name),
                };
                (name.clone(), compiled)
            })
            .collect();
        Self {
            number: revision.number,
            digest: revision.digest.clone(),
            table,
            routes,
            identity: identity::Rules::compile(&document, revision.number),
            tenants,
            own_zone: document
                .regions
                .get(around.own_region)
                .map(|region| region.zone.clone()),
            document: Arc::new(document),
        }
    }
}

impl Handling {
    fn of(route: &Route, document: &Document, around: &Surroundings<'_>) -> Self {
        match &route.action {
            Action::Respond(fixed) => Self::Respond {
                status: StatusCode::from_u16(fixed.status)
                    .expect("the document's check admits 200 to 599"),
                body: Bytes::from(fixed.body.clone()),
                content_type: fixed.content_type.map(HeaderValue::from_static),
            },
            Action::Service(name) => {
                let destination = around
                    .destinations
                    .service(name)
                    .expect("destinations are made of the same document, whose names resolve")
                    .clone();
                let mut zones: Vec<Zone> = destination
                    .settings
                    .endpoints
                    .keys()
                    .filter_map(|region| document.regions.get(region))
                    .map(|region| region.zone.clone())
                    .collect();
                zones.sort();
                zones.dedup();
                let waits = document
                    .regions
                    .keys()
                    .map(|region| (region.clone(), around.metrics.upstream(name, region)))
                    .collect();
                Self::Service {
                    destination,
                    zones,
                    waits,
                }
            }
        }
    }
}
