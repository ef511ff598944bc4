//! The service behind the gateway: one machine in each region.
//!
//! It answers health checks and requests, says which region it is, and tells the oracle what arrived.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use http_body_util::BodyExt;
use meridian_config::document::Protocol;
use serde_json::json;

use super::{
    Arrival, Oracle,
    manner::Manner,
    serve::{Request, Response, json, serve},
};
use crate::world::{Place, SimHost};

/// Its first port. Where an operator's document has several endpoints in a region, each has a port of its own,
/// from this one on.
pub const PORT: u16 = 8000;

/// Which request it is, for the oracle; the gateway passes it on like any field it does not know.
pub const REQUEST_FIELD: &str = "x-simulated-request";

/// By what a node's health checks say they are.
const HEALTH_CHECK: &str = "meridian-health";

/// The upstream's region, on its responses.
pub const REGION_FIELD: &str = "x-upstream-region";

/// Serves until the machine is gone: what each of its ports speaks, from the first on.
///
/// # Errors
/// When a port is taken.
pub async fn run(
    host: Arc<SimHost>,
    oracle: Oracle,
    place: Place,
    region: String,
    ports: Vec<Protocol>,
    manner: Manner,
) -> Result<(), String> {
    let ports = (PORT..).zip(ports).map(|(port, protocol)| {
        let (oracle, region, manner) = (oracle.clone(), region.clone(), manner.clone());
        serve(host.clone(), port, protocol, move |request| {
            let manner = manner.clone();
            answer(oracle.clone(), place, region.clone(), manner, request)
        })
    });
    futures_util::future::try_join_all(ports).await?;
    // A region without an endpoint has a machine all the same.
    std::future::pending().await
}

async fn answer(
    oracle: Oracle,
    place: Place,
    region: String,
    manner: Manner,
    request: Request,
) -> Response {
    // On whatever path the document has it.
    let agent = request.headers().get(http::header::USER_AGENT);
    if agent.is_some_and(|agent| agent == HEALTH_CHECK) {
        return match manner.meet().await {
            Some(instead) => instead,
            None => json(&json!({ "ok": true })),
        };
    }
    let id = request.headers().get(REQUEST_FIELD);
    let id = id.and_then(|id| id.to_str().ok()?.parse().ok());
    if let Some(id) = id {
        let at = oracle.now();
        oracle.history().arrivals.push(Arrival {
            id,
            at,
            region: place,
        });
    }
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let received = request.into_body().collect().await;
    let received = received.map_or(0, |body| body.to_bytes().len());
    if let Some(instead) = manner.meet().await {
        return instead;
    }
    tokio::time::sleep(WORK).await;
    let mut response = json(&json!({
        "region": region,
        "method": method,
        "path": path,
        "received": received,
    }));
    let region = HeaderValue::from_str(&region).expect("region names are ASCII");
    response.headers_mut().insert(REGION_FIELD, region);
    response
}

/// How long a request keeps it busy: a quick database read.
const WORK: Duration = Duration::from_millis(3);
