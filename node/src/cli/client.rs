//! The client of the admin API.
//!
//! In: an address and a token, as flags, environment or a dev cluster's folder give them. Out: checked
//! answers, or a [`Failure`] that says what to do. Tries each node of a dev cluster in turn.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    address::{Address, Base, base, connector, token},
    outcome::Failure,
    outside,
    terminal::Terminal,
};
use crate::{
    admin::body::Problem,
    dev::folder::{self, Folder},
};

/// Time for the connection, TLS included.
const CONNECT: Duration = Duration::from_secs(3);

/// Time for an answer: a write may wait for an election (DESIGN section 4: lease plus twice the greatest
/// election timeout, under 8 s in the slowest profile).
pub(super) const ANSWER: Duration = Duration::from_secs(15);

/// Largest answer that is read: the whole state, and what lies around it.
const LARGEST: usize = (64 << 20) + 4096;

/// Where the admin API is when nothing says otherwise: the default port on this machine.
const DEFAULT: &str = "http://127.0.0.1:7500";

/// A client of the admin API.
pub(crate) struct Client {
    /// Tried in turn until one can be connected to.
    bases: Vec<Base>,
    token: Option<String>,
    tls: Option<tokio_rustls::TlsConnector>,
}

impl Client {
    /// The client for this address. A dev cluster in the current folder is the default, and said so.
    pub(crate) fn new(address: &Address, terminal: &Terminal) -> Result<Self, Failure> {
        let mut token = token(address)?;
        let mut urls = Vec::new();
        if let Some(admin) = &address.admin {
            urls.push(admin.clone());
        } else {
            let dev = Folder::new(folder::DEFAULT);
            if dev.dev_json().exists() {
                let file = dev.read()?;
                terminal.say(&format!(
                    "Using the dev cluster of {}.",
                    dev.dev_json().display()
                ));
                // The living first; a node that was killed by hand may still be listed as alive.
                let (alive, dead): (Vec<_>, Vec<_>) =
                    file.nodes.iter().partition(|node| node.pid.is_some());
                urls.extend(alive.into_iter().chain(dead).map(|node| node.admin.clone()));
                if token.is_none() {
                    token = outside::read_text(&dev.admin_token())
                        .ok()
                        .map(|text| text.trim().to_owned());
                }
            }
            if urls.is_empty() {
                urls.push(DEFAULT.to_owned());
            }
        }
        Self::with(&urls, token, address)
    }

    /// The client for these URLs, trusting and trusted as the address says.
    pub(crate) fn with(
        urls: &[String],
        token: Option<String>,
        address: &Address,
    ) -> Result<Self, Failure> {
        let bases = urls
            .iter()
            .map(|url| base(url))
            .collect::<Result<Vec<_>, _>>()?;
        let tls = bases.iter().any(|base| base.tls);
        Ok(Self {
            bases,
            token,
            tls: if tls {
                Some(connector(
                    address.ca.as_ref(),
                    address.certificate.as_ref(),
                )?)
            } else {
                None
            },
        })
    }

    /// Reads a resource.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let (base, status, bytes) = self.send::<()>(Method::GET, path, None, None).await?;
        interpret(&base, status, &bytes)
    }

    /// Reads a resource that may not exist yet.
    pub(crate) async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failure> {
        let (base, status, bytes) = self.send::<()>(Method::GET, path, None, None).await?;
        if status == StatusCode::NOT_FOUND {
            let problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
            if problem.name() == "no-revision" {
                return Ok(None);
            }
        }
        interpret(&base, status, &bytes).map(Some)
    }

    /// Replaces a resource that is still as `if_match` says.
    pub(crate) async fn put<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        if_match: &str,
        body: &B,
    ) -> Result<T, Failure> {
        let (base, status, bytes) = self
            .send(Method::PUT, path, Some(if_match), Some(body))
            .await?;
        interpret(&base, status, &bytes)
    }

    /// Replaces a resource, whatever it is by now.
    pub(crate) async fn replace<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        let (base, status, bytes) = self.send(Method::PUT, path, None, Some(body)).await?;
        interpret(&base, status, &bytes)
    }

    /// Asks for what does not fit into a URL.
    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        let (base, status, bytes) = self.send(Method::POST, path, None, Some(body)).await?;
        interpret(&base, status, &bytes)
    }

    /// Does what a path says; it takes no body.
    pub(crate) async fn act<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, Failure> {
        let (base, status, bytes) = self.send::<()>(method, path, None, None).await?;
        interpret(&base, status, &bytes)
    }

    /// Asks for an act on a resource that is still as `if_match` says.
    pub(crate) async fn post_if<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        if_match: &str,
        body: &B,
    ) -> Result<T, Failure> {
        let (base, status, bytes) = self
            .send(Method::POST, path, Some(if_match), Some(body))
            .await?;
        interpret(&base, status, &bytes)
    }

    /// Reads a resource that is no JSON.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Bytes, Failure> {
        let (base, status, bytes) = self.exchange(Method::GET, path, None, None).await?;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(refusal(&base, status, &bytes))
    }

    /// Sends a body that is no JSON.
    pub(crate) async fn send_whole<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        let content = Content {
            media: "application/octet-stream",
            bytes: body.into(),
        };
        let (base, status, bytes) = self.exchange(method, path, None, Some(content)).await?;
        interpret(&base, status, &bytes)
    }

    /// The answer to a JSON body, and who gave it.
    async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        if_match: Option<&str>,
        body: Option<&B>,
    ) -> Result<(String, StatusCode, Bytes), Failure> {
        let content = body.map(|body| Content {
            media: "application/json",
            bytes: Bytes::from(serde_json::to_vec(body).expect("our own types are valid JSON")),
        });
        self.exchange(method, path, if_match, content).await
    }

    /// The answer, and who gave it.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        if_match: Option<&str>,
        content: Option<Content>,
    ) -> Result<(String, StatusCode, Bytes), Failure> {
        let (base, stream) = self.reach().await?;
        let mut request = self
            .request(base, method, path)
            .header(header::ACCEPT, "application/json");
        if let Some(tag) = if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        if let Some(content) = &content {
            request = request.header(header::CONTENT_TYPE, content.media);
        }
        let body = content.map(|content| content.bytes);
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(unsendable)?;
        let (status, bytes) = timeout(ANSWER, exchange(stream, request))
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {ANSWER:?}")))
            .map_err(|cause| {
                Failure::unreachable(format!(
                    "{} broke off: {cause}; look at `meridian status` before you repeat a change",
                    base.text
                ))
            })?;
        Ok((base.text.clone(), status, bytes))
    }

    /// A connection to the first node that takes one.
    pub(super) async fn reach(&self) -> Result<(&Base, Box<dyn Connection>), Failure> {
        let mut refusals = Vec::new();
        for base in &self.bases {
            match timeout(CONNECT, self.connect(base)).await {
                Ok(Ok(stream)) => return Ok((base, stream)),
                Ok(Err(error)) => refusals.push(format!("{}: {error}", base.text)),
                Err(_) => refusals.push(format!("{}: no connection in {CONNECT:?}", base.text)),
            }
        }
        Err(Failure::unreachable(format!(
            "the admin API cannot be reached ({}); start a node, or name a living one with --admin",
            refusals.join("; ")
        )))
    }

    /// A request with what every one has.
    pub(super) fn request(&self, base: &Base, method: Method, path: &str) -> request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{}:{}", base.host, base.port));
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    async fn connect(&self, base: &Base) -> Result<Box<dyn Connection>, String> {
        let stream = outside::connect(&base.host, base.port)
            .await
            .map_err(|error| error.to_string())?;
        match (&self.tls, base.tls) {
            (Some(connector), true) => {
                let name = ServerName::try_from(base.host.clone())
                    .map_err(|_| format!("{} is not a host name", base.host))?;
                let stream = connector
                    .connect(name, stream)
                    .await
                    .map_err(|error| format!("TLS failed: {error}; name its CA with --admin-ca"))?;
                Ok(Box::new(stream))
            }
            _ => Ok(Box::new(stream)),
        }
    }
}

/// A request that HTTP has no form for.
pub(super) fn unsendable(error: http::Error) -> Failure {
    Failure::invalid(format!(
        "the admin token cannot be sent ({error}); a token is one word of letters and digits"
    ))
}

/// A body.
struct Content {
    media: &'static str,
    bytes: Bytes,
}

pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// One request on a connection of its own. The connection's driver ends with the answer.
pub(crate) async fn exchange(
    stream: Box<dyn Connection>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::pin!(connection);
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), LARGEST)
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        Ok((status, bytes))
    };
    tokio::pin!(answer);
    let mut driving = true;
    loop {
        tokio::select! {
            biased;
            done = &mut answer => return done,
            // The connection may end first; what it received still reaches the answer.
            _ = &mut connection, if driving => driving = false,
        }
    }
}

pub(super) fn interpret<T: DeserializeOwned>(
    base: &str,
    status: StatusCode,
    bytes: &[u8],
) -> Result<T, Failure> {
    if status.is_success() {
        return serde_json::from_slice(bytes).map_err(|error| {
            Failure::failed(format!(
                "{base} gave an answer that this version does not understand ({error}); is it the admin API of a Meridian node of this version?"
            ))
        });
    }
    Err(refusal(base, status, bytes))
}

/// What an answer that is no success says.
fn refusal(base: &str, status: StatusCode, bytes: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(bytes).unwrap_or_default();
    let detail = if problem.detail.is_empty() {
        format!("{base} answered {status}; is it the admin API of a Meridian node?")
    } else {
        problem.detail.clone()
    };
    match status.as_u16() {
        503 | 504 => Failure::unreachable(detail),
        400 | 413 | 422 if !problem.mistakes.is_empty() => {
            Failure::invalid(problem.mistakes.join("\n"))
        }
        400 | 413 | 422 => Failure::invalid(detail),
        _ => Failure::failed(detail),
    }
}

/// A text as one part of a path or query (RFC 3986 section 2.3).
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("writing to a string does not fail");
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::outcome::Exit;

    #[test]
    fn a_text_never_leaves_its_part_of_the_path() {
        assert_eq!(encoded("eu-west-1"), "eu-west-1");
        assert_eq!(encoded("../a b/?"), "..%2Fa%20b%2F%3F");
    }

    #[test]
    fn problems_become_exits() {
        let problem = |status: u16, mistakes: &[&str]| {
            let body = Problem {
                status,
                detail: "what happened".into(),
                mistakes: mistakes.iter().map(ToString::to_string).collect(),
                ..Problem::default()
            };
            let status = StatusCode::from_u16(status).unwrap();
            interpret::<()>("http://x", status, &serde_json::to_vec(&body).unwrap())
                .err()
                .unwrap()
        };
        assert_eq!(problem(503, &[]).exit, Exit::Unreachable);
        assert_eq!(problem(412, &[]).exit, Exit::Failed);
        assert_eq!(problem(401, &[]).message, "what happened");
        assert_eq!(problem(422, &["a:1:2: b"]), Failure::invalid("a:1:2: b"));
    }
}
