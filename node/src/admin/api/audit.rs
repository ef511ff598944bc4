//! Who did what.

use meridian_cluster::directory::AuditEntry;

use super::{
    Asked, Desk, paging, reply,
    table::{Answer, Handler, Query, Resource, shape},
};
use crate::admin::{body, fault::Fault, moment};

pub(super) const RESOURCES: &[Resource] = &[Resource {
    query: &[
        Query {
            name: "after",
            about: "Acts after this index, the oldest first; without it the newest ones are given",
            shape: shape::<u64>,
        },
        Query {
            name: "limit",
            about: "How many: 1 to 1000, 100 where it is left out; those that share an index are given together",
            shape: shape::<u16>,
        },
    ],
    ..Resource::get(
        "/api/v1/audit",
        "Acts on the cluster in the order they were agreed on; the last 4096 are kept",
        shape::<body::Audit>,
        Handler::Now(audit),
    )
}];

fn audit(desk: &Desk, asked: &Asked) -> Answer {
    let after = asked
        .query("after")
        .map(|text| text.parse::<u64>())
        .transpose()
        .map_err(|_| Fault::Query("after is the index of an act".to_owned()))?;
    let limit = paging::limit(asked)?;
    Ok(reply::json(&body::Audit {
        stale: desk.stale(),
        acts: desk.node.audit(after, limit).into_iter().map(act).collect(),
    }))
}

pub(crate) fn act(entry: AuditEntry) -> body::Act {
    body::Act {
        index: entry.index,
        time: moment::text(entry.unix_ms),
        who: entry.actor.name,
        role: entry.actor.role,
        from: entry.actor.from.map(|from| from.to_string()),
        node: entry.node.to_string(),
        act: entry.act,
        target: entry.target,
        before: entry.before,
        after: entry.after,
        done: entry.refused.is_none(),
        reason: entry.refused,
    }
}
