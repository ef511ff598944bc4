//! Getting a small document by HTTP(S), through the host's doors.
//!
//! In: a URL. Out: the body of a 200, bounded in size and (by the caller) in time. A shell without a task:
//! one connection, one request, both gone when the future is.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use meridian_cluster::host::{BoxStream, Host, blocking};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{ServerName, UnixTime},
    time_provider::TimeProvider,
};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no connection to {0}: {1}")]
    Connect(String, io::Error),
    #[error("no TLS with {0}: {1}; check its certificate and this machine's root certificates")]
    Tls(String, io::Error),
    #[error("this machine has no root certificates to check HTTPS by; install `ca-certificates`")]
    NoRoots,
    #[error("{0} answered {1}, not 200; redirects are not followed")]
    Status(Uri, StatusCode),
    #[error("{0} broke off or sent more than {BODY_MAX} bytes: {1}")]
    Body(Uri, String),
    #[error("{0} did not answer in HTTP: {1}")]
    Http(Uri, hyper::Error),
    #[error("`{0}` names no host")]
    Url(Uri),
}

/// Fetches documents for the issuers of a node.
pub(super) struct Fetcher {
    host: Arc<dyn Host>,
    /// Made at the first HTTPS fetch: reading the machine's roots takes files, and a cluster whose issuers
    /// are all `http:` (in `meridian dev` or a simulation) never needs them.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Fetcher {
    pub(super) fn new(host: Arc<dyn Host>) -> Self {
        Self {
            host,
            tls: OnceCell::new(),
        }
    }

    /// One that trusts these roots and not the machine's.
    #[cfg(test)]
    pub(super) fn with_roots(host: Arc<dyn Host>, roots: RootCertStore) -> Self {
        let tls = OnceCell::new_with(Some(client_config(roots, host.clone())));
        Self { host, tls }
    }

    /// Gets one document. Has no deadline of its own: the caller sets one.
    pub(super) async fn fetch(&self, uri: &Uri) -> Result<Bytes, FetchError> {
        let authority = uri
            .authority()
            .ok_or_else(|| FetchError::Url(uri.clone()))?;
        let secure = uri.scheme_str() == Some("https");
        let port = authority
            .port_u16()
            .unwrap_or(if secure { 443 } else { 80 });
        // A literal IPv6 address stands in brackets in a URL and nowhere else.
        let name = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let mut stream = self.connect(name, port).await?;
        if secure {
            stream = self.secure(name, stream).await?;
        }
        let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, authority.as_str())
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("meridian/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::<Bytes>::new())
            .map_err(|_| FetchError::Url(uri.clone()))?;

        let http = |error| FetchError::Http(uri.clone(), error);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(http)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(http)?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(uri.clone(), response.status()));
            }
            let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
            body.map(|body| body.to_bytes())
                .map_err(|error| FetchError::Body(uri.clone(), error.to_string()))
        };
        // The connection is driven here rather than in a task of its own: it ends with this future.
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            document = &mut exchange => document,
            // Whatever ended the connection, what it brought is in the exchange's hands.
            _ = &mut connection => exchange.await,
        }
    }

    /// Connects to the first address of the name that answers.
    async fn connect(&self, name: &str, port: u16) -> Result<BoxStream, FetchError> {
        let failed = |error| FetchError::Connect(format!("{name}:{port}"), error);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.host.resolve(name, port).await.map_err(failed)? {
            match tokio::time::timeout(CONNECT_MAX, self.host.connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failed(last))
    }

    /// Speaks TLS over a stream.
    async fn secure(&self, name: &str, stream: BoxStream) -> Result<BoxStream, FetchError> {
        let config = self
            .tls
            .get_or_try_init(|| machine_roots(&self.host))
            .await?;
        let failed = |error| FetchError::Tls(name.to_owned(), error);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let stream = TlsConnector::from(config.clone())
            .connect(server, stream)
            .await
            .map_err(failed)?;
        Ok(Box::new(stream))
    }
}

/// A client configuration that trusts the machine's roots. A damaged one among them is left out.
async fn machine_roots(host: &Arc<dyn Host>) -> Result<Arc<ClientConfig>, FetchError> {
    let found = blocking(&**host, rustls_native_certs::load_native_certs).await;
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates of this machine cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (taken, _left_out) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        Err(FetchError::NoRoots)
    } else {
        Ok(client_config(roots, host.clone()))
    }
}

/// Tells rustls the time by the host's clock.
#[derive(Clone)]
struct HostClock(Arc<dyn Host>);

impl fmt::Debug for HostClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostClock")
    }
}

impl TimeProvider for HostClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix_time()))
    }
}

fn client_config(roots: RootCertStore, host: Arc<dyn Host>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(HostClock(host)))
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Longest document in bytes: a key set with certificate chains for a dozen keys has some 50 kB.
const BODY_MAX: usize = 512 * 1024;

/// For one address of several: leaves time for the next one within the fetch's deadline.
const CONNECT_MAX: std::time::Duration = std::time::Duration::from_secs(2);
