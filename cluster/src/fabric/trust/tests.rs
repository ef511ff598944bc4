//! Each mistake in a node's files is told from the others.

use std::time::Duration;

use super::*;
use crate::fabric::{Authority, Issued, testing};

const NOW: Duration = Duration::from_secs(1_780_000_000);

struct Bench {
    host: Arc<dyn Host>,
    authority: Authority,
    issued: Issued,
    file: NodeFile,
}

fn bench() -> Bench {
    let authority = Authority::create("test", Some([1; 32])).unwrap();
    let issued = authority
        .issue(&"n1".into(), &"eu".into(), &[], &[], NOW)
        .unwrap();
    Bench {
        host: testing::TestHost::at(NOW),
        authority,
        issued,
        file: testing::node_file("test", "n1", "eu"),
    }
}

impl Bench {
    fn check(&self) -> Result<Trust, TrustError> {
        let pem = TrustPem {
            ca: self.authority.cert_pem().into(),
            cert: self.issued.cert_pem.clone().into(),
            key: self.issued.key_pem.clone().into(),
        };
        Trust::check(&self.host, &self.file, &pem)
    }

    fn refusal(&self) -> String {
        self.check().err().expect("it must be refused").to_string()
    }
}

#[test]
fn the_files_of_one_issue_are_taken() {
    let trust = bench().check().unwrap();
    assert_eq!(
        trust.identity().to_string(),
        "spiffe://test/region/eu/node/n1"
    );
}

#[test]
fn the_names_must_be_those_of_node_yaml() {
    let mut other_cluster = bench();
    other_cluster.file.cluster = "prod".into();
    assert_eq!(
        other_cluster.refusal(),
        "node.pem is for cluster test, but cluster.name is prod; set cluster.name: test, or issue a certificate with that cluster's CA"
    );
    let mut other_node = bench();
    other_node.file.id = "n2".into();
    assert!(
        other_node
            .refusal()
            .contains("is for node n1, but node.id is n2")
    );
    let mut other_region = bench();
    other_region.file.region = "us".into();
    assert!(
        other_region
            .refusal()
            .contains("is for region eu, but node.region is us")
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let mut bench = bench();
    bench.issued.key_pem = bench
        .authority
        .issue(&"n2".into(), &"eu".into(), &[], &[], NOW)
        .unwrap()
        .key_pem;
    assert!(matches!(bench.check(), Err(TrustError::NotAPair { .. })));
}

#[test]
fn a_certificate_of_another_ca_is_refused() {
    let mut bench = bench();
    bench.authority = Authority::create("test", Some([2; 32])).unwrap();
    assert!(matches!(bench.check(), Err(TrustError::OtherCa { .. })));
}

#[test]
fn the_hosts_clock_decides_whether_a_certificate_is_valid() {
    let mut bench = bench();
    bench.host = testing::TestHost::at(NOW + Duration::from_secs(3 * 365 * 86_400));
    assert!(
        bench
            .refusal()
            .starts_with("node.pem expired at 2028-05-27T"),
        "{}",
        bench.refusal()
    );
    bench.host = testing::TestHost::at(NOW - Duration::from_secs(86_400));
    assert!(matches!(bench.check(), Err(TrustError::NotYetValid { .. })));
}

#[test]
fn files_that_hold_something_else_are_named() {
    let mut bench = bench();
    bench.issued.key_pem = bench.issued.cert_pem.clone();
    assert!(bench.refusal().starts_with("node.key holds no private key"));
    let mut other = self::bench();
    other.issued.cert_pem = "nothing".into();
    assert!(other.refusal().starts_with("node.pem holds no certificate"));
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let bench = bench();
    let error = Trust::load(&bench.host, &bench.file).await.err().unwrap();
    assert!(
        error.to_string().starts_with("ca.pem cannot be read"),
        "{error}"
    );
}

#[test]
fn a_ca_bundle_that_is_cut_short_is_not_taken_for_a_smaller_one() {
    let bench = bench();
    let other = Authority::create("test", Some([2; 32])).unwrap();
    let whole = format!("{}{}", bench.authority.cert_pem(), other.cert_pem());
    let pem = |ca: &str| TrustPem {
        ca: ca.into(),
        cert: bench.issued.cert_pem.clone().into(),
        key: bench.issued.key_pem.clone().into(),
    };
    let check = |ca: &str| Trust::check(&bench.host, &bench.file, &pem(ca));
    assert!(check(&whole).is_ok());
    let cut = check(&whole[..whole.len() - 60]).err().unwrap();
    assert!(matches!(cut, TrustError::Damaged { .. }), "{cut}");
}

/// What two nodes agree on in their handshake, with the very configurations of both endpoints.
#[test]
fn two_nodes_exchange_keys_that_a_quantum_computer_cannot_recover() {
    use rustls::{NamedGroup, ProtocolVersion, quic};

    let trust = bench().check().unwrap();
    let version = quic::Version::V1;
    let protocol = b"meridian-control/1";
    let name = "fabric.meridian.internal".try_into().unwrap();
    let mut client = quic::ClientConnection::new(
        Arc::new(trust.client(vec![protocol.to_vec()])),
        version,
        name,
        b"parameters".to_vec(),
    )
    .unwrap();
    let mut server = quic::ServerConnection::new(
        Arc::new(trust.server(vec![protocol.to_vec()])),
        version,
        b"parameters".to_vec(),
    )
    .unwrap();
    // Bytes of one key at a time: a change of keys ends a flight.
    while client.is_handshaking() || server.is_handshaking() {
        loop {
            let mut bytes = Vec::new();
            let more = client.write_hs(&mut bytes).is_some();
            server.read_hs(&bytes).unwrap();
            if !more {
                break;
            }
        }
        loop {
            let mut bytes = Vec::new();
            let more = server.write_hs(&mut bytes).is_some();
            client.read_hs(&bytes).unwrap();
            if !more {
                break;
            }
        }
    }
    for group in [
        client.negotiated_key_exchange_group(),
        server.negotiated_key_exchange_group(),
    ] {
        assert_eq!(group.unwrap().name(), NamedGroup::X25519MLKEM768);
    }
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(
        client.handshake_kind(),
        Some(rustls::HandshakeKind::Full),
        "in one round trip, without a retry for another group"
    );
}
