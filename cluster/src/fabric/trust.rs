//! What a node shows its peers and whom it believes: its certificate and key, and the cluster's CA.
//!
//! In: the files `node.yaml` names. Out: TLS configurations for both sides of a connection, and secrets
//! derived from the node's key. A mistake in the files ends the start with one sentence; in files that
//! are replaced later it leaves in force what was.

mod credentials;
mod current;
mod fault;

use std::sync::Arc;

use arc_swap::ArcSwap;
use meridian_config::node_file::NodeFile;
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    version::TLS13,
};

use super::{spiffe::SpiffeId, verifier::HostClock};
use crate::{
    host::{Host, blocking},
    renewal::Followed,
};
use credentials::Credentials;
use current::Current;

pub use credentials::TrustPem;
pub use fault::TrustError;

/// A node's certificate, key and trust anchors, checked. Clones share what is in force.
#[derive(Clone)]
pub struct Trust {
    current: Arc<Current>,
    provider: Arc<CryptoProvider>,
    clock: Arc<HostClock>,
}

impl Trust {
    /// Reads and checks the files that `node.yaml` names.
    pub async fn load(host: &Arc<dyn Host>, file: &NodeFile) -> Result<Self, TrustError> {
        let read = async |path: &std::path::Path| {
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
        let provider = Arc::new(provider());
        let credentials = Credentials::check(host, file, pem, &provider)?;
        Ok(Self {
            current: Arc::new(Current {
                credentials: ArcSwap::from_pointee(credentials),
                algorithms: provider.signature_verification_algorithms,
            }),
            provider,
            clock: Arc::new(HostClock(Arc::clone(host))),
        })
    }

    /// The files, and how their new content comes into force: for the next handshakes, and only if it is
    /// of this node and its region.
    pub fn followed(&self, host: &Arc<dyn Host>, file: &NodeFile) -> Followed {
        let (trust, host, file) = (self.clone(), Arc::clone(host), file.clone());
        Followed {
            name: "fabric".to_owned(),
            files: vec![
                file.fabric.ca.clone(),
                file.fabric.cert.clone(),
                file.fabric.key.clone(),
            ],
            adopt: Box::new(move |contents| {
                let [ca, cert, key] = contents else {
                    unreachable!("three files have three contents")
                };
                let pem = TrustPem {
                    ca: ca.clone(),
                    cert: cert.clone(),
                    key: key.clone(),
                };
                let credentials = Credentials::check(&host, &file, &pem, &trust.provider)
                    .map_err(|fault| fault.to_string())?;
                trust.current.credentials.store(Arc::new(credentials));
                Ok(())
            }),
        }
    }

    /// Whom this node's certificate names.
    pub fn identity(&self) -> SpiffeId {
        self.current.credentials.load().identity.clone()
    }

    /// TLS for accepted connections that speak `protocol`.
    pub(super) fn server(&self, protocols: Vec<Vec<u8>>) -> ServerConfig {
        let mut config = ServerConfig::builder_with_details(
            Arc::clone(&self.provider),
            Arc::clone(&self.clock) as _,
        )
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .with_client_cert_verifier(Arc::clone(&self.current) as _)
        .with_cert_resolver(Arc::clone(&self.current) as _);
        config.alpn_protocols = protocols;
        // Connections live for days: each proves its certificate anew, and no ticket keeps an old proof.
        config.send_tls13_tickets = 0;
        config
    }

    /// TLS for dialled connections that speak `protocol`.
    pub(super) fn client(&self, protocols: Vec<Vec<u8>>) -> ClientConfig {
        let mut config = ClientConfig::builder_with_details(
            Arc::clone(&self.provider),
            Arc::clone(&self.clock) as _,
        )
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&self.current) as _)
        .with_client_cert_resolver(Arc::clone(&self.current) as _);
        config.alpn_protocols = protocols;
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config
    }

    /// A secret of this node for one purpose; the same after a restart with the same key.
    pub(super) fn secret(&self, purpose: &str) -> [u8; 32] {
        let credentials = self.current.credentials.load();
        *blake3::keyed_hash(&credentials.secret, purpose.as_bytes()).as_bytes()
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

#[cfg(test)]
mod tests;
