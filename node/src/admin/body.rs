//! The JSON of the admin API, as the server writes it and the command line reads it.
//!
//! Readers ignore fields that they do not know, so that a later version may add some.

mod events;
mod facts;
mod inventory;

use std::collections::BTreeMap;

pub(crate) use facts::*;
use meridian_cluster::membership::Liveness;
use meridian_config::diagnose::Source;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use events::{Event, Happening, TYPES};
pub(crate) use inventory::{
    EndpointHere, LimitBefore, LimitHolder, LimitOvershoot, LimitStand, Place, Quota, QuotaChanged,
    Service, ServiceList, SetLimits, Tenant, TenantLimit, TenantList, WantedLimit, WantedQuota,
};

/// `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Status {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The node that answers.
    pub(crate) node: String,
    /// Its region.
    pub(crate) region: String,
    /// Its version.
    pub(crate) version: String,
    /// The answer is this node's own knowledge, and without a quorum it may be old.
    pub(crate) stale: bool,
    /// What the node serves.
    pub(crate) serving: Option<Serving>,
    /// The Raft group of the document.
    pub(crate) group: Group,
    /// Every region.
    pub(crate) regions: Vec<Region>,
    /// Every node.
    pub(crate) nodes: Vec<Node>,
    /// Revocations and blocks.
    #[serde(default)]
    pub(crate) fast_lane: FastLane,
    /// What the answering node serves.
    #[serde(default)]
    pub(crate) traffic: Traffic,
    /// What an operator should know.
    pub(crate) notes: Vec<String>,
}

/// Requests at one node's edge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Traffic {
    /// Requests in flight.
    pub(crate) in_flight: u64,
    /// Requests answered since the node started, by the status's hundred (`2xx`).
    pub(crate) answered: BTreeMap<String, u64>,
}

/// The compiled revision that a node serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Serving {
    /// Its number.
    pub(crate) revision: u64,
    /// BLAKE3 of its files; none where the node does not keep them any more.
    pub(crate) digest: Option<String>,
}

/// A Raft group as the answering node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Group {
    /// `directory`.
    pub(crate) name: String,
    /// Who leads, where known.
    pub(crate) leader: Option<String>,
    /// What this node is: `leader`, `follower`, `candidate`, `learner`.
    pub(crate) role: String,
    /// Counts elections.
    pub(crate) term: u64,
    /// Last entry known to be on a quorum.
    pub(crate) commit_index: u64,
    /// Last entry in this node's state machine.
    pub(crate) applied_index: u64,
    /// Who votes.
    pub(crate) voters: Vec<String>,
    /// Who only learns.
    pub(crate) learners: Vec<String>,
    /// Whether a majority of voters is in reach.
    pub(crate) quorum: bool,
    /// A voter that is down for so many seconds loses its vote to another node.
    #[serde(default)]
    pub(crate) replaces_after_s: u64,
}

/// A region as the answering node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Region {
    /// Its name.
    pub(crate) name: String,
    /// Its health.
    pub(crate) state: Liveness,
    /// Least round trip to a living node of it, in ms.
    pub(crate) rtt_ms: Option<f64>,
    /// How many nodes it has, in any state.
    pub(crate) nodes: usize,
}

/// A node as the answering node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Node {
    /// Its id.
    pub(crate) id: String,
    /// Its region.
    pub(crate) region: String,
    /// The failure detector's verdict.
    pub(crate) state: Liveness,
    /// Counts its starts.
    pub(crate) incarnation: u64,
    /// The revision it serves; 0: none yet.
    pub(crate) revision: u64,
    /// A revision it could not compile.
    pub(crate) rejected: Option<Rejected>,
    /// Requests in flight.
    pub(crate) load: u32,
    /// It takes no new work: it was drained, or it stops.
    pub(crate) draining: bool,
    /// By whom it was drained, where an operator did; it stays so over restarts.
    #[serde(default)]
    pub(crate) drained_by: Option<String>,
    /// Round trip in ms.
    pub(crate) rtt_ms: Option<f64>,
    /// Its round trip to the nearest node of each other region, in ms: a row of the latency matrix.
    #[serde(default)]
    pub(crate) latencies_ms: BTreeMap<String, f64>,
    /// Healthy endpoints of each service in its region, as it sees them.
    pub(crate) services: BTreeMap<String, u32>,
    /// Edge, admin and fabric addresses.
    pub(crate) addresses: BTreeMap<String, String>,
}

/// Why a node did not take a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Rejected {
    /// Its number.
    pub(crate) revision: u64,
    /// What the node said.
    pub(crate) reason: String,
}

/// `GET /api/v1/regions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Regions {
    /// See [`Status::stale`].
    pub(crate) stale: bool,
    /// Every region.
    pub(crate) regions: Vec<Region>,
}

/// `GET /api/v1/nodes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Nodes {
    /// See [`Status::stale`].
    pub(crate) stale: bool,
    /// Every node.
    pub(crate) nodes: Vec<Node>,
}

/// `GET /api/v1/config`: a revision with its files; `ETag` holds its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Config {
    /// See [`Status::stale`].
    pub(crate) stale: bool,
    /// What is known of the revision.
    #[serde(flatten)]
    pub(crate) revision: Revision,
    /// The operator's files.
    pub(crate) files: Vec<Source>,
}

/// What is known of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Revision {
    /// Its number.
    pub(crate) revision: u64,
    /// BLAKE3 of its files.
    pub(crate) digest: String,
    /// Who applied it.
    pub(crate) author: String,
    /// What the author said.
    pub(crate) message: String,
    /// When: RFC 3339, UTC.
    pub(crate) time: String,
}

/// `GET /api/v1/config/history`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct History {
    /// See [`Status::stale`].
    pub(crate) stale: bool,
    /// The revisions that are still kept.
    pub(crate) revisions: Vec<Past>,
}

/// A revision in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Past {
    /// What is known of the revision.
    #[serde(flatten)]
    pub(crate) revision: Revision,
    /// The revision whose document it repeats, where it came of a rollback.
    pub(crate) rollback_of: Option<u64>,
    /// Names and settings that were new.
    pub(crate) added: u64,
    /// Those with another value.
    pub(crate) replaced: u64,
    /// Those that were gone.
    pub(crate) removed: u64,
    /// Nodes that have served it.
    pub(crate) served: usize,
    /// Nodes that could not.
    pub(crate) rejected: usize,
}

/// `GET /api/v1/config/history/{revision}`: all that is known of a revision but its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Record {
    /// See [`Status::stale`].
    pub(crate) stale: bool,
    /// What is known of the revision.
    #[serde(flatten)]
    pub(crate) revision: Revision,
    /// The revision whose document it repeats, where it came of a rollback.
    pub(crate) rollback_of: Option<u64>,
    /// What it changed.
    pub(crate) changes: Changes,
    /// What the nodes have made of it.
    pub(crate) nodes: Vec<Ack>,
}

/// What a revision changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Changes {
    /// The revision it was compared with; 0: with nothing.
    pub(crate) compared_with: u64,
    /// Names and settings that are new.
    pub(crate) added: u64,
    /// Those with another value.
    pub(crate) replaced: u64,
    /// Those that are gone.
    pub(crate) removed: u64,
    /// The first of them, a line each: `+ path: value`, `~ path: old -> new`, `- path`.
    pub(crate) lines: Vec<String>,
    /// How many lines there would be more.
    pub(crate) left_out: u64,
}

/// What a node has made of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Ack {
    /// Which node.
    pub(crate) node: String,
    /// What it said.
    pub(crate) state: AckState,
    /// Since when it was so, by the node's clock: RFC 3339, UTC.
    pub(crate) since: Option<String>,
    /// Why it does not serve it.
    pub(crate) reason: Option<String>,
}

/// What a node said of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AckState {
    /// It serves it, or did until a newer one came.
    Served,
    /// It could not.
    Rejected,
    /// Nothing yet.
    Waiting,
    /// Nothing, and it is down.
    OutOfReach,
}

/// `GET /api/v1/audit`: in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Audit {
    /// See [`Status::stale`].
    pub(crate) stale: bool,
    /// The acts.
    pub(crate) acts: Vec<Act>,
}

/// An act on the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Act {
    /// Its place in the log: counts up, with gaps.
    pub(crate) index: u64,
    /// When: RFC 3339, UTC.
    pub(crate) time: String,
    /// Who, by the name of the admin token or certificate.
    pub(crate) who: String,
    /// In which role.
    pub(crate) role: String,
    /// From which address; none for what a node did by itself.
    pub(crate) from: Option<String>,
    /// Through which node.
    pub(crate) node: String,
    /// What, by the name of its command.
    pub(crate) act: String,
    /// To what.
    pub(crate) target: String,
    /// The newest revision before; 0: none.
    pub(crate) before: u64,
    /// The newest revision after.
    pub(crate) after: u64,
    /// Whether it was done.
    pub(crate) done: bool,
    /// Why not.
    pub(crate) reason: Option<String>,
}

/// The body of `PUT /api/v1/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The whole document, after `${ENV}` was expanded.
    pub(crate) files: Vec<Source>,
    /// Why.
    #[serde(default)]
    pub(crate) message: String,
}

/// The body of `POST /api/v1/config/rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// The revision whose files become the newest again.
    pub(crate) revision: u64,
    /// Why; empty: says which revision it was.
    #[serde(default)]
    pub(crate) message: String,
}

/// The answer to `PUT /api/v1/config` and `POST /api/v1/config/rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Applied {
    /// Whether a revision was made. Not by a dry run, nor of a document that is the newest already.
    pub(crate) applied: bool,
    /// The newest revision's number: the new one, or the one that stays; 0: there is none.
    pub(crate) revision: u64,
    /// The last place in the log that the answer knows of: the new revision's, where there is one.
    pub(crate) index: u64,
    /// What changes.
    pub(crate) changes: Changes,
    /// What the check had to say.
    pub(crate) warnings: Vec<String>,
}

/// The answer to draining, undraining and removing a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Marked {
    /// Which node.
    pub(crate) node: String,
    /// The decision's place in the log.
    pub(crate) index: u64,
}

/// The answer to `POST /api/v1/restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Restored {
    /// The cluster's new id.
    pub(crate) cluster_id: String,
    /// Its newest revision; 0: none.
    pub(crate) revision: u64,
    /// Revocations and blocks in it.
    pub(crate) facts: u64,
}

/// RFC 9457 problem details.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Problem {
    /// `urn:meridian:problem:NAME`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// For people, the same each time.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// For people, about this time.
    #[serde(default)]
    pub(crate) detail: String,
    /// Mistakes of a document, one line each: `file:line:col: …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mistakes: Vec<String>,
}

/// What every `type` of problem starts with.
pub(crate) const PROBLEM: &str = "urn:meridian:problem:";

impl Problem {
    /// The last part of its type.
    pub(crate) fn name(&self) -> &str {
        self.kind.strip_prefix(PROBLEM).unwrap_or(&self.kind)
    }
}
