//! Whose data folder it is: cluster, node, and the cluster's id once it has one.
//!
//! In: what `node.yaml` says. Out: the file `identity`, or a refusal to run on another's folder.

use meridian_config::name::NodeId;
use serde::{Deserialize, Serialize};

use super::BootstrapError;
use crate::{
    consensus::set_file_aside,
    host::{Host, blocking},
    wire::{self, Unreadable},
};

const FILE: &str = "identity";

/// What the data folder remembers of the cluster it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) cluster: String,
    pub(super) node: NodeId,
    pub(super) cluster_id: Option<String>,
    /// The number of the node's seat in that cluster; 0 for founders and before it has one.
    pub(super) seat: u64,
}

impl Identity {
    /// Reads the identity, writes it where there is none, and refuses one that is another's.
    pub(super) async fn claim(
        host: &dyn Host,
        cluster: &str,
        node: &NodeId,
    ) -> Result<Self, BootstrapError> {
        let files = host.files();
        let Some(bytes) = blocking(host, move || files.read(FILE)).await? else {
            let identity = Self {
                cluster: cluster.to_owned(),
                node: node.clone(),
                cluster_id: None,
                seat: 0,
            };
            identity.save(host).await?;
            return Ok(identity);
        };
        let stored: Self = match wire::unseal(&bytes) {
            Ok(stored) => stored,
            Err(why @ Unreadable::Version { .. }) => {
                return Err(BootstrapError::UnknownIdentity(why.to_string()));
            }
            Err(why) => {
                let (files, ms) = (host.files(), host.unix_time().as_millis());
                let aside = blocking(host, move || set_file_aside(&*files, FILE, ms)).await?;
                tracing::error!(
                    "the file {FILE} in data_dir is damaged ({why}) and is now {aside}; this node goes on with its log, or joins its cluster again, and founds none"
                );
                // Written again once the cluster's id is known.
                return Ok(Self {
                    cluster: cluster.to_owned(),
                    node: node.clone(),
                    cluster_id: None,
                    seat: 0,
                });
            }
        };
        if stored.cluster != cluster {
            return Err(BootstrapError::OtherCluster {
                stored: stored.cluster,
                configured: cluster.to_owned(),
            });
        }
        if stored.node != *node {
            return Err(BootstrapError::OtherNode {
                stored: stored.node,
                configured: node.clone(),
            });
        }
        Ok(stored)
    }

    /// Whether an identity of this data folder was damaged once: it may have belonged to a cluster.
    pub(super) async fn was_lost(host: &dyn Host) -> std::io::Result<bool> {
        let files = host.files();
        let lost = blocking(host, move || files.list(&format!("{FILE}.damaged-"))).await?;
        Ok(!lost.is_empty())
    }

    /// Remembers the identity for good.
    pub(super) async fn save(&self, host: &dyn Host) -> std::io::Result<()> {
        let (files, bytes) = (host.files(), wire::seal(self));
        blocking(host, move || files.write(FILE, &bytes)).await
    }
}
