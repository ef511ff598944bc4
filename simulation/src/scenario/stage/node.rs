//! A gateway node of a run: its machine, its `node.yaml`, and what the run knows of it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use meridian_cluster::version::Versions;
use meridian_config::{
    name::{NodeId, RegionName},
    node_file::{AdminFile, FabricFile, Listen, NodeFile},
};

use crate::{
    gateway::{Gateway, Mistakes},
    scenario::Spot,
    world::{End, MachineId, Place},
};

/// A gateway node's machine.
pub(in crate::scenario) struct Node {
    pub(in crate::scenario) machine: MachineId,
    pub(in crate::scenario) place: Place,
    /// Its region and number, by which faults name it.
    pub(in crate::scenario) spot: Spot,
    pub(super) file: NodeFile,
    /// The versions that its program reads.
    pub(super) versions: Versions,
    /// The running node's insides, once it has handed them out.
    pub(super) gateway: Slot,
    pub(super) end: End,
    pub(super) collapsed: bool,
    /// Planted ones.
    pub(super) mistakes: Mistakes,
    /// It was told to stop.
    pub(super) stopping: bool,
    /// Whether it is, or is about to be, one of the cluster.
    pub(super) member: bool,
    /// Whether clients know of it.
    pub(super) known: bool,
    /// Clients and operators were told that it leaves.
    pub(super) leaving: bool,
}

/// Where a node's insides arrive.
pub(super) type Slot = Arc<Mutex<Option<Gateway>>>;

impl Node {
    pub(in crate::scenario) fn gateway(&self) -> Option<Gateway> {
        let slot = self.gateway.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
    }

    /// Whether it has no document to serve.
    pub(in crate::scenario) fn is_empty(&self) -> bool {
        self.gateway().is_none_or(|gateway| gateway.revision() == 0)
    }

    /// Whether it takes work: it was not told to stop. One that is no member is not asked.
    pub(in crate::scenario) fn takes_work(&self) -> bool {
        !self.stopping || !self.member
    }

    /// Whether operators were told that it leaves.
    pub(in crate::scenario) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether clients and operators know of it: it serves, and will not leave.
    pub(in crate::scenario) fn is_known(&self) -> bool {
        self.known
    }

    /// Whether it is one of the cluster, or about to be.
    pub(in crate::scenario) fn is_member(&self) -> bool {
        self.member
    }

    pub(in crate::scenario) fn id(&self) -> &NodeId {
        &self.file.id
    }

    pub(in crate::scenario) fn name(&self) -> String {
        self.file.id.to_string()
    }
}

/// The `node.yaml` of a node among all that found the cluster.
pub(super) fn node_file(name: &str, region: RegionName, all: &[(String, Spot)]) -> NodeFile {
    let everywhere = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let others = all.iter().filter(|(other, _)| other != name);
    NodeFile {
        cluster: CLUSTER.to_owned(),
        bootstrap: all
            .iter()
            .map(|(id, _)| NodeId::from(id.as_str()))
            .collect(),
        id: NodeId::from(name),
        region,
        data_dir: PathBuf::from("/var/lib/meridian"),
        listen: Listen {
            http: Some(everywhere(HTTP_PORT)),
            https: None,
            fabric: everywhere(FABRIC_PORT),
            bulk: everywhere(BULK_PORT),
            admin: SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT)),
        },
        fabric: FabricFile {
            advertise: Some(format!("{name}:{FABRIC_PORT}")),
            advertise_bulk: Some(format!("{name}:{BULK_PORT}")),
            ca: PathBuf::from(CA),
            cert: PathBuf::from(CERT),
            key: PathBuf::from(KEY),
            join: others
                .map(|(other, _)| format!("{other}:{FABRIC_PORT}"))
                .collect(),
        },
        tls: Vec::new(),
        admin: AdminFile {
            tokens: PathBuf::from(TOKENS),
            tls: None,
        },
    }
}

pub(super) const CLUSTER: &str = "simulated";
pub(super) const CA: &str = "/etc/meridian/ca.pem";
pub(super) const CERT: &str = "/etc/meridian/node.pem";
pub(super) const KEY: &str = "/etc/meridian/node.key";
pub(super) const TOKENS: &str = "/etc/meridian/admin-tokens.yaml";

// The ports that INTERFACE section 1 gives as defaults.
pub(super) const HTTP_PORT: u16 = 8080;
pub(super) const FABRIC_PORT: u16 = 7400;
pub(super) const BULK_PORT: u16 = 7450;
pub(super) const ADMIN_PORT: u16 = 7500;
