//! Opens connections to endpoints: name, address, TLS.
//!
//! Enters: an endpoint and a limit of time. Leaves: a stream, or why there is none. Names are resolved
//! through the host and kept for [`KEPT`]; several addresses are tried in order, each with a fair share
//! of the time that is left.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meridian_cluster::host::{BoxStream, Host, blocking};
use meridian_config::document::{Endpoint, Protocol};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{sync::OnceCell, time::Instant};

/// Which authorities may vouch for an endpoint that speaks TLS.
#[derive(Debug, Clone)]
pub enum Roots {
    /// Those that the machine trusts.
    Native,
    /// These.
    Given(Arc<RootCertStore>),
}

/// The node's TLS settings towards upstreams, made when the first endpoint asks for TLS.
pub(crate) struct Tls {
    roots: Roots,
    made: OnceCell<Arc<RootCertStore>>,
}

impl Tls {
    pub(crate) fn new(roots: Roots) -> Self {
        Self {
            roots,
            made: OnceCell::new(),
        }
    }

    async fn config(&self, host: &dyn Host, protocol: Protocol) -> Result<ClientConfig, DialError> {
        let roots = self
            .made
            .get_or_try_init(|| async {
                match &self.roots {
                    Roots::Given(roots) => Ok(Arc::clone(roots)),
                    Roots::Native => blocking(host, native_roots).await.map(Arc::new),
                }
            })
            .await?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| DialError::Tls(error.to_string()))?
            .with_root_certificates(Arc::clone(roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn(protocol).to_vec()];
        Ok(config)
    }
}

fn native_roots() -> Result<RootCertStore, DialError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        return Err(DialError::NoRoots);
    }
    Ok(roots)
}

fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    }
}

/// When a name was resolved, and to what.
type Resolved = (Instant, Arc<[SocketAddr]>);

/// Opens connections for one worker (or for the checks).
pub(crate) struct Dialer {
    host: Arc<dyn Host>,
    tls: Arc<Tls>,
    /// Made once per protocol, so that sessions are resumed.
    configs: Mutex<BTreeMap<&'static [u8], Arc<ClientConfig>>>,
    names: Mutex<BTreeMap<(String, u16), Resolved>>,
}

impl Dialer {
    pub(crate) fn new(host: Arc<dyn Host>, tls: Arc<Tls>) -> Self {
        Self {
            host,
            tls,
            configs: Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// Opens a stream to an endpoint, TLS included, within `limit`.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
        protocol: Protocol,
        limit: Duration,
    ) -> Result<BoxStream, DialError> {
        let deadline = Instant::now() + limit;
        let opening = async {
            let stream = self.connect(endpoint, deadline).await?;
            if endpoint.tls {
                self.secure(stream, endpoint, protocol).await
            } else {
                Ok(stream)
            }
        };
        tokio::time::timeout_at(deadline, opening)
            .await
            .unwrap_or(Err(DialError::Late))
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Result<BoxStream, DialError> {
        let addresses = self.addresses(endpoint).await?;
        let mut last = DialError::NoAddress(endpoint.host.clone());
        for (tried, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            match tokio::time::timeout(share, self.host.connect(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = DialError::Connect(error),
                Err(_) => last = DialError::Late,
            }
        }
        // The name may have moved; the next dial asks again.
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(endpoint.host.clone(), endpoint.port));
        Err(last)
    }

    async fn addresses(&self, endpoint: &Endpoint) -> Result<Arc<[SocketAddr]>, DialError> {
        if let Ok(literal) = endpoint.host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(literal, endpoint.port)].into());
        }
        let key = (endpoint.host.clone(), endpoint.port);
        let now = Instant::now();
        if let Some((since, found)) = self
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            && now.duration_since(*since) < KEPT
        {
            return Ok(Arc::clone(found));
        }
        let found: Arc<[SocketAddr]> = self
            .host
            .resolve(&endpoint.host, endpoint.port)
            .await
            .map_err(|error| DialError::Resolve(endpoint.host.clone(), error))?
            .into();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MOST_NAMES {
            names.clear();
        }
        names.insert(key, (now, Arc::clone(&found)));
        Ok(found)
    }

    async fn secure(
        &self,
        stream: BoxStream,
        endpoint: &Endpoint,
        protocol: Protocol,
    ) -> Result<BoxStream, DialError> {
        let wanted = alpn(protocol);
        let kept = self
            .configs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(wanted)
            .cloned();
        let config = match kept {
            Some(config) => config,
            None => {
                let config = Arc::new(self.tls.config(&*self.host, protocol).await?);
                let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(configs.entry(wanted).or_insert(config))
            }
        };
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|error| DialError::Tls(error.to_string()))?;
        let stream = tokio_rustls::TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| DialError::Tls(error.to_string()))?;
        if protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(wanted) {
            return Err(DialError::NotHttp2);
        }
        Ok(Box::new(stream))
    }
}

/// Why no stream to an endpoint came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The resolver failed.
    #[error("the name {0} could not be resolved ({1}); check the endpoint and the node's resolver")]
    Resolve(String, #[source] io::Error),
    /// The resolver knows no address.
    #[error("the name {0} has no address; check the endpoint")]
    NoAddress(String),
    /// Nobody accepts.
    #[error("the endpoint does not accept connections: {0}")]
    Connect(#[source] io::Error),
    /// It took too long.
    #[error("no connection came about in time")]
    Late,
    /// The handshake failed.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// `protocol: http2` over TLS needs ALPN.
    #[error("the endpoint does not speak HTTP/2; set the service's `protocol` to http1")]
    NotHttp2,
    /// Nobody can be trusted.
    #[error("the machine has no CA certificates; install its ca-certificates package")]
    NoRoots,
}

/// Names change seldom, and an old address fails loudly: a failed connection drops the name at once.
const KEPT: Duration = Duration::from_secs(30);

/// More names than a document names; when full all are forgotten and resolved again.
const MOST_NAMES: usize = 256;
