//! What `meridian dev` tells its children: JSON lines over the pipe that is their standard input.
//!
//! These hooks exist nowhere else: no file, flag or API of a production node leads to them. A child that
//! is not greeted stops; a pipe that ends means that the parent is gone, and the child goes too.

use std::{collections::BTreeSet, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// One line from the parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Order {
    /// The first line: what to run.
    Begin(Role),
    /// From now on exactly these fabric addresses are cut off.
    Cut {
        /// Control and bulk addresses.
        addresses: BTreeSet<SocketAddr>,
    },
    /// Drain and end.
    Stop,
}

/// What a child is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role", deny_unknown_fields)]
pub(crate) enum Role {
    /// A node.
    Node {
        /// Its `node.yaml`.
        config: std::path::PathBuf,
        /// What is cut off from the start.
        cut: BTreeSet<SocketAddr>,
    },
    /// A region's demo upstream.
    Upstream {
        /// Its region.
        region: String,
        /// Where to listen.
        listen: SocketAddr,
    },
}

impl Order {
    /// The order as a line.
    pub(crate) fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("plain enums are valid JSON");
        line.push('\n');
        line
    }

    /// The order in a line, or nothing where it is none.
    pub(crate) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_pipe() {
        let address: SocketAddr = "127.0.0.1:7400".parse().unwrap();
        for order in [
            Order::Begin(Role::Upstream {
                region: "eu-west".into(),
                listen: address,
            }),
            Order::Begin(Role::Node {
                config: "a b/node.yaml".into(),
                cut: BTreeSet::from([address]),
            }),
            Order::Cut {
                addresses: BTreeSet::from([address]),
            },
            Order::Stop,
        ] {
            let line = order.line();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Order::read(&line), Some(order));
        }
        assert_eq!(Order::read("anything else"), None);
    }
}
