//! HTTPS for the admin API: its certificate, and the certificates of its callers.
//!
//! In: three PEM files, which may be replaced while the node runs. Out: an acceptor; and from an accepted connection the names in the caller's
//! certificate. A certificate is optional, because a token does as well.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use meridian_cluster::{
    host::{Host, blocking},
    renewal::Followed,
};
use meridian_config::node_file::AdminTls;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;
use x509_parser::{extensions::GeneralName, prelude::FromDer};

/// Why the admin API's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {path}: {cause}; give a PEM file in node.yaml")]
pub struct AdminTlsError {
    setting: &'static str,
    path: String,
    cause: String,
}

/// What the next handshakes are served by. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Current {
    config: Arc<ArcSwap<ServerConfig>>,
    files: AdminTls,
}

impl Current {
    /// Reads the files.
    pub(super) async fn load(
        host: &Arc<dyn Host>,
        files: &AdminTls,
    ) -> Result<Self, AdminTlsError> {
        let cert = read(host, "admin.cert", &files.cert).await?;
        let key = read(host, "admin.key", &files.key).await?;
        let client_ca = read(host, "admin.client_ca", &files.client_ca).await?;
        Ok(Self {
            config: Arc::new(ArcSwap::from(config(files, &cert, &key, &client_ca)?)),
            files: files.clone(),
        })
    }

    /// For one handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.config.load_full().into()
    }

    /// The files, and how their new content comes into force.
    pub(super) fn followed(&self) -> Followed {
        let current = self.clone();
        let files = &self.files;
        Followed {
            name: "admin".to_owned(),
            files: vec![
                files.cert.clone(),
                files.key.clone(),
                files.client_ca.clone(),
            ],
            adopt: Box::new(move |contents| {
                let [cert, key, client_ca] = contents else {
                    unreachable!("three files have three contents")
                };
                let config = config(&current.files, cert, key, client_ca)
                    .map_err(|error| error.to_string())?;
                current.config.store(config);
                Ok(())
            }),
        }
    }
}

/// A configuration of the three files' content.
fn config(
    files: &AdminTls,
    cert: &[u8],
    key: &[u8],
    client_ca: &[u8],
) -> Result<Arc<ServerConfig>, AdminTlsError> {
    let fault = |setting, path: &Path, cause: &dyn std::fmt::Display| AdminTlsError {
        setting,
        path: path.display().to_string(),
        cause: cause.to_string(),
    };
    let certificates = |setting, path: &Path, pem: &[u8]| {
        let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(setting, path, &error))?;
        if found.is_empty() {
            return Err(fault(setting, path, &"it holds no certificate"));
        }
        Ok(found)
    };
    let chain = certificates("admin.cert", &files.cert, cert)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| fault("admin.key", &files.key, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("admin.client_ca", &files.client_ca, client_ca)? {
        roots
            .add(certificate)
            .map_err(|error| fault("admin.client_ca", &files.client_ca, &error))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .map_err(|error| fault("admin.client_ca", &files.client_ca, &error))?;
    let mut config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| fault("admin.cert", &files.cert, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A caller proves its certificate anew each time, so that a CA that was dropped is out at once.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

async fn read(
    host: &Arc<dyn Host>,
    setting: &'static str,
    path: &Path,
) -> Result<Vec<u8>, AdminTlsError> {
    let (reader, place) = (host.clone(), path.to_owned());
    blocking(host.as_ref(), move || reader.read_named(&place))
        .await
        .map_err(|error| AdminTlsError {
            setting,
            path: path.display().to_string(),
            cause: error.to_string(),
        })
}

/// The subject alternative names of the caller's certificate, as text; empty without one.
pub(super) fn client_names(connection: &ServerConnection) -> Vec<String> {
    let Some(leaf) = connection
        .peer_certificates()
        .and_then(|chain| chain.first())
    else {
        return Vec::new();
    };
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;
    use crate::testing::TestHost;

    fn put(host: &TestHost, name: &str) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec!["admin.example".to_owned()])
            .expect("a certificate");
        host.put(&format!("/{name}.pem"), made.cert.pem());
        host.put(&format!("/{name}.key"), made.signing_key.serialize_pem());
        made.cert.der().clone()
    }

    /// Whether a client that trusts only this certificate gets through.
    async fn shown(current: &Current, trusted: &CertificateDer<'static>) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).expect("a root");
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from("admin.example").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let (client, _) = tokio::join!(
            connector.connect(name, near),
            current.acceptor().accept(far)
        );
        client.is_ok()
    }

    #[tokio::test]
    async fn replaced_files_come_into_force_whole_or_not_at_all() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let host = TestHost::new();
        let first = put(&host, "admin");
        put(&host, "ca");
        let files = AdminTls {
            cert: "/admin.pem".into(),
            key: "/admin.key".into(),
            client_ca: "/ca.pem".into(),
        };
        let outside: Arc<dyn Host> = host.clone();
        let current = Current::load(&outside, &files).await.expect("good files");
        assert!(shown(&current, &first).await);
        let mut followed = current.followed();
        let read = || -> Vec<Vec<u8>> {
            let one = |path: &std::path::PathBuf| outside.read_named(path).expect("put before");
            followed.files.iter().map(one).collect()
        };
        let before = read();
        let second = put(&host, "admin");
        let after = read();
        // The certificate without its key.
        let crossed = [after[0].clone(), before[1].clone(), before[2].clone()];
        let refused = (followed.adopt)(&crossed).expect_err("no pair");
        assert!(refused.contains("/admin.pem"), "{refused}");
        assert!(shown(&current, &first).await);
        (followed.adopt)(&after).expect("a pair");
        assert!(shown(&current, &second).await);
        assert!(!shown(&current, &first).await);
    }
}
