//! The files of a dev cluster: authorities, certificates, tokens, `node.yaml`s.
//!
//! In: the plan and the folder. Out: files; what exists and still fits is kept, so that a second start
//! finds its cluster again.

use std::{io, net::IpAddr};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::{
    folder::Folder,
    plan::{NodePlan, Plan},
};
use crate::{
    admin::{AdminToken, Role, entry},
    cli::{
        authority,
        outcome::Failure,
        outside::{self, Readers},
    },
};

/// The cluster's name.
pub(crate) const CLUSTER: &str = "dev";

/// Writes what the nodes need, and returns the admin token.
pub(crate) fn prepare(folder: &Folder, plan: &Plan) -> Result<String, Failure> {
    if !folder.authority().join("ca.key").exists() {
        authority::init(&folder.authority(), CLUSTER)?;
    }
    edge_certificate(folder)?;
    let token = admin_token(folder)?;
    for node in &plan.nodes {
        if !folder.authority().join(node.id.as_str()).exists() {
            let loopback = [IpAddr::from([127, 0, 0, 1])];
            authority::issue(&folder.authority(), &node.id, &node.region, &[], &loopback)?;
        }
        let place = folder.node(node.id.as_str()).join("node.yaml");
        folder.put(&place, node_yaml(plan, node).as_bytes(), Readers::All)?;
    }
    Ok(token)
}

/// A node's file. Paths are relative to it, so that the folder may be moved.
fn node_yaml(plan: &Plan, node: &NodePlan) -> String {
    let founders: Vec<String> = plan.founders().iter().map(ToString::to_string).collect();
    let join: Vec<String> = plan
        .nodes
        .iter()
        .filter(|other| other.id != node.id)
        .map(|other| format!("\"{}\"", other.fabric))
        .collect();
    let id = &node.id;
    format!(
        "# Written by `meridian dev` at each start.\n\
         cluster: {{ name: {CLUSTER}, bootstrap: [{}] }}\n\
         node: {{ id: {id}, region: {}, data_dir: data }}\n\
         listen: {{ http: \"{}\", https: \"{}\", fabric: \"{}\", bulk: \"{}\", admin: \"{}\" }}\n\
         fabric: {{ ca: ../../ca/{id}/ca.pem, cert: ../../ca/{id}/node.pem, key: ../../ca/{id}/node.key, join: [{}] }}\n\
         tls: [{{ hosts: [localhost], cert: ../../edge.pem, key: ../../edge.key }}]\n\
         admin: {{ tokens: ../../admin-tokens.yaml }}\n",
        founders.join(", "),
        node.region,
        node.http,
        node.https,
        node.fabric,
        node.bulk,
        node.admin,
        join.join(", "),
    )
}

/// The token that `admin.token` holds; made with the nodes' token file where missing.
fn admin_token(folder: &Folder) -> Result<String, Failure> {
    if folder.admin_tokens().exists()
        && let Ok(text) = outside::read_text(&folder.admin_token())
    {
        return Ok(text.trim().to_owned());
    }
    let token = AdminToken::new(outside::entropy());
    let mut line = entry("dev", Role::Admin, &token);
    line.push('\n');
    folder.put(&folder.admin_tokens(), line.as_bytes(), Readers::Owner)?;
    let text = format!("{}\n", token.reveal());
    folder.put(&folder.admin_token(), text.as_bytes(), Readers::Owner)?;
    Ok(token.reveal().to_owned())
}

/// The edge's certificate, fresh at each start, from an authority that is kept (clients trust it).
fn edge_certificate(folder: &Folder) -> Result<(), Failure> {
    let failed = |error: rcgen::Error| {
        Failure::failed(format!(
            "the edge's certificate could not be made: {error}; start afresh with `meridian dev --reset`"
        ))
    };
    let now = i64::try_from(outside::unix_time().as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let authority = match (
        outside::read_text(&folder.edge_ca()),
        outside::read_text(&folder.edge_ca_key()),
    ) {
        (Ok(certificate), Ok(key)) => {
            Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&key).map_err(failed)?)
                .map_err(failed)?
        }
        (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::failed(format!(
                "the edge's authority in {} cannot be read: {error}; start afresh with `meridian dev --reset`",
                folder.root().display()
            )));
        }
        _ => {
            let key = KeyPair::generate().map_err(failed)?;
            let mut parameters = CertificateParams::default();
            parameters
                .distinguished_name
                .push(DnType::CommonName, "Meridian dev edge CA");
            parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            parameters.not_before = now - Duration::HOUR;
            parameters.not_after = now + Duration::days(3650);
            let certificate = parameters.self_signed(&key).map_err(failed)?.pem();
            let key_pem = key.serialize_pem();
            folder.put(&folder.edge_ca_key(), key_pem.as_bytes(), Readers::Owner)?;
            folder.put(&folder.edge_ca(), certificate.as_bytes(), Readers::All)?;
            Issuer::new(parameters, key)
        }
    };
    let key = KeyPair::generate().map_err(failed)?;
    let mut parameters =
        CertificateParams::new(vec!["localhost".into(), "*.localhost".into()]).map_err(failed)?;
    for address in [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        parameters
            .subject_alt_names
            .push(SanType::IpAddress(address));
    }
    parameters
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    parameters.not_before = now - Duration::HOUR;
    parameters.not_after = now + Duration::days(397);
    let certificate = parameters
        .signed_by(&key, &authority)
        .map_err(failed)?
        .pem();
    let (certificate_path, key_path) = folder.edge_certificate();
    folder.put(&key_path, key.serialize_pem().as_bytes(), Readers::Owner)?;
    folder.put(&certificate_path, certificate.as_bytes(), Readers::All)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use meridian_config::{diagnose::Source, document::Document, node_file::NodeFile};

    use super::*;
    use crate::dev::document;

    #[test]
    fn every_written_file_passes_its_check() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let plan = Plan::new::<Infallible>(2, |_, _, wanted| Ok(wanted)).unwrap();
        let token = prepare(&folder, &plan).unwrap();
        assert_eq!(prepare(&folder, &plan).unwrap(), token, "the token is kept");
        for node in &plan.nodes {
            let path = folder.node(node.id.as_str());
            let source = Source {
                name: "node.yaml".into(),
                text: outside::read_text(&path.join("node.yaml")).unwrap(),
            };
            let file = NodeFile::parse(&source, &path).unwrap();
            assert_eq!(file.id, node.id);
            assert_eq!(file.listen.https, Some(node.https));
            assert_eq!(file.fabric.join.len(), plan.nodes.len() - 1);
            for named in [
                &file.fabric.ca,
                &file.fabric.cert,
                &file.fabric.key,
                &file.tls[0].cert,
            ] {
                assert!(named.exists(), "{}", named.display());
            }
        }
        let source = Source {
            name: "gateway.yaml".into(),
            text: document::text(&plan),
        };
        let parsed = Document::parse(&[source]).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        assert_eq!(parsed.document.tenants.len(), 3);
        assert_eq!(parsed.document.regions.len(), 3);
    }
}
