//! Nodes as operators take them out, put them back and forget them.

use meridian_cluster::{directory::Decision, host::BoxFuture};
use meridian_config::name::NodeId;

use super::{
    Asked, Desk, reply,
    table::{Answer, Handler, Produced, Resource, Verb, shape},
};
use crate::admin::{access::Deed, body};

pub(super) const RESOURCES: &[Resource] = &[
    Resource {
        handler: Handler::Later(|desk, asked| mark(desk, asked, Decision::Drain)),
        ..act(
            Verb::Post,
            "/api/v1/nodes/{id}/drain",
            "Takes a node out gracefully: it takes no new work and stays a member, also over restarts",
        )
    },
    Resource {
        handler: Handler::Later(|desk, asked| mark(desk, asked, Decision::Undrain)),
        ..act(
            Verb::Post,
            "/api/v1/nodes/{id}/undrain",
            "Puts a drained node back",
        )
    },
    Resource {
        handler: Handler::Later(|desk, asked| mark(desk, asked, Decision::Remove)),
        ..act(
            Verb::Delete,
            "/api/v1/nodes/{id}",
            "Forgets a dead or drained node; another takes its vote at once",
        )
    },
];

const fn act(verb: Verb, path: &'static str, summary: &'static str) -> Resource {
    Resource {
        verb,
        path,
        deed: Deed::Operate,
        summary,
        query: &[],
        if_match: false,
        takes: None,
        gives: Produced::json(shape::<body::Marked>),
        handler: Handler::Later(|desk, asked| mark(desk, asked, Decision::Undrain)),
    }
}

fn mark(desk: Desk, asked: Asked, decision: Decision) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let node = NodeId::from(asked.parameter("id"));
        let actor = asked.actor();
        let index = desk.node.mark(node.clone(), decision, actor).await?;
        Ok(reply::json(&body::Marked {
            node: node.to_string(),
            index,
        }))
    })
}
