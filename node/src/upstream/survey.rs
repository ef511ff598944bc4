//! Where an errand would go now, and what speaks for and against every place.
//!
//! In: an [`Errand`]. Out: a [`Survey`]. It asks the cores that [`super::Client::send`] asks, takes no place
//! at an endpoint and spends nothing. What a draw decides may fall otherwise for the next request.

use std::time::Duration;

use meridian_cluster::membership::{Footing, Liveness};
use meridian_config::name::{NodeId, RegionName, Zone};
use tokio::time::Instant;

use super::{
    balance,
    client::{Client, Errand, refusal},
    region::{self, Choice, Fitness, Local, Question, Standing},
};
use crate::problem::Refusal;

/// Where an errand would go now.
pub(crate) struct Survey {
    /// Every place with endpoints of the service, the own region first.
    pub(crate) candidates: Vec<Candidate>,
    /// The place that would be tried first, or why there is none.
    pub(crate) place: Result<Place, Refusal>,
}

/// A place that might serve an errand.
pub(crate) struct Candidate {
    pub(crate) region: RegionName,
    pub(crate) zone: Zone,
    pub(crate) spot: Spot,
    /// Whether it may be chosen.
    pub(crate) usable: bool,
    /// Requests in flight there, as far as this node knows.
    pub(crate) load: Option<u32>,
    /// Round trip from this node.
    pub(crate) rtt: Option<Duration>,
    /// Why it may or may not be chosen.
    pub(crate) why: String,
}

/// What a candidate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spot {
    /// An endpoint of the own region.
    Endpoint(String),
    /// A peer of another region, which chooses an endpoint there.
    Peer(NodeId),
    /// A region as a whole.
    Region,
}

/// Where an errand's first try goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) region: RegionName,
    pub(crate) spot: Spot,
}

impl Client {
    /// Looks at every place.
    pub(crate) fn survey(&self, errand: &Errand<'_>) -> Survey {
        let view = (self.shared.view)();
        let destination = errand.destination;
        let now = Instant::now().into_std();
        let count = destination.own.len();
        let load = |at: usize| destination.own.get(at)?.load(now);
        let proven = |at: usize| load(at).filter(|_| destination.own[at].proven());
        let local = Local::of(count, load, proven);
        let question = Question {
            view: &view,
            service: &destination.name,
            places: &destination.places,
            zones: errand.zones,
            local,
            forwarded: false,
            tried_peers: &[],
            tried_regions: &[],
        };
        let place = match self.luck.throw(|draw| region::choose(&question, draw)) {
            Choice::Local => {
                let balance = destination.settings.balance;
                let at = self.luck.turn(destination, |turn, draw| {
                    if local == Local::Sure {
                        balance::pick(balance, count, proven, draw, turn)
                    } else {
                        balance::pick(balance, count, load, draw, turn)
                    }
                });
                at.and_then(|at| destination.own.get(at))
                    .map(|endpoint| Place {
                        region: view.own_region.clone(),
                        spot: Spot::Endpoint(endpoint.authority.to_string()),
                    })
                    // Its last place was taken since the look.
                    .ok_or(Refusal::NoHealthyUpstream)
            }
            Choice::Forward(peers) => match peers.into_iter().next() {
                Some((peer, region)) => Ok(Place {
                    region,
                    spot: Spot::Peer(peer),
                }),
                None => Err(Refusal::NoHealthyUpstream),
            },
            Choice::Refuse(reason) => {
                let silent = self.silent_endpoint(errand, reason, &view.own_region);
                let place = silent.map(|endpoint| Place {
                    region: view.own_region.clone(),
                    spot: Spot::Endpoint(endpoint.authority.to_string()),
                });
                place.ok_or_else(|| refusal(errand, reason))
            }
        };
        Survey {
            candidates: self.candidates(&question, errand, now),
            place,
        }
    }

    fn candidates(
        &self,
        question: &Question<'_>,
        errand: &Errand<'_>,
        now: std::time::Instant,
    ) -> Vec<Candidate> {
        let mut places: Vec<_> = question.places.iter().collect();
        places.sort_by_key(|(region, zone)| {
            let standing = region::stand(question, region, zone);
            let distance = match standing {
                Standing::Own => Duration::ZERO,
                Standing::Elsewhere(distance) => distance,
                Standing::Forbidden | Standing::Tried | Standing::Down => Duration::MAX,
            };
            (standing != Standing::Own, distance, region)
        });
        let mut candidates = Vec::new();
        for (region, zone) in places {
            let rtt = question
                .view
                .regions
                .get(region)
                .and_then(|health| health.rtt);
            let candidate = |spot, usable, load, rtt, why: String| Candidate {
                region: region.clone(),
                zone: zone.clone(),
                spot,
                usable,
                load,
                rtt,
                why,
            };
            let whole = |why: &str| candidate(Spot::Region, false, None, rtt, why.to_owned());
            match region::stand(question, region, zone) {
                Standing::Forbidden => {
                    candidates.push(whole("its zone is not one of the tenant's"));
                }
                Standing::Down => candidates.push(whole("no node of it answers")),
                Standing::Tried => candidates.push(whole("it has been tried")),
                Standing::Own => {
                    for endpoint in &errand.destination.own {
                        let (usable, why) = match endpoint.load(now) {
                            Some(_) if endpoint.healthy() && !endpoint.proven() => (
                                true,
                                "not checked yet, so after all that are known to be well",
                            ),
                            Some(_) if endpoint.healthy() => (true, "healthy, in this region"),
                            Some(_) => (true, "it failed; one request may try it again now"),
                            None if endpoint.full() => (false, "at its bound of requests"),
                            None if endpoint.last_resort_load().is_some() => {
                                (false, "nothing is heard of it; only as a last resort")
                            }
                            None => (false, "unhealthy"),
                        };
                        candidates.push(candidate(
                            Spot::Endpoint(endpoint.authority.to_string()),
                            usable,
                            Some(endpoint.in_flight()),
                            Some(Duration::ZERO),
                            why.to_owned(),
                        ));
                    }
                }
                Standing::Elsewhere(_) => {
                    let members = question.view.members.values();
                    for member in members.filter(|member| member.region == *region) {
                        let fitness = region::fitness(question, member);
                        let suspect = member.liveness == Liveness::Suspect;
                        let (usable, why) = match fitness {
                            Fitness::Sure(1) => (true, "1 healthy endpoint".to_owned()),
                            Fitness::Sure(count) => (true, format!("{count} healthy endpoints")),
                            Fitness::Unknown => (
                                true,
                                "it has not said anything of the service yet, so after those that have"
                                    .to_owned(),
                            ),
                            Fitness::Draining => (false, "it takes no new work".to_owned()),
                            Fitness::Empty => (false, "no healthy endpoint".to_owned()),
                            Fitness::Tried => (false, "it has been tried".to_owned()),
                            Fitness::Down => (false, "it does not answer".to_owned()),
                        };
                        let why = match usable {
                            true if suspect => {
                                format!("{why}; silent for a moment, so after all others")
                            }
                            true if member.footing == Footing::ShakyLink => {
                                format!("{why}; behind a link that loses packets, so after others")
                            }
                            true if member.footing == Footing::Shaky => {
                                format!(
                                    "{why}; late just now or now and then, so after those that are not"
                                )
                            }
                            _ => why,
                        };
                        candidates.push(candidate(
                            Spot::Peer(member.id.clone()),
                            usable,
                            Some(member.announced.load),
                            member.rtt,
                            why,
                        ));
                    }
                }
            }
        }
        candidates
    }
}
