//! Which requests are judged together: those of one kind from the clients of one region.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Serialize, Serializer};

use super::{Ground, ask::Ask};
use crate::world::Place;

/// Requests of one kind from the clients of one region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Flow {
    /// Where the clients are.
    #[serde(skip)]
    pub from: Place,
    /// Which service is asked for, and how.
    pub kind: Kind,
}

impl Flow {
    /// Whether its tenant has limits that are there to be reached.
    pub fn is_limited(&self) -> bool {
        matches!(&self.kind, Kind::Asked(ask) if ask.limited)
    }
}

/// A kind of request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A GET of a service that every region has.
    Local,
    /// A GET of a service that every region has but the client's own: its node forwards.
    Remote,
    /// A POST, without an idempotency key, of a service that every region has.
    Order,
    /// What a scenario's tenants or the routes of an operator's document say.
    Asked(Arc<Ask>),
}

impl Kind {
    /// What the clients of every run ask for, by the names in a scenario's file.
    pub const USUAL: [(&'static str, Self); 3] = [
        ("local", Self::Local),
        ("order", Self::Order),
        ("remote", Self::Remote),
    ];
}

impl Flow {
    /// The regions whose upstreams may serve it, of `count`; none: a node answers by itself.
    pub fn regions(&self, count: usize) -> Option<Vec<Place>> {
        let all = (0..count).map(Place);
        match &self.kind {
            Kind::Remote => Some(all.filter(|region| *region != self.from).collect()),
            Kind::Local | Kind::Order => Some(all.collect()),
            Kind::Asked(ask) => ask.served_in.clone(),
        }
    }

    /// Every way on which it can be served: the node's region, and the upstream's (the node's own, where it answers
    /// by itself).
    pub fn ways(&self, ground: &Ground) -> BTreeSet<(Place, Place)> {
        match self.regions(ground.nodes.len()) {
            Some(regions) => ground.ways(self.from, &regions),
            None => ground.reach(self.from).map(|node| (node, node)).collect(),
        }
    }

    /// Whether it can be served, as things are, if clients have not yet come home to their own region's nodes.
    pub fn servable_anywhere(&self, ground: &Ground) -> bool {
        match self.regions(ground.nodes.len()) {
            Some(regions) => ground.can_serve_anywhere(self.from, &regions),
            None => ground.can_reach(self.from),
        }
    }

    /// Whether it can be served, as things are.
    pub fn servable(&self, ground: &Ground) -> bool {
        match self.regions(ground.nodes.len()) {
            Some(regions) => ground.can_serve(self.from, &regions),
            None => ground.can_reach(self.from),
        }
    }
}

impl Kind {
    /// Its name in reports.
    pub fn name(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Order => "order",
            Self::Asked(ask) => &ask.name,
        }
    }

    /// Whether a request of it may be sent again when nobody knows what became of it.
    pub fn repeatable(&self) -> bool {
        match self {
            Self::Local | Self::Remote => true,
            Self::Order => false,
            Self::Asked(ask) => ask.repeatable(),
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
