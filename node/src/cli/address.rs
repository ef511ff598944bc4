//! Where the admin API is, and how to be believed there: URLs, token, trust.
//!
//! In: flags and environment. Out: what [`super::client`] connects with.

use std::{path::PathBuf, sync::Arc};

use http::Uri;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{outcome::Failure, outside};

/// How the user named the admin API.
#[derive(Debug, Clone, Default)]
pub(crate) struct Address {
    /// `--admin` or `MERIDIAN_ADMIN`.
    pub(crate) admin: Option<String>,
    /// `--token-file`.
    pub(crate) token_file: Option<PathBuf>,
    /// `--admin-ca` or `MERIDIAN_ADMIN_CA`.
    pub(crate) ca: Option<PathBuf>,
    /// `--admin-cert` and `--admin-key`: a client certificate in place of a token.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

/// A node's admin API.
pub(super) struct Base {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// As the user wrote it.
    pub(super) text: String,
}

/// The token, from the file the user named or from the environment.
pub(super) fn token(address: &Address) -> Result<Option<String>, Failure> {
    if let Some(path) = &address.token_file {
        let text = outside::read_text(path).map_err(|error| {
            Failure::invalid(format!(
                "the token file {} cannot be read: {error}; it holds the token that `meridian admin token` printed",
                path.display()
            ))
        })?;
        return Ok(Some(text.trim().to_owned()));
    }
    match std::env::var("MERIDIAN_TOKEN") {
        Ok(text) if text.contains('/') => Err(Failure::invalid(
            "MERIDIAN_TOKEN holds the token itself, not a path; name a file with --token-file",
        )),
        Ok(text) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
        _ => Ok(None),
    }
}

/// Reads a URL: scheme, host and port, nothing else.
pub(super) fn base(url: &str) -> Result<Base, Failure> {
    let wrong = |why: &str| {
        Failure::invalid(format!(
            "--admin {url:?}: {why}; write for example http://127.0.0.1:7500"
        ))
    };
    let uri: Uri = url.parse().map_err(|_| wrong("it is not a URL"))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong("it needs http:// or https://")),
    };
    let host = uri.host().ok_or_else(|| wrong("it has no host"))?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("it ends after host and port"));
    }
    Ok(Base {
        tls,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        text: url.trim_end_matches('/').to_owned(),
    })
}

/// TLS towards an admin API: by the CA that the user named, else by the system's; with the user's client
/// certificate, where there is one.
pub(super) fn connector(
    ca: Option<&PathBuf>,
    certificate: Option<&(PathBuf, PathBuf)>,
) -> Result<tokio_rustls::TlsConnector, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        Some(path) => {
            let unusable = |cause: &dyn std::fmt::Display| {
                Failure::invalid(format!(
                    "--admin-ca {}: {cause}; name a PEM file with the CA's certificates",
                    path.display()
                ))
            };
            let text = outside::read_text(path).map_err(|error| unusable(&error))?;
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"it holds no certificate"));
            }
        }
        None => {
            // Certificates that the system has but rustls does not take are of no use here.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let unusable = |path: &PathBuf, cause: &dyn std::fmt::Display| {
                Failure::invalid(format!(
                    "the client certificate cannot be used: {}: {cause}; --admin-cert names a PEM file with the certificate and its chain, --admin-key one with its key",
                    path.display()
                ))
            };
            let text = outside::read_text(chain).map_err(|error| unusable(chain, &error))?;
            let certificates = CertificateDer::pem_slice_iter(text.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| unusable(chain, &error))?;
            let text = outside::read_text(key).map_err(|error| unusable(key, &error))?;
            let secret = PrivateKeyDer::from_pem_slice(text.as_bytes())
                .map_err(|error| unusable(key, &error))?;
            builder
                .with_client_auth_cert(certificates, secret)
                .map_err(|error| unusable(chain, &error))?
        }
    };
    Ok(Arc::new(config).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::outcome::Exit;

    #[test]
    fn addresses_are_understood_or_refused_with_an_example() {
        let good = base("https://[::1]:7500/").unwrap();
        assert_eq!(
            (good.host.as_str(), good.port, good.tls),
            ("::1", 7500, true)
        );
        for bad in ["127.0.0.1:7500", "ftp://x", "http://x/api", "http://", ""] {
            let failure = base(bad).err().unwrap();
            assert_eq!(failure.exit, Exit::Invalid, "{bad}");
            assert!(failure.message.contains("http://127.0.0.1:7500"), "{bad}");
        }
    }
}
