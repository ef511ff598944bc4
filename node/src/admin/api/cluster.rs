//! The cluster as this node sees it: status, regions, nodes.

use std::time::Duration;

use meridian_cluster::{
    bootstrap::GRACE,
    directory::Marks,
    facts::{BYTES_LIMIT, COUNT_LIMIT, Standing},
    host::GroupId,
    membership::{Liveness, Member, View},
};

use super::{
    Asked, Desk, reply,
    table::{Answer, Handler, Resource, shape},
};
use crate::admin::body;

pub(super) const RESOURCES: &[Resource] = &[
    Resource::get(
        "/api/v1/status",
        "Regions, nodes, leader and revision as this node sees them",
        shape::<body::Status>,
        Handler::Now(|desk, _| Ok(reply::json(&status(desk)))),
    ),
    Resource::get(
        "/api/v1/regions",
        "Every region and its health",
        shape::<body::Regions>,
        Handler::Now(read_regions),
    ),
    Resource::get(
        "/api/v1/nodes",
        "Every node, and what it says of itself",
        shape::<body::Nodes>,
        Handler::Now(read_nodes),
    ),
];

fn read_regions(desk: &Desk, _: &Asked) -> Answer {
    Ok(reply::json(&body::Regions {
        stale: desk.stale(),
        regions: regions(&desk.node.view(), &desk.node.marks()),
    }))
}

fn read_nodes(desk: &Desk, _: &Asked) -> Answer {
    Ok(reply::json(&body::Nodes {
        stale: desk.stale(),
        nodes: nodes(&desk.node.view(), &desk.node.marks()),
    }))
}

fn status(desk: &Desk) -> body::Status {
    let node = &desk.node;
    let own = node.own();
    let group = node.group();
    let (view, marks) = (node.view(), node.marks());
    let serving = node.health().revision;
    let mut notes: Vec<String> = node.advice().iter().map(ToString::to_string).collect();
    let lane = node.lane();
    notes.extend(fullness(&lane));
    body::Status {
        cluster: own.cluster,
        node: own.id.to_string(),
        region: own.region.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        stale: !group.quorum,
        serving: serving.map(|number| body::Serving {
            revision: number,
            digest: node.revision(number).map(|kept| kept.digest.clone()),
        }),
        regions: regions(&view, &marks),
        nodes: nodes(&view, &marks),
        fast_lane: body::FastLane {
            held: lane.held,
            most: COUNT_LIMIT,
            bytes: lane.bytes,
            most_bytes: BYTES_LIMIT,
            unsettled: lane.unsettled,
            refused: lane.refused,
        },
        group: body::Group {
            name: GroupId::Directory.name().to_owned(),
            leader: group.leader.map(|id| id.to_string()),
            role: format!("{:?}", group.role).to_lowercase(),
            term: group.term,
            commit_index: group.commit_index,
            applied_index: group.applied_index,
            voters: group.voters.iter().map(ToString::to_string).collect(),
            learners: group.learners.iter().map(ToString::to_string).collect(),
            quorum: group.quorum,
            replaces_after_s: GRACE.as_secs(),
        },
        traffic: node.traffic(),
        notes,
    }
}

/// What an operator should know of the fast lane's room.
fn fullness(lane: &Standing) -> Option<String> {
    let part = |part: usize, whole: usize| part.saturating_mul(100) / whole;
    let full = part(lane.held, COUNT_LIMIT).max(part(lane.bytes, BYTES_LIMIT));
    (full >= NEARLY_FULL || lane.refused > 0).then(|| {
        format!(
            "{} revocations and blocks take {full} % of the room for them, and {} found none since the start of this node; what finds no room is refused: revoke by subject or tenant instead of token by token, with an expiry no later than the tokens' own",
            lane.held, lane.refused
        )
    })
}

/// From so many percent on an operator is told: some time before the first is refused.
const NEARLY_FULL: usize = 80;

/// The regions that have nodes.
fn regions(view: &View, marks: &Marks) -> Vec<body::Region> {
    let all = view.regions.iter().map(|(name, health)| {
        let there = members(view, marks).filter(|member| member.region == *name);
        body::Region {
            name: name.to_string(),
            state: health.liveness,
            rtt_ms: health.rtt.map(milliseconds),
            nodes: there.count(),
        }
    });
    all.filter(|region| region.nodes > 0).collect()
}

fn nodes(view: &View, marks: &Marks) -> Vec<body::Node> {
    members(view, marks)
        .map(|member| node_body(member, marks))
        .collect()
}

/// The members, but for those that were removed and are gone: gossip remembers a dead node for a while.
fn members<'a>(view: &'a View, marks: &'a Marks) -> impl Iterator<Item = &'a Member> {
    let all = view.members.values();
    all.filter(|member| {
        member.liveness != Liveness::Down || !marks.removed.contains_key(&member.id)
    })
}

fn node_body(member: &Member, marks: &Marks) -> body::Node {
    let drained = marks.drained.get(&member.id);
    let announced = &member.announced;
    let mut addresses = announced.addresses.clone();
    addresses.insert("fabric".into(), member.control.to_string());
    addresses.insert("bulk".into(), member.bulk.to_string());
    body::Node {
        id: member.id.to_string(),
        region: member.region.to_string(),
        state: member.liveness,
        incarnation: member.incarnation,
        revision: announced.revision,
        rejected: announced
            .rejected
            .as_ref()
            .map(|(revision, reason)| body::Rejected {
                revision: *revision,
                reason: reason.clone(),
            }),
        load: announced.load,
        draining: announced.draining || drained.is_some(),
        drained_by: drained.map(|mark| mark.by.clone()),
        rtt_ms: member.rtt.map(milliseconds),
        latencies_ms: announced
            .latencies
            .iter()
            .map(|(region, latency)| (region.to_string(), milliseconds(*latency)))
            .collect(),
        services: announced
            .services
            .iter()
            .map(|(name, healthy)| (name.to_string(), *healthy))
            .collect(),
        addresses,
    }
}

/// To a tenth of a microsecond is more than a round trip is ever known to.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 1e4
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use meridian_cluster::directory::Mark;

    use super::*;
    use crate::admin::{administered::Administered as _, testing::Pretend};

    #[test]
    fn a_removed_node_is_shown_while_it_lives_and_no_longer() {
        let mut view = Arc::unwrap_or_clone(Pretend::serving().view());
        let mut marks = Marks::default();
        let mark = Mark {
            index: 9,
            by: "ann".into(),
            unix_ms: 1,
        };
        marks.removed.insert("n1".into(), mark);
        assert_eq!(nodes(&view, &marks).len(), 1);
        let member = view.members.get_mut("n1").unwrap();
        member.liveness = Liveness::Down;
        assert_eq!(nodes(&view, &marks), []);
        assert_eq!(regions(&view, &marks), []);
        assert_eq!(nodes(&view, &Marks::default()).len(), 1);
    }
}
