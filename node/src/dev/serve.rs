//! A small HTTP/1.1 server for the demo upstream and the demo identity provider.
//!
//! In: a listener and a function from request to response. Out: answered connections, until told to stop.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections served at once; further ones wait in the kernel's queue. Far above what demos and tests
/// on one machine open, far below the usual 1 024 file descriptors of a process.
const CONNECTIONS: usize = 700;

/// Pause after a failed accept (no file descriptors left), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves the listener until `stop`.
pub(crate) async fn serve<A, F>(
    listener: TcpListener,
    answer: A,
    tracker: TaskTracker,
    stop: CancellationToken,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = async {
                let place = places.clone().acquire_owned().await.expect("nobody closes it");
                listener.accept().await.map(|(stream, _)| (stream, place))
            } => accepted,
        };
        let Ok((stream, place)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Answers are small and written at once; a failure only costs their delay.
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        let stop = stop.clone();
        tracker.spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer.clone();
                async move { Ok::<_, Infallible>(answer(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::pin!(connection);
            // How a connection ended concerns nobody here.
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
                _ = connection.as_mut() => {}
            }
            drop(place);
        });
    }
}

/// A JSON response.
pub(crate) fn json(status: u16, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut text = body.to_string();
    text.push('\n');
    Response::builder()
        .status(status)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(text)))
        .expect("a status between 200 and 599 and a fixed header are valid")
}
