//! The whole replicated state: given as a backup, and taken to begin a cluster again.

use meridian_cluster::host::BoxFuture;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::{
    Asked, Desk, reply,
    table::{Answer, Content, Handler, Produced, Query, Resource, Verb, shape},
};
use crate::admin::{access::Deed, body, fault::Fault};

pub(super) const RESOURCES: &[Resource] = &[
    Resource {
        verb: Verb::Get,
        path: "/api/v1/backup",
        deed: Deed::Administer,
        summary: "The whole replicated state as one piece, not sealed: `meridian backup` seals it",
        query: &[Query {
            name: "stale",
            about: "`true`: what this node has, where there is no quorum to ask for the newest",
            shape: shape::<bool>,
        }],
        if_match: false,
        takes: None,
        gives: Produced {
            media: MEDIA,
            shape: piece,
        },
        handler: Handler::Later(back_up),
    },
    Resource {
        verb: Verb::Post,
        path: "/api/v1/restore",
        deed: Deed::Administer,
        summary: "Begins the cluster with a backup's state, at the founder with the lowest id while it waits for one",
        query: &[],
        if_match: false,
        takes: Some(Content {
            media: MEDIA,
            limit: LARGEST,
            shape: piece,
        }),
        gives: Produced::json(shape::<body::Restored>),
        handler: Handler::Later(restore),
    },
];

const MEDIA: &str = "application/octet-stream";

/// The largest state, and what lies around it.
const LARGEST: usize = (64 << 20) + 4096;

fn piece(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "contentMediaType": MEDIA })
}

fn back_up(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let stale = match asked.query("stale") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                return Err(Fault::Query(format!("stale is true or false, not {other}")));
            }
        };
        let backup = desk.node.back_up(asked.actor(), stale).await?;
        Ok(reply::page(MEDIA, backup))
    })
}

fn restore(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let actor = asked.actor();
        let restored = desk.node.restore(asked.body, actor).await?;
        Ok(reply::json(&body::Restored {
            cluster_id: restored.cluster_id,
            revision: restored.revision,
            facts: restored.facts,
        }))
    })
}
