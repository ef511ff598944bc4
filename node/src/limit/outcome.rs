//! What came of a charge, and where the limits stand.

use std::{sync::Arc, time::Duration};

/// What came of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every limit has paid for the request.
    Admit {
        /// The limits after it, in the order of the charge.
        states: Vec<LimitState>,
        /// Limits that are only counted, and would have refused it.
        shadowed: Vec<Arc<str>>,
    },
    /// Some limit could not, and none has paid.
    Refuse {
        /// The limit that could not.
        limit: Arc<str>,
        /// Why.
        why: Why,
        /// When asking again may help.
        retry_after: Duration,
        /// All limits as they stand, in the order of the charge.
        states: Vec<LimitState>,
    },
}

/// Why a limit could not pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is used up, as far as this node knows.
    Limit,
    /// Other nodes or the pool have tokens, this node has not.
    Local,
    /// This node has been out of contact, and may not spend what it holds.
    Lapsed,
    /// This node is overloaded, and spends a part of what it holds.
    Overload,
    /// This node counts as many keys as it may.
    Crowded,
}

impl Why {
    /// In the access log, and as the label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Local => "local",
            Self::Lapsed => "lapsed",
            Self::Overload => "overload",
            Self::Crowded => "crowded",
        }
    }

    /// What the limit then is, for people.
    pub fn says(self) -> &'static str {
        match self {
            Self::Limit => "is used up",
            Self::Local => "has too little left at this node",
            Self::Lapsed => "is not spent at this node, which is out of contact",
            Self::Overload => "is cut back at this node, which is overloaded",
            Self::Crowded => "cannot be counted at this node, which counts as many as it may",
        }
    }
}

/// Where one limit stands, for the response's rate-limit fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    /// The limit's id.
    pub id: Arc<str>,
    /// Units of cost per window.
    pub amount: u64,
    /// The window's length.
    pub span: Duration,
    /// What is left in all regions, as far as this node knows: what it has itself is sure, the rest an estimate.
    pub remaining: u64,
    /// Until more is left here than now: the next tokens that cool off of a sliding window, the end of a fixed one.
    pub reset: Duration,
}
