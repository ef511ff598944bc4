//! Who lives around the nodes: clients, upstreams, an issuer of tokens, an operator; and what they saw.
//!
//! ```text
//!   clients ──► node ──► upstream            issuer ──► node (keys)        operator ──► node (documents)
//!       └─────────── oracle: what was asked, answered, received, acknowledged ───────────┘
//! ```
//!
//! - [`ask`]: what clients ask for, and at what pace;
//! - [`badge`]: presents tokens that the operator revokes;
//! - [`client`]: sends requests at a rate and tries the next node when one does not answer;
//! - [`upstream`], [`issuer`]: real HTTP servers on simulated streams;
//! - [`manner`]: how those two behave when they are not well;
//! - [`document`]: what the operator applies;
//! - `deed`: what operators read and wrote;
//! - `sample`: what nodes hold;
//! - `flow`: which requests are judged together;
//! - `ground`: what is healthy, and what could be served;
//! - `course`: how far a run is, its faults, its nodes;
//! - `history`: all that was seen;
//! - `tokens`: what was seen of limits' tokens;
//! - `oracle`: remembers it ([`Oracle`]).

pub mod ask;
pub mod badge;
pub mod client;
mod course;
mod deed;
pub mod document;
mod flow;
mod ground;
mod history;
pub mod issuer;
pub mod manner;
mod oracle;
mod sample;
mod serve;
mod tokens;
pub mod upstream;

pub use course::{Area, BUDGET, DiskLost, FaultSeen, NodeKnown, Phase, Progress, Sight};
pub use deed::{Act, Deed, Written};
pub use flow::{Flow, Kind};
pub use ground::Ground;
pub use history::{
    ANSWERS_BIN, Arrival, Assumed, Charge, CommandSeen, DecisionSeen, DoubtSeen, EndState, History,
    MOST_DECISIONS, Outcome, Presented, ReadSeen, Request, RevisionSeen, Revoked, SetSeen, Write,
};
pub use oracle::Oracle;
pub use sample::{Held, Sample};
pub use tokens::{AppliedSeen, TokensDeed, TokensSeen};
