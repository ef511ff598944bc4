//! A node that comes back meets the others before it lets clients in.
//!
//! In: the revision that lay on disk, and the picture of the cluster. Out: the moment when every region of
//! the document is up, or when waiting longer would help nobody. A node that serves from its disk at once
//! knows no peer yet, and would refuse what only another region can serve, though clients had been
//! served well elsewhere until it appeared.

use std::time::Duration;

use meridian_cluster::{Cluster, membership::Liveness};
use meridian_config::document::Document;
use tokio::time::timeout;

/// Waits until every region of the last revision is up, at most [`PATIENCE`]. A node without a revision
/// has nothing to serve and does not wait.
pub(super) async fn all_regions(cluster: &Cluster) {
    let Some(revision) = cluster.directory().current() else {
        return;
    };
    let Ok(parsed) = Document::parse(&revision.files) else {
        // An older version's document: the adopter says so.
        return;
    };
    let regions = parsed.document.regions;
    let mut view = cluster.membership().watch();
    let up = view.wait_for(|view| {
        regions.keys().all(|region| {
            let health = view.regions.get(region);
            health.is_some_and(|health| health.liveness == Liveness::Up)
        })
    });
    let met = timeout(PATIENCE, up).await.is_ok();
    tracing::trace!(target: "meridian::decision", met, "opens to clients");
}

/// A dial and five probes of the farthest region take about a second. Half as much again, and a region that
/// is still not there is taken for dead: a node that starts alone must serve its last revision within two.
const PATIENCE: Duration = Duration::from_millis(1500);
