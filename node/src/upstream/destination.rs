//! A document's services as this node can reach them.
//!
//! Enters: each adopted document. Leaves: [`Destinations`], which a compiled revision holds and its
//! requests use to their end. Endpoints that stay in the document keep their state from one revision to
//! the next.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use meridian_config::{
    document::{self, Document, Protocol, Service},
    name::{RegionName, ServiceName, Zone},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{endpoint::Endpoint, health::Rules};

/// The services of one revision.
#[derive(Debug)]
pub struct Destinations {
    /// The revision's number.
    pub number: u64,
    services: BTreeMap<ServiceName, Arc<Destination>>,
}

impl Destinations {
    /// The service of this name.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Destination>> {
        self.services.get(name)
    }

    /// All of them, by name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Destination>> {
        self.services.values()
    }
}

/// One service as this node can reach it.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name.
    pub name: ServiceName,
    /// What the document says of it.
    pub settings: Service,
    /// The number of the revision that says so.
    pub revision: u64,
    /// Where it has endpoints, and in which zone that is.
    pub(crate) places: Vec<(RegionName, Zone)>,
    /// Its endpoints in the own region.
    pub(crate) own: Vec<Arc<Endpoint>>,
}

impl Destination {
    /// How many endpoints of the own region are healthy.
    pub fn healthy(&self) -> u32 {
        u32::try_from(
            self.own
                .iter()
                .filter(|endpoint| endpoint.healthy())
                .count(),
        )
        .unwrap_or(u32::MAX)
    }

    /// How many endpoints of the own region are known to be healthy, for peers; none where no check of those that take
    /// requests has ended yet.
    pub(crate) fn known_healthy(&self) -> Option<u32> {
        let known = self.own.iter().filter(|it| it.healthy() && it.proven());
        let known = u32::try_from(known.count()).unwrap_or(u32::MAX);
        (known > 0 || self.healthy() == 0).then_some(known)
    }

    /// Requests in flight at the endpoints of the own region.
    pub fn in_flight(&self) -> u32 {
        self.own.iter().map(|endpoint| endpoint.in_flight()).sum()
    }

    /// The endpoints of the own region: `host:port` and whether each is healthy.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, bool)> {
        self.own
            .iter()
            .map(|endpoint| (endpoint.authority.as_str(), endpoint.healthy()))
    }
}

/// Every endpoint of the own region that some adopted document names, and its check.
pub(crate) struct Roster {
    changes: Arc<watch::Sender<u64>>,
    entries: BTreeMap<Key, Entry>,
    next_number: u64,
}

type Key = (ServiceName, document::Endpoint, SpeaksHttp2);

/// Whether HTTP/2 is spoken: an endpoint that changes its protocol is another endpoint.
type SpeaksHttp2 = bool;

struct Entry {
    endpoint: Arc<Endpoint>,
    checked: Option<(document::Health, CancellationToken)>,
}

/// A check to start.
pub(crate) struct NewCheck {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) health: document::Health,
    pub(crate) protocol: Protocol,
    pub(crate) stop: CancellationToken,
}

impl Roster {
    pub(crate) fn new(changes: Arc<watch::Sender<u64>>) -> Self {
        Self {
            changes,
            entries: BTreeMap::new(),
            next_number: 0,
        }
    }

    /// Takes a document over: keeps what stays, stops the checks of what goes, and says which checks to
    /// start.
    pub(crate) fn adopt(
        &mut self,
        document: &Document,
        number: u64,
        own_region: &RegionName,
        stop: &CancellationToken,
        now: Instant,
    ) -> (Destinations, Vec<NewCheck>) {
        let mut old = std::mem::take(&mut self.entries);
        let mut starts = Vec::new();
        let mut services = BTreeMap::new();
        for (name, service) in &document.services {
            let mut own = Vec::new();
            for address in service.endpoints.get(own_region).into_iter().flatten() {
                let key = (
                    name.clone(),
                    address.clone(),
                    service.protocol == Protocol::Http2,
                );
                let rules = rules(service);
                let kept = old.remove(&key);
                let (endpoint, checked) = match kept {
                    Some(entry) => {
                        entry.endpoint.adopt(rules, now);
                        (entry.endpoint, entry.checked)
                    }
                    None => {
                        let changes = Arc::clone(&self.changes);
                        self.next_number += 1;
                        let made =
                            Endpoint::new(self.next_number, address.clone(), rules, changes, now);
                        let Some(endpoint) = made else {
                            tracing::warn!(service = %name, host = %address.host,
                                "this endpoint's host name cannot stand in a request; it is left out");
                            continue;
                        };
                        (Arc::new(endpoint), None)
                    }
                };
                let checked = match (checked, &service.health) {
                    (Some((before, token)), Some(health)) if before == *health => {
                        Some((before, token))
                    }
                    (before, health) => {
                        if let Some((_, token)) = before {
                            token.cancel();
                        }
                        health.clone().map(|health| {
                            let token = stop.child_token();
                            starts.push(NewCheck {
                                endpoint: Arc::clone(&endpoint),
                                health: health.clone(),
                                protocol: service.protocol,
                                stop: token.clone(),
                            });
                            (health, token)
                        })
                    }
                };
                own.push(Arc::clone(&endpoint));
                self.entries.insert(key, Entry { endpoint, checked });
            }
            let places = service
                .endpoints
                .iter()
                .filter(|(_, endpoints)| !endpoints.is_empty())
                .map(|(region, _)| {
                    // A region of its own where the document does not list it: then only those without
                    // zones are served there.
                    let zone = document
                        .regions
                        .get(region)
                        .map_or_else(|| Zone::new(region.as_str()), |region| region.zone.clone());
                    (region.clone(), zone)
                })
                .collect();
            let destination = Destination {
                name: name.clone(),
                settings: service.clone(),
                revision: number,
                places,
                own,
            };
            services.insert(name.clone(), Arc::new(destination));
        }
        for (_, token) in old.into_values().filter_map(|entry| entry.checked) {
            token.cancel();
        }
        (Destinations { number, services }, starts)
    }
}

fn rules(service: &Service) -> Rules {
    match &service.health {
        Some(health) => Rules {
            checked: true,
            healthy_after: health.healthy_after.max(1),
            unhealthy_after: health.unhealthy_after.max(1),
        },
        None => Rules {
            checked: false,
            healthy_after: 1,
            unhealthy_after: UNCHECKED_FAILURES,
        },
    }
}

/// Failed requests in a row that take out an endpoint without checks: one more than where checks bring
/// it back within seconds.
const UNCHECKED_FAILURES: u32 = 3;
