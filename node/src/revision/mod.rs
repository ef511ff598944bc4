//! The document, made ready for requests.
//!
//! ```text
//! Revision (bytes) ─► Draft (checked, every mistake at once) ─► Compiled (tables, handles) ─► ArcSwap ─► workers
//! ```
//!
//! - [`draft`]: what a revision's bytes say, and all the reasons why this node can't serve them;
//! - [`Drafts`]: the last draft, so that a node reads a document once;
//! - [`clashes`]: what operators have set that does not fit beside a document;
//! - [`adopt`]: the loop that follows the directory, and keeps the old revision where the new one fails.
//!
//! A request pins the [`Compiled`] it started with.

pub mod adopt;
mod clash;
pub mod draft;
mod drafts;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use meridian_cluster::directory::{AsOf, Override, Overrides, Revision};
use meridian_config::{
    document::{Action, Document, Limit, Route, tenant_limits},
    name::{RegionName, TenantId, Zone},
};

pub use clash::clashes;
pub use draft::Draft;
pub use drafts::Drafts;

use crate::{
    identity,
    limit::Former,
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
    pub table: Arc<Table>,
    /// The routes.
    pub routes: Arc<[CompiledRoute]>,
    /// What it says about tokens.
    pub identity: Arc<identity::Rules>,
    /// Who is charged how.
    pub tenants: BTreeMap<TenantId, CompiledTenant>,
    /// What the limits of clients without an identity were before.
    pub unidentified: Vec<Former>,
    /// The zone of this node's region; none where the document does not list the region.
    pub own_zone: Option<Zone>,
    /// Which limits these tables have; none where it is not known: at a start, before the log is read. The ledger then
    /// holds any other node's for newer.
    pub as_of: Option<AsOf>,
}

/// A route, ready.
pub struct CompiledRoute {
    /// What the document says.
    pub route: Arc<Route>,
    /// Its changes to requests and responses.
    pub rules: Rules,
    /// What becomes of its requests.
    pub handling: Handling,
    /// What its limits were before.
    pub former: Vec<Former>,
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
    /// The limits of its plan, or those in their place.
    pub limits: Vec<Limit>,
    /// What they were before.
    pub former: Vec<Former>,
    /// What an operator has set in place of the plan.
    pub set: Option<Override>,
    /// Its counters of decisions.
    pub decisions: Arc<Counts>,
    /// How often it has come near the end of a limit.
    pub reached: Arc<Counts>,
}

/// What operators have set, and the time to judge by which of it is over.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// What is set.
    pub overrides: &'a Overrides,
    /// The node's clock: ms since the Unix epoch.
    pub unix_ms: u64,
}

impl Settings<'_> {
    fn as_of(&self, revision: u64) -> Option<AsOf> {
        self.overrides.as_of(revision, self.unix_ms)
    }
}

/// What a compiled revision is made of beside its draft.
pub struct Surroundings<'a> {
    /// This node's region.
    pub own_region: &'a RegionName,
    /// The services' endpoints with their state.
    pub destinations: &'a Destinations,
    /// Where handles of counters come from.
    pub metrics: &'a RequestPath,
    /// What operators have set in place of plans.
    pub settings: Settings<'a>,
    /// What was served before.
    pub before: Option<&'a Compiled>,
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
        let settings = around.settings;
        let before = around.before;
        let unix_ms = settings.unix_ms;
        let known: BTreeMap<_, _> = before
            .iter()
            .flat_map(|before| before.routes.iter())
            .map(|known| (&known.route.name, known))
            .collect();
        let former = |route: &Route| {
            let known = known.get(&route.name);
            known.map_or_else(Vec::new, |known| {
                Former::after(&known.former, &known.route.limits, &route.limits, unix_ms)
            })
        };
        let routes = routes
            .into_iter()
            .map(|(route, rules)| CompiledRoute {
                handling: Handling::of(&route, &document, around),
                former: former(&route),
                series: around.metrics.route(&route.name),
                route,
                rules,
            })
            .collect();
        let unidentified = before.map_or_else(Vec::new, |before| {
            let was = &before.document.defaults.unidentified;
            let now = &document.defaults.unidentified;
            Former::after(&before.unidentified, was, now, unix_ms)
        });
        Self {
            number: revision.number,
            digest: revision.digest.clone(),
            table: Arc::new(table),
            routes,
            identity: Arc::new(identity::Rules::compile(&document, revision.number)),
            tenants: tenants(&document, settings, around.metrics, before),
            unidentified,
            as_of: settings.as_of(revision.number),
            own_zone: document
                .regions
                .get(around.own_region)
                .map(|region| region.zone.clone()),
            document: Arc::new(document),
        }
    }

    /// The same tables with what operators have set by now.
    pub fn set(&self, settings: Settings<'_>, metrics: &RequestPath) -> Self {
        Self {
            number: self.number,
            digest: self.digest.clone(),
            document: Arc::clone(&self.document),
            table: Arc::clone(&self.table),
            routes: Arc::clone(&self.routes),
            identity: Arc::clone(&self.identity),
            tenants: tenants(&self.document, settings, metrics, Some(self)),
            unidentified: self.unidentified.clone(),
            own_zone: self.own_zone.clone(),
            as_of: settings.as_of(self.number).or(self.as_of),
        }
    }
}

/// A tenant's limits by a document and what operators have set: its plan's, or those in their place.
pub fn standing<'a>(
    document: &Document,
    name: &TenantId,
    settings: Settings<'a>,
) -> (Vec<Limit>, Option<&'a Override>) {
    if let Some(set) = settings.overrides.of(name, settings.unix_ms) {
        match tenant_limits(&set.limits) {
            Ok(limits) => return (limits, Some(set)),
            // It was set through a node of another release.
            Err(wrong) => {
                let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
                tracing::error!(tenant = %name, "the limits that were set for a tenant are not read by this release, and its plan holds here: {}", wrong.join("; "));
            }
        }
    }
    let tenant = document.tenants.get(name);
    let plan = tenant.and_then(|tenant| document.plans.get(tenant.plan.as_ref()?));
    (
        plan.map(|plan| plan.limits.clone()).unwrap_or_default(),
        None,
    )
}

fn tenants(
    document: &Document,
    settings: Settings<'_>,
    metrics: &RequestPath,
    before: Option<&Compiled>,
) -> BTreeMap<TenantId, CompiledTenant> {
    let compiled = |name: &TenantId| {
        let (limits, set) = standing(document, name, settings);
        let known = before.and_then(|before| before.tenants.get(name));
        let former = known.map_or_else(Vec::new, |known| {
            Former::after(&known.former, &known.limits, &limits, settings.unix_ms)
        });
        CompiledTenant {
            limits,
            former,
            set: set.cloned(),
            decisions: metrics.tenant(name),
            reached: metrics.reached(name),
        }
    };
    let names = document.tenants.keys();
    names.map(|name| (name.clone(), compiled(name))).collect()
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
