//! Edge certificates, by the name that the client asks for.
//!
//! In: the node file's certificates, read through the host, which may be replaced while the node runs. Out: a
//! rustls configuration, and for each name the hosts that its certificate serves (the guard answers 421 for others).

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use meridian_cluster::{
    host::{Host, blocking},
    renewal::Followed,
};
use meridian_config::node_file::EdgeCertificate;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::guard::host::covers;

/// Why the edge can't serve TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{} cannot be read: {cause}; check tls in the node file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM form; check tls in the node file", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key don't belong together, or rustls does not take them.
    #[error("{} and its key cannot be used: {cause}; check tls in the node file", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls said.
        cause: String,
    },
    /// There is no certificate at all.
    #[error("listen.https needs a certificate; add one under tls in the node file")]
    None,
}

/// TLS at the edge.
#[derive(Debug, Clone)]
pub struct EdgeTls {
    /// For the accepting side of rustls.
    pub config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

impl EdgeTls {
    /// Reads all certificates and keys.
    pub async fn load(host: &Arc<dyn Host>, files: &[EdgeCertificate]) -> Result<Self, TlsError> {
        let files = files.to_vec();
        let reader = host.clone();
        blocking(host.as_ref(), move || Self::read(reader.as_ref(), &files)).await
    }

    fn read(host: &dyn Host, files: &[EdgeCertificate]) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut entries = Vec::new();
        for file in files {
            let (cert, key) = (read(host, &file.cert)?, read(host, &file.key)?);
            let certified = certified(file, &cert, &key, &provider)?;
            entries.push(Entry {
                hosts: file.hosts.iter().map(|h| h.to_ascii_lowercase()).collect(),
                key: ArcSwap::from_pointee(certified),
                file: file.clone(),
            });
        }
        if entries.is_empty() {
            return Err(TlsError::None);
        }
        let certificates = Arc::new(Certificates::new(entries));
        let mut config = ServerConfig::builder_with_provider(provider)
            // TLS 1.3 alone: every client of the last years speaks it, and what 1.2 still allows (renegotiation,
            // CBC, static key exchange) needs no defence where it is not spoken.
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError::Unusable {
                path: files[0].cert.clone(),
                cause: error.to_string(),
            })?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            certificates,
        })
    }

    /// Each certificate's files, and how their new content comes into force: for the next handshakes.
    /// Connections that stand go on.
    pub fn followed(&self) -> Vec<Followed> {
        let entries = self.certificates.entries.iter().enumerate();
        entries
            .map(|(index, entry)| {
                let tls = self.clone();
                let host = entry.hosts.first().map_or("", String::as_str);
                Followed {
                    name: format!("edge {host}").trim_end().to_owned(),
                    files: vec![entry.file.cert.clone(), entry.file.key.clone()],
                    adopt: Box::new(move |contents| {
                        let [cert, key] = contents else {
                            unreachable!("two files have two contents")
                        };
                        let entry = &tls.certificates.entries[index];
                        let renewed =
                            certified(&entry.file, cert, key, tls.config.crypto_provider())
                                .map_err(|error| error.to_string())?;
                        entry.key.store(Arc::new(renewed));
                        Ok(())
                    }),
                }
            })
            .collect()
    }

    /// The hosts of the certificate that a client with this server name was shown.
    pub fn hosts(&self, server_name: &str) -> Arc<[String]> {
        self.certificates.choose(Some(server_name)).hosts.clone()
    }
}

/// Whether a request for this host may use a connection whose certificate serves these hosts.
pub fn serves(hosts: &[String], host: &str) -> bool {
    hosts.iter().any(|pattern| covers(pattern, host))
}

#[derive(Debug)]
struct Entry {
    hosts: Arc<[String]>,
    key: ArcSwap<CertifiedKey>,
    file: EdgeCertificate,
}

/// Certificates in the node file's order.
#[derive(Debug)]
struct Certificates {
    entries: Vec<Entry>,
    exact: BTreeMap<String, usize>,
}

impl Certificates {
    fn new(entries: Vec<Entry>) -> Self {
        let mut exact = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for host in entry.hosts.iter() {
                exact.entry(host.clone()).or_insert(index);
            }
        }
        Self { entries, exact }
    }

    /// The exact name goes before a wildcard, and the first entry serves the rest.
    fn choose(&self, server_name: Option<&str>) -> &Entry {
        let found = server_name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            self.exact.get(&name).copied().or_else(|| {
                self.entries
                    .iter()
                    .position(|entry| serves(&entry.hosts, &name))
            })
        });
        &self.entries[found.unwrap_or(0)]
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()).key.load_full())
    }
}

fn read(host: &dyn Host, path: &Path) -> Result<Vec<u8>, TlsError> {
    host.read_named(path).map_err(|cause| TlsError::Unreadable {
        path: path.to_owned(),
        cause,
    })
}

/// A certificate and its key, of their files' content.
fn certified(
    file: &EdgeCertificate,
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let not_pem = |path: &Path, what| TlsError::NotPem {
        path: path.to_owned(),
        what,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .map_err(|_| not_pem(&file.cert, "certificate"))?;
    if chain.is_empty() {
        return Err(not_pem(&file.cert, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| not_pem(&file.key, "private key"))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| TlsError::Unusable {
        path: file.cert.clone(),
        cause: error.to_string(),
    })
}
