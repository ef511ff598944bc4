//! `meridian ca renew` and `meridian ca rotate`: certificates and authorities after the first.
//!
//! In: the authority's folder. Out: new files in it, each written whole or not at all; nodes take theirs in
//! while they run. While an authority follows another, `ca.pem` holds both, the signing one first.

use std::path::Path;

use meridian_cluster::fabric::Authority;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{load, put, refused, unwritable};
use crate::cli::{
    outcome::Failure,
    outside::{self, Readers},
};

/// The key of an authority that is about to follow the present one.
const NEXT_KEY: &str = "next.key";

/// Issues the nodes' certificates again, with new keys and the names they have: all, or the ones named.
/// Their ids.
pub(super) fn renew(folder: &Path, wanted: &[String]) -> Result<Vec<String>, Failure> {
    let authority = load(folder)?;
    let issued = issued(folder)?;
    if let Some(unknown) = wanted.iter().find(|id| !issued.contains(id)) {
        return Err(Failure::invalid(format!(
            "{} holds no certificate of node {unknown}; issue it first: meridian ca issue {} --node {unknown} --region REGION",
            folder.display(),
            folder.display()
        )));
    }
    let chosen: Vec<String> = issued
        .into_iter()
        .filter(|id| wanted.is_empty() || wanted.contains(id))
        .collect();
    for id in &chosen {
        let place = folder.join(id);
        let earlier = read(&place.join("node.pem"))?;
        let renewed = authority
            .renew(&earlier, outside::unix_time())
            .map_err(|error| refused(&error))?;
        put(&place.join("ca.pem"), authority.cert_pem(), Readers::All)?;
        put(&place.join("node.key"), &renewed.key_pem, Readers::Owner)?;
        put(&place.join("node.pem"), &renewed.cert_pem, Readers::All)?;
    }
    Ok(chosen)
}

/// Makes the authority that follows the present one. From now on it signs, and both are to be trusted.
pub(super) fn begin(folder: &Path) -> Result<(), Failure> {
    let present = load(folder)?;
    if certificates(present.cert_pem()).len() > 1 {
        return Err(Failure::failed(format!(
            "{} holds two authorities: a rotation is under way; renew the nodes' certificates (meridian ca renew {}), bring them to the nodes, then end it: meridian ca rotate {} --finish",
            folder.join("ca.pem").display(),
            folder.display(),
            folder.display()
        )));
    }
    let next = Authority::create(present.cluster(), None).map_err(|error| refused(&error))?;
    let both = format!("{}{}", next.cert_pem(), present.cert_pem());
    // The new key waits under another name until the certificate that needs it is there; `adopt_next`
    // takes it from there if this is broken off in between.
    put(&folder.join(NEXT_KEY), &next.key_pem(), Readers::Owner)?;
    put(&folder.join("ca.pem"), &both, Readers::All)?;
    adopt_next(folder)?;
    spread(folder, &both)
}

/// Ends a rotation: only the newer authority is to be trusted.
pub(super) fn finish(folder: &Path) -> Result<(), Failure> {
    let authority = load(folder)?;
    let found = certificates(authority.cert_pem());
    let [newest, _, ..] = &found[..] else {
        return Err(Failure::failed(format!(
            "{} holds one authority: no rotation is under way; begin one with meridian ca rotate {}",
            folder.join("ca.pem").display(),
            folder.display()
        )));
    };
    let mut behind = Vec::new();
    for id in issued(folder)? {
        let certificate = read(&folder.join(&id).join("node.pem"))?;
        if !authority.has_issued(&certificate, outside::unix_time()) {
            behind.push(id);
        }
    }
    if !behind.is_empty() {
        return Err(Failure::failed(format!(
            "the certificates of {} are still of the old authority, and these nodes would be locked out; renew them (meridian ca renew {}) and bring them to the nodes first, or remove the folders of nodes that are gone",
            behind.join(", "),
            folder.display()
        )));
    }
    put(&folder.join("ca.pem"), newest, Readers::All)?;
    spread(folder, newest)
}

/// Completes a rotation that was broken off between certificate and key.
pub(super) fn adopt_next(folder: &Path) -> Result<(), Failure> {
    let (next, key) = (folder.join(NEXT_KEY), folder.join("ca.key"));
    outside::rename(&next, &key).map_err(|error| unwritable(&key, &error))
}

/// Whether a key waits that fits the authority's certificate.
pub(super) fn next_fits(folder: &Path, certificate: &str) -> bool {
    outside::read_text(&folder.join(NEXT_KEY))
        .is_ok_and(|key| Authority::load(certificate, &key).is_ok())
}

/// Writes what is to be trusted into every node's folder.
fn spread(folder: &Path, bundle: &str) -> Result<(), Failure> {
    for id in issued(folder)? {
        put(&folder.join(id).join("ca.pem"), bundle, Readers::All)?;
    }
    Ok(())
}

/// The nodes that have a certificate in the folder.
fn issued(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut names = outside::list(folder).map_err(|error| unreadable(folder, &error))?;
    names.retain(|name| folder.join(name).join("node.pem").exists());
    Ok(names)
}

/// The certificates of a PEM text, each as a text of its own.
fn certificates(text: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    text.split(BEGIN)
        .skip(1)
        .map(|rest| format!("{BEGIN}{rest}"))
        .filter(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).is_ok())
        .collect()
}

fn read(path: &Path) -> Result<String, Failure> {
    outside::read_text(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::invalid(format!(
        "{} cannot be read: {error}; name the folder that `meridian ca init` made",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        authority::{init, issue},
        outcome::Exit,
    };

    fn made() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        init(place.path(), "prod").unwrap();
        for (id, region) in [("n1", "eu"), ("n2", "us")] {
            issue(place.path(), &id.into(), &region.into(), &[], &[]).unwrap();
        }
        place
    }

    fn text(place: &tempfile::TempDir, name: &str) -> String {
        outside::read_text(&place.path().join(name)).unwrap()
    }

    #[test]
    fn one_node_or_all_are_renewed() {
        let place = made();
        let before = [text(&place, "n1/node.key"), text(&place, "n2/node.key")];
        assert_eq!(renew(place.path(), &["n2".into()]).unwrap(), ["n2"]);
        assert_eq!(text(&place, "n1/node.key"), before[0]);
        assert_ne!(text(&place, "n2/node.key"), before[1]);
        assert_eq!(renew(place.path(), &[]).unwrap(), ["n1", "n2"]);
        assert_ne!(text(&place, "n1/node.key"), before[0]);
        let unknown = renew(place.path(), &["n3".into()]).unwrap_err();
        assert_eq!(unknown.exit, Exit::Invalid);
    }

    #[test]
    fn a_rotation_trusts_both_until_every_node_has_been_renewed() {
        let place = made();
        let old = text(&place, "ca.pem");
        assert_eq!(finish(place.path()).unwrap_err().exit, Exit::Failed);
        begin(place.path()).unwrap();
        let both = text(&place, "ca.pem");
        assert!(both.ends_with(&old) && both.len() > old.len());
        for node in ["n1/ca.pem", "n2/ca.pem"] {
            assert_eq!(text(&place, node), both);
        }
        assert_eq!(begin(place.path()).unwrap_err().exit, Exit::Failed);
        // One issued now is of the new authority, and trusts both.
        issue(place.path(), &"n3".into(), &"eu".into(), &[], &[]).unwrap();
        assert_eq!(text(&place, "n3/ca.pem"), both);
        renew(place.path(), &["n1".into()]).unwrap();
        let locked_out = finish(place.path()).unwrap_err();
        assert!(locked_out.message.contains("of n2 are"), "{locked_out}");
        renew(place.path(), &["n2".into()]).unwrap();
        finish(place.path()).unwrap();
        let new = text(&place, "ca.pem");
        assert_eq!(certificates(&both)[0], new);
        assert_eq!(text(&place, "n3/ca.pem"), new);
        begin(place.path()).unwrap();
    }

    #[test]
    fn a_rotation_that_was_broken_off_goes_on_at_the_next_command() {
        let place = made();
        let present = load(place.path()).unwrap();
        let next = Authority::create("prod", None).unwrap();
        put(
            &place.path().join(NEXT_KEY),
            &next.key_pem(),
            Readers::Owner,
        )
        .unwrap();
        // Before the certificate is written, nothing has happened.
        assert_eq!(renew(place.path(), &[]).unwrap().len(), 2);
        let both = format!("{}{}", next.cert_pem(), present.cert_pem());
        put(&place.path().join("ca.pem"), &both, Readers::All).unwrap();
        renew(place.path(), &[]).unwrap();
        assert_eq!(text(&place, "ca.key"), next.key_pem());
        finish(place.path()).unwrap();
    }
}
