//! Judges a peer's certificate: of our CA, valid now, and naming a node of our cluster.
//!
//! In: the chain a peer showed and the host's wall clock. Out: accepted, or the TLS error. Server names
//! play no part: peers are dialled by address and known by their SPIFFE id. Asked by [`Trust`](super::Trust).

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, Error, OtherError, RootCertStore,
    client::{danger::ServerCertVerified, verify_server_cert_signed_by_trust_anchor},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, UnixTime},
    server::{
        ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::TimeProvider,
};

use super::spiffe::{NoIdentity, SpiffeId};
use crate::host::Host;

/// Verifies peers, whichever side dialled.
pub(super) struct PeerVerifier {
    cluster: String,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    clients: Arc<dyn ClientCertVerifier>,
}

impl PeerVerifier {
    /// Accepts nodes of `cluster` whose certificates chain to `roots`.
    pub(super) fn new(
        cluster: &str,
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let algorithms = provider.signature_verification_algorithms;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider).build()?;
        Ok(Self {
            cluster: cluster.to_owned(),
            roots,
            algorithms,
            clients,
        })
    }

    /// Checks the chain as a client checks a server's, but for the server's name.
    pub(super) fn check_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
        .map_err(as_unknown_issuer)
    }

    /// Judges the certificate of a node that this one dialled.
    pub(super) fn verify_server(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_chain(end_entity, intermediates, now)?;
        self.check_name(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    /// Judges the certificate of a node that dialled this one.
    pub(super) fn verify_client(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .clients
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(as_unknown_issuer)?;
        self.check_name(end_entity)?;
        Ok(verified)
    }

    fn check_name(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let stranger = match SpiffeId::of(certificate) {
            Ok(id) if id.cluster == self.cluster => return Ok(()),
            Ok(id) => Stranger::Cluster {
                theirs: id.cluster,
                ours: self.cluster.clone(),
            },
            Err(cause) => Stranger::Nobody(cause),
        };
        // rustls sends `certificate_unknown` for it, and for nothing else.
        Err(CertificateError::Other(OtherError(Arc::new(stranger))).into())
    }
}

/// A certificate whose name does not fit.
#[derive(Debug, thiserror::Error)]
enum Stranger {
    /// A node of another cluster, whose CA is trusted here.
    #[error("the peer is a node of cluster {theirs}, this one of {ours}")]
    Cluster { theirs: String, ours: String },
    /// No node.
    #[error("{0}")]
    Nobody(NoIdentity),
}

/// Two CAs of one cluster have the same subject, so a certificate of the one that is not trusted shows as
/// one whose signature is wrong. It is the same mistake, and needs the same help.
fn as_unknown_issuer(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::UnknownIssuer.into()
        }
        error => error,
    }
}

/// The host's wall clock as TLS sees it, so that a simulation decides what time it is.
pub(super) struct HostClock(pub(super) Arc<dyn Host>);

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
