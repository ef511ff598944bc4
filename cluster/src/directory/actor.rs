//! Who acts on the cluster: the name under every command.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// The longest name and the longest role: they stand in the audit entries that every node keeps.
const NAME_LIMIT: usize = 256;

/// Who asks for a change, as the node that took it knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The name of the admin token or certificate; the author of what it changes.
    pub name: String,
    /// The role it acted in.
    pub role: String,
    /// Where its connection came from; none for what a node does by itself.
    pub from: Option<SocketAddr>,
}

impl Actor {
    /// A caller of the admin API.
    pub fn new(name: &str, role: &str, from: Option<SocketAddr>) -> Self {
        Self {
            name: clipped(name, NAME_LIMIT),
            role: clipped(role, NAME_LIMIT),
            from,
        }
    }

    /// What a node does by itself, without an operator.
    pub fn system() -> Self {
        Self::new("meridian", "system", None)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.role)
    }
}

/// The text, cut to so many bytes where it is longer.
pub(crate) fn clipped(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let actor = Actor::new(&"ä".repeat(300), "admin", None);
        assert_eq!(actor.name, "ä".repeat(128));
        assert_eq!(clipped("aä", 2), "a");
        assert_eq!(clipped("aä", 3), "aä");
    }
}
