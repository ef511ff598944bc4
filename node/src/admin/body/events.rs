//! What happens on the cluster, as `/events` tells it.

use meridian_cluster::membership::Liveness;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Act;

/// One event of `GET /api/v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Event {
    /// When the answering node saw it: RFC 3339, UTC.
    pub(crate) time: String,
    /// What happened.
    #[serde(flatten)]
    pub(crate) what: Happening,
}

/// What happened, in the eyes of the answering node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Happening {
    /// The stream begins: how things stand. What happens from here on follows.
    Start {
        /// The node that tells.
        node: String,
        /// The newest revision it holds; 0: none.
        revision: u64,
        /// Who leads, where known.
        leader: Option<String>,
        /// The term.
        term: u64,
        /// Whether the node sees a quorum.
        quorum: bool,
    },
    /// Events are gone that the reader has not had: read `/api/v1/status` again.
    Missed,
    /// A node came, went, or is seen in another state.
    Node {
        /// Its id.
        node: String,
        /// Its region.
        region: String,
        /// How it is seen now; none: it is no member any more.
        state: Option<Liveness>,
        /// How it was seen before; none: it was no member.
        before: Option<Liveness>,
    },
    /// A node takes no new work, or takes it again.
    Draining {
        /// Its id.
        node: String,
        /// Whether it drains.
        draining: bool,
    },
    /// A region is seen in another state.
    Region {
        /// Its name.
        region: String,
        /// How it is seen now; none: no node of it is a member any more.
        state: Option<Liveness>,
        /// How it was seen before.
        before: Option<Liveness>,
    },
    /// Another leader, term, or majority.
    Leader {
        /// Who leads; none: nobody is known to.
        leader: Option<String>,
        /// The term.
        term: u64,
        /// Whether this node sees a quorum.
        quorum: bool,
    },
    /// A new revision of the document.
    Revision {
        /// Its number.
        revision: u64,
        /// BLAKE3 of its files.
        digest: String,
        /// Who applied it.
        author: String,
        /// Why, in the author's words.
        message: String,
    },
    /// A node serves another revision.
    Serving {
        /// Its id.
        node: String,
        /// The revision's number.
        revision: u64,
    },
    /// A node cannot serve a revision and keeps the one it has.
    Rejected {
        /// Its id.
        node: String,
        /// The revision's number.
        revision: u64,
        /// Why.
        reason: String,
    },
    /// Somebody did something, or tried to; as in `/api/v1/audit`.
    Act {
        /// Its entry.
        entry: Act,
    },
}

/// The names of the types, as `types` of `GET /api/v1/events` takes them. `start` and `missed` always come.
pub(crate) const TYPES: [&str; 8] = [
    "node", "draining", "region", "leader", "revision", "serving", "rejected", "act",
];

impl Happening {
    /// Its type's name.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Missed => "missed",
            Self::Node { .. } => "node",
            Self::Draining { .. } => "draining",
            Self::Region { .. } => "region",
            Self::Leader { .. } => "leader",
            Self::Revision { .. } => "revision",
            Self::Serving { .. } => "serving",
            Self::Rejected { .. } => "rejected",
            Self::Act { .. } => "act",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_in_the_json_is_the_name() {
        for what in [
            Happening::Missed,
            Happening::Serving {
                node: "n".into(),
                revision: 3,
            },
            Happening::Act {
                entry: Act {
                    index: 9,
                    time: "2026-05-28T20:26:39Z".into(),
                    who: "ada".into(),
                    role: "operator".into(),
                    from: None,
                    node: "a".into(),
                    act: "apply".into(),
                    target: "document".into(),
                    before: 3,
                    after: 4,
                    done: true,
                    reason: None,
                },
            },
        ] {
            let kind = what.kind();
            let event = Event {
                time: "2026-05-28T20:26:40Z".into(),
                what,
            };
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["type"], kind);
            assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        }
    }
}
