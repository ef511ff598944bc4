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
//! - `oracle`: remembers ([`Oracle`]).

pub mod ask;
pub mod badge;
pub mod client;
mod deed;
pub mod document;
pub mod issuer;
pub mod manner;
mod oracle;
mod sample;
mod serve;
pub mod upstream;

pub use deed::{Act, Deed, Written};
pub use oracle::{
    ANSWERS_BIN, Area, Arrival, Assumed, BUDGET, Charge, CommandSeen, DecisionSeen, DiskLost,
    DoubtSeen, EndState, FaultSeen, Flow, Ground, History, Kind, MOST_DECISIONS, NodeKnown, Oracle,
    Outcome, Phase, Presented, Progress, ReadSeen, Request, RevisionSeen, Revoked, Sight, Write,
};
pub use sample::{Held, Sample};
