//! Limits: so many requests in a span of time, and what becomes of one request more.

use std::{fmt, time::Duration};

/// So many requests in a span of time, cluster-wide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Where it stands and its window (`tenant-hour`, `route.plants-second`), or the operator's `name:`.
    /// Unique in its place; also its name in `RateLimit-Policy`.
    pub id: String,
    /// What is admitted per window, in units of a route's cost; from 1 to [`AMOUNT_MOST`](crate::units::AMOUNT_MOST).
    pub amount: u64,
    /// The window's length: whole seconds, from 1 s to 366 days.
    pub span: Duration,
    /// How the window moves.
    pub window: Window,
    /// What becomes of a request that finds nothing.
    pub on_empty: OnEmpty,
    /// What a node does that has been out of contact for long.
    pub on_lapse: OnLapse,
    /// Who has a count of its own.
    pub per: Per,
    /// Of requests that an overloaded node can't serve, those of limits with less go first; from 0 to 100.
    pub priority: u8,
    /// Counted and reported, and turns nobody away. Such a limit makes nobody wait either.
    pub shadow: bool,
}

impl Limit {
    /// So many requests in a span, with the defaults for everything else.
    pub fn new(id: impl Into<String>, amount: u64, span: Duration) -> Self {
        Self {
            id: id.into(),
            amount,
            span,
            window: Window::default(),
            on_empty: OnEmpty::default_for(amount),
            on_lapse: OnLapse::default(),
            per: Per::default(),
            priority: PRIORITY,
            shadow: false,
        }
    }
}

impl Limit {
    /// What it says beside its rate and name, key by key as in the document, where that is not the default.
    pub fn terms(&self) -> Vec<String> {
        let usual = Self::new("", self.amount, self.span);
        let mut terms = Vec::new();
        if self.window != usual.window {
            terms.push(format!("window: {}", self.window.word()));
        }
        if self.per != usual.per {
            terms.push(format!("per: {}", self.per.word()));
        }
        if self.on_empty != usual.on_empty && !self.shadow {
            terms.push(format!("on_empty: {}", self.on_empty));
        }
        if self.on_lapse != usual.on_lapse {
            terms.push(format!("on_lapse: {}", self.on_lapse.word()));
        }
        if self.priority != usual.priority {
            terms.push(format!("priority: {}", self.priority));
        }
        if self.shadow {
            terms.push("shadow: true".to_owned());
        }
        terms
    }
}

/// Limits up to this amount have no part at each node: it would be a few requests each, most of them where
/// nobody comes. All of it is where it is used, and a request at another node must wait for it.
pub const SMALL_MOST: u64 = 64;

/// The priority of a limit that names none: the middle.
pub const PRIORITY: u8 = 50;

/// The most limits that stand in one place (a plan, a route). Each is a cell to be charged, and two entries
/// of some 30 bytes in a response's header.
pub const LIMITS_MOST: usize = 128;

/// How a limit's window moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Window {
    /// Any span of the window's length holds at most the amount. The default.
    #[default]
    Sliding,
    /// Windows are aligned to the Unix epoch; each holds at most the amount.
    Fixed,
}

impl Window {
    /// Its word in the document.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sliding => "sliding",
            Self::Fixed => "fixed",
        }
    }
}

/// What becomes of a request that finds nothing left at this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEmpty {
    /// It is denied.
    Deny,
    /// It waits at most so long, from 1 ms to 5 s, for what is left elsewhere to come.
    Wait(Duration),
}

impl OnEmpty {
    /// What holds for a limit that does not say: nothing waits; but without waiting, a small limit that is
    /// used at several nodes would admit almost nothing.
    pub fn default_for(amount: u64) -> Self {
        if amount <= SMALL_MOST {
            Self::Wait(SMALL_WAIT)
        } else {
            Self::Deny
        }
    }
}

impl fmt::Display for OnEmpty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny => f.write_str("deny"),
            Self::Wait(time) => write!(f, "{{ wait: {} }}", crate::units::duration_text(*time)),
        }
    }
}

/// A grant takes a round trip to the leader of another region, its quorum's, and the time of a batch.
const SMALL_WAIT: Duration = Duration::from_millis(400);

/// What a node does with its part of a limit when it has been out of contact for long: max(10 min, span / 4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnLapse {
    /// It goes on to spend its part; nobody else is given it. The default.
    #[default]
    Base,
    /// It denies, so that the limit holds whatever happens.
    Deny,
}

impl OnLapse {
    /// Its word in the document.
    pub fn word(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Deny => "deny",
        }
    }
}

/// Who has a count of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Per {
    /// The tenant; of requests that no identity was asked of, all of them together.
    #[default]
    Tenant,
    /// Each subject of the tenant.
    Subject,
    /// Each client address, of each tenant: whole for IPv4, the /64 for IPv6.
    ClientIp,
}

impl Per {
    /// Its word in the document.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Subject => "subject",
            Self::ClientIp => "client_ip",
        }
    }
}
