//! A node that comes back meets the others before it lets clients in.
//!
//! In: the revision that lay on disk, the picture of the cluster, and the fabric's connections. Out: the
//! moment when every region of the document can be forwarded to, or when waiting longer would help nobody.
//! A node that serves from its disk at once knows no peer yet, and would refuse what only another region can
//! serve, though clients had been served well elsewhere until it appeared.

use std::time::Duration;

use meridian_cluster::{Cluster, membership::Liveness};
use meridian_config::{document::Document, name::RegionName};
use tokio::time::{Instant, sleep_until};

/// Waits until every region of the last revision is up and a bulk connection to it stands: at most
/// [`ALONE`] while no other node answers at all, at most [`WITH_OTHERS`] once one does. A node without a
/// revision has nothing to serve and does not wait.
pub(super) async fn all_regions(cluster: &Cluster) {
    let Some(revision) = cluster.directory().current() else {
        return;
    };
    let Ok(parsed) = Document::parse(&revision.files) else {
        // An older version's document: the adopter says so.
        return;
    };
    let regions: Vec<RegionName> = parsed.document.regions.keys().cloned().collect();
    let begun = Instant::now();
    let mut view = cluster.membership().watch();
    let mut peers = cluster.fabric().watch_peers();
    let met = loop {
        // Marked as seen first, so that no change is missed between look and wait.
        view.mark_unchanged();
        peers.mark_unchanged();
        if is_met(cluster, &regions) {
            break true;
        }
        let alone = !cluster.fabric().peers().iter().any(|peer| peer.connected);
        let patience = if alone { ALONE } else { WITH_OTHERS };
        tokio::select! {
            biased;
            () = sleep_until(begun + patience) => break false,
            // Both senders live as long as the cluster.
            _ = view.changed() => {}
            _ = peers.changed() => {}
        }
    };
    tracing::trace!(target: "meridian::decision", met, "opens to clients");
}

/// Whether every region can be forwarded to. Begins the bulk connections that are missing: the first
/// request would wait for its handshake, and that takes as long as a forward may wait for a stream.
fn is_met(cluster: &Cluster, regions: &[RegionName]) -> bool {
    let view = cluster.membership().view();
    let mut met = true;
    for region in regions.iter().filter(|region| **region != view.own_region) {
        let up = || {
            let members = view.members.values();
            members.filter(|member| member.region == *region && member.liveness == Liveness::Up)
        };
        if !up().any(|member| cluster.fabric().has_bulk(&member.id)) {
            met = false;
            for member in up() {
                cluster.fabric().prepare_bulk(&member.id);
            }
        }
    }
    met
}

/// Nobody answers for this long: this node is alone, and must serve its last revision within two seconds of
/// its start. A dial takes less than half a second over the longest distances.
const ALONE: Duration = Duration::from_millis(1500);

/// Others answer, but some region does not: a dial that lost a packet is given up after two seconds, and
/// one that follows takes half a second. Clients are served elsewhere meanwhile, as they were before.
const WITH_OTHERS: Duration = Duration::from_secs(4);
