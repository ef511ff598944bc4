//! What the steps learn of one request, and what is said about it at its end.
//!
//! In: facts, as they become known. Out: a line of the access log and counts, once: when the response's
//! body has gone, or when the client has.

use std::{
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::{Served, decide::Subject};
use crate::{
    ban::Vigil,
    exchange::{Body, BodyError},
    guard,
    listener::{Connection, connection::InFlight},
    problem::{self, Refusal},
    report::{
        entry::{Detail, Entry},
        metrics, pseudonym,
    },
    revision::Handling,
    worker::Worker,
};

/// What is known of a request. Dropping it reports it.
pub(crate) struct Record {
    pub(crate) worker: Arc<Worker>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) subject: Subject,
    pub(crate) served: Option<Served>,
    pub(crate) body: Option<Arc<guard::body::Verdict>>,
    refusal: Option<Refusal>,
    /// None until the response's head is there: the client that went before got none.
    status: Option<StatusCode>,
    bytes_out: u64,
    _in_flight: InFlight,
}

impl Record {
    /// A request whose head has just come.
    pub(super) fn new(worker: Arc<Worker>, connection: Arc<Connection>, parts: &Parts) -> Self {
        let subject = Subject::new(&worker, parts, connection.peer, connection.tls.is_some());
        worker.metrics.in_flight.add(worker.index, 0);
        Self {
            _in_flight: connection.begin(),
            worker,
            connection,
            subject,
            served: None,
            body: None,
            refusal: None,
            status: None,
            bytes_out: 0,
        }
    }

    pub(super) fn refused(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
    }

    /// The response's head is ready; its body carries the record on.
    pub(super) fn answered(mut self, answer: Response<Body>) -> Response<Body> {
        self.status = Some(answer.status());
        let waited = self.served.as_ref().map(|served| served.waited);
        let own = self
            .context
            .received
            .elapsed()
            .saturating_sub(waited.unwrap_or_default());
        let (worker, index) = (&self.worker, self.worker.index);
        worker.metrics.overhead.observe(index, own);
        // A refusal is said to the end, to whom it may concern.
        let leave = self.subject.leave.take().filter(|_| self.served.is_some());
        let vigil = leave.map(Vigil::over);
        let record = Box::new(self);
        answer.map(|body| {
            Reported {
                inner: body,
                record,
                vigil,
            }
            .boxed_unsync()
        })
    }

    fn decision(&self) -> &'static str {
        match (&self.refusal, self.status) {
            (Some(refusal), _) => refusal.name(),
            (None, Some(_)) => "admit",
            (None, None) => "client-gone",
        }
    }

    fn count(&self, status: StatusCode) {
        let (metrics, index) = (&self.worker.metrics, self.worker.index);
        metrics.in_flight.take(index, 0);
        let chosen = self.chosen();
        let series = chosen.map_or(&metrics.unrouted, |chosen| &chosen.series);
        series.requests.count(index, &self.method, status);
        series
            .duration
            .observe(index, self.context.received.elapsed());
        if let Some(refusal) = &self.refusal {
            if let Some(kind) = metrics::auth_failure(refusal) {
                metrics.auth_failures.add(index, kind);
            }
            if let Some(kind) = metrics::blocked(refusal) {
                metrics.blocked.add(index, kind);
            }
        }
        if let (Some(identity), Some(compiled)) = (&self.context.identity, &self.compiled)
            && let Some(tenant) = compiled.tenants.get(&identity.tenant)
        {
            let kind = metrics::decision(self.refusal.as_ref());
            tenant.decisions.add(index, kind);
        }
        if let (Some(served), Some(chosen)) = (&self.served, chosen)
            && let Handling::Service { waits, .. } = &chosen.handling
            && let Some(wait) = waits.get(&served.region)
        {
            wait.observe(index, served.waited);
        }
    }

    fn log(&self, status: StatusCode) {
        let worker = &self.worker;
        let identity = self.context.identity.as_deref();
        let compiled = self.compiled.as_deref();
        let own_zone = compiled.and_then(|compiled| compiled.own_zone.as_ref());
        let outside = identity.is_some_and(|identity| {
            !identity.zones.is_empty()
                && !own_zone.is_some_and(|zone| identity.zones.contains(zone))
        });
        let detail = if outside {
            Detail::Restricted
        } else {
            Detail::Full
        };
        let whole_address = compiled.is_some_and(|c| c.document.log.client_ip_full);
        let subject = identity.map(|i| worker.key.subject(i.issuer.as_str(), &i.subject));
        let served = self.served.as_ref();
        let entry = Entry {
            time: worker.host.unix_time(),
            request_id: &self.context.request_id,
            trace_id: &self.context.trace.trace_id,
            tenant: identity.map(|identity| identity.tenant.as_str()),
            subject: subject.as_deref(),
            client_ip: if whole_address {
                self.context.client_ip
            } else {
                pseudonym::truncated(self.context.client_ip)
            },
            method: self.method.as_str(),
            host: &self.host,
            route: self.context.route.as_ref().map(|route| route.name.as_str()),
            path: clipped(self.target.path()),
            status: status.as_u16(),
            bytes_in: self.body.as_ref().map_or(0, |body| body.bytes()),
            bytes_out: self.bytes_out,
            duration: self.context.received.elapsed(),
            upstream: served.map(|served| served.waited),
            region: worker.region.as_str(),
            node: worker.node.as_str(),
            served_region: served.map(|served| served.region.as_str()),
            endpoint: served.map(|served| served.endpoint.as_str()),
            decision: self.decision(),
            limit: match &self.refusal {
                Some(Refusal::RateLimited { limit, why, .. }) => Some((limit, why.name())),
                _ => None,
            },
            retries: served.map_or(0, |served| served.retries),
            tls: self.connection.tls.as_ref().map(|tls| tls.version),
            protocol: self.context.protocol,
        };
        let mut line = Vec::with_capacity(640);
        entry.write(detail, &mut line);
        worker.log.push(line);
    }
}

impl Deref for Record {
    type Target = Subject;

    fn deref(&self) -> &Subject {
        &self.subject
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Subject {
        &mut self.subject
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // 499, as nginx has it: nobody was there any more to hear a status.
        let gone = StatusCode::from_u16(499).expect("a number from 100 to 999");
        let status = self.status.unwrap_or(gone);
        tracing::trace!(
            target: "meridian::decision",
            request = &*self.context.request_id,
            status = status.as_u16(),
            decision = self.decision(),
            served = self.served.as_ref().map(|served| served.region.as_str()),
            bytes = self.bytes_out,
            "request ended"
        );
        self.count(status);
        self.log(status);
    }
}

/// A path as the log holds it: its ring is bounded in lines, and this bounds the lines.
fn clipped(path: &str) -> &str {
    path.get(..2048).unwrap_or(path)
}

/// A response's body, and the record that is reported when it ends or is given up.
struct Reported {
    inner: Body,
    record: Box<Record>,
    /// Over an answer that comes from an upstream, which may last.
    vigil: Option<Vigil>,
}

impl Reported {
    /// The client is sent away while it listens: nothing more passes, and the exchange at the upstream ends.
    fn break_off(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.vigil = None;
        self.inner = problem::full(Bytes::new());
        self.record.refused(refusal.clone());
        Poll::Ready(Some(Err(BodyError::Withdrawn(Box::new(refusal)))))
    }
}

impl HttpBody for Reported {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(Err(refusal)) = self.vigil.as_mut().map(Vigil::look) {
            return self.break_off(refusal);
        }
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if frame.is_pending()
            && let Some(vigil) = &mut self.vigil
            && let Poll::Ready(refusal) = vigil.poll_withdrawn(context)
        {
            return self.break_off(refusal);
        }
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.record.bytes_out += u64::try_from(data.len()).unwrap_or(0);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
