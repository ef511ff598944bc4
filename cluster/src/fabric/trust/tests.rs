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
