//! Checks `node.yaml`: whether what is written makes sense.
//!
//! In: a [`NodeFileRaw`] and the folder of its file. Out: a [`NodeFile`]; if anything is wrong, mistakes
//! among the findings, and then the file, filled with defaults where it could not be, is not used.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path as Folder, PathBuf},
};

use super::{AdminFile, AdminTls, EdgeCertificate, FabricFile, NodeFile, listen, raw::*};
use crate::{
    diagnose::{Findings, Path, Place, quoted},
    document::host_name,
    name::{NodeId, RegionName},
    read::{At, Field, List, NAME_RULE, is_name},
};

/// Checks a file.
pub(super) fn node_file(
    raw: &NodeFileRaw,
    place: Place,
    folder: &Folder,
    findings: &mut Findings,
) -> NodeFile {
    let root = Path::default();
    let files = Files { folder };
    let cluster = raw.cluster.needed("cluster", &root, place, findings);
    let node = raw.node.needed("node", &root, place, findings);
    let fabric = raw.fabric.needed("fabric", &root, place, findings);
    let admin = raw.admin.needed("admin", &root, place, findings);
    let listen = listen::listen(raw.listen.given(), findings);
    let tls = certificates(&raw.tls, &files, findings);
    if let Some(https) = raw.listen.given().and_then(|listen| listen.https.given())
        && (!raw.tls.stands() || raw.tls.given().is_some_and(|list| list.empty))
    {
        findings.mistake(
            https.place,
            "listen.https: needs a certificate; add tls: [{ hosts: [api.example.com], cert: edge.pem, key: edge.key }]",
        );
    }
    let name =
        |field: Option<&Field<String>>, key: &str, at: Option<Place>, findings: &mut Findings| {
            let path = Path::default().key("node");
            let given = field?.needed(key, &path, at?, findings)?;
            if !is_name(given) {
                findings.mistake(given.place, format!("{}: {NAME_RULE}", path.key(key)));
            }
            Some(given.value.clone())
        };
    let at = node.map(|node| node.named);
    let id = name(node.map(|node| &node.id), "id", at, findings);
    let region = name(node.map(|node| &node.region), "region", at, findings);
    let data_dir = node.map(|node| {
        files.path(
            &node.data_dir,
            "data_dir",
            &root.key("node"),
            node.named,
            findings,
        )
    });
    NodeFile {
        cluster: cluster.map_or_else(String::new, |cluster| cluster_name(cluster, findings)),
        bootstrap: cluster.map_or_else(Vec::new, |cluster| bootstrap(cluster, findings)),
        id: NodeId::new(id.unwrap_or_default()),
        region: RegionName::new(region.unwrap_or_default()),
        data_dir: data_dir.unwrap_or_default(),
        fabric: self::fabric(fabric, &files, findings),
        admin: self::admin(admin, listen.admin, &files, findings),
        listen,
        tls,
    }
}

/// The name is the trust domain of SPIFFE ids, which knows small letters only (SPIFFE-ID, section 2.1).
fn cluster_name(raw: &At<ClusterRaw>, findings: &mut Findings) -> String {
    let path = Path::default().key("cluster");
    let Some(name) = raw.name.needed("name", &path, raw.named, findings) else {
        return String::new();
    };
    let path = path.key("name");
    if !is_name(name) {
        findings.mistake(name.place, format!("{path}: {NAME_RULE}"));
    } else if name.chars().any(|c| c.is_ascii_uppercase()) {
        findings.mistake(
            name.place,
            format!(
                "{path}: the name stands in certificates in small letters; write \"{}\"",
                name.to_ascii_lowercase()
            ),
        );
    }
    name.value.clone()
}

fn bootstrap(raw: &At<ClusterRaw>, findings: &mut Findings) -> Vec<NodeId> {
    let path = Path::default().key("cluster").key("bootstrap");
    let mut ids: Vec<NodeId> = Vec::new();
    for (index, id) in raw
        .bootstrap
        .given()
        .into_iter()
        .flat_map(|list| list.items())
    {
        let path = path.index(index);
        if !is_name(id) {
            findings.mistake(id.place, format!("{path}: {NAME_RULE}"));
        } else if ids.iter().any(|known| known.as_str() == id.as_str()) {
            findings.mistake(
                id.place,
                format!("{path}: {} stands twice in the list; keep one", quoted(id)),
            );
        }
        ids.push(NodeId::new(id.as_str()));
    }
    ids
}

fn fabric(raw: Option<&At<FabricRaw>>, files: &Files<'_>, findings: &mut Findings) -> FabricFile {
    let path = Path::default().key("fabric");
    let Some(raw) = raw else {
        return FabricFile {
            advertise: None,
            advertise_bulk: None,
            ca: PathBuf::new(),
            cert: PathBuf::new(),
            key: PathBuf::new(),
            join: Vec::new(),
        };
    };
    let mut advertised = |field: &Field<String>, key: &str| {
        let given = field.given()?;
        meeting_point(given, &path.key(key), findings);
        Some(given.value.clone())
    };
    let advertise = advertised(&raw.advertise, "advertise");
    let advertise_bulk = advertised(&raw.advertise_bulk, "advertise_bulk");
    let join_path = path.key("join");
    let mut join: Vec<String> = Vec::new();
    for (index, text) in raw.join.given().into_iter().flat_map(|list| list.items()) {
        meeting_point(text, &join_path.index(index), findings);
        if join.contains(&text.value) {
            findings.mistake(
                text.place,
                format!(
                    "{}: {} stands twice in the list; keep one",
                    join_path.index(index),
                    quoted(text)
                ),
            );
        }
        join.push(text.value.clone());
    }
    FabricFile {
        advertise,
        advertise_bulk,
        ca: files.path(&raw.ca, "ca", &path, raw.named, findings),
        cert: files.path(&raw.cert, "cert", &path, raw.named, findings),
        key: files.path(&raw.key, "key", &path, raw.named, findings),
        join,
    }
}

/// Checks `host:port` of a node as others reach it: a name or an address, and never one of "any".
fn meeting_point(text: &At<String>, path: &Path, findings: &mut Findings) {
    let shown = quoted(text);
    let Some((host, port)) = text.rsplit_once(':') else {
        findings.mistake(
            text.place,
            format!("{path}: {shown} has no port; write \"{}:7400\"", text.value),
        );
        return;
    };
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        findings.mistake(
            text.place,
            format!("{path}: {shown}: {port:?} is not a port; it must lie between 1 and 65535"),
        );
    }
    let Some(host) = host_name(host) else {
        findings.mistake(
            text.place,
            format!("{path}: {shown}: {host:?} is not a host name or address"),
        );
        return;
    };
    if host
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_unspecified())
    {
        findings.mistake(
            text.place,
            format!("{path}: {shown} is no address that a node could be reached at; write the node's own"),
        );
    }
}

fn certificates(
    raw: &Field<List<CertificateRaw>>,
    files: &Files<'_>,
    findings: &mut Findings,
) -> Vec<EdgeCertificate> {
    let path = Path::default().key("tls");
    let mut taken: BTreeMap<String, Place> = BTreeMap::new();
    let mut certificates = Vec::new();
    for (index, raw) in raw.given().into_iter().flat_map(|list| list.items()) {
        let path = path.index(index);
        let named = raw.hosts.needed("hosts", &path, raw.place, findings);
        if let Some(list) = named
            && list.empty
        {
            findings.mistake(
                list.place,
                format!(
                    "{}: the list is empty; name at least one",
                    path.key("hosts")
                ),
            );
        }
        let mut hosts = Vec::new();
        for (index, text) in named.into_iter().flat_map(|list| list.items()) {
            let path = path.key("hosts").index(index);
            let (wildcard, name) = match text.strip_prefix("*.") {
                Some(suffix) => ("*.", suffix),
                None => ("", text.as_str()),
            };
            let Some(name) = host_name(name) else {
                findings.mistake(
                    text.place,
                    format!("{path}: {} is not a host name", quoted(text)),
                );
                continue;
            };
            let host = format!("{wildcard}{name}");
            if let Some(place) = taken.insert(host.clone(), text.place) {
                let place = findings.name(place);
                findings.mistake(
                    text.place,
                    format!(
                        "{path}: {} has a certificate already ({place}); keep one",
                        quoted(text)
                    ),
                );
            }
            hosts.push(host);
        }
        certificates.push(EdgeCertificate {
            hosts,
            cert: files.path(&raw.cert, "cert", &path, raw.place, findings),
            key: files.path(&raw.key, "key", &path, raw.place, findings),
        });
    }
    certificates
}

fn admin(
    raw: Option<&At<AdminRaw>>,
    listen: SocketAddr,
    files: &Files<'_>,
    findings: &mut Findings,
) -> AdminFile {
    let path = Path::default().key("admin");
    let Some(raw) = raw else {
        return AdminFile {
            tokens: PathBuf::new(),
            tls: None,
        };
    };
    let any = raw.cert.stands() || raw.key.stands() || raw.client_ca.stands();
    let all = raw.cert.stands() && raw.key.stands() && raw.client_ca.stands();
    if !all && !listen.ip().is_loopback() {
        findings.mistake(
            raw.named,
            format!("{path}: {listen} is not on loopback, so the admin API must speak HTTPS; give cert, key and client_ca, or listen on 127.0.0.1"),
        );
    } else if any && !all {
        findings.mistake(
            raw.named,
            format!("{path}: cert, key and client_ca go together; give all three or none"),
        );
    }
    AdminFile {
        tokens: files.path(&raw.tokens, "tokens", &path, raw.named, findings),
        tls: all.then(|| AdminTls {
            cert: files.path(&raw.cert, "cert", &path, raw.named, findings),
            key: files.path(&raw.key, "key", &path, raw.named, findings),
            client_ca: files.path(&raw.client_ca, "client_ca", &path, raw.named, findings),
        }),
    }
}

/// Where relative paths start.
struct Files<'f> {
    folder: &'f Folder,
}

impl Files<'_> {
    /// The path under a key that must be given.
    fn path(
        &self,
        field: &Field<String>,
        key: &str,
        path: &Path,
        at: Place,
        findings: &mut Findings,
    ) -> PathBuf {
        let Some(given) = field.needed(key, path, at, findings) else {
            return PathBuf::new();
        };
        if given.is_empty() {
            findings.mistake(given.place, format!("{}: must not be empty", path.key(key)));
        }
        // The same reference as in gateway.yaml is understood here too.
        let text = given.strip_prefix("file:").unwrap_or(given.as_str());
        if text.starts_with("env:") {
            findings.mistake(
                given.place,
                format!("{}: names a variable, but a file is needed", path.key(key)),
            );
        }
        self.folder.join(text)
    }
}
