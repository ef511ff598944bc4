//! Limits: so many requests in a span of time.

use std::time::Duration;

/// So many requests in a span of time, cluster-wide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Where it stands and its window (`tenant-hour`, `route.plants-second`), or the operator's `name:`.
    /// Unique in its place; also its name in `RateLimit-Policy`.
    pub id: String,
    /// Requests admitted per window; at least 1.
    pub amount: u64,
    /// The window's length; at least 1 s.
    pub span: Duration,
    /// How the window moves.
    pub window: Window,
}

/// How a limit's window moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Window {
    /// Any span of the window's length holds at most the amount. The default.
    #[default]
    Sliding,
    /// Windows are aligned to the Unix epoch; each holds at most the amount.
    Fixed,
}
