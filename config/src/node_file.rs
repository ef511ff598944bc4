//! `node.yaml`: what one process needs before it can talk to anyone.

use std::{net::SocketAddr, path::PathBuf};

use crate::name::{NodeId, RegionName};

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
