//! How one try at an upstream failed, and what that means for health, retries and the client.

use std::error::Error;

use crate::{
    exchange::BodyError,
    problem::{Refusal, UpstreamFault},
};

use super::{health::Outcome, retry::Failure};

/// How one try failed.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// No connection to the endpoint came about.
    Connect,
    /// The connection broke before the request left; it is still whole.
    Unsent,
    /// The connection broke before the answer's head.
    Reset,
    /// The same on a connection that had served before: it may have died of age.
    Stale,
    /// The answer is not HTTP.
    Protocol,
    /// No answer in time.
    Late,
    /// The client's own body ended wrongly.
    Body(BodyError),
    /// A peer says that nobody in its region can serve this; nobody has acted.
    NotThere,
    /// No stream to the peer came about, or it broke before anybody could have acted.
    PeerUnsent,
    /// This node is at a bound of its own.
    Overloaded,
    /// The peer that had forwarded the request here went away.
    Gone,
}

impl Fault {
    /// What the retry policy sees.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Connect | Self::Unsent => Failure::Unsent,
            Self::NotThere | Self::PeerUnsent => Failure::NotThere,
            Self::Reset | Self::Stale => Failure::Reset,
            Self::Protocol | Self::Late | Self::Body(_) | Self::Overloaded | Self::Gone => {
                Failure::Final
            }
        }
    }

    /// What the endpoint's health sees; `None`: nothing of its doing.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Connect | Self::Reset | Self::Protocol => Some(Outcome::Failed),
            // One slow path must not take a whole endpoint out as fast as a dead process does.
            Self::Late => Some(Outcome::Gateway),
            Self::Unsent
            | Self::Stale
            | Self::Body(_)
            | Self::NotThere
            | Self::PeerUnsent
            | Self::Overloaded
            | Self::Gone => None,
        }
    }

    /// Whether an upstream may have seen the request.
    pub(crate) fn may_have_acted(&self) -> bool {
        match self {
            Self::Reset | Self::Stale | Self::Protocol | Self::Late | Self::Body(_) => true,
            Self::Connect
            | Self::Unsent
            | Self::NotThere
            | Self::PeerUnsent
            | Self::Overloaded
            | Self::Gone => false,
        }
    }

    /// What the client sees when no other try follows.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Connect | Self::PeerUnsent => Refusal::UpstreamError(UpstreamFault::Connect),
            Self::Unsent | Self::Reset | Self::Stale | Self::Gone => {
                Refusal::UpstreamError(UpstreamFault::Reset)
            }
            Self::Protocol => Refusal::UpstreamError(UpstreamFault::Protocol),
            Self::Late => Refusal::UpstreamTimeout,
            Self::NotThere => Refusal::NoHealthyUpstream,
            Self::Overloaded => Refusal::Overloaded,
            Self::Body(BodyError::Client) => {
                Refusal::Malformed("its body ended before it was complete".into())
            }
            Self::Body(BodyError::TooLarge { limit }) => Refusal::BodyTooLarge { limit: *limit },
            Self::Body(BodyError::Stalled) => Refusal::SlowRequest,
            Self::Body(BodyError::Withdrawn(refusal)) => Refusal::clone(refusal),
            Self::Body(BodyError::Upstream(_)) => Refusal::UpstreamError(UpstreamFault::Reset),
        }
    }

    /// Sorts an error of hyper's client.
    pub(crate) fn of_hyper(error: &hyper::Error) -> Self {
        if let Some(body) = body_error(error) {
            return Self::Body(body.clone());
        }
        if error.is_parse() {
            Self::Protocol
        } else {
            Self::Reset
        }
    }
}

/// The request body's own error, where that is what ended the exchange.
fn body_error(error: &hyper::Error) -> Option<&BodyError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(body) = error.downcast_ref() {
            return Some(body);
        }
        cause = error.source();
    }
    None
}
