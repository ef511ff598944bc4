//! The steps that refuse, in their order: what becomes of a request before anything is sent for it.
//!
//! In: a request's head, and how long its body says it is. Out: [`Decision`], or the refusal; what the
//! steps have learnt until then is in the [`Subject`]. [`super::run`] serves by it and [`super::explain`]
//! tells of it, so that no explanation can differ from what is done.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method, Response, Uri, Version, request::Parts};
use hyper::body::SizeHint;
use meridian_cluster::directory::AsOf;
use meridian_config::document::{Listener, Route};
use tokio::time::Instant;

use crate::{
    access,
    ban::Leave,
    exchange::{Body, Context, Identity},
    guard::{self, head::Admitted},
    limit::{Charge, LimitState, Outcome, Paid, Payer, Pressure},
    listener::tls,
    problem::Refusal,
    report::{health, metrics::Quota},
    revision::{Compiled, CompiledRoute, Handling},
    transform::{request::Inbound, template::Values},
    upstream::{Destination, Errand},
    worker::Worker,
};

/// What the steps have learnt of a request.
pub(crate) struct Subject {
    /// The revision that the request is served by, from its start to its end.
    pub(crate) compiled: Option<Arc<Compiled>>,
    pub(crate) context: Context,
    /// The connection's other end.
    pub(crate) peer: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub(crate) trusted: bool,
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// The target as it came.
    pub(crate) target: Uri,
    /// In normal form; empty before the guard has passed it.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// The normal form, where it differs.
    normal_path: Option<String>,
    pub(crate) route: Option<usize>,
    pub(crate) states: Vec<LimitState>,
    /// What its limits were paid with, until it has reached something.
    pub(crate) paid: Paid,
    /// What a request that is sent on may lose while it lasts.
    pub(crate) leave: Option<Leave>,
    /// The step that it has come to.
    pub(crate) step: Step,
}

/// The steps, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Guard,
    Route,
    Identity,
    Access,
    Residency,
    Body,
    Limit,
    Transform,
    Upstream,
}

/// Whether the step limit counts the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purse {
    /// It is counted.
    Charge,
    /// Only looked at.
    Peek,
}

/// Where a request that no step refused goes.
pub(crate) enum Decision {
    /// The gateway answers it itself.
    Answer(Response<Body>),
    /// The route's service answers it.
    Send,
}

/// Takes a request through the steps.
pub(crate) async fn decide(
    subject: &mut Subject,
    parts: &Parts,
    body: &SizeHint,
    hosts: Option<&[String]>,
    worker: &Worker,
    purse: Purse,
) -> Result<Decision, Refusal> {
    let bans = worker.bans.version();
    worker.bans.admit(subject.context.client_ip)?;
    let admitted = guard::head::inspect(parts, &worker.limits)?;
    subject.admitted(admitted);
    if let Some(hosts) = hosts
        && !tls::serves(hosts, &subject.host)
    {
        return Err(Refusal::Misdirected(subject.host.clone()));
    }
    let compiled = subject.compiled.clone().ok_or(Refusal::NotConfigured)?;
    if let Some(answer) = probe(subject, &compiled, parts, worker) {
        return Ok(Decision::Answer(answer));
    }
    subject.step = Step::Route;
    let found = compiled
        .table
        .find(&subject.host, subject.path(), &parts.method)?;
    let chosen = &compiled.routes[found.route];
    subject.routed(found.route, chosen.route.clone());
    if chosen.rules.wants_variables {
        subject.context.variables = found.variables;
    }
    if !chosen.route.exempt.auth {
        identify(subject, &compiled, chosen, &parts.headers, worker).await?;
    }
    subject.step = Step::Body;
    guard::body::admit(body, chosen.route.request.max_body)?;
    subject.step = Step::Limit;
    charge(subject, &compiled, chosen, worker, purse).await?;
    subject.step = Step::Transform;
    match &chosen.handling {
        Handling::Respond {
            status,
            body,
            content_type,
        } => {
            let mut answer = Response::new(crate::problem::full(body.clone()));
            *answer.status_mut() = *status;
            if let Some(content_type) = content_type {
                answer
                    .headers_mut()
                    .insert(http::header::CONTENT_TYPE, content_type.clone());
            }
            Ok(Decision::Answer(answer))
        }
        Handling::Service { .. } => {
            let context = &subject.context;
            let (client, identity) = (context.client_ip, context.identity.clone());
            subject.leave = Some(Leave::new(&worker.bans, bans, client, identity));
            Ok(Decision::Send)
        }
    }
}

/// The probes, where the document has them at the edge. They are exempt from everything.
fn probe(
    subject: &Subject,
    compiled: &Compiled,
    parts: &Parts,
    worker: &Worker,
) -> Option<Response<Body>> {
    if !compiled.document.edge.probes || !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    let is_probe = matches!(subject.path(), "/livez" | "/readyz" | "/healthz");
    is_probe
        .then(|| health::answer(subject.path(), parts.uri.query(), &(worker.health)()))
        .flatten()
}

/// The steps identity, access and residency: refused before anything is charged.
async fn identify(
    subject: &mut Subject,
    compiled: &Compiled,
    chosen: &CompiledRoute,
    headers: &HeaderMap,
    worker: &Worker,
) -> Result<(), Refusal> {
    subject.step = Step::Identity;
    let identity = worker
        .identifier
        .identify(&compiled.identity, &chosen.route, headers)
        .await?;
    subject.context.identity = Some(identity.clone());
    subject.step = Step::Access;
    access::decide(&chosen.route.access, &identity)?;
    subject.step = Step::Residency;
    if let Handling::Service { zones, .. } = &chosen.handling
        && !identity.zones.is_empty()
        && !identity.zones.iter().any(|zone| zones.contains(zone))
    {
        return Err(Refusal::Residency(identity.tenant.clone()));
    }
    Ok(())
}

/// The step limit.
async fn charge(
    subject: &mut Subject,
    compiled: &Compiled,
    chosen: &CompiledRoute,
    worker: &Worker,
    purse: Purse,
) -> Result<(), Refusal> {
    let identity = subject.context.identity.clone();
    let count = |decision: Quota| {
        if matches!(purse, Purse::Charge) {
            worker.metrics.quota.add(worker.index, decision as usize);
        }
    };
    if subject.exempted(chosen).is_some() {
        count(Quota::Exempt);
        return Ok(());
    }
    let mut charge = bill(
        compiled,
        chosen,
        identity.as_deref(),
        subject.context.client_ip,
    );
    if matches!(purse, Purse::Charge) {
        charge.overload = feel_pressure(&worker.pressure).await;
    }
    let outcome = match purse {
        Purse::Charge => {
            let charged = worker.limiter.charge(charge).await;
            if let Some(waited) = charged.waited {
                worker.metrics.quota_wait.observe(worker.index, waited);
            }
            let tenant = identity.as_ref().map(|identity| &identity.tenant);
            if let Some(tenant) = tenant.and_then(|tenant| compiled.tenants.get(tenant)) {
                for level in charged.reached {
                    tenant.reached.add(worker.index, level as usize);
                }
            }
            subject.paid = charged.paid;
            charged.outcome
        }
        Purse::Peek => worker.limiter.peek(charge),
    };
    match outcome {
        Outcome::Admit { states, shadowed } => {
            if !states.is_empty() {
                count(Quota::Admit);
            }
            shadowed.iter().for_each(|_| count(Quota::Shadow));
            subject.states = states;
            Ok(())
        }
        Outcome::Refuse {
            limit,
            why,
            retry_after,
            states,
        } => {
            count(Quota::from(why));
            subject.states = states;
            Err(Refusal::RateLimited {
                tenant: identity.map(|identity| identity.tenant.clone()),
                limit: limit.to_string(),
                why,
                retry_after,
            })
        }
    }
}

/// How overloaded the worker is. Now and then a request waits for its turn once more, and so measures the queue.
async fn feel_pressure(pressure: &Pressure) -> f64 {
    let now = Instant::now();
    if pressure.wants_sample(now.into_std()) {
        tokio::task::yield_now().await;
        pressure.sample(now.elapsed(), Instant::now().into_std());
    }
    pressure.level()
}

/// Who pays for a request, and within which limits.
fn bill<'a>(
    compiled: &'a Compiled,
    chosen: &'a CompiledRoute,
    identity: Option<&'a Identity>,
    client: IpAddr,
) -> Charge<'a> {
    let (payer, standing, before) = match identity {
        Some(identity) => {
            let tenant = compiled.tenants.get(&identity.tenant);
            let limits = tenant.map(|tenant| tenant.limits.as_slice());
            let before = tenant.map(|tenant| tenant.former.as_slice());
            (
                Payer::Tenant(&identity.tenant),
                limits.unwrap_or_default(),
                before.unwrap_or_default(),
            )
        }
        None => (
            Payer::Nobody,
            compiled.document.defaults.unidentified.as_slice(),
            compiled.unidentified.as_slice(),
        ),
    };
    Charge {
        payer,
        subject: identity.map_or("", |identity| identity.subject.as_str()),
        client,
        standing,
        route_limits: &chosen.route.limits,
        former: [before, &chosen.former],
        cost: chosen.route.cost,
        overload: 0.0,
        // Not known yet: any other node's limits are newer.
        as_of: compiled.as_of.map_or(0, AsOf::number),
    }
}

impl Subject {
    /// Why no limit is charged for it, where none is.
    pub(crate) fn exempted<'a>(&self, chosen: &'a CompiledRoute) -> Option<access::Exempted<'a>> {
        let listener = match self.context.scheme {
            "https" => Listener::Https,
            _ => Listener::Http,
        };
        let identity = self.context.identity.as_deref();
        access::exempt(&chosen.route.exempt, identity, listener)
    }

    /// A request whose head has just come.
    pub(crate) fn new(worker: &Worker, parts: &Parts, peer: IpAddr, tls: bool) -> Self {
        let compiled = worker.current.load_full();
        let proxies = compiled
            .as_ref()
            .map_or(&[][..], |compiled| &compiled.document.edge.trusted_proxies);
        let trusted = guard::client::trusted(peer, proxies);
        let context = Context {
            request_id: worker.ids.request_id(&parts.headers, trusted),
            trace: worker.ids.trace(&parts.headers),
            client_ip: guard::client::address(peer, &parts.headers, proxies),
            received: Instant::now(),
            scheme: if tls { "https" } else { "http" },
            protocol: match parts.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            route: None,
            variables: Vec::new(),
            identity: None,
        };
        Self {
            compiled,
            context,
            peer,
            trusted,
            method: parts.method.clone(),
            version: parts.version,
            target: parts.uri.clone(),
            host: String::new(),
            port: None,
            normal_path: None,
            route: None,
            states: Vec::new(),
            paid: Paid::default(),
            leave: None,
            step: Step::Guard,
        }
    }

    /// The path in normal form.
    pub(crate) fn path(&self) -> &str {
        self.normal_path.as_deref().unwrap_or(self.target.path())
    }

    fn admitted(&mut self, admitted: Admitted) {
        self.host = admitted.host;
        self.port = admitted.port;
        self.normal_path = admitted.path;
    }

    fn routed(&mut self, index: usize, route: Arc<Route>) {
        self.route = Some(index);
        self.context.route = Some(route);
    }

    /// What templates are filled with.
    pub(crate) fn values<'a>(&'a self, region: &'a str) -> Values<'a> {
        let identity = self.context.identity.as_ref();
        Values {
            variables: &self.context.variables,
            tenant: identity.map_or("", |identity| identity.tenant.as_str()),
            subject: identity.map_or("", |identity| &identity.subject),
            region,
            request_id: &self.context.request_id,
            client_ip: self.context.client_ip,
        }
    }

    /// What the step transform is told; `region` is this node's.
    pub(crate) fn inbound<'a>(&'a self, region: &'a str, websocket: bool) -> Inbound<'a> {
        Inbound {
            context: &self.context,
            peer: self.peer,
            trusted: self.trusted,
            host: &self.host,
            port: self.port,
            path: self.path(),
            websocket,
            values: self.values(region),
        }
    }

    /// What the step upstream is told.
    pub(crate) fn errand<'a>(&'a self, destination: &'a Arc<Destination>) -> Errand<'a> {
        let identity = self.context.identity.as_ref();
        Errand {
            destination,
            zones: identity.map_or(&[], |identity| &identity.zones),
            tenant: identity.map(|identity| &identity.tenant),
            request_id: &self.context.request_id,
            leave: self.leave.as_ref(),
        }
    }

    /// The route that took the request.
    pub(crate) fn chosen(&self) -> Option<&CompiledRoute> {
        let compiled = self.compiled.as_ref()?;
        compiled.routes.get(self.route?)
    }
}
