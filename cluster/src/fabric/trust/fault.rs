//! What can be wrong with the files that say who a node is, each in one sentence with what to do.

use meridian_config::name::{NodeId, RegionName};

use crate::fabric::spiffe::NoIdentity;

/// Why a node cannot prove who it is. `place` is the file as `node.yaml` names it.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read.
    #[error(
        "{place} cannot be read: {cause}; `meridian ca issue` writes ca.pem, node.pem and node.key"
    )]
    Unreadable {
        /// The file.
        place: String,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{place} holds no {wanted} in PEM form; give the file that `meridian ca issue` wrote")]
    Empty {
        /// The file.
        place: String,
        /// Certificate or private key.
        wanted: &'static str,
    },
    /// A certificate in a file is damaged or cut short.
    #[error(
        "a certificate in {place} is damaged or cut short; copy the file that `meridian ca` wrote once more"
    )]
    Damaged {
        /// The file.
        place: String,
    },
    /// The certificate cannot serve.
    #[error(
        "{place} cannot be used: {cause}; issue the node's certificate with `meridian ca issue`"
    )]
    Identity {
        /// The file.
        place: String,
        /// Why.
        cause: NoIdentity,
    },
    /// The key cannot serve.
    #[error(
        "{place} is not a key this version can use: {cause}; issue the node's files again with `meridian ca issue`"
    )]
    Key {
        /// The file.
        place: String,
        /// What the crypto library said.
        cause: rustls::Error,
    },
    /// Certificate and key are not a pair.
    #[error("{key} is not the key of {cert}; give the two files of one `meridian ca issue`")]
    NotAPair {
        /// The key's file.
        key: String,
        /// The certificate's file.
        cert: String,
    },
    /// Another CA issued the certificate.
    #[error(
        "{cert} was not issued by the CA in {ca} ({cause}); give the ca.pem of this cluster, or issue the certificate again with `meridian ca issue`"
    )]
    OtherCa {
        /// The certificate's file.
        cert: String,
        /// The CA's file.
        ca: String,
        /// What the check said.
        cause: rustls::Error,
    },
    /// The certificate's time is over.
    #[error("{cert} expired at {end}; renew it with `meridian ca renew`")]
    Expired {
        /// The certificate's file.
        cert: String,
        /// When it expired.
        end: String,
    },
    /// The certificate's time has not come.
    #[error(
        "{cert} is valid only from {start}, and this machine's clock says {now}; set the clock"
    )]
    NotYetValid {
        /// The certificate's file.
        cert: String,
        /// When it becomes valid.
        start: String,
        /// The wall clock.
        now: String,
    },
    /// The certificate is for another cluster.
    #[error(
        "{cert} is for cluster {found}, but cluster.name is {wanted}; set cluster.name: {found}, or issue a certificate with that cluster's CA"
    )]
    OtherCluster {
        /// The certificate's file.
        cert: String,
        /// The certificate's trust domain.
        found: String,
        /// What `node.yaml` says.
        wanted: String,
    },
    /// The certificate is another node's.
    #[error(
        "{cert} is for node {found}, but node.id is {wanted}; give node {wanted} its own certificate (`meridian ca issue DIR --node {wanted} --region …`)"
    )]
    OtherNode {
        /// The certificate's file.
        cert: String,
        /// The certificate's node.
        found: NodeId,
        /// What `node.yaml` says.
        wanted: NodeId,
    },
    /// The certificate names another region.
    #[error(
        "{cert} is for region {found}, but node.region is {wanted}; set node.region: {found}, or issue the certificate again with --region {wanted}"
    )]
    OtherRegion {
        /// The certificate's file.
        cert: String,
        /// The certificate's region.
        found: RegionName,
        /// What `node.yaml` says.
        wanted: RegionName,
    },
}
