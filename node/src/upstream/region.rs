//! Which region serves a request: the core of failover.
//!
//! In: the node's picture of the cluster, where the service has endpoints, where the tenant's data may
//! go. Out: [`Choice`]. Shell: [`super::Client`]. Residency beats availability; a node never dials an
//! endpoint of another region, it forwards to a peer there; and a forwarded request is never forwarded
//! again.

use std::time::Duration;

use meridian_cluster::membership::{Footing, Liveness, Member, View};
use meridian_config::name::{NodeId, RegionName, ServiceName, Zone};

/// What the choice depends on.
pub(crate) struct Question<'a> {
    /// The node's picture of the cluster.
    pub(crate) view: &'a View,
    /// The service that is asked for.
    pub(crate) service: &'a ServiceName,
    /// Where it has endpoints, and the zone of each of these regions.
    pub(crate) places: &'a [(RegionName, Zone)],
    /// Where the request may be served; empty: anywhere.
    pub(crate) zones: &'a [Zone],
    /// Whether an endpoint of the own region would take it now.
    pub(crate) local: Local,
    /// Whether a peer has forwarded it here.
    pub(crate) forwarded: bool,
    /// Peers that have been tried already.
    pub(crate) tried_peers: &'a [NodeId],
    /// Regions that have said they can't.
    pub(crate) tried_regions: &'a [RegionName],
}

/// How the endpoints of the own region stand to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Local {
    /// One of them would take it, and is known to be well.
    Sure,
    /// One of them would take it; no check of it has ended yet.
    Unproven,
    /// None would.
    None,
}

impl Local {
    /// Of `count` endpoints: the load of each that would take it, and of each of these that is known to be well.
    pub(crate) fn of(
        count: usize,
        takes: impl Fn(usize) -> Option<u32>,
        proven: impl Fn(usize) -> Option<u32>,
    ) -> Self {
        if (0..count).any(|at| proven(at).is_some()) {
            Self::Sure
        } else if (0..count).any(|at| takes(at).is_some()) {
            Self::Unproven
        } else {
            Self::None
        }
    }
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// To an endpoint of the own region.
    Local,
    /// To one of these peers, best first.
    Forward(Vec<(NodeId, RegionName)>),
    /// Nowhere.
    Refuse(Reason),
}

/// Why no region takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No configured endpoint lies in the tenant's zones.
    Residency,
    /// There are some in the tenant's zones; none can be reached.
    ResidencyUnavailable,
    /// No endpoint anywhere can be reached.
    NoHealthyUpstream,
}

/// Whether a request bound to `zones` may be served in `zone`.
pub(crate) fn permitted(zones: &[Zone], zone: &Zone) -> bool {
    zones.is_empty() || zones.contains(zone)
}

/// Chooses. `draw` picks a number below its argument: it spreads requests over a region's nodes.
pub(crate) fn choose(question: &Question<'_>, draw: &mut dyn FnMut(usize) -> usize) -> Choice {
    let allowed = || {
        let zones = question.zones;
        question
            .places
            .iter()
            .filter(move |(_, zone)| permitted(zones, zone))
            .map(|(region, _)| region)
    };
    if allowed().next().is_none() {
        return Choice::Refuse(Reason::Residency);
    }
    let own = &question.view.own_region;
    let here = allowed().any(|region| region == own);
    if here && question.local == Local::Sure {
        return Choice::Local;
    }
    let unproven = here && question.local == Local::Unproven;
    let unavailable = Choice::Refuse(if question.zones.is_empty() {
        Reason::NoHealthyUpstream
    } else {
        Reason::ResidencyUnavailable
    });
    if question.forwarded {
        return if unproven { Choice::Local } else { unavailable };
    }
    let mut regions: Vec<(Duration, &RegionName)> = question
        .places
        .iter()
        .filter_map(|(region, zone)| match stand(question, region, zone) {
            Standing::Elsewhere(distance) => Some((distance, region)),
            Standing::Own | Standing::Forbidden | Standing::Tried | Standing::Down => None,
        })
        .collect();
    regions.sort();
    let mut peers = Vec::new();
    for rank in Rank::ALL {
        for (_, region) in &regions {
            peers.extend(members(question, region, rank, draw));
        }
        if unproven && peers.is_empty() {
            return Choice::Local;
        }
    }
    if peers.is_empty() {
        unavailable
    } else {
        Choice::Forward(peers)
    }
}

/// How a region where the service has endpoints stands to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It lies outside of the tenant's zones.
    Forbidden,
    /// It is this node's own: its endpoints are chosen among directly.
    Own,
    /// It has said that it can't serve this request.
    Tried,
    /// No node of it answers.
    Down,
    /// A peer in it may serve the request, so far away.
    Elsewhere(Duration),
}

/// How this region stands to the question's request.
pub(crate) fn stand(question: &Question<'_>, region: &RegionName, zone: &Zone) -> Standing {
    if !permitted(question.zones, zone) {
        return Standing::Forbidden;
    }
    if *region == question.view.own_region {
        return Standing::Own;
    }
    if question.tried_regions.contains(region) {
        return Standing::Tried;
    }
    match question.view.regions.get(region) {
        Some(health) if health.liveness != Liveness::Down => {
            Standing::Elsewhere(health.rtt.unwrap_or(UNMEASURED))
        }
        _ => Standing::Down,
    }
}

/// Whether a peer may take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fitness {
    /// It says that it has so many healthy endpoints of the service.
    Sure(u32),
    /// It has not said anything of the service yet.
    Unknown,
    /// It takes no new work.
    Draining,
    /// It says that it has no healthy endpoint.
    Empty,
    /// It has failed this request already.
    Tried,
    /// It is taken for dead.
    Down,
}

/// Whether this peer may take the question's request.
pub(crate) fn fitness(question: &Question<'_>, member: &Member) -> Fitness {
    if member.liveness == Liveness::Down {
        return Fitness::Down;
    }
    if member.announced.draining {
        return Fitness::Draining;
    }
    if question.tried_peers.contains(&member.id) {
        return Fitness::Tried;
    }
    match member.announced.services.get(question.service) {
        Some(0) => Fitness::Empty,
        Some(healthy) => Fitness::Sure(*healthy),
        None => Fitness::Unknown,
    }
}

/// How far in front a peer stands that may take a request, wherever it is; of the same rank the nearest goes first.
///
/// Links come first: over one that loses much, requests crawl and break. A suspect node may be dying or just late. Behind
/// all others it is better than a refusal: if it dies, the fabric breaks the stream within a moment. Then who is known to
/// have a healthy endpoint: one of which nobody knows may hang until its checks have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Steady,
    SteadyUnknown,
    ShakyLink,
    ShakyLinkUnknown,
    Shaky,
    ShakyUnknown,
    Suspect,
    SuspectUnknown,
}

impl Rank {
    /// All, the first to be asked first.
    const ALL: [Self; 8] = [
        Self::Steady,
        Self::SteadyUnknown,
        Self::ShakyLink,
        Self::ShakyLinkUnknown,
        Self::Shaky,
        Self::ShakyUnknown,
        Self::Suspect,
        Self::SuspectUnknown,
    ];

    /// The rank of a peer; none where it may not take the question's request.
    fn of(question: &Question<'_>, member: &Member) -> Option<Self> {
        let known = match fitness(question, member) {
            Fitness::Sure(_) => true,
            Fitness::Unknown => false,
            Fitness::Draining | Fitness::Empty | Fitness::Tried | Fitness::Down => return None,
        };
        let (sure, unknown) = match (member.liveness, member.footing) {
            (Liveness::Up, Footing::Steady) => (Self::Steady, Self::SteadyUnknown),
            (Liveness::Up, Footing::ShakyLink) => (Self::ShakyLink, Self::ShakyLinkUnknown),
            (Liveness::Up, Footing::Shaky) => (Self::Shaky, Self::ShakyUnknown),
            (Liveness::Suspect, _) => (Self::Suspect, Self::SuspectUnknown),
            (Liveness::Down, _) => return None,
        };
        Some(if known { sure } else { unknown })
    }
}

/// The region's members of one rank. The less loaded of two random ones leads.
fn members(
    question: &Question<'_>,
    region: &RegionName,
    rank: Rank,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Vec<(NodeId, RegionName)> {
    let members = question.view.members.values().filter(|member| {
        let other = member.region == *region && member.id != question.view.own;
        other && Rank::of(question, member) == Some(rank)
    });
    let mut group: Vec<&Member> = members.collect();
    lead_with_the_less_loaded(&mut group, draw);
    let group = group.into_iter();
    group
        .map(|member| (member.id.clone(), region.clone()))
        .collect()
}

fn lead_with_the_less_loaded(group: &mut [&Member], draw: &mut dyn FnMut(usize) -> usize) {
    if group.len() < 2 {
        return;
    }
    let first = draw(group.len());
    group.swap(0, first);
    let second = 1 + draw(group.len() - 1);
    if group[second].announced.load < group[0].announced.load {
        group.swap(0, second);
    }
}

/// The distance of a region that has not been measured: behind every measured one.
const UNMEASURED: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
