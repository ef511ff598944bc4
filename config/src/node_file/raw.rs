//! `node.yaml` as it may be written: keys and kinds of values, before anything is checked.
//!
//! In: a tree, by the readers that [`raw!`] makes. Out: raw types for [`super::check`].

use crate::read::{List, Written, raw};

raw! {
    /// What one process needs before it can talk to anyone.
    #[schemars(rename = "Node", extend("required" = ["cluster", "node", "fabric", "admin"]))]
    struct NodeFileRaw {
        /// The cluster.
        "cluster" => cluster: ClusterRaw,
        /// This node.
        "node" => node: NodeRaw,
        /// Where it listens.
        "listen" => listen: ListenRaw,
        /// How it meets the other nodes.
        "fabric" => fabric: FabricRaw,
        /// Edge certificates.
        "tls" => tls: List<CertificateRaw>,
        /// The admin API's access.
        "admin" => admin: AdminRaw,
    }
    refused: []
}

raw! {
    /// The cluster.
    #[schemars(rename = "Cluster", extend("required" = ["name"]))]
    struct ClusterRaw {
        /// Its name: the trust domain of its certificates.
        "name" => name: String,
        /// Nodes that found it together; read only with an empty `data_dir`.
        "bootstrap" => bootstrap: List<String>,
    }
    refused: []
}

raw! {
    /// This node.
    #[schemars(rename = "NodeIdentity", extend("required" = ["id", "region", "data_dir"]))]
    struct NodeRaw {
        /// Its id.
        "id" => id: String,
        /// Its region.
        "region" => region: String,
        /// Its folder of state.
        "data_dir" => data_dir: String,
    }
    refused: []
}

raw! {
    /// Where a node listens: `ADDRESS:PORT`.
    #[schemars(rename = "Listen")]
    struct ListenRaw {
        /// Edge, plain HTTP.
        "http" => http: Written,
        /// Edge, HTTPS.
        "https" => https: Written,
        /// Control fabric (UDP). Default: 0.0.0.0:7400.
        "fabric" => fabric: Written,
        /// Bulk fabric (UDP). Default: 0.0.0.0:7450.
        "bulk" => bulk: Written,
        /// Admin API. Default: 127.0.0.1:7500.
        "admin" => admin: Written,
    }
    refused: ["dns"]
}

raw! {
    /// How a node meets the other nodes.
    #[schemars(rename = "Fabric", extend("required" = ["ca", "cert", "key"]))]
    struct FabricRaw {
        /// The control address others reach it at.
        "advertise" => advertise: String,
        /// The bulk address others reach it at.
        "advertise_bulk" => advertise_bulk: String,
        /// The cluster's CA certificates (PEM).
        "ca" => ca: String,
        /// This node's certificate (PEM).
        "cert" => cert: String,
        /// This node's key (PEM).
        "key" => key: String,
        /// Control addresses of nodes to meet first.
        "join" => join: List<String>,
    }
    refused: []
}

raw! {
    /// An edge certificate.
    #[schemars(rename = "Certificate", extend("required" = ["hosts", "cert", "key"]))]
    struct CertificateRaw {
        /// Hosts it serves; `*.example.com` is allowed.
        "hosts" => hosts: List<String>,
        /// Certificate chain (PEM).
        "cert" => cert: String,
        /// Key (PEM).
        "key" => key: String,
    }
    refused: ["acme"]
}

raw! {
    /// The admin API's access.
    #[schemars(rename = "Admin", extend("required" = ["tokens"]))]
    struct AdminRaw {
        /// The token file.
        "tokens" => tokens: String,
        /// Certificate chain (PEM), for HTTPS.
        "cert" => cert: String,
        /// Key (PEM), for HTTPS.
        "key" => key: String,
        /// CA of client certificates (PEM), for HTTPS.
        "client_ca" => client_ca: String,
    }
    refused: []
}
