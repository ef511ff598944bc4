//! The revisions as a ledger: who made which, what it changed, and what the nodes have made of it.

use std::collections::BTreeMap;

use meridian_cluster::{
    directory::Summary,
    membership::{Liveness, View},
};

use super::{
    Asked, Desk, config, reply,
    table::{Answer, Handler, Resource, shape},
};
use crate::admin::{
    body::{self, AckState},
    fault::Fault,
    moment,
};

pub(super) const RESOURCES: &[Resource] = &[
    Resource::get(
        "/api/v1/config/history",
        "The kept revisions, newest first",
        shape::<body::History>,
        Handler::Now(history),
    ),
    Resource::get(
        "/api/v1/config/history/{revision}",
        "All of one revision but its files: what it changed, and what each node has made of it",
        shape::<body::Record>,
        Handler::Now(record),
    ),
];

fn history(desk: &Desk, _: &Asked) -> Answer {
    let view = desk.node.view();
    let kept = desk.node.history();
    let newest = kept.first().map_or(0, |newest| newest.revision);
    let past = |kept: Summary| {
        let acks = acks(&kept, newest, &view);
        let of = |state| acks.iter().filter(|ack| ack.state == state).count();
        body::Past {
            rollback_of: kept.rollback_of,
            added: kept.changes.added,
            replaced: kept.changes.replaced,
            removed: kept.changes.removed,
            served: of(AckState::Served),
            rejected: of(AckState::Rejected),
            revision: revision(kept),
        }
    };
    Ok(reply::json(&body::History {
        stale: desk.stale(),
        revisions: kept.into_iter().map(past).collect(),
    }))
}

fn record(desk: &Desk, asked: &Asked) -> Answer {
    let wanted = asked.parameter("revision");
    let number = wanted.parse().ok();
    let kept = number.and_then(|number| desk.node.summary(number));
    let kept = kept.ok_or_else(|| Fault::RevisionNotKept(wanted.to_owned()))?;
    let newest = desk
        .node
        .history()
        .first()
        .map_or(0, |newest| newest.revision);
    Ok(reply::json(&body::Record {
        stale: desk.stale(),
        rollback_of: kept.rollback_of,
        nodes: acks(&kept, newest, &desk.node.view()),
        changes: config::changes(kept.changes.clone()),
        revision: revision(kept),
    }))
}

fn revision(kept: Summary) -> body::Revision {
    body::Revision {
        revision: kept.revision,
        digest: kept.digest,
        author: kept.author,
        message: kept.message,
        time: moment::text(kept.unix_ms),
    }
}

/// What the nodes have made of a revision: what is on record, and for the newest also what they say now.
fn acks(kept: &Summary, newest: u64, view: &View) -> Vec<body::Ack> {
    let mut acks = BTreeMap::new();
    if kept.revision == newest {
        for (id, member) in &view.members {
            let state = if member.liveness == Liveness::Down {
                AckState::OutOfReach
            } else {
                AckState::Waiting
            };
            acks.insert(id.to_string(), (state, 0, None));
        }
    }
    for (id, ack) in &kept.acks {
        let state = match ack.rejected {
            Some(_) => AckState::Rejected,
            None => AckState::Served,
        };
        acks.insert(id.to_string(), (state, ack.unix_ms, ack.rejected.clone()));
    }
    if kept.revision == newest {
        for (id, member) in &view.members {
            let said = &member.announced;
            let now = match &said.rejected {
                Some((revision, reason)) if *revision == newest => {
                    (AckState::Rejected, said.decided_ms, Some(reason.clone()))
                }
                _ if said.revision == newest => (AckState::Served, said.decided_ms, None),
                _ => continue,
            };
            let known = acks.entry(id.to_string()).or_insert_with(|| now.clone());
            // The record knows since when; what a node says now counts where it differs.
            if known.0 != now.0 {
                *known = now;
            }
        }
    }
    acks.into_iter()
        .map(|(node, (state, since, reason))| body::Ack {
            node,
            state,
            since: (since > 0).then(|| moment::text(since)),
            reason,
        })
        .collect()
}
