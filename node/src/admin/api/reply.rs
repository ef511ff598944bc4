//! The responses of the admin API.
//!
//! In: a value, a page or a [`Fault`]. Out: a response that no cache keeps.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::{admin::fault::Fault, exchange::Body, problem::full};

/// A value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Response<Body> {
    let mut text = serde_json::to_vec_pretty(value).expect("our own types are valid JSON");
    text.push(b'\n');
    typed("application/json", full(text))
}

/// A page of text.
pub(super) fn page(media: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    typed(media, full(text))
}

/// A body of this type, which may stream.
pub(super) fn typed(media: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let value = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, value(media));
    headers.insert(header::CACHE_CONTROL, value("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, value("nosniff"));
    response
}

/// A fault's response.
pub(crate) fn problem(fault: &Fault) -> Response<Body> {
    let problem = fault.problem();
    let status = StatusCode::from_u16(problem.status).expect("every fault has a valid status");
    let mut response = json(&problem);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let value = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, value("application/problem+json"));
    match fault {
        Fault::Unauthenticated => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                value("Bearer realm=\"meridian admin\""),
            );
        }
        Fault::Method(allow) => {
            headers.insert(
                header::ALLOW,
                allow.parse().expect("method names are a header value"),
            );
        }
        _ => {}
    }
    response
}
