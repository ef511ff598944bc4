//! What a node knows of itself, told to peers by gossip and to probes by HTTP.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use arc_swap::ArcSwapOption;
use meridian_cluster::{
    Cluster,
    membership::Liveness,
    renewal::{Stage, Standing, written},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::workers::Bound;
use crate::{
    identity::Issuers,
    report::{
        health::{Dependency, Health},
        metrics::RequestPath,
    },
    revision::{Compiled, adopt::Adoption},
    upstream::Upstreams,
};

/// How often the announced load is renewed. Load steers choices among nodes of one region, where a second
/// old is fresh enough; gossip carries it no faster.
const RENEW: Duration = Duration::from_secs(1);

/// What a node knows of itself.
pub(super) struct State {
    /// What new requests are served by.
    pub(super) current: Arc<ArcSwapOption<Compiled>>,
    cluster: Cluster,
    issuers: Issuers,
    upstreams: Upstreams,
    metrics: Arc<RequestPath>,
    rejected: Mutex<Option<(u64, String)>>,
    /// Whether any revision was looked into.
    decided: watch::Sender<bool>,
    listening: AtomicBool,
    draining: AtomicBool,
}

impl State {
    pub(super) fn new(
        cluster: Cluster,
        issuers: Issuers,
        upstreams: Upstreams,
        metrics: Arc<RequestPath>,
    ) -> Self {
        Self {
            current: Arc::default(),
            cluster,
            issuers,
            upstreams,
            metrics,
            rejected: Mutex::default(),
            decided: watch::Sender::new(false),
            listening: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// A revision was compiled, or could not be, at this time since the Unix epoch: peers hear it, `apply`
    /// waits for it, the history keeps it.
    pub(super) fn adopted(&self, adoption: &Adoption, unix: Duration) {
        let rejected = match adoption {
            Adoption::Served { .. } => None,
            Adoption::Rejected { number, reason } => Some((*number, clipped(reason))),
        };
        self.rejected().clone_from(&rejected);
        let services = self.upstreams.announcement();
        self.cluster.membership().announce(|announced| {
            if let Adoption::Served { number } = adoption {
                announced.revision = *number;
            }
            announced.rejected = rejected;
            announced.decided_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
            announced.services = services;
        });
        self.decided.send_replace(true);
    }

    /// Becomes true with the first revision that was compiled, or could not be.
    pub(super) fn decided(&self) -> watch::Receiver<bool> {
        self.decided.subscribe()
    }

    /// The listeners are up.
    pub(super) fn listening(&self, bound: &Bound, admin: SocketAddr) {
        self.listening.store(true, Ordering::Relaxed);
        let addresses: BTreeMap<String, String> = [
            ("http", bound.http),
            ("https", bound.https),
            ("admin", Some(admin)),
        ]
        .into_iter()
        .filter_map(|(name, address)| Some((name.to_owned(), address?.to_string())))
        .collect();
        self.cluster
            .membership()
            .announce(|announced| announced.addresses.extend(addresses));
    }

    /// No new work is taken, or it is taken again: probes and peers hear it before the listeners close.
    pub(super) fn drain(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
        self.cluster
            .membership()
            .announce(|announced| announced.draining = draining);
    }

    /// Keeps announced load and endpoints true until `stop`.
    pub(super) async fn announce(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.upstreams.changes();
        loop {
            let services = self.upstreams.announcement();
            let load = u32::try_from(self.metrics.in_flight.sum(0)).unwrap_or(u32::MAX);
            self.cluster.membership().announce(|announced| {
                announced.services = services;
                announced.load = load;
            });
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // It ends with the upstreams, which end with `stop`.
                _ = changes.changed() => {}
                () = tokio::time::sleep(RENEW) => {}
            }
        }
    }

    /// For the probes.
    pub(super) fn health(&self) -> Health {
        let view = self.cluster.membership().view();
        let regions = view.regions.iter().map(|(region, health)| Dependency {
            name: format!("region {region}"),
            good: health.liveness == Liveness::Up,
            state: health.liveness.name().to_owned(),
        });
        let issuers = self.issuers.status().into_iter().map(|issuer| {
            let age = match issuer.age {
                Some(age) => format!("{} keys, fetched {} s ago", issuer.keys, age.as_secs()),
                None => "no keys yet".to_owned(),
            };
            Dependency {
                name: format!("issuer {}", issuer.name),
                good: issuer.usable,
                state: match issuer.failure {
                    Some(failure) => format!("{age}; last fetch failed: {failure}"),
                    None => age,
                },
            }
        });
        let standings = self.cluster.renewals().standings().into_iter();
        let certificates = standings.map(|(name, standing)| Dependency {
            name: format!("certificate {name}"),
            good: standing.fault.is_none() && standing.stage < Stage::Last,
            state: certificate(&standing),
        });
        Health {
            revision: self.current.load().as_ref().map(|compiled| compiled.number),
            known: self
                .cluster
                .directory()
                .current()
                .map(|revision| revision.number),
            rejected: self.rejected().clone(),
            listening: self.listening.load(Ordering::Relaxed),
            draining: self.draining.load(Ordering::Relaxed),
            quorum: self.cluster.directory().status().quorum,
            dependencies: regions.chain(issuers).chain(certificates).collect(),
        }
    }

    fn rejected(&self) -> std::sync::MutexGuard<'_, Option<(u64, String)>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the certificates of one purpose are.
fn certificate(standing: &Standing) -> String {
    let first = standing.files.iter().min_by_key(|file| file.expires);
    let valid = match first {
        Some(file) => format!(
            "{} until {} ({})",
            if standing.stage == Stage::Over {
                "was valid"
            } else {
                "valid"
            },
            written(file.expires),
            file.file.display()
        ),
        None => "not read yet".to_owned(),
    };
    match &standing.fault {
        Some(fault) => format!("{valid}; what the files hold now is not in force: {fault}"),
        None => valid,
    }
}

/// Reasons travel by gossip, which has room for 32 kB a node in all.
fn clipped(reason: &str) -> String {
    const MOST: usize = 2_000;
    if reason.len() <= MOST {
        return reason.to_owned();
    }
    let end = (0..=MOST).rev().find(|&at| reason.is_char_boundary(at));
    format!("{} …", &reason[..end.unwrap_or(0)])
}
