//! The cluster's own certificate authority: made once, it issues every node's certificate.
//!
//! In: the cluster's name (and, for a simulation, a seed); then node, region and what else a
//! certificate should name. Out: PEM texts. Nothing here touches a file or a clock; `meridian ca` does.

mod renew;

use std::net::IpAddr;

use meridian_config::name::{NodeId, RegionName};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use time::{Date, Duration as Days, Month, OffsetDateTime, PrimitiveDateTime, Time};

use super::spiffe::{self, SpiffeId};

/// A certificate authority of one cluster.
///
/// Its keys are Ed25519: short, quick, and of one signature length, so that a simulation sends packets
/// of the same sizes each time (an ECDSA signature's length varies).
pub struct Authority {
    cluster: String,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// From which the keys of nodes are derived; without it they are random.
    seed: Option<[u8; 32]>,
}

/// A node's certificate and key.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key (PKCS #8).
    pub key_pem: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("cert_pem", &self.cert_pem)
            .field("key_pem", &"[redacted]")
            .finish()
    }
}

/// Why the authority cannot be made, read, or issue.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The cluster's name cannot be a SPIFFE trust domain.
    #[error(
        "{0:?} cannot be a cluster's name; use lower-case letters, digits, dots, dashes and underscores"
    )]
    ClusterName(String),
    /// A node id or region cannot be part of a SPIFFE id.
    #[error(
        "{0:?} cannot name a node or region; use letters, digits, dots, dashes and underscores"
    )]
    Segment(String),
    /// A DNS name is not one.
    #[error("{0:?} is not a DNS name")]
    DnsName(String),
    /// The CA's certificate cannot be read, or names no cluster.
    #[error(
        "the CA certificate cannot be used: {0}; give the ca.pem that `meridian ca init` wrote"
    )]
    Certificate(String),
    /// A certificate to be renewed names no node of the cluster.
    #[error("the certificate cannot be renewed: {0}; issue a new one with `meridian ca issue`")]
    Earlier(String),
    /// The CA's key cannot be read.
    #[error("the CA key cannot be used: {0}; give the ca.key that `meridian ca init` wrote")]
    Key(String),
    /// Certificate and key are not a pair.
    #[error(
        "the CA's certificate and key do not belong together; give the two of one `meridian ca init`"
    )]
    NotAPair,
    /// The crypto library failed.
    #[error("the certificate could not be made: {0}")]
    Library(#[from] rcgen::Error),
}

impl Authority {
    /// Makes a new authority for a cluster. With a seed, all it makes is a function of its arguments.
    pub fn create(cluster: &str, seed: Option<[u8; 32]>) -> Result<Self, AuthorityError> {
        if !spiffe::is_trust_domain(cluster) {
            return Err(AuthorityError::ClusterName(cluster.to_owned()));
        }
        let key = key_pair(seed, "ca")?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = common_name(&format!("Meridian cluster {cluster}"));
        // X.509-SVID section 3.2: a signing certificate may name its trust domain.
        parameters.subject_alt_names = vec![uri(&format!("spiffe://{cluster}"))?];
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // A fixed span: the CA is replaced by operators, never by expiry, and a machine whose clock is
        // behind can still make one.
        parameters.not_before = midnight(2025);
        parameters.not_after = midnight(2075);
        parameters.serial_number = Some(serial(&key, parameters.not_before));
        let certificate_pem = parameters.self_signed(&key)?.pem();
        Ok(Self {
            cluster: cluster.to_owned(),
            certificate_pem,
            issuer: Issuer::new(parameters, key),
            seed,
        })
    }

    /// Reads an authority back from the PEM texts that [`cert_pem`](Self::cert_pem) and
    /// [`key_pem`](Self::key_pem) gave. Certificates after the first are of earlier authorities that are
    /// to be trusted as well.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(cert_pem.as_bytes())
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        let cluster = spiffe::uris(&certificate)
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?
            .iter()
            .find_map(|uri| uri.strip_prefix("spiffe://"))
            .filter(|name| spiffe::is_trust_domain(name))
            .ok_or_else(|| AuthorityError::Certificate("it names no cluster".into()))?
            .to_owned();
        let key =
            KeyPair::from_pem(key_pem).map_err(|error| AuthorityError::Key(error.to_string()))?;
        if spiffe::public_key(&certificate).as_deref() != Ok(&key.subject_public_key_info()[..]) {
            return Err(AuthorityError::NotAPair);
        }
        Ok(Self {
            cluster,
            certificate_pem: cert_pem.to_owned(),
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            seed: None,
        })
    }

    /// The cluster it is for.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Its certificate, and those of earlier ones: the trust anchors of every node.
    pub fn cert_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its private key. Whoever holds it can be any node.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a node's certificate, for use as client and as server.
    ///
    /// `dns` and `ips` are for other software that checks them; nodes check the SPIFFE id. The
    /// certificate is good from an hour before `unix_time` (clocks differ) for two years.
    pub fn issue(
        &self,
        node: &NodeId,
        region: &RegionName,
        dns: &[String],
        ips: &[IpAddr],
        unix_time: std::time::Duration,
    ) -> Result<Issued, AuthorityError> {
        for segment in [node.as_str(), region.as_str()] {
            if !spiffe::is_segment(segment) {
                return Err(AuthorityError::Segment(segment.to_owned()));
            }
        }
        let id = SpiffeId {
            cluster: self.cluster.clone(),
            region: region.clone(),
            node: node.clone(),
        };
        let key = key_pair(self.seed, &id.to_string())?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = common_name(node.as_str());
        parameters.subject_alt_names = vec![uri(&id.to_string())?];
        for name in dns {
            let text = name
                .as_str()
                .try_into()
                .map_err(|_| AuthorityError::DnsName(name.clone()))?;
            parameters.subject_alt_names.push(SanType::DnsName(text));
        }
        let addresses = ips.iter().copied().map(SanType::IpAddress);
        parameters.subject_alt_names.extend(addresses);
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        parameters.use_authority_key_identifier_extension = true;
        let now = i64::try_from(unix_time.as_secs())
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        parameters.not_before = now.saturating_sub(Days::HOUR);
        parameters.not_after = now.saturating_add(Days::days(NODE_VALIDITY_DAYS));
        parameters.serial_number = Some(serial(&key, parameters.not_before));
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// Two years: long enough that renewal is a planned act, short enough that a lost key ages out.
const NODE_VALIDITY_DAYS: i64 = 730;

/// An Ed25519 key: random, or derived from the seed and what it is for.
fn key_pair(seed: Option<[u8; 32]>, purpose: &str) -> Result<KeyPair, rcgen::Error> {
    let Some(seed) = seed else {
        return KeyPair::generate_for(&PKCS_ED25519);
    };
    let mut hasher = blake3::Hasher::new_derive_key("meridian 2026 seeded certificate keys");
    hasher.update(&seed).update(purpose.as_bytes());
    // RFC 8410 section 7: a PKCS #8 wrapper around the 32 bytes of an Ed25519 private key.
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend_from_slice(hasher.finalize().as_bytes());
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &PKCS_ED25519)
}

/// A serial of 16 bytes: a function of key and start, and of one length whatever they are.
///
/// RFC 5280 section 4.1.2.2 wants it positive and unique; a leading zero byte would be dropped.
fn serial(key: &KeyPair, not_before: OffsetDateTime) -> SerialNumber {
    let mut hasher = blake3::Hasher::new_derive_key("meridian 2026 certificate serials");
    hasher
        .update(&key.subject_public_key_info())
        .update(&not_before.unix_timestamp().to_be_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn uri(text: &str) -> Result<SanType, rcgen::Error> {
    Ok(SanType::URI(text.try_into()?))
}

fn midnight(year: i32) -> OffsetDateTime {
    let day = Date::from_calendar_date(year, Month::January, 1).expect("the year is a constant");
    PrimitiveDateTime::new(day, Time::MIDNIGHT).assume_utc()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_780_000_000);

    #[test]
    fn with_a_seed_everything_is_made_alike_twice() {
        let make = || {
            let authority = Authority::create("test", Some([7; 32])).unwrap();
            let issued = authority
                .issue(&"n1".into(), &"eu".into(), &[], &[], NOW)
                .unwrap();
            (
                authority.cert_pem().to_owned(),
                issued.cert_pem,
                issued.key_pem,
            )
        };
        assert_eq!(make(), make());
    }

    #[test]
    fn without_a_seed_every_key_is_another() {
        let authority = Authority::create("test", None).unwrap();
        let issue = || {
            authority
                .issue(&"n1".into(), &"eu".into(), &[], &[], NOW)
                .unwrap()
                .key_pem
        };
        assert_ne!(issue(), issue());
    }

    #[test]
    fn a_certificate_names_its_node() {
        let authority = Authority::create("test", None).unwrap();
        let ips = ["127.0.0.1".parse().unwrap()];
        let issued = authority
            .issue(
                &"n1".into(),
                &"eu".into(),
                &["n1.internal".into()],
                &ips,
                NOW,
            )
            .unwrap();
        let der = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap();
        let id = SpiffeId::of(&der).unwrap();
        assert_eq!(id.to_string(), "spiffe://test/region/eu/node/n1");
    }

    #[test]
    fn an_authority_reads_back_from_its_files() {
        let made = Authority::create("test", None).unwrap();
        let read = Authority::load(made.cert_pem(), &made.key_pem()).unwrap();
        assert_eq!(read.cluster(), "test");
        assert_eq!(read.cert_pem(), made.cert_pem());
    }

    #[test]
    fn an_authority_with_the_key_of_another_is_refused() {
        let one = Authority::create("test", None).unwrap();
        let other = Authority::create("test", None).unwrap();
        assert!(matches!(
            Authority::load(one.cert_pem(), &other.key_pem()),
            Err(AuthorityError::NotAPair)
        ));
    }

    #[test]
    fn names_that_no_certificate_can_carry_are_refused() {
        assert!(matches!(
            Authority::create("Prod Cluster", None),
            Err(AuthorityError::ClusterName(_))
        ));
        let authority = Authority::create("test", None).unwrap();
        assert!(matches!(
            authority.issue(&"a/b".into(), &"eu".into(), &[], &[], NOW),
            Err(AuthorityError::Segment(_))
        ));
    }
}
