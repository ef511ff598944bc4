//! HTTPS for the admin API: its certificate, and the certificates of its callers.
//!
//! In: three PEM files. Out: an acceptor; and from an accepted connection the names in the caller's
//! certificate. A certificate is optional, because a token does as well.

use std::{path::Path, sync::Arc};

use meridian_cluster::host::{Host, blocking};
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

/// The acceptor for these files.
pub(super) async fn acceptor(
    host: &Arc<dyn Host>,
    files: &AdminTls,
) -> Result<TlsAcceptor, AdminTlsError> {
    let fault = |setting, path: &Path, cause: &dyn std::fmt::Display| AdminTlsError {
        setting,
        path: path.display().to_string(),
        cause: cause.to_string(),
    };
    let chain = certificates(host, "admin.cert", &files.cert).await?;
    let key = read(host, "admin.key", &files.key).await?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| fault("admin.key", &files.key, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(host, "admin.client_ca", &files.client_ca).await? {
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
    Ok(Arc::new(config).into())
}

async fn certificates(
    host: &Arc<dyn Host>,
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, AdminTlsError> {
    let fault = |cause: String| AdminTlsError {
        setting,
        path: path.display().to_string(),
        cause,
    };
    let bytes = read(host, setting, path).await?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(error.to_string()))?;
    if found.is_empty() {
        return Err(fault("it holds no certificate".into()));
    }
    Ok(found)
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
