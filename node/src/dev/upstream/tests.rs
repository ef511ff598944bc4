use http_body_util::Full;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// A running demo upstream; stopped when dropped.
struct Running {
    address: std::net::SocketAddr,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    async fn start() -> Self {
        let listener = crate::cli::outside::listen(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let tracker = TaskTracker::new();
        let stop = CancellationToken::new();
        tracker.spawn(run(
            listener,
            "eu-west".into(),
            tracker.clone(),
            stop.clone(),
        ));
        Self {
            address,
            tracker,
            stop,
        }
    }

    async fn stream(&self) -> TcpStream {
        crate::cli::outside::connect("127.0.0.1", self.address.port())
            .await
            .unwrap()
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (u16, Value) {
        let io = TokioIo::new(self.stream().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let driver = self.tracker.spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        driver.await.unwrap().unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn get(&self, target: &str) -> (u16, Value) {
        self.send(Request::get(target).body(Full::default()).unwrap())
            .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn every_answer_names_the_region() {
    let upstream = Running::start().await;
    for (target, status) in [
        ("/health", 200),
        ("/v1/plants", 200),
        ("/v1/plants/2", 200),
        ("/v1/plants/9", 404),
        ("/v1/slow?ms=1", 200),
        ("/v1/slow", 400),
        ("/v1/status/503", 503),
        ("/v1/status/99", 400),
        ("/v1/nothing", 404),
    ] {
        let (got, body) = upstream.get(target).await;
        assert_eq!(got, status, "{target}");
        assert_eq!(body["region"], "eu-west", "{target}");
    }
}

#[tokio::test]
async fn echo_tells_what_arrived() {
    let upstream = Running::start().await;
    let request = Request::put("/v1/echo?a=1")
        .header("x-twice", "one")
        .header("x-twice", "two")
        .body(Full::from("twelve bytes"))
        .unwrap();
    let (status, body) = upstream.send(request).await;
    assert_eq!(status, 200);
    assert_eq!(body["method"], "PUT");
    assert_eq!(body["path"], "/v1/echo");
    assert_eq!(body["query"], "a=1");
    assert_eq!(body["headers"]["x-twice"], "one, two");
    assert_eq!(body["body_length"], 12);
}

#[tokio::test]
async fn a_web_socket_echoes_text_and_bytes() {
    let upstream = Running::start().await;
    let (mut socket, _) =
        tokio_tungstenite::client_async("ws://upstream/v1/ws", upstream.stream().await)
            .await
            .unwrap();
    for message in [Message::text("hello"), Message::binary(vec![1, 2, 3])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    let (status, _) = upstream.get("/v1/ws").await;
    assert_eq!(status, 426);
}
