//! The JSON of `/blocks` and `/revocations`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `POST /api/v1/blocks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedBlock {
    /// Addresses: `203.0.113.0/24`, or one of them, `203.0.113.7`.
    pub(crate) cidr: String,
    /// For how long: `15m`, `24h`.
    #[serde(default = "day")]
    pub(crate) ttl: String,
    /// Why.
    #[serde(default)]
    pub(crate) reason: String,
    /// What to wait for, 5 s at most.
    #[serde(default)]
    pub(crate) wait: Waiting,
}

/// How long an emergency lasts if nobody says otherwise.
pub(crate) fn day() -> String {
    "24h".to_owned()
}

/// The body of `POST /api/v1/revocations`: one of `token_id`, `subject` and `tenant`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedRevocation {
    /// The token with this `jti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_id: Option<String>,
    /// The tokens with this `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// With `subject`: of this issuer of the document only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// The tokens of this tenant, by name or alias; needs `issued_before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    /// With `subject` or `tenant`: only tokens with an `iat` before this moment, or none (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issued_before: Option<String>,
    /// Until when it is in force (RFC 3339); 30 days ahead where it does not say. No revoked token should live
    /// longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
    /// Why.
    #[serde(default)]
    pub(crate) reason: String,
    /// What to wait for, 5 s at most.
    #[serde(default)]
    pub(crate) wait: Waiting,
}

/// What an answer waits for.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Waiting {
    /// Every node that can be reached now has applied it.
    #[default]
    All,
    /// A quorum has agreed to keep it.
    Quorum,
    /// The node that was asked has applied it.
    None,
}

/// The answer to whatever stops credentials or addresses, or lets them in again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Receipt {
    /// What was made: for a removal one id for each that it took back.
    pub(crate) ids: Vec<String>,
    /// What it is about.
    pub(crate) what: String,
    /// Until when it is in force: RFC 3339, UTC.
    pub(crate) expires: String,
    /// A quorum has agreed to keep it. Until then the nodes' own disks do.
    pub(crate) durable: bool,
    /// Every known region.
    pub(crate) regions: Vec<RegionReceipt>,
    /// Every known node.
    pub(crate) nodes: Vec<NodeReceipt>,
    /// What was probably not meant.
    pub(crate) warnings: Vec<String>,
}

/// How far it got with the nodes of a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RegionReceipt {
    /// Its name.
    pub(crate) region: String,
    /// `out-of-reach` where no node of it can be reached; else the worst of those that can.
    pub(crate) state: Fate,
    /// How many nodes it has.
    pub(crate) nodes: usize,
    /// How many of them have applied it.
    pub(crate) applied: usize,
    /// When the last of these was known here to have: ms after it was made.
    pub(crate) after_ms: Option<f64>,
}

/// How far it got with a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NodeReceipt {
    /// Its id.
    pub(crate) node: String,
    /// Its region.
    pub(crate) region: String,
    /// What it has made of it.
    pub(crate) state: Fate,
    /// When this was known here: ms after it was made.
    pub(crate) after_ms: Option<f64>,
    /// It is on the node's own disk.
    pub(crate) saved: bool,
}

/// How far it got; in order, the worst last.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    /// It is in force there.
    Applied,
    /// Under way: nobody waited for it.
    Pending,
    /// The node cannot be reached now, and gets it when it can.
    OutOfReach,
    /// The node is alive, and has not answered in time.
    Late,
    /// Over already by that node's clock.
    Expired,
    /// The node has no room for it.
    Full,
}

/// `GET /api/v1/blocks`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Blocks {
    /// The answer is this node's own knowledge, and without a quorum it may be old.
    pub(crate) stale: bool,
    /// The blocks in force.
    pub(crate) blocks: Vec<Block>,
    /// `before` of the next page, where there is one.
    pub(crate) next: Option<String>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Block {
    /// Which addresses.
    pub(crate) cidr: String,
    /// What is known of it.
    #[serde(flatten)]
    pub(crate) origin: Origin,
}

/// `GET /api/v1/revocations`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Revocations {
    /// The answer is this node's own knowledge, and without a quorum it may be old.
    pub(crate) stale: bool,
    /// The revocations in force.
    pub(crate) revocations: Vec<Revoked>,
    /// `before` of the next page, where there is one.
    pub(crate) next: Option<String>,
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Revoked {
    /// Which tokens, in words.
    pub(crate) what: String,
    /// The token's `jti`.
    pub(crate) token_id: Option<String>,
    /// The tokens' `sub`.
    pub(crate) subject: Option<String>,
    /// Of this issuer only.
    pub(crate) issuer: Option<String>,
    /// The tokens' tenant.
    pub(crate) tenant: Option<String>,
    /// Only tokens issued before: RFC 3339, UTC.
    pub(crate) issued_before: Option<String>,
    /// What is known of it.
    #[serde(flatten)]
    pub(crate) origin: Origin,
}

/// What is known of a block or revocation beside what it stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Origin {
    /// Its id.
    pub(crate) id: String,
    /// Until when: RFC 3339, UTC.
    pub(crate) expires: String,
    /// When it was made: RFC 3339, UTC.
    pub(crate) made: String,
    /// Who made it.
    pub(crate) by: String,
    /// Through which node.
    pub(crate) node: String,
    /// Why.
    pub(crate) reason: String,
    /// A quorum has agreed to keep it.
    pub(crate) durable: bool,
}

/// How the fast lane stands at a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FastLane {
    /// Revocations, blocks and removals that the node holds.
    pub(crate) held: usize,
    /// How many it may hold.
    pub(crate) most: usize,
    /// What they take, in bytes.
    pub(crate) bytes: usize,
    /// How much they may take.
    pub(crate) most_bytes: usize,
    /// Of these, no quorum is known to have agreed on.
    pub(crate) unsettled: usize,
    /// Refused for want of room since the node's start.
    pub(crate) refused: u64,
}
