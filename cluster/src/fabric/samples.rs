//! Samples of what the fabric itself says, and the decoders of it.

use super::{
    spiffe::SpiffeId,
    wire::{Agreed, Form, Hello},
};
use crate::{
    corpus::Sample,
    fuzz::Target,
    version::{FIRST, Versions},
};

fn hello(versions: Versions) -> Hello {
    Hello {
        cluster: "plants".into(),
        cluster_id: "0123456789abcdef0123456789abcdef".into(),
        node: "eu-west-1".into(),
        region: "eu-west".into(),
        incarnation: 1_780_000_000_123,
        control: "10.1.0.1:7400".parse().unwrap(),
        bulk: "[2001:db8::1]:7450".parse().unwrap(),
        seat: 40,
        versions,
    }
}

fn read(bytes: &[u8], form: Form) -> Result<Vec<u8>, String> {
    let hello = Hello::decode(bytes, form).map_err(|fault| fault.to_string())?;
    Ok(hello.encode(form))
}

/// Both forms of the hello.
pub(crate) fn samples() -> Vec<Sample> {
    let sample = |version, bytes, again| Sample {
        name: "hello".into(),
        version,
        bytes,
        again,
    };
    vec![
        sample(1, hello(Versions::first()).encode(Form::First), |bytes| {
            read(bytes, Form::First)
        }),
        sample(
            2,
            hello(Versions::THIS_RELEASE).encode(Form::Second),
            |bytes| read(bytes, Form::Second),
        ),
    ]
}

fn greet(bytes: &[u8]) {
    let own = hello(Versions::THIS_RELEASE);
    let certificate = SpiffeId {
        cluster: own.cluster.clone(),
        region: own.region.clone(),
        node: own.node.clone(),
    };
    for form in [Form::First, Form::Second] {
        if let Ok(hello) = Hello::decode(bytes, form) {
            let agreed = Agreed {
                level: FIRST,
                removed: Some(7),
            };
            let _ = hello.judge(&certificate, &own, agreed);
        }
    }
}

/// What an unauthenticated or unjudged peer can send.
pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target::of("hello", greet),
        Target::of("certificate", |bytes| {
            let _ = SpiffeId::of(&bytes.into());
        })
        .with(certificates()),
        Target::of("close-reason", |bytes| {
            let _ = super::dial::number(bytes);
        })
        .with(vec![b"40".to_vec(), b"18446744073709551616".to_vec()]),
    ]
}

fn certificates() -> Vec<Vec<u8>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let authority = super::Authority::create("plants", Some([3; 32])).unwrap();
    let now = std::time::Duration::from_secs(1_780_000_000);
    let (node, region) = ("eu-west-1".into(), "eu-west".into());
    let issued = authority.issue(&node, &region, &[], &[], now).unwrap();
    [issued.cert_pem.as_str(), authority.cert_pem()]
        .map(|pem| {
            CertificateDer::from_pem_slice(pem.as_bytes())
                .unwrap()
                .to_vec()
        })
        .to_vec()
}
