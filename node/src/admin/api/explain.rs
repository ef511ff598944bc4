//! What the cluster would do with a request.

use meridian_cluster::host::BoxFuture;

use super::{
    Asked, Desk, reply,
    table::{Answer, Content, Handler, Produced, Resource, Verb, shape},
};
use crate::{
    admin::{access::Deed, fault::Fault},
    explain::{Explanation, Question},
};

pub(super) const RESOURCES: &[Resource] = &[Resource {
    verb: Verb::Post,
    path: "/api/v1/explain",
    // It changes and charges nothing; the request to explain does not fit into a URL.
    deed: Deed::Read,
    summary: "What this node would do with a request, step by step; nothing is sent or charged",
    query: &[],
    if_match: false,
    takes: Some(Content::json(LARGEST, shape::<Question>)),
    gives: Produced::json(shape::<Explanation>),
    handler: Handler::Later(explain),
}];

/// A head that the guard takes has at most 64 KiB; in JSON each byte may take a few.
const LARGEST: usize = 512 * 1024;

fn explain(desk: Desk, asked: Asked) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let explained = desk.node.explain(asked.json()?).await;
        Ok(reply::json(&explained.map_err(Fault::Body)?))
    })
}
