//! Active health checks: asks an endpoint again and again whether it can serve.
//!
//! Enters: an endpoint and how to check it. Leaves: each result, told to the endpoint. Core:
//! [`super::health`]. Each check opens a connection of its own, so that it sees what a new request would
//! see.

use std::{sync::Arc, time::Duration};

use http::{Method, Request, header};
use meridian_config::document::{Health, Protocol};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    dial::Dialer,
    endpoint::Endpoint,
    health::Sign,
    hop,
    link::{Link, Wire},
    outgoing::Payload,
};

/// What one endpoint's checks need.
pub(crate) struct Check {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) health: Health,
    pub(crate) protocol: Protocol,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) tracker: TaskTracker,
}

impl Check {
    /// Checks until `stop`: after `first`, `second` later, and then at the interval. Drawn by the caller, so that a node's
    /// checks are spread.
    pub(crate) async fn run(self, first: Duration, second: Duration, stop: CancellationToken) {
        let mut next = Instant::now() + first;
        let mut again = Some(second);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
            let began = Instant::now();
            let sign = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                result = tokio::time::timeout(self.health.timeout, self.once()) => {
                    result.unwrap_or(Sign::Silence)
                }
            };
            self.endpoint.checked(sign, Instant::now().into_std());
            next = began + again.take().unwrap_or(self.health.interval);
        }
    }

    async fn once(&self) -> Sign {
        let address = &self.endpoint.address;
        let stream = match self
            .dialer
            .open(address, self.protocol, self.health.timeout)
            .await
        {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(endpoint = %self.endpoint.authority, %error, "a health check failed");
                return Sign::Silence;
            }
        };
        let wire = match self.protocol {
            Protocol::Http1 => Wire::http1(stream).await,
            Protocol::Http2 => Wire::http2(stream, &self.tracker).await,
        };
        let (Ok(mut wire), Some(request)) = (wire, self.request()) else {
            return Sign::Bad;
        };
        match wire.send(request).await {
            Ok(response) if response.status().is_success() => Sign::Good,
            Ok(_) => Sign::Bad,
            Err(_) => Sign::Silence,
        }
    }

    fn request(&self) -> Option<Request<super::outgoing::Outgoing>> {
        let body = Payload::Whole(bytes::Bytes::new()).take();
        let request = Request::builder()
            .method(Method::GET)
            .uri(self.health.path.as_str())
            .header(header::USER_AGENT, "meridian-health")
            .header(header::ACCEPT, "*/*")
            .body(body)
            .ok()?;
        let (mut parts, body) = request.into_parts();
        hop::address(&mut parts, &self.endpoint, self.protocol);
        Some(Request::from_parts(parts, body))
    }
}
