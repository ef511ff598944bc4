//! One request's tries: what is left of it, and what has been tried.

use http::{HeaderMap, Request, Uri, request::Parts};
use meridian_config::name::{NodeId, RegionName};

use super::{
    client::{Errand, Gate},
    endpoint::Endpoint,
    hop,
    outgoing::{Outgoing, Payload},
    retry,
};
use crate::{exchange::Body, transform::hop::asks_for_websocket};

/// One request between its first try and its last.
pub(crate) struct Trip<'a> {
    pub(crate) errand: Errand<'a>,
    /// `None` while (or after) a try has it that nothing can follow.
    pub(crate) parts: Option<Parts>,
    pub(crate) payload: Payload,
    /// Idempotent by method, or keyed.
    pub(crate) repeatable: bool,
    /// A WebSocket's opening handshake.
    pub(crate) websocket: bool,
    /// A peer has forwarded it here: it goes no further than this region.
    pub(crate) forwarded: bool,
    /// What a forwarded request waits for before it leaves for an upstream.
    pub(crate) gate: Option<Gate>,
    /// Endpoints of the own region that have failed it.
    pub(crate) tried_endpoints: Vec<u64>,
    pub(crate) tried_peers: Vec<NodeId>,
    /// Of these, peers that it did not get out to.
    pub(crate) unsent_peers: Vec<NodeId>,
    /// They were given a second chance.
    pub(crate) second_chance: bool,
    pub(crate) tried_regions: Vec<RegionName>,
    /// Tries here are used up.
    pub(crate) leave_own_region: bool,
    /// It was sent to an endpoint of which nothing is heard.
    pub(crate) last_resort: bool,
    /// An idle connection has failed it: use a new one.
    pub(crate) fresh: bool,
    /// Where the last try went.
    pub(crate) region: Option<RegionName>,
    pub(crate) tries: u32,
    /// Some try may have come to an upstream.
    pub(crate) reached: bool,
    /// Tries after the first that count against `retries.attempts`.
    pub(crate) used: u32,
}

impl<'a> Trip<'a> {
    pub(crate) fn new(errand: Errand<'a>, request: Request<Body>, can_switch: bool) -> Self {
        let (mut parts, body) = request.into_parts();
        let websocket =
            can_switch && asks_for_websocket(&parts.method, parts.version, &parts.headers);
        if !websocket {
            parts.headers.remove(http::header::CONNECTION);
            parts.headers.remove(http::header::UPGRADE);
        }
        // What the edge keeps there is not the upstream's, and would be cloned with each try.
        parts.extensions.clear();
        Self {
            errand,
            repeatable: retry::repeatable(&parts.method, &parts.headers),
            parts: Some(parts),
            payload: Payload::new(body),
            websocket,
            forwarded: false,
            gate: None,
            tried_endpoints: Vec::new(),
            tried_peers: Vec::new(),
            unsent_peers: Vec::new(),
            second_chance: false,
            tried_regions: Vec::new(),
            leave_own_region: false,
            last_resort: false,
            fresh: false,
            region: None,
            tries: 0,
            reached: false,
            used: 0,
        }
    }

    /// Whether another try could send all of it.
    pub(crate) fn whole(&self) -> bool {
        self.parts.is_some() && self.payload.whole()
    }

    /// The request for a try at an endpoint. With `keep` it can be made again.
    pub(crate) fn request(&mut self, endpoint: &Endpoint, keep: bool) -> Request<Outgoing> {
        let kept = if keep { self.parts.clone() } else { None };
        let mut parts = std::mem::replace(&mut self.parts, kept)
            .expect("a try is made only while the request is whole");
        hop::address(
            &mut parts,
            endpoint,
            self.errand.destination.settings.protocol,
        );
        Request::from_parts(parts, self.payload.take())
    }

    /// Takes back a request that never left.
    pub(crate) fn restore(&mut self, request: Request<Outgoing>) {
        let (parts, body) = request.into_parts();
        self.parts.get_or_insert(parts);
        self.payload.restore(body);
    }

    /// The parts of it that a peer needs: method, target, fields.
    pub(crate) fn head(&self) -> (&http::Method, &Uri, &HeaderMap) {
        let parts = self
            .parts
            .as_ref()
            .expect("a try is made only while the request is whole");
        (&parts.method, &parts.uri, &parts.headers)
    }
}
