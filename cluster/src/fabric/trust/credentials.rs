//! What a node shows and whom it believes, read from PEM bytes and checked.
//!
//! In: the bytes of three files, `node.yaml`, the wall clock. Out: [`Credentials`], or the first mistake.

use std::{path::Path, sync::Arc};

use meridian_config::node_file::NodeFile;
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TrustError;
use crate::{
    fabric::{
        spiffe::{NoIdentity, SpiffeId},
        verifier::PeerVerifier,
    },
    host::Host,
    renewal::written,
};

/// The bytes of the three files.
pub struct TrustPem {
    /// The cluster's CA certificates.
    pub ca: Vec<u8>,
    /// The node's certificate chain.
    pub cert: Vec<u8>,
    /// The node's key.
    pub key: Vec<u8>,
}

/// A node's certificate, key and trust anchors, checked.
pub(super) struct Credentials {
    pub(super) identity: SpiffeId,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) verifier: PeerVerifier,
    /// From which secrets of the node are derived.
    pub(super) secret: [u8; 32],
}

impl Credentials {
    /// Checks PEM bytes against what `node.yaml` says.
    pub(super) fn check(
        host: &Arc<dyn Host>,
        file: &NodeFile,
        pem: &TrustPem,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TrustError> {
        let place = |path: &Path| path.display().to_string();
        let ca_place = place(&file.fabric.ca);
        let cert_place = place(&file.fabric.cert);
        let key_place = place(&file.fabric.key);

        let mut roots = RootCertStore::empty();
        for ca in certificates(&pem.ca, &ca_place)? {
            roots.add(ca).map_err(|_| TrustError::Damaged {
                place: ca_place.clone(),
            })?;
        }
        let chain = certificates(&pem.cert, &cert_place)?;
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

        let verifier = PeerVerifier::new(&file.cluster, Arc::new(roots), Arc::clone(provider))
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
            CertifiedKey::from_der(chain, key, provider).map_err(|cause| match cause {
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
            certified: Arc::new(certified),
            verifier,
            secret,
        })
    }
}

/// All certificates of a file, or none: one that is only half there may be half-way through a copy.
fn certificates(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| TrustError::Damaged {
            place: place.to_owned(),
        })
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
