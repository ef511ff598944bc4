//! The demo upstream: the API behind the gateway, one process a region.
//!
//! In: requests from nodes. Out: JSON that names the region, so that a client sees who served it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role, protocol::WebSocketConfig},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::serve;

/// Longest wait of `/v1/slow`: as long as a client would ever watch.
const SLOWEST: Duration = Duration::from_secs(60);

/// Largest WebSocket message that is echoed.
const MESSAGE: usize = 1 << 20;

/// The plants that the API knows.
const PLANTS: [(&str, &str); 3] = [
    ("1", "Solar park Almería"),
    ("2", "Wind farm Horns Rev"),
    ("3", "Hydro plant Itaipu"),
];

/// Serves the demo API of a region until `stop`.
pub(crate) async fn run(
    listener: TcpListener,
    region: String,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let region: std::sync::Arc<str> = region.into();
    let sockets = (tracker.clone(), stop.clone());
    let answer = move |request: Request<Incoming>| {
        let region = region.clone();
        let (tracker, stop) = sockets.clone();
        async move {
            if request.uri().path() == "/v1/ws" {
                return web_socket(request, &tracker, stop);
            }
            let head = Head {
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                query: request.uri().query().unwrap_or("").to_owned(),
                headers: request.headers().clone(),
            };
            let length = drain(request.into_body()).await;
            respond(&region, &head, length).await
        }
    };
    serve::serve(listener, answer, tracker, stop).await;
}

struct Head {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
}

async fn respond(region: &str, head: &Head, body_length: u64) -> Response<Full<Bytes>> {
    let segments: Vec<&str> = head.path.split('/').skip(1).collect();
    match segments.as_slice() {
        ["health"] => serve::json(200, &json!({ "ok": true, "region": region })),
        ["v1", "plants"] => {
            let plants: Vec<Value> = PLANTS.iter().map(describe).collect();
            serve::json(200, &json!({ "region": region, "plants": plants }))
        }
        ["v1", "plants", id] => PLANTS.iter().find(|(known, _)| known == id).map_or_else(
            || {
                let known: Vec<&str> = PLANTS.iter().map(|(id, _)| *id).collect();
                let error = format!("no plant {id}; there are {}", known.join(", "));
                serve::json(404, &json!({ "region": region, "error": error }))
            },
            |plant| serve::json(200, &json!({ "region": region, "plant": describe(plant) })),
        ),
        ["v1", "echo"] => serve::json(
            200,
            &json!({
                "region": region,
                "method": head.method.as_str(),
                "path": head.path,
                "query": head.query,
                "headers": headers(&head.headers),
                "body_length": body_length,
            }),
        ),
        ["v1", "slow"] => {
            let asked = query(&head.query, "ms").and_then(|ms| ms.parse().ok());
            let Some(asked) = asked.map(Duration::from_millis) else {
                let error = "say how long: /v1/slow?ms=250";
                return serve::json(400, &json!({ "region": region, "error": error }));
            };
            let waited = asked.min(SLOWEST);
            tokio::time::sleep(waited).await;
            serve::json(
                200,
                &json!({ "region": region, "waited_ms": waited.as_millis() }),
            )
        }
        ["v1", "status", code] => match code.parse() {
            Ok(status @ 200..=599) => {
                serve::json(status, &json!({ "region": region, "status": status }))
            }
            _ => {
                let error = "the last segment is a status from 200 to 599";
                serve::json(400, &json!({ "region": region, "error": error }))
            }
        },
        _ => {
            let error = format!("the demo upstream has no {}", head.path);
            serve::json(404, &json!({ "region": region, "error": error }))
        }
    }
}

fn describe((id, name): &(&str, &str)) -> Value {
    json!({ "id": id, "name": name })
}

/// Reads a body to its end and counts it.
async fn drain(mut body: Incoming) -> u64 {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            length += data.len() as u64;
        }
    }
    length
}

fn headers(fields: &HeaderMap) -> Value {
    let mut object = serde_json::Map::new();
    for name in fields.keys() {
        let values: Vec<String> = fields
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        object.insert(name.as_str().to_owned(), values.join(", ").into());
    }
    Value::Object(object)
}

fn query<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Takes a WebSocket (RFC 6455 section 4.2) and echoes its messages.
fn web_socket(
    mut request: Request<Incoming>,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Response<Full<Bytes>> {
    let asks = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
    let (true, Some(key)) = (asks, key) else {
        return serve::json(
            426,
            &json!({ "error": "this is a WebSocket; connect with a WebSocket client" }),
        );
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tracker.spawn(async move {
        let Ok(stream) = upgraded.await else { return };
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE));
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(limits))
                .await;
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                message = socket.next() => message,
            };
            match message {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                // The library answers pings and closes by itself while it is read.
                Some(Ok(_)) => {}
                Some(Err(_)) => return,
                None => {
                    // The other side may be gone already.
                    let _ = socket.close(None).await;
                    return;
                }
            }
        }
    });
    Response::builder()
        .status(101)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(
            header::SEC_WEBSOCKET_ACCEPT,
            derive_accept_key(key.as_bytes()),
        )
        .body(Full::default())
        .expect("a derived key is visible ASCII")
}

#[cfg(test)]
mod tests;
