//! What a node shows its peers and whom it believes: its certificate and key, and the cluster's CA.
//!
//! In: the files `node.yaml` names. Out: TLS configurations for both sides of a connection, and secrets
//! derived from the node's key. A mistake in the files ends the start with one sentence.

use std::{path::Path, sync::Arc};

use meridian_config::{
    name::{NodeId, RegionName},
    node_file::NodeFile,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    spiffe::{NoIdentity, SpiffeId},
    verifier::{HostClock, PeerVerifier},
};
use crate::host::{Host, blocking};

/// A node's certificate, key and trust anchor, checked.
#[derive(Clone)]
pub struct Trust {
    identity: SpiffeId,
    resolver: Arc<SingleCertAndKey>,
    verifier: Arc<PeerVerifier>,
    provider: Arc<CryptoProvider>,
    clock: Arc<HostClock>,
    secret: [u8; 32],
}

/// The bytes of the three files.
pub struct TrustPem {
    /// The cluster's CA certificates.
    pub ca: Vec<u8>,
    /// The node's certificate chain.
    pub cert: Vec<u8>,
    /// The node's key.
    pub key: Vec<u8>,
}

/// Why a node cannot prove who it is. `place` is the file as `node.yaml` names it.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read.
    #[error(
        "{place} cannot be read: {cause}; `meridian ca issue` writes ca.pem, node.pem and node.key"
    )]
    Unreadable {
        /// The file.
        place: String,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{place} holds no {wanted} in PEM form; give the file that `meridian ca issue` wrote")]
    Empty {
        /// The file.
        place: String,
        /// Certificate or private key.
        wanted: &'static str,
    },
    /// The certificate cannot serve.
    #[error(
        "{place} cannot be used: {cause}; issue the node's certificate with `meridian ca issue`"
    )]
    Identity {
        /// The file.
        place: String,
        /// Why.
        cause: NoIdentity,
    },
    /// The key cannot serve.
    #[error(
        "{place} is not a key this version can use: {cause}; issue the node's files again with `meridian ca issue`"
    )]
    Key {
        /// The file.
        place: String,
        /// What the crypto library said.
        cause: rustls::Error,
    },
    /// Certificate and key are not a pair.
    #[error("{key} is not the key of {cert}; give the two files of one `meridian ca issue`")]
    NotAPair {
        /// The key's file.
        key: String,
        /// The certificate's file.
        cert: String,
    },
    /// Another CA issued the certificate.
    #[error(
        "{cert} was not issued by the CA in {ca} ({cause}); give the ca.pem of this cluster, or issue the certificate again with `meridian ca issue`"
    )]
    OtherCa {
        /// The certificate's file.
        cert: String,
        /// The CA's file.
        ca: String,
        /// What the check said.
        cause: rustls::Error,
    },
    /// The certificate's time is over.
    #[error(
        "{cert} expired at {end}; issue it again with `meridian ca issue` and restart the node"
    )]
    Expired {
        /// The certificate's file.
        cert: String,
        /// When it expired.
        end: String,
    },
    /// The certificate's time has not come.
    #[error(
        "{cert} is valid only from {start}, and this machine's clock says {now}; set the clock"
    )]
    NotYetValid {
        /// The certificate's file.
        cert: String,
        /// When it becomes valid.
        start: String,
        /// The wall clock.
        now: String,
    },
    /// The certificate is for another cluster.
    #[error(
        "{cert} is for cluster {found}, but cluster.name is {wanted}; set cluster.name: {found}, or issue a certificate with that cluster's CA"
    )]
    OtherCluster {
        /// The certificate's file.
        cert: String,
        /// The certificate's trust domain.
        found: String,
        /// What `node.yaml` says.
        wanted: String,
    },
    /// The certificate is another node's.
    #[error(
        "{cert} is for node {found}, but node.id is {wanted}; give node {wanted} its own certificate (`meridian ca issue DIR --node {wanted} --region …`)"
    )]
    OtherNode {
        /// The certificate's file.
        cert: String,
        /// The certificate's node.
        found: NodeId,
        /// What `node.yaml` says.
        wanted: NodeId,
    },
    /// The certificate names another region.
    #[error(
        "{cert} is for region {found}, but node.region is {wanted}; set node.region: {found}, or issue the certificate again with --region {wanted}"
    )]
    OtherRegion {
        /// The certificate's file.
        cert: String,
        /// The certificate's region.
        found: RegionName,
        /// What `node.yaml` says.
        wanted: RegionName,
    },
}

impl Trust {
    /// Reads and checks the files that `node.yaml` names.
    pub async fn load(host: &Arc<dyn Host>, file: &NodeFile) -> Result<Self, TrustError> {
        let read = async |path: &Path| {
            let (reader, owned) = (Arc::clone(host), path.to_owned());
            blocking(&**host, move || reader.read_named(&owned))
                .await
                .map_err(|cause| TrustError::Unreadable {
                    place: path.display().to_string(),
                    cause,
                })
        };
        let pem = TrustPem {
            ca: read(&file.fabric.ca).await?,
            cert: read(&file.fabric.cert).await?,
            key: read(&file.fabric.key).await?,
        };
        Self::check(host, file, &pem)
    }

    /// Checks PEM bytes against what `node.yaml` says.
    pub fn check(
        host: &Arc<dyn Host>,
        file: &NodeFile,
        pem: &TrustPem,
    ) -> Result<Self, TrustError> {
        let ca_place = file.fabric.ca.display().to_string();
        let cert_place = file.fabric.cert.display().to_string();
        let key_place = file.fabric.key.display().to_string();
        let provider = Arc::new(provider());

        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&pem.ca));
        let chain = certificates(&pem.cert);
        let Some(end_entity) = chain.first().cloned() else {
            return Err(TrustError::Empty {
                place: cert_place,
                wanted: "certificate",
            });
        };
        let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|_| TrustError::Empty {
            place: key_place.clone(),
            wanted: "private key",
        })?;
        let secret = blake3::derive_key("meridian 2026 fabric secrets of a node", key.secret_der());

        let verifier = PeerVerifier::new(&file.cluster, Arc::new(roots), Arc::clone(&provider))
            .map_err(|_| TrustError::Empty {
                place: ca_place.clone(),
                wanted: "CA certificate",
            })?;
        let identity = SpiffeId::of(&end_entity).map_err(|cause| TrustError::Identity {
            place: cert_place.clone(),
            cause,
        })?;
        check_names(&identity, file, &cert_place)?;
        check_dates(&end_entity, host, &cert_place)?;
        let now = UnixTime::since_unix_epoch(host.unix_time());
        verifier
            .check_chain(&end_entity, &chain[1..], now)
            .map_err(|cause| TrustError::OtherCa {
                cert: cert_place.clone(),
                ca: ca_place,
                cause,
            })?;
        let certified =
            CertifiedKey::from_der(chain, key, &provider).map_err(|cause| match cause {
                rustls::Error::InconsistentKeys(_) => TrustError::NotAPair {
                    key: key_place.clone(),
                    cert: cert_place,
                },
                cause => TrustError::Key {
                    place: key_place,
                    cause,
                },
            })?;
        Ok(Self {
            identity,
            resolver: Arc::new(SingleCertAndKey::from(certified)),
            verifier: Arc::new(verifier),
            provider,
            clock: Arc::new(HostClock(Arc::clone(host))),
            secret,
        })
    }

    /// Whom this node's certificate names.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// TLS for accepted connections that speak `protocol`.
    pub(super) fn server(&self, protocol: &[u8]) -> ServerConfig {
        let mut config = ServerConfig::builder_with_details(
            Arc::clone(&self.provider),
            Arc::clone(&self.clock) as _,
        )
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .with_client_cert_verifier(Arc::clone(&self.verifier) as _)
        .with_cert_resolver(Arc::clone(&self.resolver) as _);
        config.alpn_protocols = vec![protocol.to_vec()];
        // Connections live for days: each proves its certificate anew, and no ticket keeps an old proof.
        config.send_tls13_tickets = 0;
        config
    }

    /// TLS for dialled connections that speak `protocol`.
    pub(super) fn client(&self, protocol: &[u8]) -> ClientConfig {
        let mut config = ClientConfig::builder_with_details(
            Arc::clone(&self.provider),
            Arc::clone(&self.clock) as _,
        )
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&self.verifier) as _)
        .with_client_cert_resolver(Arc::clone(&self.resolver) as _);
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config
    }

    /// A secret of this node for one purpose; the same after a restart with the same key.
    pub(super) fn secret(&self, purpose: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.secret, purpose.as_bytes()).as_bytes()
    }
}

/// aws-lc-rs with the post-quantum hybrid first (draft-ietf-tls-ecdhe-mlkem); the two others are for
/// peers built without it.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .collect()
}

fn check_names(found: &SpiffeId, wanted: &NodeFile, cert: &str) -> Result<(), TrustError> {
    let cert = cert.to_owned();
    if found.cluster != wanted.cluster {
        return Err(TrustError::OtherCluster {
            cert,
            found: found.cluster.clone(),
            wanted: wanted.cluster.clone(),
        });
    }
    if found.node != wanted.id {
        return Err(TrustError::OtherNode {
            cert,
            found: found.node.clone(),
            wanted: wanted.id.clone(),
        });
    }
    if found.region != wanted.region {
        return Err(TrustError::OtherRegion {
            cert,
            found: found.region.clone(),
            wanted: wanted.region.clone(),
        });
    }
    Ok(())
}

fn check_dates(
    certificate: &CertificateDer<'_>,
    host: &Arc<dyn Host>,
    cert: &str,
) -> Result<(), TrustError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TrustError::Identity {
        place: cert.to_owned(),
        cause: NoIdentity::Unreadable,
    })?;
    let now = i64::try_from(host.unix_time().as_secs()).unwrap_or(i64::MAX);
    let (start, end) = (
        parsed.validity().not_before.timestamp(),
        parsed.validity().not_after.timestamp(),
    );
    if now > end {
        return Err(TrustError::Expired {
            cert: cert.to_owned(),
            end: written(end),
        });
    }
    if now < start {
        return Err(TrustError::NotYetValid {
            cert: cert.to_owned(),
            start: written(start),
            now: written(now),
        });
    }
    Ok(())
}

/// A Unix time as operators read it (RFC 3339).
fn written(unix: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("second {unix}"))
}

#[cfg(test)]
mod tests;
