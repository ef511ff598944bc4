//! Text with variables: `/plants/{rest}`.

/// Text with variables in braces, parsed. `{{` and `}}` are literal braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its pieces in order.
    pub parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// A path variable of the route's own.
    PathVariable(String),
    /// `{tenant}`: the tenant's name; empty where there is none.
    Tenant,
    /// `{subject}`: the token's subject; empty where there is none.
    Subject,
    /// `{region}`: the region that serves the request (in a request header: that received it).
    Region,
    /// `{request_id}`.
    RequestId,
    /// `{client_ip}`.
    ClientIp,
}
