//! The names operators give to things, each a type of its own so that none is taken for another.

use std::{borrow::Borrow, fmt, sync::Arc};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; the document's checker has looked at it before.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl Default for $name {
            /// The empty name: no operator can give it.
            fn default() -> Self {
                Self::new("")
            }
        }
    )+};
}

names! {
    /// A node: one process of the cluster, under this id for life.
    NodeId,
    /// A region: a domain of latency and failure.
    RegionName,
    /// A zone of residency: regions whose law is the same.
    Zone,
    /// A tenant: who is charged.
    TenantId,
    /// A plan: a named set of limits.
    PlanName,
    /// An issuer of tokens, by the name it has in the document.
    IssuerName,
    /// A service: a named group of endpoints.
    ServiceName,
    /// A route: a rule from request to upstream.
    RouteName,
}
