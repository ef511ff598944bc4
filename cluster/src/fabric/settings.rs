//! What the fabric takes from `node.yaml`, and the addresses it makes of it.

use std::{net::SocketAddr, sync::Arc};

use meridian_config::{
    name::{NodeId, RegionName},
    node_file::NodeFile,
};

use super::FabricError;
use crate::{host::Host, version::Versions};

/// Where a node listens, and how others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FabricSettings {
    /// This node.
    pub id: NodeId,
    /// Its region.
    pub region: RegionName,
    /// Its cluster's name.
    pub cluster: String,
    /// Where the control endpoint listens; port 0 takes a free one.
    pub control: SocketAddr,
    /// Where the bulk endpoint listens; port 0 takes a free one.
    pub bulk: SocketAddr,
    /// The control address others reach it at (`host:port`); default: the listener's.
    pub advertise: Option<String>,
    /// The bulk address others reach it at; default: the advertised host with bulk's port.
    pub advertise_bulk: Option<String>,
    /// Control addresses (`host:port`) of nodes to meet first.
    pub join: Vec<String>,
    /// The versions of messages it reads.
    pub versions: Versions,
}

impl From<&NodeFile> for FabricSettings {
    fn from(file: &NodeFile) -> Self {
        Self {
            id: file.id.clone(),
            region: file.region.clone(),
            cluster: file.cluster.clone(),
            control: file.listen.fabric,
            bulk: file.listen.bulk,
            advertise: file.fabric.advertise.clone(),
            advertise_bulk: file.fabric.advertise_bulk.clone(),
            join: file.fabric.join.clone(),
            versions: Versions::THIS_RELEASE,
        }
    }
}

/// The addresses that a node's hello carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advertised {
    pub(super) control: SocketAddr,
    pub(super) bulk: SocketAddr,
}

impl FabricSettings {
    /// Settles the advertised addresses once both sockets are bound to `control` and `bulk`.
    pub(super) async fn advertised(
        &self,
        host: &Arc<dyn Host>,
        control: SocketAddr,
        bulk: SocketAddr,
    ) -> Result<Advertised, FabricError> {
        let control = match &self.advertise {
            Some(name) => resolve_first(host, "fabric.advertise", name).await?,
            None if control.ip().is_unspecified() => {
                return Err(FabricError::NoAdvertise { listen: control });
            }
            None => control,
        };
        let bulk = match &self.advertise_bulk {
            Some(name) => resolve_first(host, "fabric.advertise_bulk", name).await?,
            None => SocketAddr::new(control.ip(), bulk.port()),
        };
        Ok(Advertised { control, bulk })
    }
}

async fn resolve_first(
    host: &Arc<dyn Host>,
    key: &'static str,
    name: &str,
) -> Result<SocketAddr, FabricError> {
    let unknown = |cause: String| FabricError::Advertise {
        key,
        name: name.to_owned(),
        cause,
    };
    resolve(host, name)
        .await
        .map_err(|error| unknown(error.to_string()))?
        .first()
        .copied()
        .ok_or_else(|| unknown("it has no address".into()))
}

/// The addresses of `host:port`, in the order to try them.
pub(super) async fn resolve(host: &Arc<dyn Host>, name: &str) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let invalid = || {
        std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("{name:?} is not HOST:PORT"),
        )
    };
    let (name, port) = name.rsplit_once(':').ok_or_else(invalid)?;
    let port = port.parse().map_err(|_| invalid())?;
    host.resolve(name, port).await
}
