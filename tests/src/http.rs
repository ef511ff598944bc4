//! A small HTTP/1.1 client that hides nothing: no redirects, no retries, no pool.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Call {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header section.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Wire {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
}

/// A `GET`.
pub fn get(path: &str) -> Call {
    call("GET", path)
}

/// A request of any method.
pub fn call(method: &str, path: &str) -> Call {
    Call {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
    }
}

impl Call {
    /// With a bearer token.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it over a connection of its own; panics where none comes about.
    pub async fn send(&self, to: SocketAddr) -> Answer {
        self.try_send(to)
            .await
            .unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.path))
    }

    /// Sends it over a connection of its own.
    pub async fn try_send(&self, to: SocketAddr) -> Result<Answer, String> {
        Wire::open(to)
            .await?
            .send(self, Duration::from_secs(30))
            .await
    }
}

impl Wire {
    /// Connects.
    pub async fn open(to: SocketAddr) -> Result<Self, String> {
        let stream = timeout(Duration::from_secs(5), TcpStream::connect(to))
            .await
            .map_err(|_| format!("no connection to {to} in time"))?
            .map_err(|error| format!("no connection to {to}: {error}"))?;
        // Requests are written whole; waiting for an acknowledgement would measure Nagle, not the gateway.
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let driver = tokio::spawn(async move {
            // How it ended shows at the request.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            driver,
            host: to.to_string(),
        })
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, call: &Call, within: Duration) -> Result<Answer, String> {
        let mut request = Request::builder()
            .method(call.method.as_str())
            .uri(&call.path);
        if !call.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", &self.host);
        }
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(call.body.clone()))
            .map_err(|error| error.to_string())?;
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            })
        };
        timeout(within, exchange)
            .await
            .map_err(|_| format!("no answer within {within:?}"))?
            .map_err(|error: hyper::Error| format!("the connection broke: {error}"))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {:?}", self.body))
    }

    /// A header field's text, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Panics unless this is a whole problem document of the given kind and status (RFC 9457).
    #[track_caller]
    pub fn expect_problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(
            problem["type"],
            format!("urn:meridian:problem:{name}"),
            "{problem}"
        );
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["title", "detail", "instance"] {
            assert!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{member}: {problem}"
            );
        }
        assert_eq!(
            problem["instance"],
            self.header("x-request-id"),
            "{problem}"
        );
        problem
    }
}
