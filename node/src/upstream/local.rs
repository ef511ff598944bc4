//! One try at an endpoint of this region.
//!
//! Enters: the trip and a place at an endpoint. Leaves: the answer, its body still on its way, or the
//! fault. The endpoint's health hears of it either way.

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use meridian_config::document::{Protocol, Service};
use tokio::time::Instant;

use super::{
    answer::{Answer, Lent},
    client::{Client, Reply},
    endpoint::Ticket,
    fault::Fault,
    health::Outcome,
    link::{Link, Wire},
    trip::Trip,
    wait::{Late, Limits, within},
};
use crate::exchange::Body;

impl Client {
    /// Tries once; a connection from the pool that turns out dead is replaced without counting.
    pub(super) async fn try_local(
        &self,
        trip: &mut Trip<'_>,
        mut ticket: Ticket,
    ) -> Result<Reply, Fault> {
        let result = self.exchange(trip, &ticket).await;
        let outcome = match &result {
            Ok((response, _)) => Some(match response.status() {
                StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => Outcome::Gateway,
                _ => Outcome::Good,
            }),
            Err(fault) => fault.outcome(),
        };
        if let Some(outcome) = outcome {
            ticket.tell(outcome, Instant::now().into_std());
        }
        match &result {
            // The endpoint is not to blame: a new connection may well do.
            Err(Fault::Stale) => trip.fresh = true,
            _ => trip.tried_endpoints.push(ticket.endpoint().number),
        }
        let (response, wire) = result?;
        let idle = trip.errand.destination.settings.timeouts.idle;
        self.reply(
            response,
            Lent {
                wire,
                ticket,
                pool: Arc::clone(&self.pool),
                idle,
            },
            trip.websocket,
        )
        .await
    }

    async fn exchange(
        &self,
        trip: &mut Trip<'_>,
        ticket: &Ticket,
    ) -> Result<(Response<Incoming>, Wire), Fault> {
        let settings = &Arc::clone(trip.errand.destination).settings;
        let endpoint = ticket.endpoint();
        let limits = Limits {
            response: settings.timeouts.response,
            idle: settings.timeouts.idle,
        };
        loop {
            let pooled = if trip.fresh {
                None
            } else {
                self.pool.take(endpoint.number, Instant::now())
            };
            let reused = pooled.is_some();
            let mut wire = match pooled {
                Some(wire) => wire,
                None => self.dial(settings, ticket).await?,
            };
            if let Some(gate) = trip.gate.take()
                && !gate.await
            {
                return Err(Fault::Gone);
            }
            let may_follow = trip.repeatable && trip.used < settings.retries.attempts;
            let keep = may_follow && trip.payload.replayable();
            let request = trip.request(endpoint, keep);
            let progress = request.body().progress();
            let sent = within(limits, progress.as_deref(), wire.send(request)).await;
            return match sent {
                Ok(Ok(response)) => Ok((response, wire)),
                Ok(Err(error)) => {
                    if let Some(request) = error.unsent {
                        trip.restore(*request);
                        if reused {
                            // It closed while it was idle. One more from the pool would be as old.
                            trip.fresh = true;
                            continue;
                        }
                    }
                    Err(match error.fault {
                        Fault::Reset if reused => Fault::Stale,
                        fault => fault,
                    })
                }
                Err(Late::Upstream) => Err(Fault::Late),
                Err(Late::Client) => Err(Fault::Body(crate::exchange::BodyError::Stalled)),
            };
        }
    }

    async fn dial(&self, settings: &Service, ticket: &Ticket) -> Result<Wire, Fault> {
        let endpoint = ticket.endpoint();
        let timeouts = settings.timeouts;
        let opened = self
            .dialer
            .open(&endpoint.address, settings.protocol, timeouts.connect)
            .await;
        let stream = opened.map_err(|error| {
            tracing::debug!(endpoint = %endpoint.authority, %error, "no connection to an endpoint");
            Fault::Connect
        })?;
        let wire = match settings.protocol {
            Protocol::Http1 => Wire::http1(stream).await,
            Protocol::Http2 => Wire::http2(stream, &self.shared.tracker).await,
        };
        let wire = wire.map_err(|error| {
            tracing::debug!(endpoint = %endpoint.authority, %error, "no HTTP with an endpoint");
            Fault::Connect
        })?;
        if let Wire::Http2(link) = &wire {
            self.pool
                .share(endpoint.number, link, timeouts.idle, Instant::now());
        }
        Ok(wire)
    }

    async fn reply(
        &self,
        response: Response<Incoming>,
        lent: Lent,
        websocket: bool,
    ) -> Result<Reply, Fault> {
        let (parts, body) = response.into_parts();
        let endpoint = lent.ticket.endpoint().authority.to_string();
        let region = (self.shared.view)().own_region.clone();
        let (body, tunnel) = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            if !websocket {
                // It switched to what nobody asked for; its next bytes are not HTTP.
                return Err(Fault::Protocol);
            }
            let stream = lent.wire.into_stream().await.ok_or(Fault::Protocol)?;
            let nothing = Empty::new().map_err(|never| match never {});
            (Body::new(nothing), Some((stream, Some(lent.ticket))))
        } else {
            (Body::new(Answer::new(body, lent)), None)
        };
        let response = Response::from_parts(parts, body);
        Ok(Reply {
            response,
            region,
            endpoint,
            retries: 0,
            tunnel,
        })
    }
}
