//! A plain HTTP server (1.1, or 2 with prior knowledge) on a simulated machine, for the parties around the nodes.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use meridian_cluster::host::Host;
use meridian_config::document::Protocol;
use tokio_util::task::TaskTracker;

use crate::world::SimHost;

pub(super) type Request = http::Request<Incoming>;
pub(super) type Response = http::Response<Full<Bytes>>;

/// Answers every request that reaches a port, until the machine is gone.
pub(super) async fn serve<Answer, Answering>(
    host: Arc<SimHost>,
    port: u16,
    protocol: Protocol,
    answer: Answer,
) -> Result<(), String>
where
    Answer: Fn(Request) -> Answering + Clone + Send + 'static,
    Answering: Future<Output = Response> + Send + 'static,
{
    let everywhere = SocketAddr::from(([0, 0, 0, 0], port));
    let mut listener = host.listen(everywhere, 0).map_err(|e| e.to_string())?;
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await.map_err(|e| e.to_string())?;
        let answer = answer.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            let stream = TokioIo::new(stream);
            // A broken connection is the other side's affair.
            let _ = match protocol {
                Protocol::Http1 => {
                    let mut server = http1::Builder::new();
                    server.timer(TokioTimer::new()).header_read_timeout(UNUSED);
                    Box::pin(server.serve_connection(stream, service)).await
                }
                Protocol::Http2 => {
                    let mut server = http2::Builder::new(TokioExecutor::new());
                    server.timer(TokioTimer::new());
                    Box::pin(server.serve_connection(stream, service)).await
                }
            };
        });
    }
}

/// How long an unused connection is kept: longer than gateways keep one by default. Where a server closes it just as a
/// request that must not be repeated is on its way, that request is lost.
const UNUSED: Duration = Duration::from_secs(75);

/// A JSON answer.
pub(super) fn json(value: &serde_json::Value) -> Response {
    http::Response::builder()
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(value.to_string())))
        .expect("a constant header is valid")
}
