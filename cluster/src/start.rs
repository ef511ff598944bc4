//! A node's part in its cluster, put together: trust, fabric, membership, directory.

use std::{collections::BTreeMap, fmt, sync::Arc};

use meridian_config::{name::NodeId, node_file::NodeFile};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    bootstrap::{self, Advice, BootstrapError, Greeting, Origin, Restorer, Start},
    consensus::Profile,
    directory::{Directory, DocumentCheck},
    fabric::{Fabric, FabricError, FabricSettings, Kind, Trust, TrustError},
    facts::{Facts, Parts},
    host::Host,
    membership::Membership,
    quota::{
        onlooker::Onlooker,
        params::Params,
        service::{Quota, Stage},
    },
    renewal::Renewals,
    version::Versions,
};

/// A node's part in its cluster. Clones share it.
#[derive(Clone)]
pub struct Cluster {
    fabric: Fabric,
    membership: Membership,
    directory: Directory,
    quota: Quota,
    renewals: Renewals,
    facts: Facts,
    restorer: Restorer,
}

/// What a node brings along to its cluster beside `node.yaml`.
pub struct Options {
    /// The timings of Raft; the same on all nodes.
    pub profile: Profile,
    /// Where the cluster comes from while this node has no log.
    pub origin: Origin,
    /// Says whether a document is one, before it is proposed.
    pub check: DocumentCheck,
    /// The versions of messages it reads: those of this release, or of the one before in a test of both.
    pub versions: Versions,
    /// The times that the quota rests on: [`Params::DEFAULT`] but where a simulation plants a mistake.
    pub quota: Params,
    /// Looks on at limits, in a simulation.
    pub onlooker: Option<Arc<dyn Onlooker>>,
}

/// Why a node cannot take part in its cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates, keys.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Sockets and addresses.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// The data folder.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

impl Cluster {
    /// Opens what this node holds on disk, binds the fabric, and begins to meet the other nodes.
    ///
    /// Returns as soon as the node can serve its last revision; joining and founding go on behind it. All
    /// tasks are `tracker`'s and end after `stop` is cancelled. After an error nothing is left running
    /// once `stop` is cancelled.
    pub async fn start(
        host: Arc<dyn Host>,
        file: &NodeFile,
        options: Options,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, StartError> {
        let trust = Trust::load(&host, file).await?;
        let fabric = Fabric::start(
            Arc::clone(&host),
            FabricSettings {
                versions: options.versions,
                ..FabricSettings::from(file)
            },
            trust.clone(),
            tracker.clone(),
            stop.clone(),
        )
        .await?;
        let renewals = Renewals::default();
        let followed = trust.followed(&host, file);
        let following = renewals
            .clone()
            .follow(Arc::clone(&host), followed, stop.clone());
        tracker.spawn(following);
        let membership = Membership::start(&fabric, &file.cluster, tracker, stop.clone());
        let facts = Facts::start(Parts {
            host: Arc::clone(&host),
            transport: Arc::new(fabric.clone()),
            view: membership.watch(),
            tracker: tracker.clone(),
            stop: stop.clone(),
        })
        .await
        .map_err(BootstrapError::Files)?;
        fabric.register(Kind::Facts, facts.handler());
        let start = Start {
            host,
            transport: Arc::new(fabric.clone()),
            view: membership.watch(),
            own: file.id.clone(),
            region: file.region.clone(),
            cluster: file.cluster.clone(),
            bootstrap: file.bootstrap.clone(),
            origin: options.origin,
            profile: options.profile,
            check: options.check,
            versions: options.versions,
            incarnation: fabric.incarnation(),
            quota: options.quota,
            onlooker: options.onlooker,
            greeting: Arc::new(fabric.clone()),
            tracker: tracker.clone(),
            stop: stop.clone(),
        };
        let (directory, quota, restorer) = bootstrap::start(start, &|kind, handler| {
            fabric.register(kind, handler);
        })
        .await?;
        let gossip = membership.clone();
        facts.join(directory.clone(), move |digest| {
            gossip.announce(|announced| announced.facts = Some(digest));
        });
        Ok(Self {
            fabric,
            membership,
            directory,
            quota,
            renewals,
            facts,
            restorer,
        })
    }

    /// The connections to all other nodes.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Who is alive, and what each says of itself.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Which certificates are in force; other parts of the node add theirs.
    pub fn renewals(&self) -> &Renewals {
        &self.renewals
    }

    /// Revocations and blocks.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What an operator should know about how the cluster stands.
    pub fn advice(&self) -> Vec<Advice> {
        let (status, seats) = (self.directory.status(), self.directory.seats());
        let marks = self.directory.marks().borrow().clone();
        let mut advice = Advice::all(&status, &seats, &self.membership.view(), &marks);
        if self.restorer.is_awaited() {
            advice.push(Advice::AwaitsRestore);
        }
        match self.quota.stage() {
            Stage::Alone if !status.voters.is_empty() => advice.push(Advice::LimitsAlone),
            Stage::Assumed => advice.push(Advice::LimitsAssumed),
            _ => {}
        }
        advice
    }

    /// What this node holds of limits that all nodes share.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// What restores a backup.
    pub fn restorer(&self) -> &Restorer {
        &self.restorer
    }

    /// The replicated documents.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
}

impl Greeting for Fabric {
    fn set_member(&self, cluster_id: &str, seat: u64) {
        Self::set_member(self, cluster_id, seat);
    }

    fn set_removed(&self, removed: BTreeMap<NodeId, u64>) {
        Self::set_removed(self, removed);
    }

    fn set_level(&self, level: u8) {
        Self::set_level(self, level);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("fabric", &self.fabric)
            .field("membership", &self.membership)
            .finish_non_exhaustive()
    }
}
