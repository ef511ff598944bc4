//! Which region serves a request: the core of failover.
//!
//! In: the node's picture of the cluster, where the service has endpoints, where the tenant's data may
//! go. Out: [`Choice`]. Shell: [`super::Client`]. Residency beats availability; a node never dials an
//! endpoint of another region, it forwards to a peer there; and a forwarded request is never forwarded
//! again.

use std::time::Duration;

use meridian_cluster::membership::{Liveness, Member, View};
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
    pub(crate) local_ready: bool,
    /// Whether a peer has forwarded it here.
    pub(crate) forwarded: bool,
    /// Peers that have been tried already.
    pub(crate) tried_peers: &'a [NodeId],
    /// Regions that have said they can't.
    pub(crate) tried_regions: &'a [RegionName],
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
    if question.local_ready && allowed().any(|region| region == own) {
        return Choice::Local;
    }
    let unavailable = Choice::Refuse(if question.zones.is_empty() {
        Reason::NoHealthyUpstream
    } else {
        Reason::ResidencyUnavailable
    });
    if question.forwarded {
        return unavailable;
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
    // A suspect node may be dying or just late. Behind all others it is better than a refusal: if it
    // dies, the fabric breaks the stream within a moment.
    for liveness in [Liveness::Up, Liveness::Suspect] {
        for (_, region) in &regions {
            peers.extend(members(question, region, liveness, draw));
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

/// The region's members of one liveness that may take the request: those that announce healthy endpoints first, then
/// those that have not announced anything yet. Within each, the less loaded of two random ones leads.
fn members(
    question: &Question<'_>,
    region: &RegionName,
    liveness: Liveness,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Vec<(NodeId, RegionName)> {
    let (mut sure, mut unknown) = (Vec::new(), Vec::new());
    for member in question.view.members.values() {
        if member.region != *region || member.id == question.view.own || member.liveness != liveness
        {
            continue;
        }
        match fitness(question, member) {
            Fitness::Sure(_) => sure.push(member),
            Fitness::Unknown => unknown.push(member),
            Fitness::Draining | Fitness::Empty | Fitness::Tried | Fitness::Down => {}
        }
    }
    for group in [&mut sure, &mut unknown] {
        lead_with_the_less_loaded(group, draw);
    }
    sure.into_iter()
        .chain(unknown)
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
