//! The name in a node's certificate: `spiffe://TRUST-DOMAIN/region/R/node/N`.
//!
//! In: a certificate or a URI. Out: cluster, region and node id, or why it names no node. Written by
//! [`Authority`](super::Authority), read by [`Trust`](super::Trust).

use std::fmt;

use meridian_config::name::{NodeId, RegionName};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Whom a certificate names. The trust domain is the cluster's name (SPIFFE-ID section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    /// The cluster.
    pub cluster: String,
    /// The node's region.
    pub region: RegionName,
    /// The node.
    pub node: NodeId,
}

/// Why a certificate names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It has no URI, or more than one (X.509-SVID section 2 allows exactly one).
    #[error("the certificate does not name exactly one SPIFFE id")]
    NotOne,
    /// The URI has another form.
    #[error("the certificate's name {0} is not of the form spiffe://CLUSTER/region/R/node/N")]
    Form(String),
}

impl SpiffeId {
    /// Reads the name of the form that [`Display`](fmt::Display) writes.
    pub fn parse(uri: &str) -> Result<Self, NoIdentity> {
        let wrong = || NoIdentity::Form(uri.chars().take(200).collect());
        let path = uri.strip_prefix("spiffe://").ok_or_else(wrong)?;
        match path.split('/').collect::<Vec<_>>()[..] {
            [cluster, "region", region, "node", node]
                if is_trust_domain(cluster) && is_segment(region) && is_segment(node) =>
            {
                Ok(Self {
                    cluster: cluster.to_owned(),
                    region: RegionName::new(region),
                    node: NodeId::new(node),
                })
            }
            _ => Err(wrong()),
        }
    }

    /// Reads the one SPIFFE id of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, NoIdentity> {
        let uris = uris(certificate)?;
        match &uris[..] {
            [uri] => Self::parse(uri),
            _ => Err(NoIdentity::NotOne),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "spiffe://{}/region/{}/node/{}",
            self.cluster, self.region, self.node
        )
    }
}

/// The URIs among a certificate's alternative names.
pub(super) fn uris(certificate: &CertificateDer<'_>) -> Result<Vec<String>, NoIdentity> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| NoIdentity::Unreadable)?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| NoIdentity::Unreadable)?;
    Ok(names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
        .collect())
}

/// A certificate's public key, as its DER structure.
pub(super) fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, NoIdentity> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| NoIdentity::Unreadable)?;
    Ok(parsed.public_key().raw.to_vec())
}

/// Lower case, digits, `.`, `-`, `_`, at most 255 bytes (SPIFFE-ID section 2.1).
pub(super) fn is_trust_domain(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

/// Letters, digits, `.`, `-`, `_`, neither `.` nor `..` (SPIFFE-ID section 2.2).
pub(super) fn is_segment(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && !matches!(text, "." | "..")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_it_was_written() {
        let id = SpiffeId {
            cluster: "prod".into(),
            region: "eu-west".into(),
            node: "eu-west-1".into(),
        };
        assert_eq!(
            id.to_string(),
            "spiffe://prod/region/eu-west/node/eu-west-1"
        );
        assert_eq!(SpiffeId::parse(&id.to_string()), Ok(id));
    }

    #[test]
    fn names_of_another_form_are_refused() {
        for uri in [
            "",
            "spiffe://",
            "https://prod/region/r/node/n",
            "spiffe://prod/node/n/region/r",
            "spiffe://prod/region/r/node/n/",
            "spiffe://prod/region//node/n",
            "spiffe://Prod/region/r/node/n",
            "spiffe://prod/region/../node/n",
            "spiffe://prod/region/r/node/n?x",
        ] {
            assert_eq!(
                SpiffeId::parse(uri),
                Err(NoIdentity::Form(uri.to_owned())),
                "{uri}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        let nonsense = CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff, 0x00]);
        assert_eq!(SpiffeId::of(&nonsense), Err(NoIdentity::Unreadable));
    }
}
