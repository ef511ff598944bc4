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

pub(crate) mod decide;
mod record;

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use http_body_util::BodyExt;
use hyper::{
    body::{Body as _, Incoming},
    upgrade::OnUpgrade,
};

use decide::{Decision, Purse, Step, decide};
pub(crate) use record::Record;

use crate::{
    ban::Leave,
    exchange::{Body, Served},
    guard::{self, body::Watched},
    limit::Paid,
    listener::{Connection, screened::REFUSED},
    problem::{self, Refusal, UpstreamFault},
    report::metrics::Quota,
    revision::Handling,
    transform::{
        hop, quota, request,
        response::{self, Outbound},
    },
    upstream::Unserved,
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
    let size = body.size_hint();
    let Record {
        subject,
        worker,
        connection,
        ..
    } = record;
    let tls = connection.tls.as_ref();
    let hosts = tls.and_then(|tls| tls.hosts.as_deref());
    match decide(subject, parts, &size, hosts, worker, Purse::Charge).await? {
        Decision::Answer(answer) => Ok(answer),
        Decision::Send => send(record, parts, body).await,
    }
}

/// The steps transform and upstream.
async fn send(
    record: &mut Record,
    parts: &mut Parts,
    body: Incoming,
) -> Result<Response<Body>, Refusal> {
    let Some(compiled) = record.compiled.clone() else {
        return Err(Refusal::NotConfigured);
    };
    let chosen = record.route.and_then(|route| compiled.routes.get(route));
    let Some((chosen, Handling::Service { destination, .. })) =
        chosen.map(|chosen| (chosen, &chosen.handling))
    else {
        return Err(Refusal::NoRoute);
    };
    let worker = record.worker.clone();
    let websocket = hop::asks_for_websocket(&parts.method, parts.version, &parts.headers);
    if !websocket {
        // Other upgrades are not passed on, so nobody may take the connection over.
        parts.extensions.remove::<OnUpgrade>();
    }
    let inbound = record.inbound(worker.region.as_str(), websocket);
    request::apply(parts, &inbound, &chosen.rules)?;
    let limit = chosen.route.request.max_body;
    let (body, verdict) = watch(body, limit, record.leave.clone(), &worker);
    record.body = verdict;
    let mut outgoing = Request::new(body);
    std::mem::swap(outgoing.method_mut(), &mut parts.method);
    std::mem::swap(outgoing.uri_mut(), &mut parts.uri);
    std::mem::swap(outgoing.headers_mut(), &mut parts.headers);
    std::mem::swap(outgoing.extensions_mut(), &mut parts.extensions);
    record.step = Step::Upstream;
    let errand = record.errand(destination);
    let (mut answer, served) = match worker.client.send(errand, outgoing).await {
        Ok(answered) => answered,
        // The client's own fault explains the failure better than what the upstream made of it.
        Err(Unserved { refusal, reached }) => {
            let fault = record.body.as_ref().and_then(|body| body.refusal(limit));
            if !reached && fault.is_none() {
                let paid = std::mem::take(&mut record.paid);
                if worker.limiter.give_back(paid, &mut record.states) {
                    worker
                        .metrics
                        .quota
                        .add(worker.index, Quota::Refund as usize);
                }
            }
            return Err(fault.unwrap_or(refusal));
        }
    };
    // What it took of its limits is spent, and the answer may last.
    record.paid = Paid::default();
    // An upstream may have taken long, and the client has been sent away meanwhile.
    if let Some(leave) = &mut record.leave {
        leave.look()?;
    }
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switched && !websocket {
        return Err(Refusal::UpstreamError(UpstreamFault::Protocol));
    }
    response::from_upstream(answer.headers_mut(), switched);
    record.served = Some(served);
    Ok(answer)
}

/// A body with its limits, and what will be known of it; an empty one needs neither.
fn watch(
    body: Incoming,
    limit: u64,
    leave: Option<Leave>,
    worker: &Worker,
) -> (Body, Option<Arc<guard::body::Verdict>>) {
    if body.is_end_stream() {
        return (problem::full(bytes::Bytes::new()), None);
    }
    let verdict = Arc::new(guard::body::Verdict::default());
    let watched = Watched::new(body, limit, worker.limits.stall_time, verdict.clone()).under(leave);
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

#[cfg(test)]
mod tests;
