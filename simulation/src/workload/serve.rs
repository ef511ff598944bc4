//! A plain HTTP/1.1 server on a simulated machine, for the parties around the nodes.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use meridian_cluster::host::Host;
use tokio_util::task::TaskTracker;

use crate::world::SimHost;

pub(super) type Request = http::Request<Incoming>;
pub(super) type Response = http::Response<Full<Bytes>>;

/// Answers every request that reaches a port, until the machine is gone.
pub(super) async fn serve<Answer, Answering>(
    host: Arc<SimHost>,
    port: u16,
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
            // A broken connection is the other side's affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// A JSON answer.
pub(super) fn json(value: &serde_json::Value) -> Response {
    http::Response::builder()
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(value.to_string())))
        .expect("a constant header is valid")
}
