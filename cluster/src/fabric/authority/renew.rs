//! Certificates after the first: renewed by the same authority, or by the one that follows it.
//!
//! In: a node's present certificate. Out: a new one with the same names, or whether it is of this
//! authority.

use std::{net::IpAddr, time::Duration};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Authority, AuthorityError, Issued};
use crate::fabric::spiffe::SpiffeId;

impl Authority {
    /// Issues a certificate with a new key and the names of an earlier one, which may be of another
    /// authority of the same cluster.
    pub fn renew(&self, earlier_pem: &str, unix_time: Duration) -> Result<Issued, AuthorityError> {
        let unreadable = |why: String| AuthorityError::Earlier(why);
        let earlier = CertificateDer::from_pem_slice(earlier_pem.as_bytes())
            .map_err(|error| unreadable(error.to_string()))?;
        let id = SpiffeId::of(&earlier).map_err(|error| unreadable(error.to_string()))?;
        if id.cluster != self.cluster {
            return Err(unreadable(format!(
                "it is for cluster {}, and this authority is of cluster {}",
                id.cluster, self.cluster
            )));
        }
        let (dns, ips) = other_names(&earlier);
        self.issue(&id.node, &id.region, &dns, &ips, unix_time)
    }

    /// Whether this authority has signed a certificate; one of its predecessor's is not its own.
    pub fn has_issued(&self, certificate_pem: &str, unix_time: Duration) -> bool {
        let one = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
        let mut roots = RootCertStore::empty();
        // The first certificate is the signing one; others are of earlier authorities.
        let added = one(&self.certificate_pem).map(|own| roots.add(own).is_ok());
        let Some(certificate) = one(certificate_pem).filter(|_| added == Some(true)) else {
            return false;
        };
        let Ok(parsed) = ParsedCertificate::try_from(&certificate) else {
            return false;
        };
        let verified = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &roots,
            &[],
            UnixTime::since_unix_epoch(unix_time),
            aws_lc_rs::default_provider()
                .signature_verification_algorithms
                .all,
        );
        // That it has expired is another matter.
        matches!(
            verified,
            Ok(())
                | Err(Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. }
                ))
        )
    }
}

/// The DNS names and addresses of a certificate.
fn other_names(certificate: &CertificateDer<'_>) -> (Vec<String>, Vec<IpAddr>) {
    let (mut dns, mut ips) = (Vec::new(), Vec::new());
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return (dns, ips);
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return (dns, ips);
    };
    for name in &names.value.general_names {
        match name {
            GeneralName::DNSName(name) => dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                ips.extend(v4.or(v6).ok());
            }
            _ => {}
        }
    }
    (dns, ips)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_780_000_000);

    #[test]
    fn a_renewed_certificate_has_the_names_of_the_earlier_and_another_key() {
        let first = Authority::create("test", None).unwrap();
        let second = Authority::create("test", None).unwrap();
        let dns = ["n1.internal".to_owned()];
        let ips = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let earlier = first
            .issue(&"n1".into(), &"eu".into(), &dns, &ips, NOW)
            .unwrap();
        for authority in [&first, &second] {
            let renewed = authority.renew(&earlier.cert_pem, NOW).unwrap();
            assert_ne!(renewed.key_pem, earlier.key_pem);
            let der = CertificateDer::from_pem_slice(renewed.cert_pem.as_bytes()).unwrap();
            assert_eq!(
                SpiffeId::of(&der).unwrap().to_string(),
                "spiffe://test/region/eu/node/n1"
            );
            assert_eq!(other_names(&der), (dns.to_vec(), ips.to_vec()));
            assert!(authority.has_issued(&renewed.cert_pem, NOW));
        }
        assert!(!second.has_issued(&earlier.cert_pem, NOW));
        let later = NOW + Duration::from_secs(5 * 365 * 86_400);
        assert!(first.has_issued(&earlier.cert_pem, later), "if expired");
    }

    #[test]
    fn certificates_of_other_clusters_and_nonsense_are_not_renewed() {
        let authority = Authority::create("test", None).unwrap();
        let other = Authority::create("other", None).unwrap();
        let foreign = other
            .issue(&"n1".into(), &"eu".into(), &[], &[], NOW)
            .unwrap();
        for pem in [foreign.cert_pem.as_str(), other.cert_pem(), "nonsense"] {
            assert!(matches!(
                authority.renew(pem, NOW),
                Err(AuthorityError::Earlier(_))
            ));
            assert!(!authority.has_issued(pem, NOW));
        }
    }
}
