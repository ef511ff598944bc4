//! One worker's way to every upstream: chooses, tries, tries again.
//!
//! Enters: a request and its [`Errand`]. Leaves: the answer and how it was served, or a refusal. Cores:
//! [`super::region`], [`super::balance`], [`super::retry`], [`super::budget`]. One try is in
//! [`super::local`] (an endpoint of this region) or in [`crate::forward`] (a peer elsewhere).

use std::{sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use meridian_cluster::host::{BoxFuture, BoxStream};
use meridian_config::name::{NodeId, RegionName, TenantId, Zone};
use tokio::time::Instant;

use super::{
    Shared, balance,
    destination::Destination,
    dial::Dialer,
    endpoint::{Endpoint, Ticket},
    fault::Fault,
    luck::Luck,
    pool::Pool,
    region::{self, Choice, Local, Question, Reason},
    retry::{self, Failure, Situation, Verdict},
    trip::Trip,
    tunnel,
};
use crate::{
    ban::{Leave, Vigil},
    exchange::{Body, Served},
    problem::Refusal,
};

/// Where a request goes, and on whose behalf.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    /// The service of the request's own revision.
    pub destination: &'a Arc<Destination>,
    /// Where the request may be served; empty: anywhere.
    pub zones: &'a [Zone],
    /// Whose request it is, for refusals.
    pub tenant: Option<&'a TenantId>,
    /// The request's id, which a forwarded request keeps.
    pub request_id: &'a str,
    /// What ends a tunnel before its ends do; none: nothing.
    pub leave: Option<&'a Leave>,
}

/// One worker's connections and choices.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) dialer: Arc<Dialer>,
    pub(super) pool: Arc<Pool>,
    pub(super) luck: Arc<Luck>,
}

/// An answer, whoever gave it.
pub(crate) struct Reply {
    pub(crate) response: Response<Body>,
    pub(crate) region: RegionName,
    pub(crate) endpoint: String,
    /// Retries that a peer made on its side.
    pub(crate) retries: u32,
    /// After a 101: the way to the upstream, and the place it takes there.
    pub(crate) tunnel: Option<(BoxStream, Option<Ticket>)>,
}

/// A request that came to nothing, as its client hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// What the client hears.
    pub refusal: Refusal,
    /// Whether an upstream may have seen it, or its client is at fault: what it was charged stands then.
    pub reached: bool,
}

/// A request that came to nothing.
pub(crate) struct Failed {
    pub(crate) refusal: Refusal,
    /// The last try's fault; none: no try was made.
    pub(crate) fault: Option<Fault>,
}

/// Awaited once a connection to an endpoint stands and before the first byte leaves; false: give up.
pub(crate) type Gate = BoxFuture<'static, bool>;

impl Client {
    pub(super) fn new(shared: Arc<Shared>, seed: [u8; 32]) -> Self {
        let dialer = Dialer::new(Arc::clone(&shared.host), Arc::clone(&shared.tls));
        let client = Self {
            dialer: Arc::new(dialer),
            pool: Arc::default(),
            luck: Arc::new(Luck::new(seed)),
            shared,
        };
        let (pool, stop) = (Arc::downgrade(&client.pool), client.shared.stop.clone());
        client.shared.tracker.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(SWEEP) => {}
                }
                let Some(pool) = pool.upgrade() else { return };
                pool.sweep(Instant::now());
            }
        });
        client
    }

    /// Sends a request to the best place that may serve it, and waits for the answer's head.
    ///
    /// The request's head is as [`crate::transform::request`] leaves it, and it carries the extensions
    /// that hyper gave it: a WebSocket's tunnel needs them. Dropping the future, or later the answer's
    /// body, ends the exchange at the upstream. The answer's head is the upstream's own: hop-by-hop
    /// fields are still to be stripped.
    pub async fn send(
        &self,
        errand: Errand<'_>,
        mut request: Request<Body>,
    ) -> Result<(Response<Body>, Served), Unserved> {
        let began = Instant::now();
        let upgrade = request
            .extensions()
            .get::<hyper::upgrade::OnUpgrade>()
            .is_some()
            .then(|| hyper::upgrade::on(&mut request));
        let mut trip = Trip::new(errand, request, upgrade.is_some());
        let reply = self.run(&mut trip).await.map_err(|failed| Unserved {
            reached: trip.reached || failed.fault.is_some_and(|fault| fault.may_have_acted()),
            refusal: failed.refusal,
        })?;
        if let (Some((stream, ticket)), Some(upgrade)) = (reply.tunnel, upgrade) {
            let stop = self.shared.stop.clone();
            let leave = trip.errand.leave.cloned();
            // A node that stops gives a tunnel as long as a request.
            let running = self.shared.running.token();
            self.shared.tracker.spawn(async move {
                let _place = (ticket, running);
                let sent_away = async {
                    match leave {
                        Some(leave) => Vigil::over(leave).withdrawn().await,
                        None => std::future::pending().await,
                    }
                };
                let joined = async {
                    // The client's side is ours once the edge has written the 101.
                    let client = tokio::time::timeout(SWITCH, upgrade).await.ok()?.ok()?;
                    tunnel::join(Box::new(TokioIo::new(client)), stream)
                        .await
                        .ok()
                };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    why = sent_away => tracing::debug!(%why, "a tunnel ends"),
                    _ = joined => {}
                }
            });
        }
        let served = Served {
            region: reply.region,
            endpoint: reply.endpoint,
            retries: reply.retries.saturating_add(trip.tries.saturating_sub(1)),
            waited: began.elapsed(),
        };
        Ok((reply.response, served))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Tries until an answer comes that nothing better can follow.
    pub(crate) async fn run(&self, trip: &mut Trip<'_>) -> Result<Reply, Failed> {
        let destination = Arc::clone(trip.errand.destination);
        let policy = &destination.settings.retries;
        self.luck
            .spend(&destination, |budget, now| budget.request(now));
        if trip.repeatable && policy.attempts > 0 {
            let gathered = trip.payload.gather().await;
            gathered.map_err(|error| failed(Fault::Body(error)))?;
        }
        let mut last: Option<Result<Reply, Fault>> = None;
        loop {
            let target = match self.next(trip) {
                Ok(target) => target,
                Err(refusal) => {
                    return match last {
                        Some(Ok(reply)) => Ok(reply),
                        // "Not there" said by a peer adds nothing to what the choice itself says.
                        Some(Err(fault @ (Fault::NotThere | Fault::PeerUnsent))) => Err(Failed {
                            refusal,
                            fault: Some(fault),
                        }),
                        // Nor does what nobody expected to answer.
                        Some(Err(fault @ Fault::Connect)) if trip.last_resort => Err(Failed {
                            refusal,
                            fault: Some(fault),
                        }),
                        Some(Err(fault)) => Err(failed(fault)),
                        None => Err(Failed {
                            refusal,
                            fault: None,
                        }),
                    };
                }
            };
            // An answer that is given up for another try ends its exchange here.
            drop(last.take());
            trip.tries += 1;
            let result = match target {
                Target::Local(ticket) => self.try_local(trip, ticket).await,
                Target::Peer(peer, region) => self.try_peer(trip, &peer, region).await,
            };
            trip.reached |= match &result {
                Ok(_) => true,
                Err(fault) => fault.may_have_acted(),
            };
            let failure = match &result {
                Ok(reply) => match reply.response.status() {
                    status @ (StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT) => Failure::Status(status),
                    _ => return result.map_err(failed),
                },
                Err(fault) => fault.failure(),
            };
            let situation = Situation {
                repeatable: trip.repeatable,
                whole: trip.whole(),
                used: trip.used,
            };
            let verdict = if trip.tries < MOST_TRIES {
                retry::judge(policy, failure, situation)
            } else {
                Verdict::GiveUp
            };
            // What reached no upstream adds nothing to any upstream's load.
            let paid = failure == Failure::NotThere
                || verdict != Verdict::GiveUp
                    && self
                        .luck
                        .spend(&destination, |budget, now| budget.retry(now));
            let again = verdict != Verdict::GiveUp && paid;
            tracing::trace!(
                target: "meridian::decision",
                request_id = trip.errand.request_id,
                service = %destination.name,
                tries = trip.tries,
                ?failure,
                ?verdict,
                again,
                "a try at an upstream failed"
            );
            if !again {
                return result.map_err(failed);
            }
            match verdict {
                Verdict::Again => trip.used += 1,
                Verdict::Elsewhere | Verdict::GiveUp => trip.leave_own_region = true,
            }
            last = Some(result);
        }
    }

    /// Chooses where the next try goes.
    fn next(&self, trip: &mut Trip<'_>) -> Result<Target, Refusal> {
        let view = (self.shared.view)();
        let destination = trip.errand.destination;
        let now = Instant::now().into_std();
        let untried = |at: usize| {
            let endpoint = destination.own.get(at)?;
            (!trip.tried_endpoints.contains(&endpoint.number)).then(|| endpoint.load(now))?
        };
        let count = if trip.leave_own_region {
            0
        } else {
            destination.own.len()
        };
        let proven = |at: usize| untried(at).filter(|_| destination.own[at].proven());
        let mut local = Local::of(count, untried, proven);
        loop {
            let question = Question {
                view: &view,
                service: &destination.name,
                places: &destination.places,
                zones: trip.errand.zones,
                local,
                forwarded: trip.forwarded,
                tried_peers: &trip.tried_peers,
                tried_regions: &trip.tried_regions,
            };
            let choice = self.luck.throw(|draw| region::choose(&question, draw));
            let target = match choice {
                Choice::Local => {
                    let ticket = if local == Local::Sure {
                        self.pick(destination, count, proven, now)
                    } else {
                        self.pick(destination, count, untried, now)
                    };
                    let Some(ticket) = ticket else {
                        // Another worker took the last place since.
                        local = Local::None;
                        continue;
                    };
                    Target::Local(ticket)
                }
                Choice::Forward(peers) => {
                    let Some((peer, region)) = peers.into_iter().next() else {
                        continue;
                    };
                    Target::Peer(peer, region)
                }
                // A dial that lost a packet takes longer than a try waits, and goes on: it may stand by now.
                Choice::Refuse(_) if !trip.second_chance && !trip.unsent_peers.is_empty() => {
                    trip.second_chance = true;
                    let unsent = &trip.unsent_peers;
                    trip.tried_peers.retain(|peer| !unsent.contains(peer));
                    continue;
                }
                Choice::Refuse(reason) => {
                    return self.last_resort(trip, reason, &view.own_region, now);
                }
            };
            let region = match &target {
                Target::Local(_) => &view.own_region,
                Target::Peer(_, region) => region,
            };
            // The region that would have served it, were all well, is where a failover starts.
            let own_may = destination.places.iter().any(|(place, zone)| {
                *place == view.own_region && region::permitted(trip.errand.zones, zone)
            });
            let from = trip
                .region
                .take()
                .or_else(|| own_may.then(|| view.own_region.clone()));
            if let Some(from) = from.filter(|from| from != region) {
                self.shared.observer.failover(&from, region);
            }
            trip.region = Some(region.clone());
            tracing::trace!(
                target: "meridian::decision",
                request_id = trip.errand.request_id,
                service = %destination.name,
                %region,
                "upstream chosen"
            );
            return Ok(target);
        }
    }

    /// Nothing untried is left: an endpoint that was tried may be tried again, or, once, one of which nothing is heard, for
    /// it may be this node that was cut off; else the request ends.
    fn last_resort(
        &self,
        trip: &mut Trip<'_>,
        reason: Reason,
        own_region: &RegionName,
        now: std::time::Instant,
    ) -> Result<Target, Refusal> {
        let destination = trip.errand.destination;
        if !trip.tried_endpoints.is_empty() && !trip.leave_own_region {
            let any = |at: usize| destination.own.get(at)?.load(now);
            if let Some(ticket) = self.pick(destination, destination.own.len(), any, now) {
                return Ok(Target::Local(ticket));
            }
        }
        // A peer that forwarded it here has others to ask.
        if !trip.forwarded
            && !trip.leave_own_region
            && !trip.last_resort
            && let Some(silent) = self.silent_endpoint(&trip.errand, reason, own_region)
            && let Some(ticket) = silent.last_resort_ticket()
        {
            trip.last_resort = true;
            return Ok(Target::Local(ticket));
        }
        let refusal = refusal(&trip.errand, reason);
        tracing::trace!(
            target: "meridian::decision",
            request_id = trip.errand.request_id,
            service = %destination.name,
            region = %own_region,
            ?reason,
            "no upstream"
        );
        Err(refusal)
    }

    /// An endpoint of the own region of which nothing is heard, for an errand that nobody else takes for this reason.
    pub(super) fn silent_endpoint<'a>(
        &self,
        errand: &Errand<'a>,
        reason: Reason,
        own_region: &RegionName,
    ) -> Option<&'a Arc<Endpoint>> {
        let destination = errand.destination;
        let mut places = destination.places.iter();
        let may = reason != Reason::Residency
            && places
                .any(|(place, zone)| place == own_region && region::permitted(errand.zones, zone));
        let silent = |at: usize| destination.own.get(at)?.last_resort_load();
        let at = self.luck.turn(destination, |turn, draw| {
            let count = if may { destination.own.len() } else { 0 };
            balance::pick(destination.settings.balance, count, silent, draw, turn)
        })?;
        destination.own.get(at)
    }

    fn pick(
        &self,
        destination: &Destination,
        count: usize,
        load: impl Fn(usize) -> Option<u32>,
        now: std::time::Instant,
    ) -> Option<Ticket> {
        // A trial may be taken by another worker between the look and the claim; look again then.
        for _ in 0..=count {
            let at = self.luck.turn(destination, |turn, draw| {
                let balance = destination.settings.balance;
                balance::pick(balance, count, &load, draw, turn)
            })?;
            if let Some(ticket) = destination.own.get(at)?.ticket(now) {
                return Some(ticket);
            }
        }
        None
    }
}

/// What an errand that nobody takes is answered with.
pub(super) fn refusal(errand: &Errand<'_>, reason: Reason) -> Refusal {
    let tenant = || errand.tenant.cloned().unwrap_or_default();
    match reason {
        Reason::Residency => Refusal::Residency(tenant()),
        Reason::ResidencyUnavailable => Refusal::ResidencyUnavailable(tenant()),
        Reason::NoHealthyUpstream if errand.destination.own.iter().any(|own| own.full()) => {
            Refusal::Overloaded
        }
        Reason::NoHealthyUpstream => Refusal::NoHealthyUpstream,
    }
}

/// Where one try goes.
enum Target {
    Local(Ticket),
    Peer(NodeId, RegionName),
}

fn failed(fault: Fault) -> Failed {
    Failed {
        refusal: fault.refusal(),
        fault: Some(fault),
    }
}

/// Tries of one request, whatever the document says: every region once and a few more.
const MOST_TRIES: u32 = 16;

/// How often idle connections are looked at: their limits are tens of seconds.
const SWEEP: Duration = Duration::from_secs(5);

/// For the edge to write a 101 to its client.
const SWITCH: Duration = Duration::from_secs(10);
