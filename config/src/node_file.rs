//! `node.yaml`: what one process needs before it can talk to anyone.
//!
//! In: the file's text and its folder. Out: a [`NodeFile`], or every mistake.

mod check;
mod listen;
mod raw;

use std::{
    net::SocketAddr,
    path::{Path as Folder, PathBuf},
};

use crate::{
    diagnose::{Diagnostic, Findings, Path, Place, Source},
    name::{NodeId, RegionName},
    read::Read,
    tree,
};

/// A whole `node.yaml` with comments. It passes the check.
pub const EXAMPLE: &str = include_str!("../example/node.yaml");

/// A checked `node.yaml`. Relative paths have been joined to the file's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFile {
    /// The cluster's name: the trust domain of its certificates.
    pub cluster: String,
    /// Nodes that found the cluster together; used only with an empty `data_dir`.
    pub bootstrap: Vec<NodeId>,
    /// This node's id.
    pub id: NodeId,
    /// This node's region.
    pub region: RegionName,
    /// Its folder of state.
    pub data_dir: PathBuf,
    /// Where it listens.
    pub listen: Listen,
    /// How it meets the other nodes.
    pub fabric: FabricFile,
    /// Edge certificates; the first serves clients without (or with an unknown) SNI.
    pub tls: Vec<EdgeCertificate>,
    /// The admin API's access.
    pub admin: AdminFile,
}

impl NodeFile {
    /// Reads and checks a node's file; relative paths in it start at `folder`.
    ///
    /// # Errors
    /// Every mistake in the file, in its order.
    pub fn parse(source: &Source, folder: &Folder) -> Result<Self, Vec<Diagnostic>> {
        let sources = std::slice::from_ref(source);
        let mut findings = Findings::in_sources(sources);
        let file = tree::parse(sources, &mut findings).and_then(|nodes| {
            let start = Place {
                source: 0,
                line: 1,
                column: 1,
            };
            if let Some(second) = nodes.get(1) {
                findings.mistake(second.place, "a node has one document; remove the others");
            }
            let Some(node) = nodes.first() else {
                findings.mistake(
                    start,
                    "the file is empty; see the example in the documentation",
                );
                return None;
            };
            let raw = raw::NodeFileRaw::read(node, &Path::default(), &mut findings)?;
            Some(check::node_file(&raw, node.place, folder, &mut findings))
        });
        findings.end()?;
        Ok(file.expect("a file that could not be read is a mistake"))
    }
}

/// The JSON Schema of a node's file, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::NodeFileRaw).to_value()
}

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Edge, plain HTTP.
    pub http: Option<SocketAddr>,
    /// Edge, HTTPS; needs `tls`.
    pub https: Option<SocketAddr>,
    /// Control fabric (UDP).
    pub fabric: SocketAddr,
    /// Bulk fabric (UDP).
    pub bulk: SocketAddr,
    /// Admin API.
    pub admin: SocketAddr,
}

/// How a node meets the other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FabricFile {
    /// The control address others reach it at (`host:port`); default: the listener's.
    pub advertise: Option<String>,
    /// The bulk address others reach it at; default: advertise's host with bulk's port.
    pub advertise_bulk: Option<String>,
    /// The cluster's CA certificates (PEM).
    pub ca: PathBuf,
    /// This node's certificate (PEM).
    pub cert: PathBuf,
    /// This node's key (PEM).
    pub key: PathBuf,
    /// Control addresses (`host:port`) of nodes to meet first.
    pub join: Vec<String>,
}

/// An edge certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeCertificate {
    /// Hosts it serves; `*.example.com` is allowed.
    pub hosts: Vec<String>,
    /// Certificate chain (PEM).
    pub cert: PathBuf,
    /// Key (PEM).
    pub key: PathBuf,
}

/// The admin API's access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminFile {
    /// The token file (`{ name, role, hash }` entries).
    pub tokens: PathBuf,
    /// Certificate and key for HTTPS; needed when not on loopback.
    pub tls: Option<AdminTls>,
}

/// HTTPS for the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTls {
    /// Certificate chain (PEM).
    pub cert: PathBuf,
    /// Key (PEM).
    pub key: PathBuf,
    /// CA of client certificates (PEM).
    pub client_ca: PathBuf,
}

#[cfg(test)]
mod tests;
