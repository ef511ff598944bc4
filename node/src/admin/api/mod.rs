//! The admin API: a table of resources, and what is done with a request before one of them answers.
//!
//! ```text
//! method, path ─► table (404, 405) ─► may the caller's role? (403) ─► request (400, 408, 413, 428) ─► handler ─► reply
//! ```
//!
//! In: a request whose caller is known. Out: a response, or a [`Fault`].
//!
//! A new resource is one function and one row of `RESOURCES` in the file of its topic: [`audit`],
//! [`backup`], [`cluster`], [`config`], [`events`], [`explain`], [`facts`], [`history`], [`inventory`],
//! [`nodes`], [`observe`]. A new topic is also named in [`table`]. [`openapi`] describes the rows.

mod audit;
mod backup;
mod cluster;
mod config;
mod events;
mod explain;
mod facts;
mod history;
mod inventory;
mod nodes;
mod observe;
mod openapi;
mod paging;
mod quota;
mod receipt;
mod reply;
mod request;
mod table;

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Response, request::Parts};
use meridian_cluster::host::Host;

pub(crate) use audit::act;
pub(crate) use reply::problem;
pub(crate) use request::Asked;

use super::{access::Caller, administered::Administered, events::Feed, fault::Fault};
use crate::exchange::Body;
use table::Handler;

/// What every handler is given: the node, and the doors to the outside. A cheap clone.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) node: Arc<dyn Administered>,
    pub(crate) feed: Arc<Feed>,
}

impl Desk {
    /// Whether answers from this node's own state may be old: it sees no quorum.
    fn stale(&self) -> bool {
        !self.node.group().quorum
    }

    /// The node's clock: ms since the Unix epoch.
    fn unix_ms(&self) -> u64 {
        u64::try_from(self.host.unix_time().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Answers a request of a known caller at `peer`.
pub(crate) async fn answer<B>(
    desk: &Desk,
    caller: &Caller,
    peer: SocketAddr,
    parts: &Parts,
    content: B,
) -> Result<Response<Body>, Fault>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let found = table::find(&parts.method, parts.uri.path())?;
    let resource = found.resource;
    if !caller.role.may(resource.deed) {
        return Err(Fault::Forbidden {
            name: caller.name.clone(),
            role: caller.role,
            deed: resource.deed,
        });
    }
    let asked = request::read(found, caller, peer, parts, content).await?;
    match resource.handler {
        Handler::Now(handler) => handler(desk, &asked),
        Handler::Later(handler) => handler(desk.clone(), asked).await,
    }
}

#[cfg(test)]
mod tests;
