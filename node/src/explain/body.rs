//! The JSON of `POST /api/v1/explain`, as the server writes it and the command line reads it.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request to be explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// With scheme and host: `https://api.example.com/v1/plants?page=2`.
    pub url: String,
    /// Its header fields. A `content-length` stands for a body of that length.
    #[serde(default)]
    pub headers: Vec<Field>,
    /// The address that connects; this machine's own where none is given.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub client_ip: Option<IpAddr>,
}

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What a node would do with a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The node that would do it.
    pub node: String,
    /// Its region.
    pub region: String,
    /// The revision that it serves.
    pub revision: Option<u64>,
    /// The result.
    pub verdict: Verdict,
    /// Step by step, up to the one that refuses.
    pub steps: Vec<Told>,
    /// The route that takes it.
    pub route: Option<String>,
    /// Who would be charged.
    pub tenant: Option<String>,
    /// The limits that apply, with what is left in all regions as far as this node knows.
    pub limits: Vec<LimitUse>,
    /// What the upstream would be sent.
    pub upstream: Option<Sent>,
    /// Everywhere it could be served.
    pub candidates: Vec<Candidate>,
}

/// What the client would get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// What kind of answer.
    pub outcome: Ending,
    /// The gateway's own status; none where the upstream's answer passes.
    pub status: Option<u16>,
    /// The problem's type, where it is refused.
    pub problem: Option<String>,
    /// In a sentence.
    pub detail: String,
    /// When to try again, in seconds.
    pub retry_after: Option<u64>,
}

/// Kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// A step refuses it.
    Refused,
    /// The gateway answers it itself.
    Answered,
    /// It is sent on, and the answer is the upstream's.
    Forwarded,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// `guard`, `route`, `identity`, `access`, `residency`, `body`, `limit`, `transform`, `upstream`.
    pub step: String,
    /// How it went.
    pub result: StepResult,
    /// In a sentence.
    pub says: String,
    /// What else is known, a line each.
    pub facts: Vec<String>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepResult {
    /// The request goes on.
    Pass,
    /// The route is exempt from it, or it has nothing to do.
    Skip,
    /// The request ends here.
    Refuse,
}

/// One limit and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitUse {
    /// Its id.
    pub limit: String,
    /// Requests per window.
    pub amount: u64,
    /// The window, in seconds.
    pub window: u64,
    /// What is left, before this request.
    pub remaining: u64,
    /// What it says beside its rate, as in the document, where that is not the default.
    pub terms: Vec<String>,
}

/// What the upstream would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// The service.
    pub service: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Fields that are new or changed. Credentials are redacted.
    pub set: Vec<Field>,
    /// Fields that are left out.
    pub removed: Vec<String>,
}

/// A place where a request could be served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Its region.
    pub region: String,
    /// The region's zone.
    pub zone: String,
    /// The peer that would be handed the request; none in the own region.
    pub node: Option<String>,
    /// The endpoint; none in other regions, where the peer chooses.
    pub endpoint: Option<String>,
    /// Whether it may be chosen.
    pub usable: bool,
    /// Whether it is the first that would be tried. Of equals a draw decides, each time anew.
    pub chosen: bool,
    /// Requests in flight there.
    pub load: Option<u32>,
    /// Round trip from the explaining node, in ms.
    pub rtt_ms: Option<f64>,
    /// Why.
    pub why: String,
}
