//! Counts what the fabric refused, and says each cause in the log once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Mutex, MutexGuard},
};

/// Why something of a peer was refused. The names are few and fixed, so that they can label a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Refusal {
    /// No CA that this node trusts has issued its certificate.
    Authority,
    /// Its certificate has expired, or is not valid yet, by the judge's clock.
    Expired,
    /// Its certificate names no node of this cluster.
    Name,
    /// Its certificate cannot be used for another reason.
    Certificate,
    /// Its hello names another node than its certificate.
    Node,
    /// Its hello names another region than its certificate.
    Region,
    /// It belongs to a cluster of another name.
    ClusterName,
    /// It belongs to a cluster of the same name that was founded apart.
    ClusterId,
    /// It speaks, or sent a message in, a version that this node does not know.
    Version,
    /// Its first message is no hello.
    Hello,
    /// Control and bulk ports are mixed up.
    Protocol,
    /// It started before the node of that id that is already known.
    Stale,
    /// Too many nodes are known.
    Full,
    /// It did not greet in time.
    Silent,
    /// The handshake failed, and not over a certificate.
    Handshake,
    /// The peer refused this node, and said why.
    There,
    /// A message or stream of a kind that nobody here takes.
    Kind,
    /// A datagram of a kind that nobody here takes.
    Datagram,
    /// A message above the size limit.
    Size,
    /// A message that did not come to its end in time.
    Slow,
    /// A message that its handler did not answer.
    Handler,
    /// A queue of this node was full.
    Overload,
    /// Gossip by stream that cannot be taken.
    Gossip,
    /// Nobody answers at an address of `fabric.join`.
    Join,
    /// It was removed from the cluster.
    Removed,
}

/// Every cause, in the order of the metric's page.
const ALL: [Refusal; 25] = [
    Refusal::Authority,
    Refusal::Expired,
    Refusal::Name,
    Refusal::Certificate,
    Refusal::Node,
    Refusal::Region,
    Refusal::ClusterName,
    Refusal::ClusterId,
    Refusal::Version,
    Refusal::Hello,
    Refusal::Protocol,
    Refusal::Stale,
    Refusal::Full,
    Refusal::Silent,
    Refusal::Handshake,
    Refusal::There,
    Refusal::Kind,
    Refusal::Datagram,
    Refusal::Size,
    Refusal::Slow,
    Refusal::Handler,
    Refusal::Overload,
    Refusal::Gossip,
    Refusal::Join,
    Refusal::Removed,
];

impl Refusal {
    /// Its name in the metric and in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Expired => "expired",
            Self::Name => "name",
            Self::Certificate => "certificate",
            Self::Node => "node",
            Self::Region => "region",
            Self::ClusterName => "cluster-name",
            Self::ClusterId => "cluster-id",
            Self::Version => "version",
            Self::Hello => "hello",
            Self::Protocol => "protocol",
            Self::Stale => "stale",
            Self::Full => "full",
            Self::Silent => "silent",
            Self::Handshake => "handshake",
            Self::There => "refused-there",
            Self::Kind => "kind",
            Self::Datagram => "datagram",
            Self::Size => "message-size",
            Self::Slow => "slow-message",
            Self::Handler => "handler-failed",
            Self::Overload => "overload",
            Self::Gossip => "gossip-stream",
            Self::Join => "join",
            Self::Removed => "removed",
        }
    }
}

/// Counters by cause.
#[derive(Default)]
pub(super) struct Refusals(Mutex<State>);

#[derive(Default)]
struct State {
    counts: BTreeMap<Refusal, u64>,
    said: BTreeSet<(Refusal, String)>,
}

/// Causes and peers that the log has named. A cluster has fewer; when a stranger fills it with invented
/// names, later ones are counted and not said.
const SAID_LIMIT: usize = 512;

impl Refusals {
    /// Counts one refusal of `who`. The first of its cause and peer is logged as a warning.
    pub(super) fn note(&self, cause: Refusal, who: &str, why: &dyn Display) {
        tracing::trace!(target: "meridian::decision", cause = cause.name(), who, "fabric refuses");
        let first = {
            let mut state = self.lock();
            *state.counts.entry(cause).or_default() += 1;
            state.said.len() < SAID_LIMIT && state.said.insert((cause, who.to_owned()))
        };
        if first {
            tracing::warn!(reason = cause.name(), "refused {who}: {why}");
        }
    }

    /// Counts a refusal that is no operator's business.
    pub(super) fn count(&self, cause: Refusal) {
        *self.lock().counts.entry(cause).or_default() += 1;
    }

    /// Forgets that causes were said about a peer, by its id and its addresses: it is well again, and a
    /// next time is news.
    pub(super) fn well(&self, who: &[String]) {
        self.lock().said.retain(|(_, said)| !who.contains(said));
    }

    /// Refusals since the start by the name of their cause, every cause included.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let state = self.lock();
        let count = |cause| state.counts.get(cause).copied().unwrap_or(0);
        ALL.iter()
            .map(|cause| (cause.name(), count(cause)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_series_of_its_own_from_the_start() {
        let refusals = Refusals::default();
        assert_eq!(refusals.counts().len(), ALL.len());
        refusals.note(Refusal::Expired, "node a", &"why");
        refusals.count(Refusal::Expired);
        assert_eq!(refusals.counts()["expired"], 2);
        assert_eq!(refusals.counts().values().sum::<u64>(), 2);
    }

    #[test]
    fn a_cause_is_said_once_for_each_peer_until_the_peer_is_well_again() {
        let refusals = Refusals::default();
        let said = || refusals.lock().said.len();
        for _ in 0..3 {
            refusals.note(Refusal::Authority, "10.0.0.2:7400", &"why");
        }
        refusals.note(Refusal::Expired, "10.0.0.2:7400", &"why");
        refusals.note(Refusal::Authority, "10.0.0.3:7400", &"why");
        assert_eq!(said(), 3);
        refusals.well(&["node b".into(), "10.0.0.2:7400".into()]);
        assert_eq!(said(), 1);
    }
}
