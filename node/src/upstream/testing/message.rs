//! Services, requests, answers and bodies.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use meridian_config::{
    document::{Balance, Endpoint, Protocol, Retries, RetryOn, Service, Timeouts},
    name::RegionName,
};
use tokio::sync::mpsc;

use crate::exchange::{Body, BodyError};

/// A service with endpoints (`region`, `host:port`), two retries, a second for each wait.
pub(crate) fn service(endpoints: &[(&str, &str)]) -> Service {
    let mut by_region: BTreeMap<RegionName, Vec<Endpoint>> = BTreeMap::new();
    for (region, at) in endpoints {
        let (host, port) = at.rsplit_once(':').unwrap();
        by_region
            .entry((*region).into())
            .or_default()
            .push(Endpoint {
                tls: false,
                host: host.into(),
                port: port.parse().unwrap(),
            });
    }
    Service {
        endpoints: by_region,
        protocol: Protocol::Http1,
        balance: Balance::RoundRobin,
        timeouts: Timeouts {
            connect: Duration::from_secs(1),
            response: Duration::from_secs(5),
            idle: Duration::from_secs(30),
        },
        retries: Retries {
            attempts: 2,
            on: vec![
                RetryOn::Connect,
                RetryOn::Reset,
                RetryOn::Status(502),
                RetryOn::Status(503),
                RetryOn::Status(504),
            ],
            budget: 0.2,
        },
        health: None,
    }
}

/// Counts what an upstream saw.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, SeqCst) + 1
    }

    pub(crate) fn now(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// A body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Body::new(Full::new(bytes.into()).map_err(|never| match never {}))
}

/// A body fed by hand, of no stated length.
pub(crate) fn fed() -> (mpsc::Sender<Result<Frame<Bytes>, BodyError>>, Body) {
    let (feed, mut pieces) = mpsc::channel(4);
    let stream = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
    (feed, Body::new(StreamBody::new(stream)))
}

/// A request to `/plants` without a body.
pub(crate) fn request(method: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("/plants?x=1")
        .body(full(""))
        .unwrap()
}

/// The same with a body.
pub(crate) fn with_body(method: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("/plants")
        .body(body)
        .unwrap()
}

/// A response with this status and body.
pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(full(body)).unwrap()
}

/// All of a body as text.
pub(crate) async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Waits until something holds; paused time runs on meanwhile.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came about that {what}");
}
