//! A node that comes back meets the others before it lets clients in; one that has nothing to serve hears from them
//! first.
//!
//! In: the revision that lay on disk, the picture of the cluster, and the fabric's connections. Out: the
//! moment when every region of the document can be forwarded to, or when waiting longer would help nobody.
//! A node that serves from its disk at once knows no peer yet, and would refuse what only another region can
//! serve, though clients had been served well elsewhere until it appeared.

use std::time::Duration;

use meridian_cluster::{
    Cluster,
    membership::{Liveness, View},
};
use meridian_config::{
    document::Document,
    name::{NodeId, RegionName},
};
use tokio::{
    sync::watch,
    time::{Instant, interval, sleep_until},
};

/// Waits until this node has looked into a revision (`decided`), or until every node that it is connected to has said
/// that it has none either: the cluster waits for its first document. While it is connected to nobody it waits as long
/// as that lasts: clients may be served elsewhere, and here they would only hear that there is nothing to serve.
pub(super) async fn a_document(cluster: &Cluster, mut decided: watch::Receiver<bool>) {
    let alone = Instant::now() + ALONE;
    let mut said = false;
    let mut view = cluster.membership().watch();
    let mut peers = cluster.fabric().watch_peers();
    loop {
        view.mark_unchanged();
        peers.mark_unchanged();
        if *decided.borrow_and_update() {
            return;
        }
        let others = others(cluster, &cluster.membership().view());
        if others == Others::HaveNone {
            return;
        }
        tokio::select! {
            biased;
            () = sleep_until(alone), if others == Others::Unheard && !said => {
                said = true;
                tracing::warn!(
                    "no document yet, and no other node answers: clients are let in once one of both comes; if other \
                     nodes run, check fabric.join and that UDP passes"
                );
            }
            // All three senders live as long as the node.
            _ = decided.changed() => {}
            _ = view.changed() => {}
            _ = peers.changed() => {}
        }
    }
}

/// What other nodes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    /// A document.
    HaveOne,
    /// None of those that this node is connected to has one, and it has heard of each.
    HaveNone,
    /// Nobody has said yet.
    Unheard,
}

fn others(cluster: &Cluster, view: &View) -> Others {
    // Its own directory has one: it is being looked into.
    if cluster.directory().current().is_some() {
        return Others::HaveOne;
    }
    let members = || view.members.values().filter(|member| member.id != view.own);
    let has_one = members()
        .any(|member| member.announced.revision > 0 || member.announced.rejected.is_some());
    if has_one {
        return Others::HaveOne;
    }
    let peers = cluster.fabric().peers();
    let mut connected = peers.iter().filter(|peer| peer.connected).peekable();
    // What a node holds of facts it says from its start on.
    let heard =
        |id: &NodeId| members().any(|member| member.id == *id && member.announced.facts.is_some());
    if connected.peek().is_some() && connected.all(|peer| heard(&peer.identity.id)) {
        Others::HaveNone
    } else {
        Others::Unheard
    }
}

/// Waits until this node sees a majority of the voters up and knows who leads them: its connections stand a moment
/// before the others' answers to its probes are there, and the leader may be the farthest, so that a write in that
/// moment would be refused or wait. At most [`QUORUM`]; where it sees a majority, until [`WITH_OTHERS`] after `begun`, when it
/// began to meet the regions, if that is later. A node that is connected to nobody, or knows of no voters yet, does not wait.
pub(super) async fn a_leader(cluster: &Cluster, begun: Instant) {
    let soon = Instant::now() + QUORUM;
    let later = soon.max(begun + WITH_OTHERS);
    let mut looks = interval(LOOK);
    loop {
        let status = cluster.directory().status();
        let mut peers = cluster.fabric().peers().into_iter();
        let alone = !peers.any(|peer| peer.connected);
        let met = status.quorum && status.leader.is_some();
        if met || alone || status.voters.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            () = sleep_until(if status.quorum { later } else { soon }) => return,
            _ = looks.tick() => {}
        }
    }
}

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

/// For others to answer the probes of a node that has just connected to them, over the longest distances too.
const QUORUM: Duration = Duration::from_secs(1);

/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(25);

/// Others answer, but some region does not: a dial that lost a packet is given up after two seconds, and
/// one that follows takes half a second. Clients are served elsewhere meanwhile, as they were before.
const WITH_OTHERS: Duration = Duration::from_secs(4);
