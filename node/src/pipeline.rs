//! The way of one request through all steps.
//!
//! ```text
//! screen's refusal? ─► guard ─► probes ─► route ─► identity ─► access ─► residency ─► body ─► limit
//!      ─► transform ─► upstream (or the document's own answer) ─► transform ─► report
//! ```
//!
//! In: a request, its connection, the worker. Out: a response, whatever happens: each step goes on or
//! refuses, and a refusal is answered by [`crate::problem`]. What the steps learn is kept in a
//! [`Record`], which is counted and logged when the response's body ends, or the client goes.

mod record;

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts};
use http_body_util::BodyExt;
use hyper::{
    body::{Body as _, Incoming},
    upgrade::OnUpgrade,
};
use tokio::time::Instant;

pub(crate) use record::Record;

use crate::{
    access,
    exchange::{Body, Context, Served},
    guard::{self, body::Watched},
    limit::{Charge, Outcome, Payer},
    listener::{Connection, screened::REFUSED, tls},
    problem::{self, Refusal, UpstreamFault},
    report::{health, metrics::Quota},
    revision::{Compiled, CompiledRoute, Handling},
    transform::{
        hop, quota,
        request::{self, Inbound},
        response::{self, Outbound},
        template::Values,
    },
    upstream::Errand,
    worker::Worker,
};

/// Answers a request.
pub(crate) async fn run(
    worker: Arc<Worker>,
    request: Request<Incoming>,
    connection: Arc<Connection>,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.headers.contains_key(header::UPGRADE);
    let sending = !body.is_end_stream();
    let mut record = Record::new(worker, connection, &parts);
    let outcome = steps(&mut record, &mut parts, body).await;
    finish(record, outcome, upgrade, sending)
}

/// All steps up to the answer's head.
async fn steps(
    record: &mut Record,
    parts: &mut Parts,
    body: Incoming,
) -> Result<Response<Body>, Refusal> {
    if parts.method.as_str() == REFUSED
        && let Some(refusal) = record.connection.marks.take_refusal()
    {
        return Err(refusal);
    }
    let admitted = guard::head::inspect(parts, &record.worker.limits)?;
    record.admitted(admitted);
    if let Some(tls) = &record.connection.tls
        && let Some(hosts) = &tls.hosts
        && !tls::serves(hosts, &record.host)
    {
        return Err(Refusal::Misdirected(record.host.clone()));
    }
    let compiled = record.compiled.clone().ok_or(Refusal::NotConfigured)?;
    if let Some(answer) = probe(record, &compiled, parts) {
        return Ok(answer);
    }
    let found = compiled
        .table
        .find(&record.host, record.path(), &parts.method)?;
    let chosen = &compiled.routes[found.route];
    record.routed(found.route, chosen.route.clone());
    if chosen.rules.wants_variables {
        record.context.variables = found.variables;
    }
    identify(record, &compiled, chosen, parts).await?;
    guard::body::admit(&body.size_hint(), chosen.route.request.max_body)?;
    charge(record, &compiled, chosen)?;
    match &chosen.handling {
        Handling::Respond {
            status,
            body,
            content_type,
        } => {
            let mut answer = Response::new(problem::full(body.clone()));
            *answer.status_mut() = *status;
            if let Some(content_type) = content_type {
                answer
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, content_type.clone());
            }
            Ok(answer)
        }
        Handling::Service { .. } => send(record, &compiled, chosen, parts, body).await,
    }
}

/// The probes, where the document has them at the edge. They are exempt from everything.
fn probe(record: &Record, compiled: &Compiled, parts: &Parts) -> Option<Response<Body>> {
    if !compiled.document.edge.probes || !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    let is_probe = matches!(record.path(), "/livez" | "/readyz" | "/healthz");
    is_probe
        .then(|| health::answer(record.path(), parts.uri.query(), &(record.worker.health)()))
        .flatten()
}

/// The steps identity and access, residency with them: refused before anything is charged.
async fn identify(
    record: &mut Record,
    compiled: &Compiled,
    chosen: &CompiledRoute,
    parts: &Parts,
) -> Result<(), Refusal> {
    if chosen.route.exempt.auth {
        return Ok(());
    }
    let identity = record
        .worker
        .identifier
        .identify(&compiled.identity, &chosen.route, &parts.headers)
        .await?;
    record.context.identity = Some(identity.clone());
    access::decide(&chosen.route.access, &identity)?;
    if let Handling::Service { zones, .. } = &chosen.handling
        && !identity.zones.is_empty()
        && !identity.zones.iter().any(|zone| zones.contains(zone))
    {
        return Err(Refusal::Residency(identity.tenant.clone()));
    }
    Ok(())
}

/// The step limit.
fn charge(record: &mut Record, compiled: &Compiled, chosen: &CompiledRoute) -> Result<(), Refusal> {
    if chosen.route.exempt.limits {
        return Ok(());
    }
    let identity = record.context.identity.clone();
    let (payer, standing) = match &identity {
        Some(identity) => {
            let tenant = compiled.tenants.get(&identity.tenant);
            let limits = tenant.map(|tenant| tenant.limits.as_slice());
            (Payer::Tenant(&identity.tenant), limits.unwrap_or_default())
        }
        None => (
            Payer::Client(record.context.client_ip),
            compiled.document.defaults.unidentified.as_slice(),
        ),
    };
    let charge = Charge {
        payer,
        standing,
        route: &chosen.route.name,
        route_limits: &chosen.route.limits,
    };
    let worker = record.worker.clone();
    let now = Instant::now().into_std();
    let outcome = worker.limiter.charge(charge, now, worker.host.unix_time());
    let count = |decision: Quota| worker.metrics.quota.add(worker.index, decision as usize);
    match outcome {
        Outcome::Admit(states) => {
            if !states.is_empty() {
                count(Quota::Admit);
            }
            record.states = states;
            Ok(())
        }
        Outcome::Refuse {
            limit,
            retry_after,
            states,
        } => {
            count(Quota::Refuse);
            record.states = states;
            Err(Refusal::RateLimited {
                tenant: identity.map(|identity| identity.tenant.clone()),
                limit: limit.to_string(),
                retry_after,
            })
        }
    }
}

/// The steps transform and upstream.
async fn send(
    record: &mut Record,
    compiled: &Compiled,
    chosen: &CompiledRoute,
    parts: &mut Parts,
    body: Incoming,
) -> Result<Response<Body>, Refusal> {
    let Handling::Service { destination, .. } = &chosen.handling else {
        return Err(Refusal::NoRoute);
    };
    let worker = record.worker.clone();
    let websocket = hop::asks_for_websocket(&parts.method, parts.version, &parts.headers);
    if !websocket {
        // Other upgrades are not passed on, so nobody may take the connection over.
        parts.extensions.remove::<OnUpgrade>();
    }
    let inbound = Inbound {
        context: &record.context,
        peer: record.connection.peer,
        trusted: guard::client::trusted(
            record.connection.peer,
            &compiled.document.edge.trusted_proxies,
        ),
        host: &record.host,
        port: record.port,
        path: record.path(),
        websocket,
        values: record.values(worker.region.as_str()),
    };
    request::apply(parts, &inbound, &chosen.rules)?;
    let limit = chosen.route.request.max_body;
    let (body, verdict) = watch(body, limit, &worker);
    record.body = verdict;
    let mut outgoing = Request::new(body);
    std::mem::swap(outgoing.method_mut(), &mut parts.method);
    std::mem::swap(outgoing.uri_mut(), &mut parts.uri);
    std::mem::swap(outgoing.headers_mut(), &mut parts.headers);
    std::mem::swap(outgoing.extensions_mut(), &mut parts.extensions);
    let identity = record.context.identity.clone();
    let errand = Errand {
        destination,
        zones: identity.as_ref().map_or(&[], |identity| &identity.zones),
        tenant: identity.as_ref().map(|identity| &identity.tenant),
        request_id: &record.context.request_id.clone(),
    };
    let (mut answer, served) = match worker.client.send(errand, outgoing).await {
        Ok(answered) => answered,
        // The client's own fault explains the failure better than what the upstream made of it.
        Err(refusal) => {
            let fault = record.body.as_ref().and_then(|body| body.refusal(limit));
            return Err(fault.unwrap_or(refusal));
        }
    };
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switched && !websocket {
        return Err(Refusal::UpstreamError(UpstreamFault::Protocol));
    }
    response::from_upstream(answer.headers_mut(), switched);
    record.served = Some(served);
    Ok(answer)
}

/// A body with its limits, and what will be known of it; an empty one needs neither.
fn watch(body: Incoming, limit: u64, worker: &Worker) -> (Body, Option<Arc<guard::body::Verdict>>) {
    if body.is_end_stream() {
        return (problem::full(bytes::Bytes::new()), None);
    }
    let verdict = Arc::new(guard::body::Verdict::default());
    let watched = Watched::new(body, limit, worker.limits.stall_time, verdict.clone());
    (watched.boxed_unsync(), Some(verdict))
}

/// The response's head, whoever answered, and the body that reports its end.
fn finish(
    mut record: Record,
    outcome: Result<Response<Body>, Refusal>,
    upgrade: bool,
    sending: bool,
) -> Response<Body> {
    let mut answer = match outcome {
        Ok(answer) => answer,
        Err(refusal) => {
            let facts = problem::Facts {
                request_id: &record.context.request_id,
                tenant: record.context.identity.as_ref().map(|i| &i.tenant),
            };
            let answer = problem::respond(&refusal, &facts);
            // A client that is still sending must not lose the answer to a reset.
            if sending || refusal.connection() == problem::Connection::Close {
                record.connection.marks.linger();
            }
            record.refused(refusal);
            answer
        }
    };
    let region = record.served.as_ref().map(|served| served.region.clone());
    let region = region.unwrap_or_else(|| record.worker.region.clone());
    let headers = answer.headers_mut();
    quota::write(headers, &record.states);
    let outbound = Outbound {
        request_id: &record.context.request_id,
        tls: record.connection.tls.is_some(),
        rules: record.chosen().map(|chosen| &chosen.rules),
        values: record.values(region.as_str()),
    };
    response::finish(headers, &outbound);
    let http1 = record.version != Version::HTTP_2;
    if !http1 {
        // HTTP/2 has no such field (RFC 9113 section 8.2.2); its connection ends otherwise.
        headers.remove(header::CONNECTION);
    } else if upgrade && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        // The screen has not looked at what follows an upgrade; so nothing may follow.
        answer
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let answer = match record.served {
        Some(_) => answer,
        None => problem::without_body_for(&record.method, answer),
    };
    record.answered(answer)
}

impl Record {
    /// What templates are filled with.
    fn values<'a>(&'a self, region: &'a str) -> Values<'a> {
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

    /// The route that took the request.
    fn chosen(&self) -> Option<&CompiledRoute> {
        let compiled = self.compiled.as_ref()?;
        compiled.routes.get(self.route?)
    }
}

#[cfg(test)]
mod tests;
